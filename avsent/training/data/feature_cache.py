"""Features of media files, kept between runs: one file per media file.

Its name is a digest of the content of the media file, its utterances and all settings: a media
file that was renamed or copied is found again, one that was changed is analysed anew. A run that
was killed continues with the files that are missing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from avsent.errors import DatasetError, OutputError
from avsent.extraction.features.config import FeatureConfig
from avsent.extraction.features.face import PICTURE_EVERY, PICTURE_PX
from avsent.extraction.features.voice import SIZE as PROSODY_SIZE
from avsent.extraction.utterances.segmentation import Segment
from avsent.files import file_sha256
from avsent.options import FaceChoice
from avsent.training.data.arrays import load_arrays, pack, pack_json, save_arrays, unpack

PARTS = ("audio", "face", "neutral", "pictures", "prosody")
FEATURE_VERSION = 3
"""Raise it when the same settings give other features."""


def default_cache() -> Path:
    """The folder for files that can be made again: ``AVSENT_CACHE``, else avsent's folder in the
    user's cache."""
    own = os.environ.get("AVSENT_CACHE")
    if own:
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification: a relative path counts as none.
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "avsent"


@dataclass(frozen=True, slots=True)
class Settings:
    """All that decides which features a media file gives, besides its content and utterances;
    ``check``: a damaged voice or face counts as missing."""

    features: FeatureConfig
    face: FaceChoice
    landmarks: Path | None = None
    check: bool = True

    def digest(self) -> str:
        """In hex. Raises OSError where the landmark file cannot be read."""
        landmarks = None if self.landmarks is None else file_sha256(self.landmarks)
        features = dataclasses.asdict(self.features)
        values = [FEATURE_VERSION, features, self.face, landmarks, self.check]
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True, eq=False)
class MediaFeatures:
    """Features of one media file, for each of its segments: mel power [mel, N], landmarks
    [T, 51, 2], the speaker's neutral face [51, 2], pictures [⌈T/2⌉, 48, 48] in grey levels and
    prosody [24], each of them or None."""

    audio: tuple[NDArray[np.float32] | None, ...]
    face: tuple[NDArray[np.float32] | None, ...]
    neutral: tuple[NDArray[np.float32] | None, ...]
    pictures: tuple[NDArray[np.float32] | None, ...]
    prosody: tuple[NDArray[np.float32] | None, ...]
    duration_s: float = 0.0
    warnings: tuple[str, ...] = ()


class FeatureCache:
    """The features of media files in ``folder/features``, for one choice of settings.

    Raises:
        DatasetError: the settings name a landmark file that cannot be read.
    """

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.folder = folder / "features"
        self._features = settings.features
        try:
            self._settings = settings.digest()
        except OSError as error:
            raise DatasetError(
                f"{settings.landmarks}: cannot be read ({error.strerror}); check --landmarks"
            ) from error

    def place(self, media: Path, segments: Sequence[Segment]) -> Path:
        """Where the features of these segments are kept. Raises OSError where ``media`` cannot
        be read."""
        times = [(segment.start_s, segment.end_s) for segment in segments]
        parts = json.dumps([self._settings, file_sha256(media), times])
        return self.folder / f"{hashlib.sha256(parts.encode()).hexdigest()[:32]}.npz"

    def load(self, place: Path, count: int) -> MediaFeatures | None:
        """The features kept there for ``count`` segments; None if they are missing or damaged."""
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
        """Keep ``features``. Raises OutputError where they cannot be written."""
        about = {"duration_s": features.duration_s, "warnings": features.warnings}
        arrays = {"about": pack_json(about)}
        for name in PARTS:
            arrays |= pack(name, getattr(features, name))
        save_arrays(place, arrays)

    def prepare(self) -> None:
        """Check before the work that the folder can be written. Raises OutputError."""
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
    """Whether a mel power and its prosody have shapes that belong together."""
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
    """Whether a face sequence, its neutral and its pictures have shapes that belong together."""
    looked_at = -(-len(face) // PICTURE_EVERY)
    return (
        face.ndim == 3
        and len(face) > 0
        and face.shape[1:] == (points, 2)
        and (neutral is None or neutral.shape == (points, 2))
        and (pictures is None or pictures.shape == (looked_at, PICTURE_PX, PICTURE_PX))
    )
