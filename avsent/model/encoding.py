"""Encoders at work: features of utterances → representations, one by one or many together.

Utterances of a batch may come from different files: none changes what is made of another, but for
the rounding of floats. On a processor they are never put together: what one makes of its caches
is worth more, and so one utterance takes half the time that it has in a batch of fifty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avsent.extraction.extractor import UtteranceFeatures
from avsent.extraction.features.face import PICTURE_EVERY, pictures_of, standardised
from avsent.extraction.utterances.segmentation import Segment
from avsent.machine import one_torch_thread
from avsent.model.networks.encoders import TIME_STRIDE, FaceExtras
from avsent.model.networks.target import TargetModel
from avsent.result.utterance import TimeWeight


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


@dataclass(frozen=True, slots=True, eq=False)
class LeanVoice:
    """``times_s`` [N]; ``log_mel`` [mel, N]; ``prosody`` [24], None where it is not known."""

    times_s: NDArray[np.float64]
    log_mel: NDArray[np.float32]
    prosody: NDArray[np.float32] | None


@dataclass(frozen=True, slots=True, eq=False)
class LeanFace:
    """``times_s`` [T]; ``landmarks`` [T, 51, 2]; ``pictures`` [S, 48, 48] grey, of every
    ``PICTURE_EVERY``-th of the frames, None where there are no crops."""

    times_s: NDArray[np.float64]
    landmarks: NDArray[np.float32]
    pictures: NDArray[np.uint8] | None


@dataclass(frozen=True, slots=True, eq=False)
class LeanFeatures:
    """One utterance, ready to be encoded; fields as in :class:`UtteranceFeatures`."""

    segment: Segment
    track: int | None
    audio: LeanVoice | None
    face: LeanFace | None
    warnings: tuple[str, ...]
    provisional: bool


def lean(features: UtteranceFeatures) -> LeanFeatures:
    """``features`` without what encoding does not need: 42 kB for a second, not 147."""
    audio, face = features.audio, features.face
    return LeanFeatures(
        segment=features.segment,
        track=features.track,
        audio=None if audio is None else LeanVoice(audio.times_s, audio.log_mel, audio.prosody),
        face=None
        if face is None
        else LeanFace(
            face.times_s,
            face.landmarks,
            None if face.crops is None else pictures_of(face.crops),
        ),
        warnings=features.warnings,
        provisional=features.provisional,
    )


MOST_PICTURES = 2048
"""Looked at together; they take about a gigabyte."""
MOST_FRAMES = 131_072
"""Heard together, of the spectrograms with their padding: 22 minutes, about a gigabyte."""


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


class Encoder:
    """A model's encoders on a device; the model is there, and in evaluation mode."""

    def __init__(self, model: TargetModel, device: torch.device) -> None:
        self._model = model
        self._device = device

    @torch.inference_mode()
    def encode(
        self,
        features: Sequence[UtteranceFeatures | LeanFeatures],
        *,
        together: bool | None = None,
    ) -> list[EncodedUtterance]:
        """Representation of each modality of each utterance, in the order of ``features``, and
        where inside the utterance it looked.

        ``together``: as a batch; by default on a GPU alone. One by one, an utterance gives the
        same to the bit whatever the others are.
        """
        items = [one if isinstance(one, LeanFeatures) else lean(one) for one in features]
        if together is None:
            together = self._device.type != "cpu"
        with one_torch_thread():
            if together:
                return self._encode(items)
            return [encoded for item in items for encoded in self._encode([item])]

    @torch.inference_mode()
    def represent(
        self,
        encoded: Sequence[EncodedUtterance],
        neutral: Callable[[int | None], NDArray[np.float32] | None],
    ) -> tuple[Represented, ...]:
        """The utterances of one video, all of which was seen.

        ``neutral``: the face of a track at rest [51, 2].
        """
        with one_torch_thread():
            faces = [self._encode_face(item.face, neutral(item.track)) for item in encoded]
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

    def _encode(self, items: Sequence[LeanFeatures]) -> list[EncodedUtterance]:
        heard = self._hear([item.audio for item in items])
        seen = self._see([item.face for item in items])
        return [
            EncodedUtterance(
                start_s=item.segment.start_s,
                end_s=item.segment.end_s,
                text=item.segment.text,
                track=item.track,
                audio=audio,
                face=face,
                audio_frames=audio_frames,
                warnings=item.warnings,
                provisional=item.provisional,
            )
            for item, (audio, audio_frames), face in zip(items, heard, seen, strict=True)
        ]

    def _hear(
        self, voices: Sequence[LeanVoice | None]
    ) -> list[tuple[Tensor | None, tuple[TimeWeight, ...]]]:
        found: list[tuple[Tensor | None, tuple[TimeWeight, ...]]] = [(None, ())] * len(voices)
        if "audio" not in self._model.config.modalities:
            return found
        there = [(place, voice) for place, voice in enumerate(voices) if voice is not None]
        lengths = [voice.log_mel.shape[1] for _, voice in there]
        for rows in of_like_length(lengths, MOST_FRAMES):
            together = [there[row][1] for row in rows]
            representations, weights = self._encode_voices(together)
            for row, representation, weight in zip(rows, representations, weights, strict=True):
                place, voice = there[row]
                found[place] = representation, _heard_at(voice.times_s, weight)
        return found

    def _encode_voices(self, voices: Sequence[LeanVoice]) -> tuple[Tensor, Tensor]:
        """Representations [N, R] on the device, and attention over steps [N, S], not there."""
        lengths = [voice.log_mel.shape[1] for voice in voices]
        log_mel = torch.zeros(len(voices), voices[0].log_mel.shape[0], max(lengths))
        for row, voice in zip(log_mel, voices, strict=True):
            row[:, : voice.log_mel.shape[1]] = torch.from_numpy(voice.log_mel)
        known = next((voice.prosody for voice in voices if voice.prosody is not None), None)
        prosody = None
        if known is not None:
            nothing = np.full_like(known, np.nan)
            spoken = [nothing if voice.prosody is None else voice.prosody for voice in voices]
            prosody = torch.from_numpy(np.stack(spoken)).to(self._device)
        representations, weights = self._model.encode_audio(
            log_mel.to(self._device), torch.tensor(lengths, device=self._device), prosody
        )
        return representations, weights.cpu()

    def _see(self, faces: Sequence[LeanFace | None]) -> list[SeenFace | None]:
        """The pixels are looked at while they are there: they are not kept."""
        if "face" not in self._model.config.modalities:
            return [None] * len(faces)
        pictures = [
            standardised(face.pictures)
            for face in faces
            if face is not None and face.pictures is not None
        ]
        looks = self._look_at(np.concatenate(pictures)) if pictures else None
        found: list[SeenFace | None] = []
        first = 0
        for face in faces:
            own = None
            if face is not None and face.pictures is not None and looks is not None:
                own = looks.new_full((len(face.times_s), looks.shape[1]), torch.nan)
                own[::PICTURE_EVERY] = looks[first : first + len(face.pictures)]
                first += len(face.pictures)
            found.append(None if face is None else SeenFace(face.times_s, face.landmarks, own))
        return found

    def _look_at(self, pictures: NDArray[np.float32]) -> Tensor | None:
        """What ``pictures`` [S, 48, 48] show [S, 7]; None where the model has no eye for them."""
        parts = []
        for first in range(0, len(pictures), MOST_PICTURES):
            some = torch.from_numpy(pictures[first : first + MOST_PICTURES])
            seen = self._model.look_at(some.to(self._device))
            if seen is None:
                return None
            parts.append(seen)
        return torch.cat(parts)

    def _encode_face(
        self, face: SeenFace | None, neutral: NDArray[np.float32] | None
    ) -> tuple[Tensor | None, tuple[TimeWeight, ...]]:
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


