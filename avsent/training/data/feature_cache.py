"""Cache of the features of media files: one .npz file per media file.

Its name is a digest of the content of the media file, its utterances and all settings: a renamed
or copied media file is found again, a changed one is analysed again. An interrupted run continues
with the missing files.
"""

import contextlib
import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avsent.errors import DatasetError, OutputError
from avsent.extraction.extractor import FeatureConfig
from avsent.extraction.features.face import PICTURE_EVERY, PICTURE_PX
from avsent.extraction.features.voice import SIZE as PROSODY_SIZE
from avsent.extraction.utterances.segmentation import Segment
from avsent.files import file_sha256
from avsent.options import FaceChoice
from avsent.training.data.arrays import load_arrays, pack, pack_json, save_arrays, unpack

PARTS = ("audio", "face", "neutral", "pictures", "prosody")
FEATURE_VERSION = 3
"""To be raised when the same settings give other features."""


def default_cache() -> Path:
    """The cache folder: ``AVSENT_CACHE``, else avsent's folder in the user's cache."""
    if own := os.environ.get("AVSENT_CACHE"):
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification: a relative path counts as none.
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "avsent"


@dataclass(frozen=True, slots=True)
class CorpusOptions:
    """Everything that decides the features of a media file besides its content and utterances;
    feature files ignore all of it.

    ``landmarks``: a model file for dlib; ``check``: a damaged voice or face counts as missing;
    ``cache``: folder of the features, None for :func:`default_cache`.
    """

    features: FeatureConfig = field(default_factory=FeatureConfig)
    face: FaceChoice = FaceChoice.speaking
    landmarks: Path | None = None
    check: bool = True
    cache: Path | None = None

    def digest(self) -> str:
        """In hex. Raises OSError if the landmark file cannot be read."""
        landmarks = None if self.landmarks is None else file_sha256(self.landmarks)
        features = dataclasses.asdict(self.features)
        values = [FEATURE_VERSION, features, self.face, landmarks, self.check]
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


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
    """The features of media files in ``folder/features``, for one choice of settings. Raises
    DatasetError if the settings name a landmark file that cannot be read."""

    def __init__(self, folder: Path, settings: CorpusOptions) -> None:
        self.folder = folder / "features"
        self._features = settings.features
        try:
            self._settings = settings.digest()
        except OSError as error:
            raise DatasetError(
                f"{settings.landmarks}: cannot be read ({error.strerror}); check --landmarks"
            ) from error

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
            arrays = load_arrays(place)
            about = json.loads(arrays["about"].tobytes())
            kept = MediaFeatures(
                **{name: tuple(unpack(name, arrays)) for name in PARTS},
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
        arrays = {"about": pack_json(about)}
        for name in PARTS:
            arrays |= pack(name, getattr(features, name))
        save_arrays(place, arrays)

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
        bands, points = self._features.audio.mel_bands, self._features.face.points
        faces = zip(kept.face, kept.neutral, kept.pictures, strict=True)
        voices = zip(kept.audio, kept.prosody, strict=True)
        return all(
            power is None or voice_fits(power, prosody, bands) for power, prosody in voices
        ) and all(
            face is None or faces_fit(face, neutral, pictures, points)
            for face, neutral, pictures in faces
        )


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
