"""What the networks made of each utterance, and its adaptation to a speaker or to a corpus."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from avsent.adapt import Adapt
from avsent.networks.adaptation import NO_GROUP, about_own_mean, has_company
from avsent.networks.target import MODALITIES
from avsent.results import TimeWeight


@dataclass(frozen=True, slots=True, eq=False)
class Represented:
    """One utterance, ready to be decided on in the context of the others.

    ``audio``, ``face``: representations [R], None where the modality is missing; ``…_frames``:
    where inside the utterance its networks looked.
    """

    start_s: float
    end_s: float
    text: str | None
    track: int | None
    audio: Tensor | None
    face: Tensor | None
    audio_frames: tuple[TimeWeight, ...]
    face_frames: tuple[TimeWeight, ...]
    warnings: tuple[str, ...]

    def of(self, modality: str) -> Tensor | None:
        """The representation of ``modality``."""
        return self.audio if modality == "audio" else self.face


def adapted(
    own: Sequence[Represented], adapt: Adapt, others: Sequence[Represented] = ()
) -> tuple[Represented, ...] | None:
    """The utterances of one video, measured from the mean of their track, or of all of them
    together with those of ``others``; None where there are too few to move any."""
    if adapt == Adapt.corpus:
        items = [*own, *others]
        groups = torch.zeros(1, len(items), dtype=torch.long)
    else:
        items = list(own)
        groups = torch.tensor([[NO_GROUP if i.track is None else i.track for i in items]])
    moved = list(own)
    reached = False
    for modality in MODALITIES:
        found = [item.of(modality) for item in items]
        known = next((one for one in found if one is not None), None)
        if known is None:
            continue
        values = torch.stack([torch.zeros_like(known) if one is None else one for one in found])
        present = torch.tensor([[one is not None for one in found]], device=known.device)
        groups = groups.to(known.device)
        reached |= bool(has_company(present, groups)[0, : len(own)].any())
        values = about_own_mean(values[None], present, groups)[0]
        moved = [
            item if item.of(modality) is None else dataclasses.replace(item, **{modality: value})
            for item, value in zip(moved, values, strict=False)
        ]
    return tuple(moved) if reached else None
