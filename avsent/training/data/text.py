"""Text that teaches voice and face: corpora of labelled sentences, and sentences as vectors.

Only training uses it; prediction never does.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from avsent.errors import DatasetError, UsageError
from avsent.labels import LABEL_COLUMNS
from avsent.training.data.feature_files import read_features
from avsent.training.data.manifest import TableRow, read_columns, read_table

TEXT_COLUMNS = ("text", "utterance")
CONTEXT_COLUMNS = ("dialogue_id", "context", "video_id", "video")
MELD_FILES = ("train_sent_emo.csv", "dev_sent_emo.csv")
"""What a folder of MELD gives; its test part stays unseen."""

_EXAMPLE = "text,label (or sentiment, or emotion)"

TFIDF = "tfidf"
DEFAULT_SIZE = 100
"""As the text vectors of CMU-MOSI."""

HUB_TIMEOUT_S = 10.0
MIN_LENGTH = 1e-6

# Scripts that put no spaces between words: each of their characters counts as a word.
_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+"


@dataclass(frozen=True, slots=True)
class TextItem:
    """One sentence; ``labels`` by "label", "emotion", "sentiment" as far as there are.

    ``context``: sentences of the same one belong together, in the order of the list. Where the
    file does not say, each stands alone.
    """

    text: str
    labels: dict[str, str] = field(default_factory=dict)
    context: str = ""


def read_text_corpus(path: Path) -> list[TextItem]:
    """The sentences of a CSV file with a column ``text`` (or ``Utterance``, as in MELD) and at
    least one of ``label``, ``sentiment``, ``emotion``; of a folder of MELD (train and dev); or of
    an .npz feature file (only its train part, where it is split).

    Rows without text are left out, rows without a label are kept as context. Raises DatasetError
    for anything else, with the line where there is one.
    """
    if path.is_dir():
        files = [path / name for name in MELD_FILES if (path / name).is_file()]
        if not files:
            raise DatasetError(
                f"{path}: neither {' nor '.join(MELD_FILES)} in it; name a CSV file in the folder"
            )
        items = [item for file in files for item in _read_csv(file)]
    elif path.suffix.lower() == ".npz":
        items = _read_features(path)
    else:
        items = _read_csv(path)
    if not any(item.labels for item in items):
        raise DatasetError(f"{path}: no text with a label in it; give both for each row")
    return items


def _read_csv(path: Path) -> list[TextItem]:
    columns = read_columns(path)
    text = _first(TEXT_COLUMNS, columns)
    labels = [column for column in LABEL_COLUMNS if column in columns]
    # Where something is missing, the reader says so, with the line of the heading.
    needed = [text or TEXT_COLUMNS[0], *(labels or LABEL_COLUMNS[:1])]
    context = _first(CONTEXT_COLUMNS, columns)
    known = {*needed, *LABEL_COLUMNS, *([context] if context else ())}
    rows = read_table(path, needed=needed, known=known, example=_EXAMPLE)
    return [
        TextItem(
            text=row[needed[0]],
            labels={column: row[column] for column in labels if row[column]},
            context=_context(path, row, context),
        )
        for row in rows
        if row[needed[0]]
    ]


def _context(path: Path, row: TableRow, column: str | None) -> str:
    """With the file's name before it: MELD numbers its dialogues anew in each file."""
    if column is None or not row[column]:
        return row.where
    return f"{path.stem}/{row[column]}"


def _first(wanted: Sequence[str], columns: Sequence[str]) -> str | None:
    return next((column for column in wanted if column in columns), None)


def _read_features(path: Path) -> list[TextItem]:
    samples = read_features(path).samples
    split = any(sample.split for sample in samples)
    taken = [sample for sample in samples if sample.split == "train" or not split]
    return [
        TextItem(s.text, {c: v for c, v in s.labels.items() if v}, s.video)
        for s in taken
        if s.text.strip()
    ]


class TextEncoder(Protocol):
    """Turns texts into vectors of one size; a text without words becomes the zero vector."""

    @property
    def name(self) -> str:
        """For the card and the log."""

    @property
    def size(self) -> int:
        """Length of a vector; final after :meth:`fit`."""

    def fit(self, texts: Sequence[str]) -> None:
        """Learn from the texts of the training part, and of no other. Does nothing where the
        encoder comes ready."""

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """float32 [N, size], each row of length 1 or 0."""


