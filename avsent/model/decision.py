"""Networks at work: features of a video's utterances → decisions with their reasons."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from avsent.errors import CheckpointError
from avsent.extraction.extractor import UtteranceFeatures
from avsent.extraction.features.config import FeatureConfig
from avsent.labels import MODALITIES, valence_of
from avsent.model.calibration import probabilities_of
from avsent.model.checkpoint import Checkpoint
from avsent.model.encoding import EncodedUtterance, Encoder, LeanFeatures, Represented
from avsent.model.networks.adaptation import NO_GROUP, about_own_mean, has_company
from avsent.model.networks.modality_check import OTHER
from avsent.model.networks.target import Guarded, TargetOutput, Utterances
from avsent.options import Adapt
from avsent.result.utterance import Attention, ModalityShare, UtteranceResult, round_shares


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


NAMES = {"audio": "voice", "face": "face"}


@dataclass(frozen=True, slots=True)
class Trusted:
    """Which modalities an utterance's decision rests on, for which ones ``proxies`` stand in, and
    what its user should know of it."""

    effective: dict[str, bool]
    proxies: tuple[str, ...]
    warnings: tuple[str, ...]


def trust_in(guarded: Guarded, index: int, present: Mapping[str, bool]) -> Trusted:
    """Of utterance ``index`` of the one video in ``guarded``; ``present``: what was there before
    the check, by the modalities that the model uses."""
    proxies = tuple(m for m, made in guarded.proxied.items() if bool(made[0, index]))
    used = guarded.utterances.present
    effective = {m: bool(used[m][0, index]) and m not in proxies for m in present}
    doubts = [
        *_doubts(guarded, index, present, effective),
        *(f"a proxy made from its {NAMES[OTHER[m]]} stands in for its {NAMES[m]}" for m in proxies),
    ]
    return Trusted(effective, proxies, tuple(doubts))


def _doubts(
    guarded: Guarded, index: int, present: Mapping[str, bool], effective: Mapping[str, bool]
) -> list[str]:
    checked = guarded.checked
    if checked is None:
        return []
    strange = [m for m in present if bool(checked.beyond[m][0, index])]
    dropped = [m for m in present if present[m] and not effective[m]]
    if dropped:
        (one,) = dropped
        name, other = NAMES[one], NAMES[OTHER[one]]
        if one in strange:
            return [f"its {name} is unlike all that the model learnt from: the {name} is not used"]
        return [
            f"voice and face contradict each other, and its {name} is the less usual: judged by "
            f"the {other} alone"
        ]
    if strange and len(strange) == sum(present.values()):
        which = " and ".join(NAMES[m] for m in strange)
        return [
            f"its {which} {'are' if len(strange) > 1 else 'is'} unlike all that the model "
            "learnt from: the decision is less sure than it looks"
        ]
    return []


class Decider:
    """A checkpoint's networks on a device, from features to decisions."""

    def __init__(self, checkpoint: Checkpoint, device: torch.device) -> None:
        self._config = checkpoint.config
        self._model = checkpoint.model.to(device).eval()
        self._device = device
        self._encoder = Encoder(self._model, device)

    @property
    def features(self) -> FeatureConfig:
        """How the features of this checkpoint are made."""
        return self._config.features

    @property
    def adaptable(self) -> bool:
        """Whether 0 is the mean of the training data in what its encoders give."""
        return self._config.model.experts is not None

    def encode(self, features: UtteranceFeatures | LeanFeatures) -> EncodedUtterance:
        """Representation of each modality and where inside the utterance it looked."""
        (encoded,) = self._encoder.encode([features])
        return encoded

    def encode_many(
        self,
        features: Sequence[UtteranceFeatures | LeanFeatures],
        *,
        together: bool | None = None,
    ) -> list[EncodedUtterance]:
        """:meth:`encode` of each, of whatever files they are; see :meth:`Encoder.encode`.

        Raises:
            torch.OutOfMemoryError: they do not fit; see :class:`avsent.batch.engines.gpu.BatchSize`.
        """
        return self._encoder.encode(features, together=together)

    def represent(
        self,
        encoded: Sequence[EncodedUtterance],
        neutral: Callable[[int | None], NDArray[np.float32] | None] = lambda track: None,
    ) -> tuple[Represented, ...]:
        """See :meth:`Encoder.represent`."""
        return self._encoder.represent(encoded, neutral)

    @torch.inference_mode()
    def decide(
        self, represented: Sequence[Represented], *, check: bool = True, proxy: bool | None = None
    ) -> Iterator[UtteranceResult]:
        """The decision on each utterance of one video, in the context of all of them.

        A modality's weight is its share in the decision: how far the probabilities move (total
        variation) when this modality is taken away from the whole video, over the sum of both.
        ``check``: whether doubtful modalities are left out, ``proxy``: whether proxies stand in;
        see :meth:`TargetModel.guarded`.
        """
        if not represented:
            return
        guarded = self._model.guarded(self._assemble(represented), check=check, proxy=proxy)
        output: TargetOutput = self._model(guarded.utterances)
        probabilities = self._probabilities(output)
        moved = {}
        used = self._config.model.modalities
        for modality in used:
            without = self._probabilities(self._model(guarded.without(modality)))
            moved[modality] = np.abs(probabilities - without).sum(axis=1) / 2
        context = {
            modality: output.context[modality][0].cpu().double().numpy() for modality in used
        }
        for index, item in enumerate(represented):
            trusted = trust_in(guarded, index, {m: item.of(m) is not None for m in used})
            effective = {m: trusted.effective.get(m, False) for m in MODALITIES}
            yield self._result(
                index,
                item,
                probabilities[index] if any(effective.values()) else None,
                _shares(
                    effective,
                    {modality: float(moved[modality][index]) for modality in used},
                    trusted.proxies,
                ),
                {
                    modality: _row(context[modality][index]) if effective[modality] else ()
                    for modality in MODALITIES
                },
                trusted.warnings,
            )

    def _assemble(self, represented: Sequence[Represented]) -> Utterances:
        """One video as a batch of one."""
        values, present = {}, {}
        for modality in self._config.model.modalities:
            parts = [item.of(modality) for item in represented]
            there = torch.tensor([part is not None for part in parts])
            size = self._config.model.representation_size(modality)
            values[modality] = torch.zeros(1, len(there), size, device=self._device)
            present[modality] = there[None].to(self._device)
            for index, part in enumerate(parts):
                if part is not None:
                    values[modality][0, index] = part
        return Utterances(values, present, torch.tensor([len(represented)]))

    def _probabilities(self, output: TargetOutput) -> NDArray[np.float64]:
        """Calibrated class probabilities [U, C]."""
        found = probabilities_of(
            output.logits[0].cpu(), self._config.calibration, real=self._config.model.real
        )
        if not np.isfinite(found).all():
            raise CheckpointError(
                f"{self._config.name}: its weights give no numbers; restore the checkpoint"
            )
        return found

    def _result(
        self,
        index: int,
        item: Represented,
        probabilities: NDArray[np.float64] | None,
        shares: dict[str, ModalityShare],
        context: dict[str, tuple[float, ...]],
        doubts: tuple[str, ...],
    ) -> UtteranceResult:
        labels = self._config.model.labels
        warnings = (*item.warnings, *doubts)
        if probabilities is None:
            probabilities = np.full(len(labels), 1 / len(labels))
            warnings = (*warnings, "nothing to judge it by: every class is as likely")
        by_label = {label: float(p) for label, p in zip(labels, probabilities, strict=True)}
        middle = "neutral" if "neutral" in labels else labels[len(labels) // 2]
        decided = max(labels, key=lambda label: (by_label[label], label == middle))
        return UtteranceResult(
            index=index,
            start_s=item.start_s,
            end_s=item.end_s,
            track=item.track,
            sentiment=decided,
            score=sum(p * valence_of(label) for label, p in by_label.items()),
            probabilities=by_label,
            modalities=shares,
            attention=Attention(
                context,
                item.face_frames if shares["face"].effective else (),
                item.audio_frames if shares["audio"].effective else (),
            ),
            warnings=warnings,
            text=item.text,
        )


def _shares(
    effective: dict[str, bool], moved: dict[str, float], proxies: Collection[str]
) -> dict[str, ModalityShare]:
    """Shares that sum to 1 over the effective modalities; 0 for another, also where a proxy stands
    in for it: that says nothing of its own."""
    there = [modality for modality in MODALITIES if effective[modality]]
    total = sum(moved[modality] for modality in there)
    shares = {}
    for modality in MODALITIES:
        if modality not in there:
            weight = 0.0
        elif len(there) == 1:
            weight = 1.0
        else:
            weight = moved[modality] / total if total > 0 else 1 / len(there)
        shares[modality] = ModalityShare(weight, modality in there, modality in proxies)
    return shares


def _row(weights: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(round_shares((weights / weights.sum()).tolist()))
