"""Fits M3ER's modality check and proxies: projections on the training part, thresholds on the
validation part.

The chosen thresholds give the least loss of the model on a damaged validation part, among those
that do not raise its loss on the undamaged one. In the damaged part, three quarters of the
utterances have one modality corrupted (M3ER's ablation): by Gaussian noise at a signal-to-noise
ratio of 0.01, or by that of another utterance in its place. The use of proxies is chosen likewise.
"""

import dataclasses
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avsent.labels import MODALITIES
from avsent.model.networks.config import ModalityCheckConfig
from avsent.model.networks.fusion import TargetOutput
from avsent.model.networks.modality_check import OTHER, ModalityCheck
from avsent.model.networks.target import TargetModel, Utterances
from avsent.training.augmentation import upright
from avsent.training.data.corpus import Sample
from avsent.training.dataset import Videos, batches, encoded
from avsent.training.losses import classification_loss

Matrix = NDArray[np.float64]

RIDGE = 0.1  # added to each variance, as a share of the mean variance
MIN_VARIANCE = 1e-12

OUTLIER_DISTANCE = 3.0  # in median distances
MAX_DEVIATIONS = 10.0
"""Deviations of a single dimension are clipped here: one extreme value is no damage."""
MAD_TO_SD = 1.4826  # standard deviation of normal values, in median absolute deviations
MIN_VECTORS = 32  # with fewer vectors no outliers are sought

SNR = 0.01  # power of the signal over that of the noise: M3ER's ablation
MIN_MOVEMENT = 0.01  # eye distances: of a face that does not move, or of a single frame
NOISE_SHAPE = 3.0  # the mel power of white noise follows a gamma distribution of this shape

MIN_PAIRS = 64  # with fewer utterances that have voice and face, no guard is fitted
DAMAGED_SHARE = 0.75  # share of validation utterances that are corrupted, as in M3ER's ablation
DAMAGED_COPIES = 2
FALSE_ALARMS = (0.0, 0.005, 0.01, 0.02, 0.05)
"""Shares of undamaged validation pairs below the threshold on ρ."""
DISTANCE_LIMITS = (0.98, 1.0, 1.15, 1.3, 1.6, 2.0)
"""Of the distance: a quantile of undamaged validation utterances, or multiples of their largest."""
NEVER = 1e9  # A limit that no distance reaches
NEIGHBOURS = (4, 16, 64)
RIDGES = (0.1, 1.0)
VIDEOS_AT_ONCE = 64


class CanonicalSide(NamedTuple):
    """One side: ``mean`` [R]; ``whitening`` [R, R], which turns the (ridged) covariance into the
    identity; ``directions`` [R, K]. Constant dimensions have zeros throughout."""

    mean: Matrix
    whitening: Matrix
    directions: Matrix


class Canonical(NamedTuple):
    """Both sides, and the ``correlations`` [K] of their components, the largest first."""

    first: CanonicalSide
    second: CanonicalSide
    correlations: Matrix


def canonical(first: Matrix, second: Matrix, components: int, ridge: float = RIDGE) -> Canonical:
    """Canonical correlation analysis of paired rows ``first`` [N, R] and ``second`` [N, S].

    The components are uncorrelated within a side, have variance 1 (less because of the ridge), and
    correlate with the same component of the other side. Where fewer dimensions vary than
    ``components``, the rest is zero. Raises ValueError if there are fewer than two pairs.
    """
    if len(first) != len(second) or len(first) < 2:
        raise ValueError("pairs are needed, two or more")
    left, right = _whitened(first, ridge), _whitened(second, ridge)
    cross = (first - left[0]).T @ (second - right[0]) / len(first)
    rotate, found, back = np.linalg.svd(left[1].T @ cross @ right[1], full_matrices=False)
    count = min(components, len(found))
    correlations = np.zeros(components)
    correlations[:count] = found[:count]

    def side(mean: Matrix, whitening: Matrix, turn: Matrix) -> CanonicalSide:
        directions = np.zeros((len(mean), components))
        directions[:, :count] = whitening @ turn[:, :count]
        return CanonicalSide(mean, whitening, directions)

    return Canonical(side(*left, rotate), side(*right, back.T), correlations)


