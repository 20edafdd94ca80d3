"""Adaptation: a group of utterances is measured from its own mean.

What experts say is standardised: 0 is the mean of the training data. Somebody whose face at rest
looks sad, or whose voice is always loud, lies elsewhere on average, and that says nothing about a
single utterance. No label is needed for it, and no weight changes.
"""

from __future__ import annotations

import torch
from torch import Tensor

PRIOR = 5.0
"""The training mean counts as much as so many utterances of the group."""
MIN_UTTERANCES = 3
"""A mean over fewer would tell what was said, not who says it."""
NO_GROUP = -1


def about_own_mean(
    values: Tensor,
    present: Tensor,
    groups: Tensor,
    prior: float = PRIOR,
    least: int = MIN_UTTERANCES,
) -> Tensor:
    """One modality's representations ``values`` [B, U, R], moved so that the mean of each group
    comes close to 0: by n / (n + ``prior``) of the way, n the utterances in it.

    ``present`` [B, U]: where the modality is there; ``groups`` [B, U] long: a number within the
    video, ``NO_GROUP`` for none. What is missing (0 exactly: a stream of experts that is not
    there), in no group or in one of fewer than ``least`` stays as it is, bit for bit.
    """
    there, place, count = _counted(present, groups)
    # In double precision, so that the order of the utterances is lost in rounding.
    known = torch.where(there[..., None], values, torch.zeros_like(values)).double()
    sums = known.new_zeros(len(count), values.shape[-1])
    sums.index_add_(0, place.flatten(), known.flatten(0, 1))
    total = torch.zeros_like(sums)
    total.index_add_(0, place.flatten(), (known != 0).double().flatten(0, 1))
    step = torch.where(total >= least, sums / (total + prior), torch.zeros_like(sums))
    moved = (values - step[place]).to(values.dtype)
    still = (count[place] < least)[..., None] | (known == 0)
    return torch.where(still, values, moved)


def has_company(present: Tensor, groups: Tensor, least: int = MIN_UTTERANCES) -> Tensor:
    """Which utterances [B, U] :func:`about_own_mean` measures from the mean of their group."""
    there, place, count = _counted(present, groups)
    return there & (count[place] >= least)


def _counted(present: Tensor, groups: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Where there is something to move [B, U], the place [B, U] of each group among those of all
    videos, and how many utterances each place has."""
    there = present & (groups > NO_GROUP)
    found, place = torch.unique(groups, return_inverse=True)
    videos = torch.arange(len(groups), device=groups.device)[:, None]
    place = place + videos * len(found)
    count = torch.zeros(len(groups) * len(found), dtype=torch.long, device=groups.device)
    count.index_add_(0, place.flatten(), there.flatten().long())
    return there, place, count
