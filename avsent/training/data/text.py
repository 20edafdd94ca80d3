"""Text for the source model: corpora of labelled sentences, and sentences as vectors.

Training only; prediction needs no text.
"""

import functools
import logging
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avsent.errors import DatasetError, UsageError
from avsent.labels import LABEL_COLUMNS, is_missing
from avsent.training.data.feature_files import read_features
from avsent.training.data.manifest import read_columns, read_table

TEXT_COLUMNS = ("text", "utterance")
CONTEXT_COLUMNS = ("dialogue_id", "context", "video_id", "video")
MELD_FILES = ("train_sent_emo.csv", "dev_sent_emo.csv")
"""Read from a folder of MELD; its test part stays unseen."""
TFIDF = "tfidf"
DEFAULT_SIZE = 100  # as the text vectors of CMU-MOSI
HUB_TIMEOUT_S = 10.0
MIN_LENGTH = 1e-6
LINEAR_FOLDS = 5
LEAST_PROBABILITY = 1e-3  # of a linear classifier; also of a class that its texts lack

_EXAMPLE = "text,label (or sentiment, or emotion)"
# Scripts without spaces between words: each of their characters counts as a word.
_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+"


@dataclass(frozen=True, slots=True)
class TextItem:
    """One sentence; ``labels`` by "label", "emotion", "sentiment", those that there are.

    ``context``: sentences with the same one belong together, in the order of the list; by default
    each stands alone.
    """

    text: str
    labels: dict[str, str] = field(default_factory=dict)
    context: str = ""


def read_text_corpus(path: Path) -> list[TextItem]:
    """The sentences of a CSV file with a column ``text`` (or ``Utterance``, as in MELD) and at
    least one of ``label``, ``sentiment``, ``emotion``; of a folder of MELD (train and dev); or of
    an .npz feature file (of a divided one only the train part).

    Rows without text are left out, rows without a label are kept as context. Raises DatasetError
    for anything else, with the line if there is one.
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

    def first(wanted: Sequence[str]) -> str | None:
        return next((column for column in wanted if column in columns), None)

    text = first(TEXT_COLUMNS) or TEXT_COLUMNS[0]
    labels = [column for column in LABEL_COLUMNS if column in columns]
    # The reader names the missing columns, with the line of the heading.
    needed = [text, *(labels or LABEL_COLUMNS[:1])]
    context = first(CONTEXT_COLUMNS)
    known = {*needed, *LABEL_COLUMNS, *([context] if context else ())}
    return [
        TextItem(
            text=row[text],
            labels={column: row[column] for column in labels if not is_missing(row[column])},
            # With the file's name: MELD numbers its dialogues anew in each file.
            context=f"{path.stem}/{row[context]}" if context and row[context] else row.where,
        )
        for row in read_table(path, needed=needed, known=known, example=_EXAMPLE)
        if row[text]
    ]


def _read_features(path: Path) -> list[TextItem]:
    samples = read_features(path).samples
    divided = any(sample.split for sample in samples)
    return [
        TextItem(s.text, {c: v for c, v in s.labels.items() if not is_missing(v)}, s.video)
        for s in samples
        if s.text.strip() and (s.split == "train" or not divided)
    ]


class TfidfSvd:
    """TF-IDF of words and pairs of words, reduced by a truncated SVD to at most ``size`` numbers
    (latent semantic analysis, Deerwester et al. 1990).

    ``size`` shrinks if there are fewer words or texts. Equal texts give equal vectors.
    """

    strength = 5.0

    def __init__(self, size: int = DEFAULT_SIZE) -> None:
        self.size = size
        self._tfidf: Any = None
        self._svd: Any = None

    def check(self, texts: Sequence[str]) -> None:
        """Raise DatasetError if the training texts contain no word."""
        if not any(re.search(_WORD, text) for text in texts):
            raise DatasetError("the texts for training hold no words; check the column")

    def fit(self, texts: Sequence[str]) -> None:
        """Learn words and directions from the training texts. Raises DatasetError if they contain
        no word."""
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfVectorizer

        self.check(texts)
        tfidf = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=_WORD)
        counts = tfidf.fit_transform([text for text in texts if text.strip()])
        self._tfidf = tfidf
        self.size = min(self.size, *counts.shape)
        self._svd = None
        if counts.shape[1] > 1:  # a single word needs no reduction
            self._svd = TruncatedSVD(self.size, random_state=0)
            # The share of variance, unused here, is 0/0 if all texts are the same.
            with np.errstate(invalid="ignore", divide="ignore"):
                self._svd.fit(counts)

    def features(self, texts: Sequence[str]) -> Any:
        """The counts before the reduction [N, words], sparse: what a linear classifier reads."""
        return self._tfidf.transform(texts)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """float32 [N, size], each row of length 1 or 0. Raises RuntimeError before ``fit``."""
        if self._tfidf is None:
            raise RuntimeError("fit the encoder on the training texts first")
        if not texts:
            return np.zeros((0, self.size), dtype=np.float32)
        counts = self._tfidf.transform(texts)
        return _unit(counts.toarray() if self._svd is None else self._svd.transform(counts))


class SentenceEncoder:
    """A sentence-transformers model, by its name on the Hugging Face hub or by its folder. Raises
    UsageError if the package is not installed, or the model cannot be loaded."""

    strength = 1.0

    def __init__(self, name_or_path: str) -> None:
        try:
            _import_quietly()
        except ImportError as error:
            raise UsageError(
                f"{name_or_path}: text models need sentence-transformers; "
                "pip install 'avsent[text]', or use tfidf"
            ) from error
        try:
            self._model = _load_model(name_or_path)
            self._kept: dict[str, NDArray[np.float32]] = {}
            # Measured, as some models do not state their size.
            self.size = int(self._encoded(["size"]).shape[1])
        except Exception as error:  # hub, tokenizer and model files raise anything
            reason = (" ".join(str(error).split()) or type(error).__name__)[:120]
            raise UsageError(
                f"{name_or_path}: no sentence-transformers model can be loaded from it ({reason}); "
                "give a model's folder, or a name while online, or use tfidf"
            ) from error

    def check(self, texts: Sequence[str]) -> None:
        """Does nothing: a pretrained model takes any text."""

    def fit(self, texts: Sequence[str]) -> None:
        """Does nothing: the model is pretrained."""

    def features(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The vectors: what a linear classifier reads."""
        return self.encode(texts)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """float32 [N, size], each row of length 1 or 0; kept, so that every text is read once."""
        new = sorted({text for text in texts if text.strip()} - self._kept.keys())
        if new:
            self._kept.update(zip(new, self._encoded(new), strict=True))
        silent = np.zeros(self.size, dtype=np.float32)
        rows = [self._kept.get(text, silent) for text in texts]
        return _unit(np.array(rows, dtype=np.float32).reshape(len(texts), self.size))

    def _encoded(self, texts: list[str]) -> NDArray[np.float32]:
        vectors = self._model.encode(texts, show_progress_bar=False, convert_to_numpy=True)
        return np.asarray(vectors, dtype=np.float32)


