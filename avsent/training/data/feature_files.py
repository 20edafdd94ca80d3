"""Features in files: CMU-MOSI's vectors, avsent's feature files, the cache of media files.

A feature file is one .npz: ``header`` (JSON: format, name, licence, vector sizes, feature
settings), ``samples`` (JSON: all text of each sample), and for each field a column of arrays, see
``avsent.training.data.arrays``.

The cache has one .npz per media file. Its name is a digest of the content of the media file, its
utterances and all settings: a renamed or copied media file is found again, a changed one is
analysed again. An interrupted run continues with the missing files.
"""

import contextlib
import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avsent.errors import DatasetError, OutputError
from avsent.extraction.extractor import FeatureConfig
from avsent.extraction.features.face import PICTURE_EVERY, PICTURE_PX
from avsent.extraction.features.voice import SIZE as PROSODY_SIZE
from avsent.extraction.utterances.segmentation import Segment
from avsent.files import file_sha256
from avsent.labels import LabelScale
from avsent.options import FaceChoice
from avsent.schema import build
from avsent.training.data import arrays
from avsent.training.data.corpus import ARRAYS, Corpus, Sample

FORMAT = "avsent-features/1"
MODALITY_OF_FIELD = {"audio": "audio", "face": "face", "words": "text"}

_MOSI = ("video_id", "utt_no", "transcript", "label", "sentiment", "bclstm_split")
_MOSI_VECTORS = {"audio": "audio", "face": "video", "words": "text"}

PARTS = ("audio", "face", "neutral", "pictures", "prosody")
FEATURE_VERSION = 4  # to be raised when the same settings give other features


def read_features(path: Path) -> Corpus:
    """The corpus in an .npz file of either kind. Raises DatasetError if the file is missing,
    damaged, or neither kind."""
    names = arrays.array_names(path)
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
        **({"label_scale": dataclasses.asdict(corpus.scale)} if corpus.scale else {}),
    }
    texts = [[s.key, s.video, s.speaker, s.split, s.text, s.labels] for s in corpus.samples]
    packed = {"header": arrays.pack_json(header), "samples": arrays.pack_json(texts)}
    for field in ARRAYS:
        packed |= arrays.pack(field, [getattr(sample, field) for sample in corpus.samples])
    arrays.save_arrays(path, packed)


def _read_own(path: Path, fields: Sequence[str]) -> Corpus:
    keys = [f"{field}{part}" for field in fields for part in ("", "_offsets", "_shapes")]
    packed = arrays.load_arrays(path, ["header", "samples", *keys])
    try:
        header, texts = (json.loads(packed[key].tobytes()) for key in ("header", "samples"))
        if not isinstance(header, dict) or header.get("format") != FORMAT:
            raise ValueError(f"its format is not {FORMAT}")
        vectors = header["vectors"]
        if not set(vectors) <= set(MODALITY_OF_FIELD.values()):
            raise ValueError("unknown modality")
        if not all(type(size) is int and size > 0 for size in vectors.values()):
            raise ValueError("a vector size is no positive number")
        features, scale = header["features"], header.get("label_scale")
        columns = {field: arrays.unpack(field, packed) for field in fields}
        if any(len(column) != len(texts) for column in columns.values()):
            raise ValueError("as many texts as features are needed")
        samples = []
        for index, row in enumerate(texts):
            key, video, speaker, split, text = map(_text, row[:5])
            (labels,) = row[5:]
            checked = {_text(column): _text(value) for column, value in labels.items()}
            features_of = {field: column[index] for field, column in columns.items()}
            samples.append(Sample(key, video, speaker, split, checked, text, **features_of))
        corpus = Corpus(
            _text(header["name"]),
            tuple(samples),
            vectors,
            None if features is None else build(FeatureConfig, features, "features"),
            _text(header["licence"]),
            None if scale is None else build(LabelScale, scale, "label_scale"),
        )
        _check_shapes(corpus)
        return corpus
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise DatasetError(
            f"{path}: no usable feature file ({error}); make it anew with 'avsent extract'"
        ) from error


def _check_shapes(corpus: Corpus) -> None:
    """Raise ValueError if a sample's features do not have the shapes that the corpus states."""
    # Without raw features, 0 fits no array.
    raw = corpus.features
    bands, points = (0, 0) if raw is None else (raw.audio.mel_bands, raw.face.points)

    def fits(array: NDArray[np.float32], modality: str) -> bool:
        if modality in corpus.vectors:
            return array.shape == (corpus.vectors[modality],)
        if modality == "audio":
            return voice_fits(array, None, bands)
        return modality == "face" and faces_fit(array, None, None, points)

    for sample in corpus.samples:
        audio, prosody, face = sample.audio, sample.prosody, sample.face
        for field, modality in MODALITY_OF_FIELD.items():
            array = getattr(sample, field)
            if array is not None and not fits(array, modality):
                raise ValueError(f"{field} of {sample.key} has the shape {list(array.shape)}")
        if prosody is not None and (audio is None or not voice_fits(audio, prosody, bands)):
            raise ValueError(f"the prosody of {sample.key} does not fit its voice")
        if sample.neutral is None and sample.pictures is None:
            continue
        if face is None or not faces_fit(face, sample.neutral, sample.pictures, points):
            raise ValueError(f"the neutral or the pictures of {sample.key} do not fit its face")


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
    data = arrays.load_arrays(path, (*_MOSI, *_MOSI_VECTORS.values()))
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


def voice_fits(power: NDArray[np.float32], prosody: NDArray[np.float32] | None, bands: int) -> bool:
    """Whether the shapes of a mel power and its prosody fit."""
    return (
        power.ndim == 2
        and power.shape[0] == bands
        and power.shape[1] > 0
        and (prosody is None or prosody.shape == (PROSODY_SIZE,))
    )


