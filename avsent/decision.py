"""Networks at work: features of an utterance → representation → decision with its reasons."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avsent.calibration import probabilities_of
from avsent.checkpoints import Checkpoint
from avsent.extraction import UtteranceFeatures
from avsent.features.config import FeatureConfig
from avsent.features.face import FaceFeatures
from avsent.features.pixels import PICTURE_EVERY, pictures_of, standardised
from avsent.features.voice import AudioFeatures
from avsent.labels import valence_of
from avsent.networks.audio_encoder import TIME_STRIDE
from avsent.networks.face_encoder import FaceExtras
from avsent.networks.target import MODALITIES, TargetOutput, Utterances
from avsent.networks.threads import one_torch_thread
from avsent.represented import Represented
from avsent.results import Attention, ModalityShare, TimeWeight, UtteranceResult


@dataclass(frozen=True, slots=True, eq=False)
class SeenFace:
    """Face sequence of an utterance: ``times_s`` [T], ``landmarks`` [T, 51, 2] and ``looks``
    [T, 7], log probabilities of the pixel network, NaN in frames without (None: no network)."""

    times_s: NDArray[np.float64]
    landmarks: NDArray[np.float32]
    looks: Tensor | None


@dataclass(frozen=True, slots=True, eq=False)
class EncodedUtterance:
    """One utterance, as far as its networks could see it before the end of the video.

    ``audio``: representation [R]; ``face``: landmarks and what their pixels show, to be encoded
    when the speaker's neutral is known. None where the modality is missing.
    """

    start_s: float
    end_s: float
    text: str | None
    track: int | None
    audio: Tensor | None
    face: SeenFace | None
    audio_frames: tuple[TimeWeight, ...]
    warnings: tuple[str, ...]
    provisional: bool


class Decider:
    """A checkpoint's networks on a device, from features to decisions."""

    def __init__(self, checkpoint: Checkpoint, device: torch.device) -> None:
        self._config = checkpoint.config
        self._model = checkpoint.model.to(device).eval()
        self._device = device

    @property
    def features(self) -> FeatureConfig:
        """How the features of this checkpoint are made."""
        return self._config.features

    @property
    def adaptable(self) -> bool:
        """Whether 0 is the mean of the training data in what its encoders give."""
        return self._config.model.experts is not None

    @torch.inference_mode()
    def encode(self, features: UtteranceFeatures) -> EncodedUtterance:
        """Representation of each modality and where inside the utterance it looked."""
        with one_torch_thread():
            audio, audio_frames = self._encode_audio(features.audio)
            face = self._see_face(features.face)
        return EncodedUtterance(
            start_s=features.segment.start_s,
            end_s=features.segment.end_s,
            text=features.segment.text,
            track=features.track,
            audio=audio,
            face=face,
            audio_frames=audio_frames,
            warnings=features.warnings,
            provisional=features.provisional,
        )

    @torch.inference_mode()
    def represent(
        self,
        encoded: Sequence[EncodedUtterance],
        neutral: Callable[[int | None], NDArray[np.float32] | None] = lambda track: None,
    ) -> tuple[Represented, ...]:
        """The utterances of one video, all of which was seen.

        ``neutral``: the face of a track at rest [51, 2].
        """
        with one_torch_thread():
            faces = [self._encode_face(item, neutral(item.track)) for item in encoded]
        return tuple(
            Represented(
                start_s=item.start_s,
                end_s=item.end_s,
                text=item.text,
                track=item.track,
                audio=item.audio,
                face=face,
                audio_frames=item.audio_frames,
                face_frames=face_frames,
                warnings=item.warnings,
            )
            for item, (face, face_frames) in zip(encoded, faces, strict=True)
        )

    @torch.inference_mode()
    def decide(self, represented: Sequence[Represented]) -> Iterator[UtteranceResult]:
        """The decision on each utterance of one video, in the context of all of them.

        A modality's weight is its share in the decision: how far the probabilities move (total
        variation) when this modality is taken away from the whole video, over the sum of both.
        """
        if not represented:
            return
        videos = self._assemble(represented)
        output: TargetOutput = self._model(videos)
        probabilities = self._probabilities(output)
        moved = {}
        used = self._config.model.modalities
        for modality in used:
            without = self._probabilities(self._model(videos.without(modality)))
            moved[modality] = np.abs(probabilities - without).sum(axis=1) / 2
        context = {
            modality: output.context[modality][0].cpu().double().numpy() for modality in used
        }
        for index, item in enumerate(represented):
            present = {modality: item.of(modality) is not None for modality in MODALITIES}
            yield self._result(
                index,
                item,
                probabilities[index] if any(present.values()) else None,
                _shares(present, {modality: float(moved[modality][index]) for modality in used}),
                {
                    modality: _row(context[modality][index]) if present[modality] else ()
                    for modality in MODALITIES
                },
            )

    def _encode_audio(
        self, audio: AudioFeatures | None
    ) -> tuple[Tensor | None, tuple[TimeWeight, ...]]:
        if audio is None or "audio" not in self._config.model.modalities:
            return None, ()
        log_mel = torch.from_numpy(audio.log_mel)[None].to(self._device)
        frames = log_mel.shape[2]
        lengths = torch.tensor([frames], device=self._device)
        prosody = None
        if audio.prosody is not None:
            prosody = torch.from_numpy(audio.prosody)[None].to(self._device)
        representation, weight = self._model.encode_audio(log_mel, lengths, prosody)
        # A step stands for the spectrogram frames below it: its time is their middle.
        last = np.minimum(np.arange(1, weight.shape[1] + 1) * TIME_STRIDE, frames) - 1
        first = np.arange(weight.shape[1]) * TIME_STRIDE
        times_s = (audio.times_s[first] + audio.times_s[last]) / 2
        return representation[0], _time_weights(times_s, weight[0])

    def _see_face(self, face: FaceFeatures | None) -> SeenFace | None:
        """The pixels are looked at while they are there: they are not kept."""
        if face is None or "face" not in self._config.model.modalities:
            return None
        looks = None
        if face.crops is not None:
            pictures = torch.from_numpy(standardised(pictures_of(face.crops)))
            seen = self._model.look_at(pictures.to(self._device))
            if seen is not None:
                looks = seen.new_full((len(face.crops), seen.shape[1]), torch.nan)
                looks[::PICTURE_EVERY] = seen
        return SeenFace(face.times_s, face.landmarks, looks)

    def _encode_face(
        self, item: EncodedUtterance, neutral: NDArray[np.float32] | None
    ) -> tuple[Tensor | None, tuple[TimeWeight, ...]]:
        face = item.face
        if face is None:
            return None, ()
        landmarks = torch.from_numpy(face.landmarks)[None].to(self._device)
        mask = torch.ones(landmarks.shape[:2], dtype=torch.bool, device=self._device)
        extras = FaceExtras(
            neutral=None if neutral is None else torch.from_numpy(neutral)[None].to(self._device),
            looks=None if face.looks is None else face.looks[None],
        )
        representation, weight = self._model.encode_face(landmarks, mask, extras)
        return representation[0], _time_weights(face.times_s, weight[0])

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
        return probabilities_of(
            output.logits[0].cpu(), self._config.calibration, real=self._config.model.real
        )

    def _result(
        self,
        index: int,
        item: Represented,
        probabilities: NDArray[np.float64] | None,
        shares: dict[str, ModalityShare],
        context: dict[str, tuple[float, ...]],
    ) -> UtteranceResult:
        labels = self._config.model.labels
        warnings = item.warnings
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
            attention=Attention(context, item.face_frames, item.audio_frames),
            warnings=warnings,
            text=item.text,
        )


def _shares(present: dict[str, bool], moved: dict[str, float]) -> dict[str, ModalityShare]:
    """Shares that sum to 1 over the modalities that are there; 0 for one that is not."""
    there = [modality for modality in MODALITIES if present[modality]]
    total = sum(moved[modality] for modality in there)
    shares = {}
    for modality in MODALITIES:
        if modality not in there:
            weight = 0.0
        elif len(there) == 1:
            weight = 1.0
        else:
            weight = moved[modality] / total if total > 0 else 1 / len(there)
        shares[modality] = ModalityShare(weight, modality in there)
    return shares


def _time_weights(times_s: NDArray[np.float64], weight: Tensor) -> tuple[TimeWeight, ...]:
    values = weight.cpu().double().numpy()
    values = values / values.sum()
    return tuple(TimeWeight(float(t), float(w)) for t, w in zip(times_s, values, strict=True))


def _row(weights: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(float(weight) for weight in weights / weights.sum())
