"""Fitting M3ER's modality check and proxies: the projections on training data, the thresholds on
validation data.

The thresholds are those with which the model itself does best on a damaged validation part, and
no worse on the part as it is. Damaged: three quarters of its utterances have one modality spoilt
(M3ER's ablation), by Gaussian noise at a signal-to-noise ratio of 0.01 or by somebody else's in its
place. Whether proxies stand in is chosen on the same.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avsent.labels import MODALITIES
from avsent.model.networks.config import ModalityCheckConfig
from avsent.model.networks.modality_check import OTHER, ModalityCheck
from avsent.model.networks.target import TargetModel, TargetOutput, Utterances
from avsent.training.augmentation import upright
from avsent.training.data.corpus import Sample
from avsent.training.dataset import Videos, batches, encoded
from avsent.training.losses import classification_loss

Matrix = NDArray[np.float64]
RIDGE = 0.1
"""Added to each variance, as a share of the mean one."""
LEAST_VARIANCE = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class Space:
    """One side: ``mean`` [R]; ``whitening`` [R, R], which makes the (ridged) covariance the
    identity; ``directions`` [R, K]. Dimensions that never vary have zeros throughout."""

    mean: Matrix
    whitening: Matrix
    directions: Matrix


@dataclass(frozen=True, slots=True, eq=False)
class Canonical:
    """Both sides, and the ``correlations`` [K] of their components, the largest first."""

    first: Space
    second: Space
    correlations: Matrix


def canonical(first: Matrix, second: Matrix, components: int, ridge: float = RIDGE) -> Canonical:
    """Of paired rows ``first`` [N, R] and ``second`` [N, S].

    The components are uncorrelated within a side, have variance 1 (less for the ridge), and
    correlate with their like of the other side. There are no more than dimensions that vary:
    what is left of ``components`` has zeros.

    Raises:
        ValueError: there are fewer than two rows.
    """
    if len(first) != len(second) or len(first) < 2:
        raise ValueError("pairs are needed, two or more")
    left, right = _whitened(first, ridge), _whitened(second, ridge)
    cross = (first - left[0]).T @ (second - right[0]) / len(first)
    rotate, found, back = np.linalg.svd(left[1].T @ cross @ right[1], full_matrices=False)
    count = min(components, len(found))
    correlations = np.zeros(components)
    correlations[:count] = found[:count]
    sides = [
        Space(mean, whitening, _padded(whitening @ turn[:, :count], components))
        for (mean, whitening), turn in ((left, rotate), (right, back.T))
    ]
    return Canonical(sides[0], sides[1], correlations)


def _whitened(rows: Matrix, ridge: float) -> tuple[Matrix, Matrix]:
    """Mean [R] and whitening [R, R] of ``rows`` [N, R]."""
    mean = rows.mean(axis=0)
    apart = rows - mean
    covariance = apart.T @ apart / len(rows)
    varies = np.diagonal(covariance) > LEAST_VARIANCE
    whitening = np.zeros_like(covariance)
    if varies.any():
        inner = covariance[np.ix_(varies, varies)]
        inner = inner + ridge * np.trace(inner) / len(inner) * np.eye(len(inner))
        whitening[np.ix_(varies, varies)] = np.linalg.inv(np.linalg.cholesky(inner)).T
    return mean, whitening


def _padded(directions: Matrix, components: int) -> Matrix:
    found = np.zeros((len(directions), components))
    found[:, : directions.shape[1]] = directions
    return found


FARTHEST = 3.0
"""Times the median distance."""
LIMIT = 10.0
"""Deviations at which a single dimension is cut off: one wild value is no damage."""
NORMAL = 1.4826
"""Standard deviations in a median absolute deviation of normal values."""
LEAST = 32
"""Fewer vectors have no middle."""


def screened(
    videos: Videos, modalities: tuple[str, ...] = MODALITIES
) -> tuple[Videos, dict[str, int]]:
    """``videos`` without the vectors that stand out, and how many these were by modality."""
    present, found = dict(videos.present), {}
    for modality in modalities:
        if modality not in videos.vectors:
            continue
        there = present[modality]
        outside = outlying(videos.vectors[modality][there])
        left = there.clone()
        left[there] = ~outside
        present[modality] = left
        found[modality] = int(outside.sum())
    return dataclasses.replace(videos, present=present), found


def outlying(vectors: Tensor) -> Tensor:
    """Which of ``vectors`` [N, R] lie ``FARTHEST`` from the middle [N] bool; NaN is not known."""
    outside = torch.zeros(len(vectors), dtype=torch.bool)
    if len(vectors) < LEAST:
        return outside
    for _ in range(2):  # again without those: their distances no longer blur the scale
        kept = vectors[~outside]
        middle = kept.nanmedian(dim=0).values
        spread = NORMAL * (kept - middle).abs().nanmedian(dim=0).values
        apart = (vectors - middle) / spread.where(spread > 0, torch.inf)
        distance = apart.clamp(-LIMIT, LIMIT).square().nanmean(dim=1).sqrt()
        outside = distance > FARTHEST * distance[~outside].nanmedian()
    return outside


SNR = 0.01
"""Power of the signal over that of the noise: M3ER's ablation."""
LEAST_MOVEMENT = 0.01
"""Eye distances: of a face that holds still, or was seen once."""
NOISE_SHAPE = 3.0
"""Mel power of white noise scatters like a gamma variable of this shape."""


