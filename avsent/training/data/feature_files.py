"""Corpora as features: CMU-MOSI's utterance vectors, and avsent's own feature files.

A feature file is one .npz: ``header`` (JSON: format, name, licence, vector sizes, feature
settings), ``samples`` (JSON: all text of each sample), and for each field a column of arrays, see
``avsent.training.data.arrays``.
"""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avsent.errors import DatasetError
from avsent.extraction.extractor import FeatureConfig
from avsent.schema import build
from avsent.training.data.arrays import (
    array_names,
    load_arrays,
    pack,
    pack_json,
    save_arrays,
    unpack,
)
from avsent.training.data.corpus import ARRAYS, Corpus, Sample
from avsent.training.data.feature_cache import faces_fit, voice_fits

FORMAT = "avsent-features/1"
MODALITY_OF_FIELD = {"audio": "audio", "face": "face", "words": "text"}

_MOSI = ("video_id", "utt_no", "transcript", "label", "sentiment", "bclstm_split")
_MOSI_VECTORS = {"audio": "audio", "face": "video", "words": "text"}


def read_features(path: Path) -> Corpus:
    """The corpus in an .npz file of either kind. Raises DatasetError if the file is missing,
    damaged, or neither kind."""
    names = array_names(path)
    if "header" in names:
        # Files of early versions lack neutral, pictures and prosody.
        fields = [name for name in ARRAYS if name in MODALITY_OF_FIELD or name in names]
        return _read_own(path, fields)
    if {"video_id", "bclstm_split"} <= names:
        return _read_mosi(path)
    raise DatasetError(
        f"{path}: neither a feature file of avsent nor CMU-MOSI's; make one with 'avsent extract'"
    )


def write_features(path: Path, corpus: Corpus) -> None:
    """Write ``corpus`` as a feature file for :func:`read_features`. Raises OutputError if the file
    cannot be written; an older one stays as it was."""
    features = None if corpus.features is None else dataclasses.asdict(corpus.features)
    header = {
        "format": FORMAT,
        "name": corpus.name,
        "licence": corpus.licence,
        "vectors": corpus.vectors,
        "features": features,
    }
    texts = [[s.key, s.video, s.speaker, s.split, s.text, s.labels] for s in corpus.samples]
    arrays = {"header": pack_json(header), "samples": pack_json(texts)}
    for field in ARRAYS:
        arrays |= pack(field, [getattr(sample, field) for sample in corpus.samples])
    save_arrays(path, arrays)


def _read_own(path: Path, fields: Sequence[str]) -> Corpus:
    keys = [f"{field}{part}" for field in fields for part in ("", "_offsets", "_shapes")]
    arrays = load_arrays(path, ["header", "samples", *keys])
    try:
        header, texts = (json.loads(arrays[key].tobytes()) for key in ("header", "samples"))
        if not isinstance(header, dict) or header.get("format") != FORMAT:
            raise ValueError(f"its format is not {FORMAT}")
        vectors = header["vectors"]
        if not set(vectors) <= set(MODALITY_OF_FIELD.values()):
            raise ValueError("unknown modality")
        if not all(type(size) is int and size > 0 for size in vectors.values()):
            raise ValueError("a vector size is no positive number")
        features = header["features"]
        columns = {field: unpack(field, arrays) for field in fields}
        if any(len(column) != len(texts) for column in columns.values()):
            raise ValueError("as many texts as features are needed")
        samples = []
        for index, row in enumerate(texts):
            key, video, speaker, split, text = map(_text, row[:5])
            (labels,) = row[5:]
            checked = {_text(column): _text(value) for column, value in labels.items()}
            arrays_of = {field: column[index] for field, column in columns.items()}
            samples.append(Sample(key, video, speaker, split, checked, text, **arrays_of))
        corpus = Corpus(
            _text(header["name"]),
            tuple(samples),
            vectors,
            None if features is None else build(FeatureConfig, features, "features"),
            _text(header["licence"]),
        )
        _check_shapes(corpus)
        return corpus
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise DatasetError(
            f"{path}: no usable feature file ({error}); make it anew with 'avsent extract'"
        ) from error


