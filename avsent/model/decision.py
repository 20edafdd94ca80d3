"""Encoded utterances of a video → decisions with their reasons."""

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load
from torch import Tensor

from avsent.errors import CheckpointError
from avsent.extraction.extractor import FeatureConfig
from avsent.labels import MODALITIES, valence_of
from avsent.machine import one_torch_thread
from avsent.model.checkpoint import Calibration, Checkpoint, CheckpointConfig, packed_weights
from avsent.model.encoding import EncodedUtterance, Encoder
from avsent.model.networks.adaptation import NO_GROUP, in_group, subtract_group_mean
from avsent.model.networks.fusion import TargetOutput
from avsent.model.networks.modality_check import OTHER
from avsent.model.networks.target import CheckedUtterances, TargetModel, Utterances
from avsent.options import Adapt
from avsent.result.record import Attention, ModalityShare, UtteranceResult, round_shares

NAMES = {"audio": "voice", "face": "face"}

HALF_STEP = 0.5  # sentiment nearer to 0 than this rounds to 0, which is neutral
_erf = np.vectorize(math.erf, otypes=[np.float64])


@one_torch_thread()
def adapted(
    utterances: Sequence[EncodedUtterance], adapt: Adapt
) -> tuple[list[EncodedUtterance], list[bool]]:
    """``utterances`` measured from the mean of their track, or of all of them (``Adapt.corpus``),
    and which of them that moved: a mean needs ``MIN_UTTERANCES``."""
    items = list(utterances)
    moved = [False] * len(items)
    tracks = [0 if adapt == Adapt.corpus else item.track for item in items]
    groups = torch.tensor([[NO_GROUP if track is None else track for track in tracks]])
    for modality in MODALITIES:
        found = [item.of(modality) for item in items]
        known = next((one for one in found if one is not None), None)
        if known is None:
            continue
        values = torch.stack([torch.zeros_like(known) if one is None else one for one in found])
        present = torch.tensor([[one is not None for one in found]], device=known.device)
        groups = groups.to(known.device)
        reached = in_group(present, groups)[0].tolist()
        moved = [before or now for before, now in zip(moved, reached, strict=True)]
        values = subtract_group_mean(values[None], present, groups)[0]
        items = [
            item if one is None else dataclasses.replace(item, **{modality: value})
            for item, one, value in zip(items, found, values, strict=True)
        ]
    return items, moved


def probabilities_of(
    outputs: Tensor, calibration: Calibration, *, real: bool
) -> NDArray[np.float64]:
    """Probabilities [N, C] of the labels from ``outputs`` [N, C], or ``real`` [N, 1] numbers.

    Classes: ``softmax(logits / temperature + log_prior)``. Real-valued sentiment: the error of the
    number is taken as normal with the deviation it had on validation data; the probability of a
    label is the mass of that distribution over the numbers that round to the label.
    """
    if real:
        numbers = outputs[:, 0].double().numpy()
        scores = [(side * numbers - HALF_STEP) / calibration.deviation for side in (-1, 1)]
        below, above = (0.5 * (1.0 + _erf(score / math.sqrt(2.0))) for score in scores)
        return np.stack([below, 1.0 - below - above, above], axis=1).clip(0.0, 1.0)
    logits = outputs.double() / calibration.temperature
    if calibration.log_prior:
        logits = logits + torch.tensor(calibration.log_prior, dtype=torch.float64)
    return np.asarray(torch.softmax(logits, dim=-1).numpy())


def near_even(probabilities: NDArray[np.float64], calibration: Calibration) -> NDArray[np.bool_]:
    """Which of ``probabilities`` [..., C] have no clear winner, [...]."""
    ranked = np.sort(probabilities, axis=-1)
    return np.asarray(ranked[..., -1] - ranked[..., -2] < calibration.unsure_margin)


def far_from_training(guarded: CheckedUtterances) -> Tensor:
    """Where [B, U] everything that decides is unlike the training data: each used modality is
    beyond its limit. False without a modality check."""
    present = guarded.utterances.present
    used = {m: there & ~guarded.proxied[m] for m, there in present.items()}
    if guarded.outcome is None:
        return torch.zeros_like(next(iter(used.values())))
    beyond = guarded.outcome.beyond
    usual = torch.stack([there & ~beyond[m] for m, there in used.items()])
    return torch.stack(list(used.values())).any(dim=0) & ~usual.any(dim=0)


