"""Adaptation to a speaker: subtract the mean of the speaker's own utterances.

Experts' posteriors are standardised: 0 is the mean of the training data. A face that looks sad at
rest, or a voice that is always loud, has another mean, which says nothing about a single
utterance. Needs no labels and changes no weights.
"""

import torch
from torch import Tensor

PRIOR = 5.0  # weight of the training mean, in utterances
MIN_UTTERANCES = 3  # the mean of fewer utterances depends more on what is said than on who says it
NO_GROUP = -1


def subtract_group_mean(
    values: Tensor,
    present: Tensor,
    groups: Tensor,
    prior: float = PRIOR,
    least: int = MIN_UTTERANCES,
) -> Tensor:
    """Subtract n / (n + ``prior``) of the mean of each group of n utterances from one modality's
    representations ``values`` [B, U, R].

    ``present`` [B, U]: where the modality is there; ``groups`` [B, U] long: numbers within a
    video, ``NO_GROUP`` for none. Values that are missing (exactly 0: a missing stream), in no
    group or in one of fewer than ``least`` utterances stay the same, bit for bit.
    """
    there, place, count = _counted(present, groups)
    # Double precision, so that the order of the utterances does not matter.
    known = torch.where(there[..., None], values, torch.zeros_like(values)).double()
    sums = known.new_zeros(len(count), values.shape[-1])
    sums.index_add_(0, place.flatten(), known.flatten(0, 1))
    total = torch.zeros_like(sums)
    total.index_add_(0, place.flatten(), (known != 0).double().flatten(0, 1))
    step = torch.where(total >= least, sums / (total + prior), torch.zeros_like(sums))
    moved = (values - step[place]).to(values.dtype)
    still = (count[place] < least)[..., None] | (known == 0)
    return torch.where(still, values, moved)


def in_group(present: Tensor, groups: Tensor, least: int = MIN_UTTERANCES) -> Tensor:
    """Which utterances [B, U] :func:`subtract_group_mean` changes."""
    there, place, count = _counted(present, groups)
    return there & (count[place] >= least)


def _counted(present: Tensor, groups: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Utterances in a group [B, U]; index of each one's group [B, U]; utterances of each index."""
    there = present & (groups > NO_GROUP)
    found, place = torch.unique(groups, return_inverse=True)
    videos = torch.arange(len(groups), device=groups.device)[:, None]
    place = place + videos * len(found)
    count = torch.zeros(len(groups) * len(found), dtype=torch.long, device=groups.device)
    count.index_add_(0, place.flatten(), there.flatten().long())
    return there, place, count
