"""Training of the voice experts: attention over Whisper's steps, and linear classifiers.

The classifiers see thousands of numbers and a few thousand clips, so how they are regularised
decides how they do on other corpora. Two penalties: on the squared weights, and on what moves the
logits from corpus to corpus within a class (like nuisance attribute projection, Solomonoff et al.
2005).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from avsent.model.networks.config import ExpertsConfig
from avsent.model.networks.experts import ExpertHeads, ProsodyMember, VoiceMember
from avsent.training.losses import one_cycle
from recipes.voices import BACKGROUND, Voice, VoiceFeatures

CHUNK = 128
NO_LABEL = -1


@dataclass(frozen=True, slots=True)
class VoiceTraining:
    """Settings (ours). ``decay``: weight of the squared weights in the loss of polarity;
    ``alignment``: of the squared shifts between corpora; both chosen by leaving corpora out. Eight
    emotions need less: half of them only actors of two corpora show."""

    epochs: int = 2
    batch: int = 64
    learning_rate: float = 1e-3
    decay: float = 0.1
    alignment: float = 0.3
    emotion_decay: float = 0.002
    emotion_alignment: float = 0.02
    prosody_decay: float = 3e-3
    label_smoothing: float = 0.05
    iterations: int = 40


@dataclass(frozen=True, slots=True, eq=False)
class VoiceLabels:
    """Labels of N voices: ``emotion`` [N] and ``polarity`` [N] (−1: none), ``corpus`` [N]."""

    emotion: NDArray[np.int64]
    polarity: NDArray[np.int64]
    corpus: NDArray[np.str_]

    def tiled(self, times: int) -> VoiceLabels:
        """The same labels so many times, one after the other."""
        return VoiceLabels(
            np.tile(self.emotion, times), np.tile(self.polarity, times), np.tile(self.corpus, times)
        )


def labels_of(voices: Sequence[Voice]) -> VoiceLabels:
    """Labels of ``voices``."""
    return VoiceLabels(
        np.array([voice.emotion for voice in voices], dtype=np.int64),
        np.array([voice.polarity for voice in voices], dtype=np.int64),
        np.array([voice.corpus for voice in voices]),
    )


def usable_rows(voices: Sequence[Voice], features: VoiceFeatures) -> NDArray[np.int64]:
    """Voices with a label and with something to hear."""
    kept = [
        row
        for row, voice in enumerate(voices)
        if voice.emotion >= 0 and voice.corpus != BACKGROUND and features.counts[row]
    ]
    return np.array(kept, dtype=np.int64)


def train_voice_member(
    config: ExpertsConfig,
    voices: Sequence[Voice],
    versions: Sequence[VoiceFeatures],
    rows: NDArray[np.int64],
    seed: int,
    settings: VoiceTraining,
) -> VoiceMember:
    """A member trained on ``rows`` of ``voices``, in all ``versions`` of their features."""
    torch.manual_seed(seed)
    member = VoiceMember(config)
    rows_of = [rows[version.counts[rows] > 0] for version in versions]
    pooled = torch.cat([_pooled(member, v, r) for v, r in zip(versions[:1], rows_of, strict=False)])
    member.scale.fit(pooled)
    _train_attention(member, voices, versions, rows, seed, settings)
    pooled = torch.cat([_pooled(member, v, r) for v, r in zip(versions, rows_of, strict=True)])
    member.scale.fit(pooled)
    labels = labels_of([voices[row] for some in rows_of for row in some])
    penalties = (
        (settings.emotion_decay, settings.emotion_alignment),
        (
            settings.decay,
            settings.alignment,
        ),
    )
    fit_heads(member.votes, member.scale(pooled), labels, penalties, settings)
    return member.eval()


def train_prosody_member(
    config: ExpertsConfig,
    voices: Sequence[Voice],
    versions: Sequence[VoiceFeatures],
    rows: NDArray[np.int64],
    settings: VoiceTraining,
) -> ProsodyMember:
    """A linear classifier of the prosody, trained on the same."""
    torch.manual_seed(0)
    member = ProsodyMember(config)
    labels = labels_of([voices[row] for row in rows]).tiled(len(versions))
    statistics = torch.from_numpy(np.concatenate([version.prosody[rows] for version in versions]))
    known = ~statistics.isnan().any(dim=1)
    member.scale.fit(statistics[known])
    kept = known.numpy()
    labels = VoiceLabels(labels.emotion[kept], labels.polarity[kept], labels.corpus[kept])
    scaled = member.scale(statistics[known])
    penalties = ((settings.prosody_decay, settings.alignment),) * 2
    fit_heads(member.votes, scaled, labels, penalties, settings)
    return member.eval()


def fit_heads(
    heads: ExpertHeads,
    features: Tensor,
    labels: VoiceLabels,
    penalties: Sequence[tuple[float, float]],
    settings: VoiceTraining,
) -> None:
    """Fit ``heads`` to standardised ``features`` [M, F]: every pair of corpus and class weighs the
    same. ``penalties``: decay and alignment for emotion and for polarity."""
    both = (heads.emotion, labels.emotion), (heads.polarity, labels.polarity)
    for (linear, classes), penalty in zip(both, penalties, strict=True):
        used = np.flatnonzero(classes != NO_LABEL)
        rows = torch.from_numpy(used)
        _fit_linear(linear, features[rows], classes[used], labels.corpus[used], penalty, settings)


def _fit_linear(
    linear: torch.nn.Linear,
    features: Tensor,
    classes: NDArray[np.int64],
    corpora: NDArray[np.str_],
    penalty: tuple[float, float],
    settings: VoiceTraining,
) -> None:
    pairs, place, count = np.unique(
        np.stack([np.unique(corpora, return_inverse=True)[1], classes]),
        axis=1,
        return_inverse=True,
        return_counts=True,
    )
    place = place.reshape(-1)
    weight = torch.from_numpy(1 / (count[place] * len(count))).float()
    target = functional.one_hot(torch.from_numpy(classes), linear.out_features).float()
    smoothing = settings.label_smoothing
    target = target * (1 - smoothing) + smoothing / linear.out_features
    decay, alignment = penalty
    shifts = alignment * _shifts(features, pairs[1], place)
    torch.nn.init.zeros_(linear.weight)
    torch.nn.init.zeros_(linear.bias)
    optimiser = torch.optim.LBFGS(
        linear.parameters(), max_iter=settings.iterations, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        logs = linear(features).log_softmax(dim=-1)
        total: Tensor = -(weight * (target * logs).sum(dim=1)).sum()
        total = total + decay * linear.weight.square().sum()
        total = total + functional.linear(shifts, linear.weight).square().sum()
        total.backward()  # type: ignore[no-untyped-call]
        return total

    optimiser.step(closure)  # type: ignore[no-untyped-call]


def _shifts(features: Tensor, class_of: NDArray[np.int64], place: NDArray[np.int64]) -> Tensor:
    """Distance [pairs, F] of the mean of each pair of corpus and class from the mean of its class
    over the corpora. ``class_of`` [pairs]; ``place`` [M]: each item's pair."""
    sums = features.new_zeros(len(class_of), features.shape[1])
    index = torch.from_numpy(place)
    sums.index_add_(0, index, features)
    means = sums / torch.bincount(index, minlength=len(class_of))[:, None]
    found = means.clone()
    for one in np.unique(class_of):
        own = torch.from_numpy(class_of == one)
        found[own] -= means[own].mean(dim=0)
    return found