def of_like_length(lengths: Sequence[int], most: int) -> Iterator[list[int]]:
    """Places of the ``lengths``, from short to long, in groups that padded to their longest have
    no more than ``most`` together; a longer one stands alone."""
    group: list[int] = []
    for place in sorted(range(len(lengths)), key=lengths.__getitem__):
        if group and (len(group) + 1) * lengths[place] > most:
            yield group
            group = []
        group.append(place)
    if group:
        yield group


def _heard_at(times_s: NDArray[np.float64], weight: Tensor) -> tuple[TimeWeight, ...]:
    """Attention over the steps of a voice whose frames sound at ``times_s``, padding left out."""
    steps = -(-len(times_s) // TIME_STRIDE)
    # A step stands for the spectrogram frames below it: its time is their middle.
    last = np.minimum(np.arange(1, steps + 1) * TIME_STRIDE, len(times_s)) - 1
    first = np.arange(steps) * TIME_STRIDE
    return _time_weights((times_s[first] + times_s[last]) / 2, weight[:steps])


def _time_weights(times_s: NDArray[np.float64], weight: Tensor) -> tuple[TimeWeight, ...]:
    values = weight.cpu().double().numpy()
    values = values / values.sum()
    return tuple(TimeWeight(float(t), float(w)) for t, w in zip(times_s, values, strict=True))