class TfidfSvd:
    """TF-IDF of words and pairs of words, reduced by a truncated SVD to at most ``size`` numbers
    (latent semantic analysis, Deerwester et al. 1990).

    ``size`` gets smaller where there are fewer words or texts than that. Same texts, same vectors.
    """

    name = TFIDF

    def __init__(self, size: int = DEFAULT_SIZE) -> None:
        self._size = size
        self._tfidf: Any = None
        self._svd: Any = None

    @property
    def size(self) -> int:
        """Length of a vector; final after :meth:`fit`."""
        return self._size

    def fit(self, texts: Sequence[str]) -> None:
        """Learn words and directions from the training texts.

        Raises:
            DatasetError: there is not one word in them.
        """
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfVectorizer

        spoken = [text for text in texts if text.strip()]
        tfidf = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=_WORD)
        try:
            counts = tfidf.fit_transform(spoken)
        except ValueError as error:  # an empty vocabulary
            raise DatasetError("the texts for training hold no words; check the column") from error
        self._tfidf = tfidf
        self._size = min(self._size, *counts.shape)
        if counts.shape[1] == 1:  # one word leaves nothing to reduce
            self._svd = None
            return
        self._svd = TruncatedSVD(self._size, random_state=0)
        # The share of variance, which nobody asks for, is 0/0 where all texts are the same.
        with np.errstate(invalid="ignore", divide="ignore"):
            self._svd.fit(counts)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """float32 [N, size], each row of length 1 or 0. Raises RuntimeError before ``fit``."""
        if self._tfidf is None:
            raise RuntimeError("fit the encoder on the training texts first")
        if not texts:
            return np.zeros((0, self._size), dtype=np.float32)
        counts = self._tfidf.transform(texts)
        vectors = counts.toarray() if self._svd is None else self._svd.transform(counts)
        return _unit(vectors)


class SentenceEncoder:
    """A sentence-transformers model, by its name on the Hugging Face hub or by its folder.

    Raises:
        UsageError: the package is not installed, or the model cannot be loaded.
    """

    def __init__(self, name_or_path: str, *, device: str | None = None) -> None:
        self.name = name_or_path
        try:
            _quieten()
        except ImportError as error:
            raise UsageError(
                f"{name_or_path}: text models need sentence-transformers; "
                "pip install 'avsent[text]', or use tfidf"
            ) from error
        try:
            self._model = _loaded(name_or_path, device)
            # Not the size it states, which some models lack.
            self._size = int(self._encoded(["size"]).shape[1])
        except Exception as error:  # whatever hub, tokenizer and model files make it raise
            reason = (" ".join(str(error).split()) or type(error).__name__)[:120]
            raise UsageError(
                f"{name_or_path}: no sentence-transformers model can be loaded from it ({reason}); "
                "give a model's folder, or a name while online, or use tfidf"
            ) from error

    @property
    def size(self) -> int:
        """Length of a vector."""
        return self._size

    def fit(self, texts: Sequence[str]) -> None:
        """Nothing to learn: the model comes trained."""

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """float32 [N, size], each row of length 1 or 0."""
        vectors = np.zeros((len(texts), self._size), dtype=np.float32)
        spoken = [index for index, text in enumerate(texts) if text.strip()]
        if spoken:
            vectors[spoken] = self._encoded([texts[index] for index in spoken])
        return _unit(vectors)

    def _encoded(self, texts: list[str]) -> NDArray[np.float32]:
        return np.asarray(
            self._model.encode(texts, show_progress_bar=False, convert_to_numpy=True),
            dtype=np.float32,
        )


def make_text_encoder(
    spec: str, size: int = DEFAULT_SIZE, *, device: str | None = None
) -> TextEncoder:
    """``tfidf``, with ``size`` numbers, or a sentence-transformers model's name or folder.

    Raises:
        UsageError: the model cannot be loaded.
    """
    if spec == TFIDF:
        return TfidfSvd(size)
    return SentenceEncoder(spec, device=device)


def _loaded(name_or_path: str, device: str | None) -> Any:
    """The model, from the disk if it is there: the hub is asked for what is not."""
    from huggingface_hub import HfApi
    from sentence_transformers import SentenceTransformer

    try:
        return SentenceTransformer(name_or_path, device=device, local_files_only=True)
    except Exception:
        if os.path.exists(name_or_path):
            raise
    # One question that fails soon: the download itself would try again for over a minute.
    HfApi().model_info(name_or_path, timeout=HUB_TIMEOUT_S)
    return SentenceTransformer(name_or_path, device=device)


def _unit(vectors: NDArray[Any]) -> NDArray[np.float32]:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    # What the SVD leaves of words outside its directions is rounding error, and no direction.
    unit = np.where(length > MIN_LENGTH, vectors / np.maximum(length, MIN_LENGTH), 0.0)
    return unit.astype(np.float32)


def _quieten() -> None:
    """Import the libraries so that they show no bars, do not chatter and send no usage statistics;
    what the user has set stays. Raises ImportError where they are not installed."""
    for name, value in {
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "TRANSFORMERS_VERBOSITY": "error",
    }.items():
        os.environ.setdefault(name, value)
    # The environment is read when these are first imported, which may have been before.
    import sentence_transformers  # noqa: F401
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    for library in ("huggingface_hub", "sentence_transformers"):
        logging.getLogger(library).setLevel(logging.ERROR)