class Decider(Encoder):
    """A checkpoint's networks on a device, from features to decisions."""

    def __init__(self, checkpoint: Checkpoint, device: torch.device) -> None:
        self._config = checkpoint.config
        self.features: FeatureConfig = checkpoint.config.features
        self.adaptable = checkpoint.config.model.experts is not None
        """Whether 0 is the mean of the training data in its representations."""
        model = checkpoint.model.eval()
        if device.type == "cpu" or not torch.cuda._is_in_bad_fork():  # else `encode` refuses
            model = model.to(device)
        super().__init__(model, device, self.features.audio.floor_db)

    def __reduce__(self) -> tuple[Any, ...]:
        # Weights as bytes: multiprocessing would pass each of 450 tensors as an open file.
        return _unpickled, (self._config, packed_weights(self._model), self._device)

    @torch.inference_mode()
    def decide(
        self,
        utterances: Sequence[EncodedUtterance],
        *,
        check: bool = True,
        proxy: bool | None = None,
    ) -> Iterator[UtteranceResult]:
        """The decision on each utterance of one video, in the context of all of them.

        A modality's weight is its share in the decision: how far the probabilities move (total
        variation) when this modality is taken away from the whole video, over the sum of both.
        A decision is unsure if all that decides is unlike the training data, or if no label leads
        the others by the calibration's margin.
        ``check``: whether doubtful modalities are left out, ``proxy``: whether proxies stand in;
        see :meth:`TargetModel.check_modalities`.
        """
        if not utterances:
            return
        used, labels = self._config.model.modalities, self._config.model.labels
        middle = "neutral" if "neutral" in labels else labels[len(labels) // 2]
        moved, context = {}, {}
        with one_torch_thread():  # the number of threads changes the last digits
            assembled = self._assemble(utterances)
            guarded = self._model.check_modalities(assembled, check=check, proxy=proxy)
            far = far_from_training(guarded)[0].tolist()
            output: TargetOutput = self._model(guarded.utterances)
            probabilities = self._probabilities(output)
            for modality in used:
                without = self._probabilities(self._model(guarded.without(modality)))
                moved[modality] = np.abs(probabilities - without).sum(axis=1) / 2
                context[modality] = output.context[modality][0].cpu().double().numpy()
        for index, item in enumerate(utterances):
            present = {m: item.of(m) is not None for m in used}
            proxies = [m for m, made in guarded.proxied.items() if bool(made[0, index])]
            there = guarded.utterances.present
            effective = {m: bool(there[m][0, index]) and m not in proxies for m in used}
            doubts = _doubts(guarded, index, present, effective)
            for m in proxies:
                doubts.append(
                    f"a proxy made from its {NAMES[OTHER[m]]} stands in for its {NAMES[m]}"
                )
            shares = _shares(effective, {m: float(moved[m][index]) for m in used}, proxies)
            believed = {m: shares[m].effective for m in MODALITIES}
            attention = Attention(
                {m: _row(context[m][index]) if believed[m] else () for m in MODALITIES},
                item.face_frames if believed["face"] else (),
                item.audio_frames if believed["audio"] else (),
            )
            decided = probabilities[index]
            if not any(effective.values()):
                decided = np.full(len(labels), 1 / len(labels))
                doubts.append("nothing to judge it by: every class is as likely")
            by_label = {label: float(p) for label, p in zip(labels, decided, strict=True)}
            ranked = sorted(labels, key=lambda label: (-by_label[label], label != middle))
            unsure = None
            if far[index]:
                which = " and ".join(NAMES[m] for m in used if effective[m])
                unsure = f"{which} unlike the training data"
            elif near_even(decided, self._config.calibration):
                first, second = (f"{label} {by_label[label]:.2f}" for label in ranked[:2])
                unsure = f"{first}, {second}: nearly even"
            yield UtteranceResult(
                index=index,
                start_s=item.segment.start_s,
                end_s=item.segment.end_s,
                track=item.track,
                sentiment=ranked[0],
                score=sum(p * valence_of(label) for label, p in by_label.items()),
                probabilities=by_label,
                modalities=shares,
                attention=attention,
                warnings=(*item.features.warnings, *doubts),
                text=item.segment.text,
                unsure=unsure,
            )

    def _assemble(self, utterances: Sequence[EncodedUtterance]) -> Utterances:
        """One video as a batch of one."""
        values, present = {}, {}
        for modality in self._config.model.modalities:
            parts = [item.of(modality) for item in utterances]
            none = torch.zeros(self._config.model.representation_size(modality))
            known = [(none if part is None else part).to(self._device) for part in parts]
            values[modality] = torch.stack(known)[None]
            present[modality] = torch.tensor([[p is not None for p in parts]], device=self._device)
        return Utterances(values, present, torch.tensor([len(utterances)]))

    def _probabilities(self, output: TargetOutput) -> NDArray[np.float64]:
        """Calibrated class probabilities [U, C]."""
        calibration, real = self._config.calibration, self._config.model.real
        found = probabilities_of(output.logits[0].cpu(), calibration, real=real)
        if not np.isfinite(found).all():
            raise CheckpointError(
                f"{self._config.name}: its weights give no numbers; restore the checkpoint"
            )
        return found


@one_torch_thread()
def _unpickled(config: CheckpointConfig, weights: bytes, device: torch.device) -> Decider:
    model = TargetModel(config.model)
    model.load_state_dict(load(weights))
    return Decider(Checkpoint(config, model), device)


def _doubts(
    guarded: CheckedUtterances,
    index: int,
    present: Mapping[str, bool],
    effective: Mapping[str, bool],
) -> list[str]:
    """What the modality check found in utterance ``index``, for its user. ``present`` before the
    check, ``effective`` after it, by modality."""
    if guarded.outcome is None:
        return []
    dropped = [m for m in present if present[m] and not effective[m]]
    if not dropped:
        return []
    (one,) = dropped
    name, other = NAMES[one], NAMES[OTHER[one]]
    if bool(guarded.outcome.beyond[one][0, index]):
        return [f"its {name} is unlike all that the model learnt from: the {name} is not used"]
    return [
        f"voice and face contradict each other, and its {name} is the less usual: judged by the "
        f"{other} alone"
    ]


def _shares(
    effective: Mapping[str, bool], moved: Mapping[str, float], proxies: Sequence[str]
) -> dict[str, ModalityShare]:
    """Shares that sum to 1 over the effective modalities; 0 for another, also where a proxy stands
    in for it: a proxy adds no information of its own."""
    there = [modality for modality in MODALITIES if effective.get(modality)]
    total = sum(moved[modality] for modality in there)
    alike = len(there) == 1 or total <= 0
    weights = {m: 1 / len(there) if alike else moved[m] / total for m in there}
    return {m: ModalityShare(weights.get(m, 0.0), m in there, m in proxies) for m in MODALITIES}


def _row(weights: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(round_shares((weights / weights.sum()).tolist()))