TextEncoder = TfidfSvd | SentenceEncoder
"""``strength``: scikit-learn's C of a linear classifier on the ``features``; best on the training
videos of CMU-MOSI, by cross-validation."""


def linear_predictions(
    features: Any,
    labels: NDArray[np.float64],
    groups: Sequence[str],
    *,
    classes: int,
    strength: float,
) -> NDArray[np.float32] | None:
    """Log probabilities [N, ``classes``] of texts by logistic regression, or numbers [N, 1] by
    ridge regression if ``classes`` is 1; out-of-fold for the texts that it learns from.

    ``features`` [N, F]; ``labels`` [N], NaN for texts that are only predicted; ``groups`` [N]:
    texts of one group are in one fold. None if there are too few groups or labels to learn from.
    """
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.model_selection import GroupKFold

    known = np.flatnonzero(~np.isnan(labels))
    names = np.asarray(groups)

    def predicted(rows: NDArray[np.int64], wanted: Any) -> NDArray[np.float64]:
        if classes == 1:
            ridge = Ridge(alpha=1 / strength).fit(features[rows], labels[rows])
            numbers: NDArray[np.float64] = ridge.predict(features[wanted])
            return numbers[:, None]
        model = LogisticRegression(C=strength, max_iter=1000, class_weight="balanced")
        model.fit(features[rows], labels[rows].astype(int))
        found = np.full((len(wanted), classes), np.log(LEAST_PROBABILITY))
        found[:, model.classes_] = model.predict_log_proba(features[wanted])
        likely: NDArray[np.float64] = np.maximum(found, np.log(LEAST_PROBABILITY))
        return likely

    folds = min(LINEAR_FOLDS, len(set(names[known])))
    if folds < 2:
        return None
    parts = list(GroupKFold(folds).split(known, groups=names[known]))
    if any(len(set(labels[known[learnt]])) < 2 for learnt, _ in parts):
        return None
    result = predicted(known, np.arange(len(labels)))
    for learnt, held_out in parts:
        result[known[held_out]] = predicted(known[learnt], known[held_out])
    return result.astype(np.float32)


def make_text_encoder(spec: str, size: int = DEFAULT_SIZE) -> TextEncoder:
    """``tfidf``, with ``size`` numbers, or a sentence-transformers model's name or folder, which is
    loaded once. Raises UsageError if the model cannot be loaded."""
    return TfidfSvd(size) if spec == TFIDF else _sentence_encoder(spec)


@functools.lru_cache(maxsize=1)
def _sentence_encoder(name_or_path: str) -> SentenceEncoder:
    return SentenceEncoder(name_or_path)


def _load_model(name_or_path: str) -> Any:
    """The model, from disk if it is there, else from the hub."""
    from huggingface_hub import HfApi
    from sentence_transformers import SentenceTransformer

    try:
        return SentenceTransformer(name_or_path, local_files_only=True)
    except Exception:
        if os.path.exists(name_or_path):
            raise
    # A request that fails soon: the download itself would retry for over a minute.
    HfApi().model_info(name_or_path, timeout=HUB_TIMEOUT_S)
    return SentenceTransformer(name_or_path)


def _unit(vectors: NDArray[Any]) -> NDArray[np.float32]:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    # For words outside its directions, the SVD leaves rounding errors: no direction.
    unit = np.where(length > MIN_LENGTH, vectors / np.maximum(length, MIN_LENGTH), 0.0)
    return unit.astype(np.float32)


def _import_quietly() -> None:
    """Import the libraries without progress bars, log lines and usage statistics; settings of the
    user win. Raises ImportError if they are not installed."""
    for name, value in {
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "TRANSFORMERS_VERBOSITY": "error",
    }.items():
        os.environ.setdefault(name, value)
    # They read the environment at their first import, which may have been earlier.
    import sentence_transformers  # noqa: F401
    from transformers.utils import logging as transformers_logging

    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    for library in ("huggingface_hub", "sentence_transformers"):
        logging.getLogger(library).setLevel(logging.ERROR)