def _check_shapes(corpus: Corpus) -> None:
    """Raise ValueError if a sample's features do not have the shapes that the corpus states."""
    for sample in corpus.samples:
        for field, modality in MODALITY_OF_FIELD.items():
            array = getattr(sample, field)
            if array is not None and not _fits(array, modality, corpus):
                raise ValueError(f"{field} of {sample.key} has the shape {list(array.shape)}")
        if sample.prosody is not None and (
            sample.audio is None
            or corpus.features is None
            or not voice_fits(sample.audio, sample.prosody, corpus.features.audio.mel_bands)
        ):
            raise ValueError(f"the prosody of {sample.key} does not fit its voice")
        if sample.neutral is None and sample.pictures is None:
            continue
        points = 0 if corpus.features is None else corpus.features.face.points
        if sample.face is None or not faces_fit(
            sample.face, sample.neutral, sample.pictures, points
        ):
            raise ValueError(f"the neutral or the pictures of {sample.key} do not fit its face")


def _fits(array: NDArray[np.float32], modality: str, corpus: Corpus) -> bool:
    if modality in corpus.vectors:
        return array.shape == (corpus.vectors[modality],)
    if corpus.features is None or modality == "text":
        return False
    if modality == "audio":
        return voice_fits(array, None, corpus.features.audio.mel_bands)
    return faces_fit(array, None, None, corpus.features.face.points)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no text")
    return value


def _read_mosi(path: Path) -> Corpus:
    """CMU-MOSI: 2,199 utterances of 93 videos as vectors for voice, face and words.

    The split is ``bclstm_split`` (1,447 / 752 utterances, no video in both). ``std_fold`` is not
    used: the vectors of words and face were learned with the labels of the 62 training videos of
    ``bclstm_split``, which hold most of the test utterances of ``std_fold``, so figures on it are
    too good.
    """
    data = load_arrays(path, (*_MOSI, *_MOSI_VECTORS.values()))
    count = len(data["video_id"]) if data["video_id"].ndim else 0
    for name, array in data.items():
        expected = 2 if name in _MOSI_VECTORS.values() else 1
        if array.ndim != expected or len(array) != count or not count:
            raise DatasetError(f"{path}: {name} has the wrong shape {array.shape}; restore it")
        kind = "f" if expected == 2 else {"label": "iu", "utt_no": "iu", "sentiment": "f"}
        if array.dtype.kind not in (kind if isinstance(kind, str) else kind.get(name, "U")):
            raise DatasetError(f"{path}: {name} has the wrong type {array.dtype}; restore it")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise DatasetError(f"{path}: {name} holds values that are not finite; restore it")
    if not np.isin(data["label"], (0, 1)).all():
        raise DatasetError(f"{path}: a label is neither 0 nor 1; restore it")
    order = np.lexsort((data["utt_no"], data["video_id"]))
    vectors = {field: data[name].astype(np.float32) for field, name in _MOSI_VECTORS.items()}
    samples = [
        Sample(
            key=f"{data['video_id'][index]}_{data['utt_no'][index]}",
            video=str(data["video_id"][index]),
            # Speakers are not named; a video shows one.
            speaker=str(data["video_id"][index]),
            split=str(data["bclstm_split"][index]),
            labels={
                "label": "positive" if data["label"][index] else "negative",
                # The shortest text for the same float.
                "sentiment": str(data["sentiment"][index]),
            },
            text=str(data["transcript"][index]),
            **{field: vector[index] for field, vector in vectors.items()},
        )
        for index in order
    ]
    sizes = {MODALITY_OF_FIELD[field]: vector.shape[1] for field, vector in vectors.items()}
    return Corpus("CMU-MOSI", tuple(samples), sizes, licence="CMU-MOSI: for research only")