def faces_fit(
    face: NDArray[np.float32],
    neutral: NDArray[np.float32] | None,
    pictures: NDArray[np.float32] | None,
    points: int,
) -> bool:
    """Whether the shapes of a face sequence, its neutral and its pictures fit each other."""
    count = -(-len(face) // PICTURE_EVERY)
    return (
        face.ndim == 3
        and len(face) > 0
        and face.shape[1:] == (points, 2)
        and (neutral is None or neutral.shape == (points, 2))
        and (pictures is None or pictures.shape == (count, PICTURE_PX, PICTURE_PX))
    )


def default_cache() -> Path:
    """The cache folder: ``AVSENT_CACHE``, else avsent's folder in the user's cache."""
    if own := os.environ.get("AVSENT_CACHE"):
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification: a relative path counts as none.
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "avsent"


@dataclass(frozen=True, slots=True)
class CorpusOptions:
    """How a corpus is read, and everything that decides the features of a media file besides its
    content and utterances; feature files ignore the latter.

    ``landmarks``: a model file for dlib; ``check``: a damaged voice or face counts as missing;
    ``cache``: folder of the features, None for :func:`default_cache`; ``scale``: how labels are
    read, None as the feature file says; ``skip_broken``: leave out files that cannot be read.
    """

    features: FeatureConfig = dataclasses.field(default_factory=FeatureConfig)
    face: FaceChoice = FaceChoice.speaking
    landmarks: Path | None = None
    check: bool = True
    cache: Path | None = None
    scale: LabelScale | None = None
    skip_broken: bool = False

    @property
    def cache_folder(self) -> Path:
        return self.cache or default_cache()


@dataclass(frozen=True, slots=True, eq=False)
class MediaFeatures:
    """Features of one media file, for each of its segments, or None: mel power [mel, N], landmarks
    [T, 51, 2], the speaker's neutral face [51, 2], pictures [⌈T/2⌉, 48, 48] in grey levels, prosody
    [24]."""

    audio: tuple[NDArray[np.float32] | None, ...]
    face: tuple[NDArray[np.float32] | None, ...]
    neutral: tuple[NDArray[np.float32] | None, ...]
    pictures: tuple[NDArray[np.float32] | None, ...]
    prosody: tuple[NDArray[np.float32] | None, ...]
    duration_s: float = 0.0
    warnings: tuple[str, ...] = ()


class FeatureCache:
    """The features of media files for one choice of settings, in ``features`` in its cache folder.
    Raises DatasetError if the settings name a landmark file that cannot be read."""

    def __init__(self, settings: CorpusOptions) -> None:
        self.folder = settings.cache_folder / "features"
        self.options = settings
        landmarks = settings.landmarks
        try:
            digest = None if landmarks is None else file_sha256(landmarks)
        except OSError as error:
            raise DatasetError(
                f"{landmarks}: cannot be read ({error.strerror}); check --landmarks"
            ) from error
        features = dataclasses.asdict(settings.features)
        values = [FEATURE_VERSION, features, settings.face, digest, settings.check]
        self._settings = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()

    def place(self, media: Path, segments: Sequence[Segment]) -> Path:
        """The cache file for these segments. Raises OSError if ``media`` cannot be read."""
        times = [(segment.start_s, segment.end_s) for segment in segments]
        parts = json.dumps([self._settings, file_sha256(media), times])
        return self.folder / f"{hashlib.sha256(parts.encode()).hexdigest()[:32]}.npz"

    def load(self, place: Path, count: int) -> MediaFeatures | None:
        """The features of ``count`` segments in that file; None if it is missing or damaged."""
        if not place.is_file():
            return None
        damage = (ValueError, TypeError, LookupError, RecursionError, OverflowError)
        with contextlib.suppress(DatasetError, *damage):
            packed = arrays.load_arrays(place)
            about = json.loads(packed["about"].tobytes())
            kept = MediaFeatures(
                **{name: tuple(arrays.unpack(name, packed)) for name in PARTS},
                duration_s=float(about["duration_s"]),
                warnings=tuple(map(str, about["warnings"])),
            )
            whole = all(len(getattr(kept, name)) == count for name in PARTS)
            if whole and math.isfinite(kept.duration_s) and self._fits(kept):
                return kept
        return None

    def save(self, place: Path, features: MediaFeatures) -> None:
        """Write ``features``. Raises OutputError."""
        about = {"duration_s": features.duration_s, "warnings": features.warnings}
        packed = {"about": arrays.pack_json(about)}
        for name in PARTS:
            packed |= arrays.pack(name, getattr(features, name))
        arrays.save_arrays(place, packed)

    def prepare(self) -> None:
        """Check before the extraction that the folder can be written. Raises OutputError."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = error.strerror or str(error)
            raise OutputError(
                f"cannot make the folder {self.folder}: {reason}; choose one with --cache"
            ) from error
        if not os.access(self.folder, os.W_OK):
            raise OutputError(f"cannot write in {self.folder}: choose a folder with --cache")

    def _fits(self, kept: MediaFeatures) -> bool:
        features = self.options.features
        bands, points = features.audio.mel_bands, features.face.points
        faces = zip(kept.face, kept.neutral, kept.pictures, strict=True)
        voices = zip(kept.audio, kept.prosody, strict=True)
        return all(
            power is None or voice_fits(power, prosody, bands) for power, prosody in voices
        ) and all(
            face is None or faces_fit(face, neutral, pictures, points)
            for face, neutral, pictures in faces
        )
