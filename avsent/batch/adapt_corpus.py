"""``--adapt corpus``: when all files are done, each is decided on again, measured from the mean of
all. The journal holds the representations, so no video is read again."""

from collections.abc import Iterator, Sequence

import torch

from avsent.batch.engines.base import Work
from avsent.batch.journal import Journal, JournalEntry, Stored, damage_reported, packed, result_of
from avsent.extraction.extractor import UtteranceFeatures
from avsent.extraction.utterances.segmentation import Segment
from avsent.labels import MODALITIES
from avsent.model.encoding import EncodedUtterance
from avsent.options import Adapt
from avsent.predictor import Analysis, Predictor, adapt_together
from avsent.result.record import TimeWeight

WARNING = f"--adapt {Adapt.corpus}: "


def conclude_all(journal: Journal, done: Sequence[JournalEntry], work: Work) -> Iterator[str]:
    """Decide again on every file; yields the name of each as soon as its new result is kept. Raises
    UsageError if the model has no experts, and so no mean to be measured from, OutputError if the
    journal is damaged."""
    predictor = Predictor.load(work.checkpoint, device="cpu")
    with damage_reported():
        analyses = [_analysis(journal.stored(entry.name), work) for entry in done]
    for entry, analysis in zip(done, adapt_together(analyses, Adapt.corpus), strict=True):
        result = predictor.decide(analysis)
        journal.rewrite(entry.name, *packed(result))
        yield entry.name


def _analysis(stored: Stored, work: Work) -> Analysis:
    """The analysis of a file, from its result and the representations beside it."""
    result = result_of(stored.result)
    utterances = []
    for utterance, kept in zip(result.utterances, stored.unpacked_representations(), strict=True):
        segment = Segment(utterance.start_s, utterance.end_s, utterance.text)
        utterances.append(
            EncodedUtterance(
                UtteranceFeatures(segment, utterance.track, None, None, tuple(kept["warnings"])),
                **{m: None if kept[m] is None else torch.tensor(kept[m]) for m in MODALITIES},
                audio_frames=tuple(TimeWeight(*frame) for frame in kept["audio_frames"]),
                face_frames=tuple(TimeWeight(*frame) for frame in kept["face_frames"]),
            )
        )
    return Analysis(
        source=result.source,
        duration_s=result.duration_s,
        media_tracks=result.media_tracks,
        tracks=result.tracks,
        utterances=tuple(utterances),
        options=work.options,
        # Without the warning of an earlier run, when there were other files.
        warnings=tuple(w for w in result.warnings if not w.startswith(WARNING)),
    )
