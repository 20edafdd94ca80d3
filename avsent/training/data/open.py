"""Training data in any form as a :class:`~avsent.training.data.corpus.Corpus`."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from avsent.errors import DatasetError
from avsent.labels import POLARITY_LABELS
from avsent.progress import Progress, ProgressHook, ignore_progress
from avsent.training.data.corpus import Corpus, Sample
from avsent.training.data.feature_cache import Settings, default_cache
from avsent.training.data.feature_files import read_features
from avsent.training.data.features import extract_rows
from avsent.training.data.layouts import read_rows
from avsent.training.data.ravdess_landmarks import RavdessClip, cached_ravdess, statements

RAVDESS_LICENCE = "CC BY-NC-SA 4.0"


@dataclass(frozen=True, slots=True)
class CorpusOptions(Settings):
    """How features are extracted from raw media; feature files ignore all of it. ``cache``: folder
    of the features, None for :func:`default_cache`."""

    cache: Path | None = None


def open_corpus(
    data: Path,
    *,
    options: CorpusOptions | None = None,
    on_progress: ProgressHook = ignore_progress,
    on_warning: Callable[[str], None] = lambda warning: None,
) -> Corpus:
    """The corpus in ``data``: a feature file (.npz), RAVDESS as landmarks and sound, or a manifest
    or known layout of raw media (see ``avsent.training.data.layouts``).

    ``on_warning`` takes lines for the user, such as the number of utterances left out.

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
        options,
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
    """One clip as a video of its own, as the clips were acted one by one. Surprise has no
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
