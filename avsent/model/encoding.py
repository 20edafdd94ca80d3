"""Encoders at work: features of utterances → representations, in prediction and in training.

The utterances of a batch may come from different files: none changes the representation of another
but for rounding. On a processor utterances are encoded one by one: what fits into its caches takes
half the time that it takes in a batch of fifty.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from avsent.extraction.extractor import UtteranceFeatures
from avsent.extraction.features.face import PICTURE_EVERY, standardised
from avsent.extraction.features.voice import normalised_log
from avsent.extraction.utterances.segmentation import Segment
from avsent.machine import one_torch_thread, refuse_forked_gpu
from avsent.model.networks.encoders import TIME_STRIDE, FaceExtras
from avsent.model.networks.experts import AudioExperts
from avsent.model.networks.target import TargetModel
from avsent.result.record import TimeWeight

Array = NDArray[np.float32]

MOST_PICTURES = 2048  # pictures in a batch of the pixel network; they take about a gigabyte
MOST_FRAMES = 131_072
"""Spectrogram frames in a batch, padding included: 22 minutes, about a gigabyte."""


@dataclass(frozen=True, slots=True, eq=False)
class EncodedUtterance:
    """One utterance as the encoders represent it, for a decision in the context of the others.

    ``audio``, ``face``: representations [R], None where the modality is missing;
    ``audio_frames``, ``face_frames``: the attention inside the utterance. The face is encoded when
    its neutral is known, at the end of the file (:meth:`Encoder.encode_faces`); until then its
    landmarks stay in ``features`` and the output of the pixel network in ``looks`` [⌈T/2⌉, C].
    Spectrogram and pictures are dropped: they would fill the memory in the course of a long video.
    """

    features: UtteranceFeatures
    audio: Tensor | None = None
    face: Tensor | None = None
    audio_frames: tuple[TimeWeight, ...] = ()
    face_frames: tuple[TimeWeight, ...] = ()
    looks: Tensor | None = None

    @property
    def segment(self) -> Segment:
        return self.features.segment

    @property
    def track(self) -> int | None:
        return self.features.track

    def of(self, modality: str) -> Tensor | None:
        return self.audio if modality == "audio" else self.face


def encode_voices(
    model: TargetModel,
    powers: Sequence[Array],
    prosody: Sequence[Array | None],
    floor_db: float,
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    """Representations [N, R] and attention over steps [N, S] of N voices: mel power [mel, T_i] and
    ``prosody`` [24], None where it is not known. ``floor_db``: of the log-mel spectrograms."""
    encoder, known = model.encoder("audio"), _stacked(prosody, device)
    if isinstance(encoder, AudioExperts):
        found = encoder([torch.from_numpy(power).to(device) for power in powers], known)
        representations, weights = found
        return representations, weights
    return encode_log_mels(model, [normalised_log(power, floor_db) for power in powers], device)


def encode_log_mels(
    model: TargetModel, log_mels: Sequence[Array], device: torch.device
) -> tuple[Tensor, Tensor]:
    """As :func:`encode_voices`, for N log-mel spectrograms [mel, T_i] and a network on them."""
    padded, lengths = pad_log_mels(log_mels)
    representations, weights = model.encoder("audio")(padded.to(device), lengths.to(device))
    return representations, weights


def encode_faces(
    model: TargetModel,
    landmarks: Sequence[Array],
    neutrals: Sequence[Array | None],
    looks: Sequence[Tensor | None],
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    """Representations [N, R] and attention over frames [N, T] of N face sequences.

    ``landmarks`` [T_i, 51, 2]; ``neutrals`` [51, 2]: the speakers' faces at rest; ``looks``
    [⌈T_i/2⌉, C], see :func:`look_at`; None where one is not known.
    """
    padded, mask = pad_faces(landmarks)
    known = next((one for one in looks if one is not None), None)
    by_frame = None
    if known is not None:
        by_frame = known.new_full((*mask.shape, known.shape[1]), torch.nan)
        for place, one in enumerate(looks):
            if one is not None:
                by_frame[place, : PICTURE_EVERY * len(one) : PICTURE_EVERY] = one
    extras = FaceExtras(_stacked(neutrals, device), by_frame)
    representations, weights = model.encoder("face")(padded.to(device), mask.to(device), extras)
    return representations, weights


def look_at(
    model: TargetModel, pictures: Sequence[NDArray[Any] | None], device: torch.device
) -> list[Tensor | None]:
    """Log probabilities [S, C] by the pixel network for each of ``pictures`` [S, 48, 48] in grey
    levels; None where there are no pictures, or the model has no such network."""
    there = [standardised(some) for some in pictures if some is not None]
    parts = []
    joined = np.concatenate(there) if there else np.zeros(0)
    for first in range(0, len(joined), MOST_PICTURES):
        batch = torch.from_numpy(joined[first : first + MOST_PICTURES])
        found = model.classify_pixels(batch.to(device))
        if found is None:
            break
        parts.append(found)
    if not parts:
        return [None] * len(pictures)
    looks = iter(torch.split(torch.cat(parts), [len(some) for some in there]))
    return [None if some is None else next(looks) for some in pictures]


def pad_log_mels(log_mels: Sequence[Array]) -> tuple[Tensor, Tensor]:
    """Spectrograms [mel, N_i] → padded [B, mel, max N] and lengths [B]."""
    frames = [torch.tensor(log_mel.T, dtype=torch.float32) for log_mel in log_mels]
    padded = pad_sequence(frames, batch_first=True).transpose(1, 2).contiguous()
    return padded, torch.tensor([len(one) for one in frames])


def pad_faces(sequences: Sequence[Array]) -> tuple[Tensor, Tensor]:
    """Landmarks [T_i, P, 2] → padded [B, max T, P, 2] and mask [B, max T]."""
    faces = [torch.tensor(sequence, dtype=torch.float32) for sequence in sequences]
    padded = pad_sequence(faces, batch_first=True)
    lengths = torch.tensor([len(one) for one in faces])
    return padded, torch.arange(padded.shape[1]) < lengths[:, None]


def _stacked(arrays: Sequence[Array | None], device: torch.device) -> Tensor | None:
    """[N, …] with NaN in place of what is not known; None where nothing is."""
    known = next((array for array in arrays if array is not None), None)
    if known is None:
        return None
    unknown = np.full_like(known, np.nan)
    rows = [unknown if array is None else array for array in arrays]
    return torch.from_numpy(np.stack(rows)).to(device)


class Encoder:
    """A model's encoders on ``device``; the model is there, and in evaluation mode.

    ``floor_db``: of the spectrograms that the model was trained on.
    """

    def __init__(self, model: TargetModel, device: torch.device, floor_db: float) -> None:
        self._model = model
        self._device = device
        self._floor_db = floor_db

    @torch.inference_mode()
    def encode(
        self, features: Sequence[UtteranceFeatures], *, together: bool | None = None
    ) -> list[EncodedUtterance]:
        """Encode the voices and look at the pictures of utterances, of whatever files they are.

        ``together``: as a batch; by default only on a GPU. One by one, each gives the same to the
        bit whatever the others are. Raises torch.OutOfMemoryError if they do not fit, UsageError if
        the GPU is that of a parent process.
        """
        if self._device.type != "cpu":
            refuse_forked_gpu()
        if together is None:
            together = self._device.type != "cpu"
        with one_torch_thread():
            if together:
                return self._encode(features)
            return [encoded for one in features for encoded in self._encode([one])]

    @torch.inference_mode()
    def encode_faces(
        self, encoded: Sequence[EncodedUtterance], neutrals: Mapping[int, Array] | None = None
    ) -> tuple[EncodedUtterance, ...]:
        """The utterances of one file with their faces encoded.

        ``neutrals``: the faces at rest [51, 2] by track.
        """
        with one_torch_thread():
            return tuple(self._with_face(one, neutrals or {}) for one in encoded)

    def _encode(self, items: Sequence[UtteranceFeatures]) -> list[EncodedUtterance]:
        used = self._model.config.modalities
        faces = [item.face if "face" in used else None for item in items]
        pictures = [None if face is None else face.pictures for face in faces]
        looks = look_at(self._model, pictures, self._device)
        encoded = []
        for item, face, seen in zip(items, faces, looks, strict=True):
            face = face and replace(face, pictures=None)
            features = replace(item, audio=None, face=face)
            encoded.append(EncodedUtterance(features, looks=seen))
        sounds = enumerate(item.audio if "audio" in used else None for item in items)
        voices = [(place, voice) for place, voice in sounds if voice is not None]
        for rows in of_like_length([voice.power.shape[1] for _, voice in voices], MOST_FRAMES):
            batch = [voices[row] for row in rows]
            powers = [voice.power for _, voice in batch]
            prosody = [voice.prosody for _, voice in batch]
            representations, weights = encode_voices(
                self._model, powers, prosody, self._floor_db, self._device
            )
            found = zip(batch, representations, weights.cpu(), strict=True)
            for (place, voice), representation, weight in found:
                frames = _attention_in_time(voice.times_s, weight)
                encoded[place] = replace(encoded[place], audio=representation, audio_frames=frames)
        return encoded

    def _with_face(
        self, encoded: EncodedUtterance, neutrals: Mapping[int, Array]
    ) -> EncodedUtterance:
        face = encoded.features.face
        if face is None:
            return encoded
        neutral = None if encoded.track is None else neutrals.get(encoded.track)
        representations, weights = encode_faces(
            self._model, [face.landmarks], [neutral], [encoded.looks], self._device
        )
        frames = _time_weights(face.times_s, weights[0])
        encoded = replace(encoded, features=replace(encoded.features, face=None), looks=None)
        return replace(encoded, face=representations[0], face_frames=frames)


def of_like_length(lengths: Sequence[int], most: int) -> Iterator[list[int]]:
    """Places of the ``lengths``, from short to long, in groups that have no more than ``most``
    frames when padded to their longest; a longer one stands alone."""
    group: list[int] = []
    for place in sorted(range(len(lengths)), key=lengths.__getitem__):
        if group and (len(group) + 1) * lengths[place] > most:
            yield group
            group = []
        group.append(place)
    if group:
        yield group


def _attention_in_time(times_s: NDArray[np.float64], weight: Tensor) -> tuple[TimeWeight, ...]:
    """Attention over the steps of a voice with spectrogram frames at ``times_s``, without padding.
    The time of a step is the middle of the frames that it stands for."""
    steps = -(-len(times_s) // TIME_STRIDE)
    last = np.minimum(np.arange(1, steps + 1) * TIME_STRIDE, len(times_s)) - 1
    first = np.arange(steps) * TIME_STRIDE
    return _time_weights((times_s[first] + times_s[last]) / 2, weight[:steps])


def _time_weights(times_s: NDArray[np.float64], weight: Tensor) -> tuple[TimeWeight, ...]:
    values = weight.cpu().double().numpy()
    values = values / values.sum()
    return tuple(TimeWeight(float(t), float(w)) for t, w in zip(times_s, values, strict=True))