def _whitened(rows: Matrix, ridge: float) -> tuple[Matrix, Matrix]:
    """Mean [R] and whitening [R, R] of ``rows`` [N, R]."""
    mean = rows.mean(axis=0)
    apart = rows - mean
    covariance = apart.T @ apart / len(rows)
    varies = np.diagonal(covariance) > MIN_VARIANCE
    whitening = np.zeros_like(covariance)
    if varies.any():
        inner = covariance[np.ix_(varies, varies)]
        inner = inner + ridge * np.trace(inner) / len(inner) * np.eye(len(inner))
        whitening[np.ix_(varies, varies)] = np.linalg.inv(np.linalg.cholesky(inner)).T
    return mean, whitening


def without_outliers(videos: Videos, modalities: Sequence[str]) -> tuple[Videos, dict[str, int]]:
    """``videos`` without outlier vectors, and the number of these by modality."""
    present, found = dict(videos.present), {}
    for modality in modalities:
        if modality not in videos.vectors:
            continue
        there = present[modality]
        outside = outliers(videos.vectors[modality][there])
        left = there.clone()
        left[there] = ~outside
        present[modality] = left
        found[modality] = int(outside.sum())
    return dataclasses.replace(videos, present=present), found


def outliers(vectors: Tensor) -> Tensor:
    """Which of ``vectors`` [N, R] (NaN: unknown) lie beyond ``OUTLIER_DISTANCE`` [N] bool."""
    outside = torch.zeros(len(vectors), dtype=torch.bool)
    if len(vectors) < MIN_VECTORS:
        return outside
    for _ in range(2):  # again without those found first, which widen the scale
        kept = vectors[~outside]
        median = kept.nanmedian(dim=0).values
        spread = MAD_TO_SD * (kept - median).abs().nanmedian(dim=0).values
        apart = (vectors - median) / spread.where(spread > 0, torch.inf)
        distance = apart.clamp(-MAX_DEVIATIONS, MAX_DEVIATIONS).square().nanmean(dim=1).sqrt()
        outside = distance > OUTLIER_DISTANCE * distance[~outside].nanmedian()
    return outside


def with_noise(videos: Videos, seed: int) -> Videos:
    """``videos`` with noise in every modality of every utterance: on ready-made vectors (by their
    deviations over ``videos``), on the mel power of voices, on the landmarks of faces."""
    rng = np.random.default_rng([seed, 409])
    strength = float(np.sqrt(1 / SNR))
    vectors = {}
    for modality, values in videos.vectors.items():
        there = videos.present[modality]
        known = values[there]  # NaN: an unknown value
        deviation = (known - known.nanmean(dim=0)).square().nanmean(dim=0).sqrt()
        noise = torch.from_numpy(rng.normal(size=values.shape).astype(np.float32))
        vectors[modality] = torch.where(
            there[..., None], values + strength * deviation * noise, values
        )
    samples = tuple(
        tuple(_noisy_sample(sample, vectors, rng) for sample in video) for video in videos.samples
    )
    return dataclasses.replace(videos, samples=samples, vectors=vectors)


def _noisy_sample(sample: Sample, vectors: Collection[str], rng: np.random.Generator) -> Sample:
    """A raw ``sample`` with noise; modalities in ``vectors`` stay as they are."""
    changed = sample
    if sample.audio is not None and "audio" not in vectors:
        noise = rng.gamma(NOISE_SHAPE, 1 / NOISE_SHAPE, sample.audio.shape)
        power = (sample.audio + sample.audio.mean() / SNR * noise).astype(np.float32)
        # The prosody of a changed voice is not known.
        changed = dataclasses.replace(changed, audio=power, prosody=None)
    if sample.face is not None and "face" not in vectors:
        landmarks = noisy_landmarks(sample.face, SNR, rng)
        changed = dataclasses.replace(changed, face=landmarks, pictures=None)
    return changed