@torch.inference_mode()
def _pooled(member: VoiceMember, features: VoiceFeatures, rows: NDArray[np.int64]) -> Tensor:
    parts = []
    for first in range(0, len(rows), CHUNK):
        steps, mask, _ = features.of(rows[first : first + CHUNK])
        parts.append(member.pool(steps, mask)[0])
    return torch.cat(parts)


def _train_attention(
    member: VoiceMember,
    voices: Sequence[Voice],
    versions: Sequence[VoiceFeatures],
    rows: NDArray[np.int64],
    seed: int,
    settings: VoiceTraining,
) -> None:
    """Train the attention together with the heads, which are fitted anew afterwards. Batches are
    balanced over pairs of corpus and emotion."""
    rng = np.random.default_rng(seed)
    labels = labels_of(voices)
    groups = np.unique(
        np.stack([np.unique(labels.corpus[rows], return_inverse=True)[1], labels.emotion[rows]]),
        axis=1,
        return_inverse=True,
    )[1].reshape(-1)
    members = [rows[groups == group] for group in range(int(groups.max()) + 1)]
    optimiser = torch.optim.AdamW(
        [
            {"params": member.attention.parameters(), "weight_decay": 1e-2},
            {"params": member.votes.parameters(), "weight_decay": 1.0},
        ],
        lr=settings.learning_rate,
    )
    steps = len(rows) // settings.batch * settings.epochs
    for step in range(steps):
        rate = one_cycle(step / steps, settings.learning_rate)
        for group in optimiser.param_groups:
            group["lr"] = rate
        picked = rng.integers(len(members), size=settings.batch)
        version = versions[int(rng.integers(len(versions)))]
        batch = np.array([rng.choice(members[group]) for group in picked])
        batch = batch[version.counts[batch] > 0]
        inputs, mask, _ = version.of(batch)
        votes, _ = member(inputs, mask)
        emotions = member.votes.emotion.out_features
        total = functional.nll_loss(votes[:, :emotions], torch.from_numpy(labels.emotion[batch]))
        polarity = torch.from_numpy(labels.polarity[batch])
        if bool((polarity != NO_LABEL).any()):
            total = total + functional.nll_loss(
                votes[:, emotions:], polarity, ignore_index=NO_LABEL
            )
        optimiser.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(member.parameters(), 5.0)
        optimiser.step()
