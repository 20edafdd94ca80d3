"""``--adapt corpus``: when all files are done, each is decided on anew, measured from the mean of
all. What the encoders made of each utterance is in the journal, so no video is read again."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from avsent.batch.engines.base import Work
from avsent.batch.journal import (
    Entry,
    Journal,
    damaged,
    packed,
    result_of,
    unpacked_representations,
)
from avsent.labels import MODALITIES
from avsent.model.encoding import Represented
from avsent.model.networks.adaptation import MIN_UTTERANCES, about_own_mean, has_company
from avsent.options import Adapt
from avsent.predictor import Analysis, Predictor
from avsent.result.record import Result
from avsent.result.utterance import TimeWeight

_ALONE = f"--adapt corpus: neither voice nor face in {MIN_UTTERANCES} utterances or more: not moved"


def conclude_all(journal: Journal, done: Sequence[Entry], work: Work) -> Iterator[str]:
    """Decide anew on every file; gives the name of each as soon as its new result is kept.

    Raises:
        UsageError: the model has no experts, and so no mean to be measured from.
    """
    predictor = Predictor.load(work.checkpoint, device="cpu")
    kept = [unpacked_representations(journal.stored(entry.name).representations) for entry in done]
    try:
        moved, reached = _measured_from_all([one for file in kept for one in file])
    except (LookupError, TypeError, ValueError, RuntimeError) as error:
        raise damaged() from error
    place = 0
    for entry, file in zip(done, kept, strict=True):
        own, place = moved[place : place + len(file)], place + len(file)
        before = result_of(journal.stored(entry.name).result)
        try:
            result = _decided(predictor, before, file, own, work)
        except (LookupError, TypeError, ValueError, RuntimeError) as error:
            raise damaged() from error
        if result.utterances and not reached:
            result = dataclasses.replace(
                result, warnings=(*(w for w in result.warnings if w != _ALONE), _ALONE)
            )
        journal.rewrite(entry.name, *packed(result))
        yield entry.name


def _measured_from_all(
    items: Sequence[dict[str, Any]],
) -> tuple[list[dict[str, Tensor | None]], bool]:
    """Representations of all utterances of the corpus, by modality, measured from their mean;
    and whether any was moved."""
    moved: list[dict[str, Tensor | None]] = [dict.fromkeys(MODALITIES) for _ in items]
    groups = torch.zeros(1, len(items), dtype=torch.long)
    reached = False
    for modality in MODALITIES:
        known = next((item[modality] for item in items if item[modality] is not None), None)
        if known is None:
            continue
        rows = [item[modality] or [0.0] * len(known) for item in items]
        present = torch.tensor([[item[modality] is not None for item in items]])
        values = about_own_mean(torch.tensor([rows]), present, groups)[0]
        reached |= bool(has_company(present, groups).any())
        for one, there, value in zip(moved, present[0], values, strict=True):
            one[modality] = value if there else None
    return moved, reached


def _decided(
    predictor: Predictor,
    before: Result,
    kept: Sequence[dict[str, Any]],
    moved: Sequence[dict[str, Tensor | None]],
    work: Work,
) -> Result:
    represented = tuple(
        Represented(
            start_s=utterance.start_s,
            end_s=utterance.end_s,
            text=utterance.text,
            track=utterance.track,
            audio=own["audio"],
            face=own["face"],
            audio_frames=tuple(TimeWeight(*frame) for frame in item["audio_frames"]),
            face_frames=tuple(TimeWeight(*frame) for frame in item["face_frames"]),
            warnings=tuple(item["warnings"]),
        )
        for utterance, item, own in zip(before.utterances, kept, moved, strict=True)
    )
    return predictor.conclude(
        Analysis(
            source=before.source,
            duration_s=before.duration_s,
            tracks=before.tracks,
            represented=represented,
            adapt=Adapt.none,
            warnings=before.warnings,
            check=work.check,
            proxy=work.proxy,
        )
    )