def noisy_landmarks(
    landmarks: NDArray[np.float32], snr: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """``landmarks`` [T, 51, 2] in eye distances with noise of 1 / ``snr`` times the power of their
    movement, normalised again as the tracker's are."""
    movement = np.sqrt(np.mean(np.var(landmarks, axis=0))) + MIN_MOVEMENT
    noise = rng.normal(size=landmarks.shape) * movement / np.sqrt(snr)
    points = torch.from_numpy((landmarks + noise).astype(np.float32))
    return np.asarray(upright(points).numpy())


class EncodedPart(NamedTuple):
    """All utterances of a part, encoded as one batch, and their ``labels`` [V, U]."""

    utterances: Utterances
    labels: Tensor

    def pairs(self) -> Tensor:
        """Where both voice and face are present [V, U] bool."""
        return self.utterances.present["audio"] & self.utterances.present["face"]


class GuardData(NamedTuple):
    """``train``: videos whose pairs the projections are fitted on, labelled or not; ``valid``: the
    thresholds are chosen on them; ``noisy``: the same videos with noise in both modalities."""

    train: Videos
    valid: Videos
    noisy: Videos


@torch.inference_mode()
def fit_guard(
    model: TargetModel,
    data: GuardData,
    device: torch.device,
    seed: int,
    *,
    distance_limits: Sequence[float] = DISTANCE_LIMITS,
    false_alarms: Sequence[float] = FALSE_ALARMS,
) -> ModalityCheck | None:
    """A guard for ``model``, which has voice and face; None with too few pairs of these.

    ``distance_limits`` and ``false_alarms``: the thresholds to choose from.
    """
    model.to(device).eval()
    model.set_modality_check(None)
    train = _encoded_part(model, data.train, device)
    valid = _encoded_part(model, data.valid, device)
    if int(train.pairs().sum()) < MIN_PAIRS or not bool(valid.pairs().any()):
        return None
    guard = projected(train, seed)
    noisy = _encoded_part(model, data.noisy, device).utterances
    rng = np.random.default_rng([seed, 411])
    mixed = [
        valid._replace(utterances=damaged(valid.utterances, noisy, rng))
        for _ in range(DAMAGED_COPIES)
    ]
    most = _loss(model, valid)

    def loss_with(config: ModalityCheckConfig, parts: Sequence[EncodedPart]) -> float:
        """Mean loss over ``parts`` of the model with the guard in that ``config``."""
        guard.config = config
        model.set_modality_check(guard)
        return sum(_loss(model, part) for part in parts) / len(parts)

    best, least = guard.config, np.inf
    for config in _thresholds(guard, valid, distance_limits, false_alarms):
        loss = loss_with(config, mixed)
        if loss < least and loss_with(config, [valid]) <= most:
            best, least = config, loss
    kinds = [dataclasses.replace(best, stand_in=True, linear=True)] + [
        dataclasses.replace(best, stand_in=True, neighbours=count, ridge=ridge)
        for count in NEIGHBOURS
        for ridge in RIDGES
        if count <= best.basis
    ]
    losses = [loss_with(kind, mixed) for kind in kinds]
    helpful = min(losses) < loss_with(best, mixed)
    guard.config = dataclasses.replace(kinds[int(np.argmin(losses))], stand_in=helpful)
    model.set_modality_check(None)
    return guard


def projected(train: EncodedPart, seed: int) -> ModalityCheck:
    """A guard without thresholds, fitted on the pairs of ``train``."""
    there = train.pairs()
    pairs = {m: train.utterances.values[m][there].double().cpu().numpy() for m in MODALITIES}
    rng = np.random.default_rng([seed, 410])
    plain = ModalityCheckConfig()
    rows = rng.permutation(len(pairs["audio"]))[: plain.basis]
    config = dataclasses.replace(plain, basis=len(rows))
    guard = ModalityCheck(config, {m: pairs[m].shape[1] for m in MODALITIES})
    found = canonical(pairs["audio"], pairs["face"], config.components)
    for modality, side in zip(MODALITIES, (found.first, found.second), strict=True):
        centred = pairs[modality] - side.mean
        unit = max(float(np.sqrt(np.mean((centred @ side.whitening) ** 2))), 1e-9)
        buffers = {
            "mean": side.mean,
            "whitening": side.whitening / unit,
            "projection": side.directions * found.correlations,
            "basis": pairs[modality][rows],
            "map": _linear_map(centred, pairs[OTHER[modality]]),
        }
        for name, values in buffers.items():
            guard.part(modality, name).copy_(torch.from_numpy(values))
    return guard.to(train.labels.device).eval()


def damaged(clean: Utterances, noisy: Utterances, rng: np.random.Generator) -> Utterances:
    """``clean`` with one modality of ``DAMAGED_SHARE`` of its utterances replaced: by ``noisy``'s,
    or by that of another utterance."""
    shape = clean.present["audio"].shape
    device = clean.present["audio"].device
    hit = torch.from_numpy(rng.random(shape) < DAMAGED_SHARE).to(device)
    audio = torch.from_numpy(rng.random(shape) < 0.5).to(device)
    swapped = torch.from_numpy(rng.random(shape) < 0.5).to(device)
    values, present = {}, {}
    for modality, chosen in (("audio", hit & audio), ("face", hit & ~audio)):
        there = clean.present[modality]
        others = clean.values[modality].clone()
        order = torch.from_numpy(rng.permutation(int(there.sum()))).to(device)
        others[there] = clean.values[modality][there][order]
        replaced = torch.where(swapped[..., None], others, noisy.values[modality])
        values[modality] = torch.where(chosen[..., None], replaced, clean.values[modality])
        # A modality in which noise leaves nothing is missing.
        left = torch.where(swapped, there, noisy.present[modality])
        present[modality] = there & (left | ~chosen)
    return Utterances(values, present, clean.lengths)


def _encoded_part(model: TargetModel, videos: Videos, device: torch.device) -> EncodedPart:
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
    return EncodedPart(Utterances(values, present, videos.lengths), videos.labels.to(device))


def _thresholds(
    guard: ModalityCheck, valid: EncodedPart, limits: Sequence[float], alarms: Sequence[float]
) -> Iterator[ModalityCheckConfig]:
    """The thresholds to choose from, the mildest first: of equally good ones it is chosen."""
    values, present = valid.utterances.values, valid.utterances.present
    agreement = guard.agreement(values["audio"], values["face"])[valid.pairs()]
    agreements = agreement.cpu().double().numpy()
    distances = {
        m: guard.distance(m, values[m])[present[m]].cpu().double().numpy() for m in MODALITIES
    }
    for limit in sorted(limits, reverse=True):
        # NEVER instead of infinity, which JSON lacks.
        audio, face = (
            min(float(np.quantile(distances[m], min(limit, 1.0))) * max(limit, 1.0), NEVER)
            for m in MODALITIES
        )
        for share in alarms:
            # −1 is below every correlation: never.
            least = -1.0 if share == 0 else float(np.quantile(agreements, share))
            yield dataclasses.replace(
                guard.config, agreement=least, farthest=(audio, face), stand_in=False
            )


def _loss(model: TargetModel, part: EncodedPart) -> float:
    """Classification loss over all utterances that had a modality before the check."""
    utterances = part.utterances
    output: TargetOutput = model(model.check_modalities(utterances).utterances)
    # Utterances left without a modality count as well: skipping them must not look better.
    output = dataclasses.replace(output, present=utterances.present)
    return float(classification_loss(model, output, part.labels))


def _linear_map(centred: Matrix, other: Matrix) -> Matrix:
    """Ridge regression [R, S] from ``centred`` [N, R] to ``other`` [N, S] about its mean."""
    inner = centred.T @ centred / len(centred)
    ridge = RIDGE * np.trace(inner) / len(inner) * np.eye(len(inner))
    cross = centred.T @ (other - other.mean(axis=0)) / len(centred)
    return np.asarray(np.linalg.solve(inner + ridge, cross))