def drowned(videos: Videos, seed: int, snr: float = SNR) -> Videos:
    """``videos`` with noise in every modality of every utterance: on ready-made vectors, on the
    mel power of voices, on the landmarks of faces. Their deviations are those over ``videos``."""
    rng = np.random.default_rng([seed, 409])
    strength = float(np.sqrt(1 / snr))
    vectors = {}
    for modality, values in videos.vectors.items():
        there = videos.present[modality]
        known = values[there]  # NaN is a value that is not known
        deviation = (known - known.nanmean(dim=0)).square().nanmean(dim=0).sqrt()
        noise = torch.from_numpy(rng.normal(size=values.shape).astype(np.float32))
        vectors[modality] = torch.where(
            there[..., None], values + strength * deviation * noise, values
        )
    samples = tuple(
        tuple(_drowned(sample, vectors, snr, rng) for sample in video) for video in videos.samples
    )
    return dataclasses.replace(videos, samples=samples, vectors=vectors)


def _drowned(
    sample: Sample, ready: Mapping[str, torch.Tensor], snr: float, rng: np.random.Generator
) -> Sample:
    """A raw ``sample``; what is ``ready`` as a vector stays as it is."""
    changed = sample
    if sample.audio is not None and "audio" not in ready:
        noise = rng.gamma(NOISE_SHAPE, 1 / NOISE_SHAPE, sample.audio.shape)
        level = sample.audio.mean() / snr
        # Of a changed voice the prosody is not known.
        heard = (sample.audio + level * noise).astype(np.float32)
        changed = dataclasses.replace(changed, audio=heard, prosody=None)
    if sample.face is not None and "face" not in ready:
        seen = noisy_landmarks(sample.face, snr, rng)
        changed = dataclasses.replace(changed, face=seen, pictures=None)
    return changed


