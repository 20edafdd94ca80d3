"""Any training data, whatever its form, as a :class:`~avsent.training.data.corpus.Corpus`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from avsent.errors import DatasetError
from avsent.extraction.features.config import FeatureConfig
from avsent.labels import POLARITY_LABELS
from avsent.options import FaceChoice
from avsent.progress import Progress, ProgressHook, ignore_progress
from avsent.training.data.corpus import Corpus, Sample
from avsent.training.data.feature_cache import Settings, default_cache
from avsent.training.data.feature_files import read_features
from avsent.training.data.features import extract_rows
from avsent.training.data.layouts import read_rows
from avsent.training.data.ravdess_landmarks import RavdessClip, cached_ravdess, statements

RAVDESS_LICENCE = "CC BY-NC-SA 4.0"


@dataclass(frozen=True, slots=True)
class CorpusOptions:
    """How raw material is turned into features; nothing of it matters to a feature file.

    ``cache``: where features are kept, None for :func:`default_cache`. ``landmarks``: a user's
    own file for dlib; ``check``: a damaged voice or face counts as missing.
    """

    cache: Path | None = None
    features: FeatureConfig = field(default_factory=FeatureConfig)
    face: FaceChoice = FaceChoice.speaking
    landmarks: Path | None = None
    check: bool = True


def open_corpus(
    data: Path,
    *,
    options: CorpusOptions | None = None,
    on_progress: ProgressHook = ignore_progress,
    on_warning: Callable[[str], None] = lambda warning: None,
) -> Corpus:
    """The corpus in ``data``: a feature file (.npz), RAVDESS as landmarks and sound, or anything
    that names raw media (a manifest or one of the known layouts, see ``avsent.training.data.layouts``).

    ``on_warning`` is called with what the user should know, such as utterances left out.

    Raises:
        DatasetError: there is nothing of the kind, or it cannot be read.
        OutputError: the cache cannot be written. UsageError: the options make no sense.
    """
    options = options or CorpusOptions()
    if data.suffix.lower() == ".npz" and not data.is_dir():
        return read_features(data)
    if not data.exists():
        raise DatasetError(f"{data}: no such file or folder; check the name")
    if (data / "landmarks.npz").is_file() and (data / "audio").is_dir():
        return _ravdess(data, options, on_progress)
    extracted = extract_rows(
        data,
        read_rows(data),
        Settings(options.features, options.face, options.landmarks, options.check),
        options.cache or default_cache(),
        on_progress,
    )
    for warning in extracted.warnings:
        on_warning(warning)
    return extracted.corpus


def _ravdess(folder: Path, options: CorpusOptions, on_progress: ProgressHook) -> Corpus:
    def report(done_s: float, total_s: float) -> None:
        on_progress(Progress("analyse", str(folder), done_s, total_s))

    clips = cached_ravdess(
        folder, options.cache or default_cache(), options.features, on_progress_s=report
    )
    said = statements(folder)
    samples = tuple(ravdess_sample(clip, said.get(clip.clip_id, "")) for clip in clips)
    return Corpus("RAVDESS", samples, features=options.features, licence=RAVDESS_LICENCE)


def ravdess_sample(clip: RavdessClip, text: str) -> Sample:
    """One clip; it is its own video, as the clips were acted one by one. Surprise has no
    sentiment."""
    sentiment = "" if clip.polarity is None else POLARITY_LABELS[clip.polarity]
    return Sample(
        key=clip.clip_id,
        video=clip.clip_id,
        speaker=f"actor{clip.actor:02d}",
        labels={"label": clip.emotion, "emotion": clip.emotion, "sentiment": sentiment},
        text=text,
        audio=clip.mel_power,
        prosody=clip.prosody,
        face=None if clip.face is None else clip.face.landmarks,
        neutral=None if clip.face is None else clip.face.neutral,
    )