def noisy_sound(
    samples: NDArray[np.float32], snr: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Mono ``samples`` [N] in white noise of 1 / ``snr`` times their power."""
    level = float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)) / snr))
    return (samples + level * rng.normal(size=samples.shape)).astype(np.float32)


def noisy_pictures(
    pictures: NDArray[np.uint8], snr: float, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Grey ``pictures`` [N, H, W] in white noise of 1 / ``snr`` times the variance of each."""
    spread = pictures.std(axis=(1, 2), keepdims=True) / np.sqrt(snr)
    noisy = pictures + spread * rng.normal(size=pictures.shape)
    return np.asarray(np.clip(noisy, 0, 255), dtype=np.uint8)


def noisy_landmarks(
    landmarks: NDArray[np.float32], snr: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """``landmarks`` [T, 51, 2] in eye distances with noise of 1 / ``snr`` times the power of their
    own movement, centred, turned and scaled anew: as if found so."""
    movement = np.sqrt(np.mean(np.var(landmarks, axis=0))) + LEAST_MOVEMENT
    noise = rng.normal(size=landmarks.shape) * movement / np.sqrt(snr)
    found: NDArray[np.float32] = upright(
        torch.from_numpy((landmarks + noise).astype(np.float32))
    ).numpy()
    return found


LEAST_PAIRS = 64
"""Fewer utterances with voice and face say nothing of how the two go together."""
HIT = 0.75
"""Share of utterances that M3ER's ablation damages."""
DRAWS = 2
ALARMS = (0.0, 0.005, 0.01, 0.02, 0.05)
"""Shares of sound validation pairs that a threshold on ρ may take for contradictory."""
REACHES = (0.98, 1.0, 1.15, 1.3, 1.6, 2.0)
"""Limits of the distance: a quantile of sound validation utterances, and multiples of the last."""
NEVER = 1e9
"""A distance that nothing has."""
NEIGHBOURS = (4, 16, 64)
RIDGES = (0.1, 1.0)
VIDEOS_AT_ONCE = 64


@dataclass(frozen=True, slots=True, eq=False)
class Whole:
    """All utterances of a part, encoded: one batch, and its ``labels`` [V, U]."""

    utterances: Utterances
    labels: Tensor

    def pairs(self) -> Tensor:
        """Where voice and face are both there [V, U] bool."""
        return self.utterances.present["audio"] & self.utterances.present["face"]


@dataclass(frozen=True, slots=True, eq=False)
class GuardMaterial:
    """``train``: videos whose pairs the projections are fitted on, with a label or without;
    ``valid``: those the thresholds are chosen on; ``spoilt``: the same videos, with both modalities
    of each utterance full of noise."""

    train: Videos
    valid: Videos
    spoilt: Videos


@torch.inference_mode()
def fit_guard(
    model: TargetModel,
    material: GuardMaterial,
    device: torch.device,
    seed: int,
    *,
    reaches: Sequence[float] = REACHES,
    alarms: Sequence[float] = ALARMS,
) -> ModalityCheck | None:
    """What may guard ``model``; None where it has one modality, or there are too few pairs.

    ``reaches`` and ``alarms``: what the thresholds are chosen from.
    """
    if model.config.modalities != MODALITIES:
        return None
    model.to(device).eval()
    model.set_modality_check(None)
    known = _whole(model, material.train, device)
    sound = _whole(model, material.valid, device)
    if int(known.pairs().sum()) < LEAST_PAIRS or not bool(sound.pairs().any()):
        return None
    guard = projected(known, seed)
    noisy = _whole(model, material.spoilt, device).utterances
    rng = np.random.default_rng([seed, 411])
    mixed = [Whole(damaged(sound.utterances, noisy, rng), sound.labels) for _ in range(DRAWS)]
    limits = _limits(guard, sound, reaches, alarms)
    guard.config = _checking(model, guard, limits, sound, mixed)
    guard.config = _standing_in(model, guard, mixed)
    model.set_modality_check(None)
    return guard


def projected(known: Whole, seed: int) -> ModalityCheck:
    """A guard without thresholds, fitted on the pairs of ``known``."""
    there = known.pairs()
    pairs = {m: known.utterances.values[m][there].double().cpu().numpy() for m in MODALITIES}
    rng = np.random.default_rng([seed, 410])
    plain = ModalityCheckConfig()
    rows = rng.permutation(len(pairs["audio"]))[: plain.basis]
    config = dataclasses.replace(plain, basis=len(rows))
    guard = ModalityCheck(config, {m: pairs[m].shape[1] for m in MODALITIES})
    found = canonical(pairs["audio"], pairs["face"], config.components)
    for modality, space in zip(MODALITIES, (found.first, found.second), strict=True):
        apart = (pairs[modality] - space.mean) @ space.whitening
        unit = max(float(np.sqrt(np.mean(apart**2))), 1e-9)
        other = pairs[OTHER[modality]]
        _fill(guard, modality, "mean", space.mean)
        _fill(guard, modality, "whitening", space.whitening / unit)
        _fill(guard, modality, "projection", space.directions * found.correlations)
        _fill(guard, modality, "basis", pairs[modality][rows])
        _fill(guard, modality, "map", _linear_map(pairs[modality] - space.mean, other))
    return guard.to(known.labels.device).eval()


def damaged(sound: Utterances, noisy: Utterances, rng: np.random.Generator) -> Utterances:
    """``sound`` with one modality of ``HIT`` of its utterances replaced: by ``noisy``'s, or by that
    of another utterance."""
    shape = sound.present["audio"].shape
    device = sound.present["audio"].device
    hit = torch.from_numpy(rng.random(shape) < HIT).to(device)
    which = torch.from_numpy(rng.random(shape) < 0.5).to(device)
    swapped = torch.from_numpy(rng.random(shape) < 0.5).to(device)
    values, present = {}, {}
    for modality, chosen in (("audio", which), ("face", ~which)):
        there = sound.present[modality]
        others = sound.values[modality].clone()
        order = torch.from_numpy(rng.permutation(int(there.sum()))).to(device)
        others[there] = sound.values[modality][there][order]
        spoilt = torch.where(swapped[..., None], others, noisy.values[modality])
        # Where noise leaves nothing to hear or see, the modality is missing.
        left = torch.where(swapped, there, noisy.present[modality])
        values[modality] = torch.where((hit & chosen)[..., None], spoilt, sound.values[modality])
        present[modality] = there & (left | ~(hit & chosen))
    return Utterances(values, present, sound.lengths)


def _whole(model: TargetModel, videos: Videos, device: torch.device) -> Whole:
    """All of ``videos`` encoded."""
    shape = videos.labels.shape
    values = {
        m: torch.zeros(*shape, model.config.representation_size(m), device=device)
        for m in model.config.modalities
    }
    present = {m: torch.zeros(shape, dtype=torch.bool, device=device) for m in values}
    for rows in batches(videos, VIDEOS_AT_ONCE, 4096, None):
        part = encoded(model, videos, rows, device)
        longest = next(iter(part.present.values())).shape[1]
        for modality in values:
            values[modality][rows, :longest] = part.values[modality].to(values[modality].dtype)
            present[modality][rows, :longest] = part.present[modality]
    return Whole(Utterances(values, present, videos.lengths), videos.labels.to(device))


def _limits(
    guard: ModalityCheck, sound: Whole, reaches: Sequence[float], alarms: Sequence[float]
) -> Iterator[ModalityCheckConfig]:
    """Configurations with thresholds to choose from, the mildest first."""
    values, there = sound.utterances.values, sound.pairs()
    agreement = guard.agreement(values["audio"], values["face"])[there].cpu().double().numpy()
    apart = {
        m: guard.distance(m, values[m])[sound.utterances.present[m]].cpu().double().numpy()
        for m in MODALITIES
    }
    for reach in sorted(reaches, reverse=True):
        # In a config, and so in JSON, there is no infinity.
        farthest = tuple(
            min(float(np.quantile(apart[m], min(reach, 1.0))) * max(reach, 1.0), NEVER)
            for m in MODALITIES
        )
        for share in alarms:
            # Below every correlation there is: never.
            least = -1.0 if share == 0 else float(np.quantile(agreement, share))
            yield dataclasses.replace(
                guard.config,
                agreement=least,
                farthest=(farthest[0], farthest[1]),
                stand_in=False,
            )


def _checking(
    model: TargetModel,
    guard: ModalityCheck,
    choices: Iterable[ModalityCheckConfig],
    sound: Whole,
    mixed: list[Whole],
) -> ModalityCheckConfig:
    """Of ``choices`` that cost nothing on ``sound`` utterances the one with the smallest loss on
    ``mixed`` ones; of equals the first."""
    model.set_modality_check(None)
    most = _loss(model, sound)
    best, least = guard.config, np.inf
    for config in choices:
        loss = _loss_with(model, guard, config, mixed)
        if loss < least and _loss_with(model, guard, config, [sound]) <= most:
            best, least = config, loss
    return best


def _standing_in(
    model: TargetModel, guard: ModalityCheck, mixed: list[Whole]
) -> ModalityCheckConfig:
    """The best kind of proxy, and whether it is better than none."""
    config = guard.config
    kinds = [dataclasses.replace(config, stand_in=True, linear=True)] + [
        dataclasses.replace(config, stand_in=True, neighbours=count, ridge=ridge)
        for count in NEIGHBOURS
        for ridge in RIDGES
        if count <= config.basis
    ]
    losses = [_loss_with(model, guard, kind, mixed) for kind in kinds]
    best = kinds[int(np.argmin(losses))]
    none = _loss_with(model, guard, config, mixed)
    return dataclasses.replace(best, stand_in=min(losses) < none)


def _loss_with(
    model: TargetModel, guard: ModalityCheck, config: ModalityCheckConfig, parts: Sequence[Whole]
) -> float:
    """Mean loss over ``parts`` under ``guard`` with that ``config``."""
    guard.config = config
    model.set_modality_check(guard)
    return sum(_loss(model, part) for part in parts) / len(parts)


def _loss(model: TargetModel, part: Whole) -> float:
    """Of the classification, over all utterances that had a modality before the check."""
    utterances = part.utterances
    output: TargetOutput = model(model.check_modalities(utterances).utterances)
    # What the check leaves with nothing must count as well: a model that skips is not better.
    output = dataclasses.replace(output, present=utterances.present)
    return float(classification_loss(model, output, part.labels))


def _fill(guard: ModalityCheck, modality: str, name: str, values: Matrix) -> None:
    guard.part(modality, name).copy_(torch.from_numpy(values))


def _linear_map(centred: Matrix, other: Matrix) -> Matrix:
    """Least squares with a ridge: ``centred`` [N, R] → ``other`` [N, S] about its mean."""
    inner = centred.T @ centred / len(centred)
    ridge = RIDGE * np.trace(inner) / len(inner) * np.eye(len(inner))
    cross = centred.T @ (other - other.mean(axis=0)) / len(centred)
    return np.asarray(np.linalg.solve(inner + ridge, cross))
