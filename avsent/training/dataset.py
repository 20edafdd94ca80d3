"""Samples of one part of a corpus as padded videos, and how a batch of them enters a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avsent.extraction.features.face import PICTURE_EVERY, standardised
from avsent.extraction.features.spectrogram import FLOOR_DB, normalised_log
from avsent.model.networks.encoders import FaceExtras
from avsent.model.networks.target import TargetModel, Utterances
from avsent.training.augmentation import augmented_landmarks, augmented_log_mel
from avsent.training.data.corpus import Sample


def pad_log_mels(log_mels: list[NDArray[np.float32]]) -> tuple[Tensor, Tensor]:
    """Spectrograms [mel, N_i] → padded [B, mel, max N] and lengths [B]."""
    lengths = [log_mel.shape[1] for log_mel in log_mels]
    padded = np.zeros((len(log_mels), log_mels[0].shape[0], max(lengths)), dtype=np.float32)
    for row, log_mel in zip(padded, log_mels, strict=True):
        row[:, : log_mel.shape[1]] = log_mel
    return torch.from_numpy(padded), torch.tensor(lengths)


def pad_faces(sequences: list[NDArray[np.float32]]) -> tuple[Tensor, Tensor]:
    """Landmarks [T_i, P, 2] → padded [B, max T, P, 2] and mask [B, max T]."""
    longest = max(len(sequence) for sequence in sequences)
    padded = np.zeros((len(sequences), longest, *sequences[0].shape[1:]), dtype=np.float32)
    mask = np.zeros((len(sequences), longest), dtype=bool)
    for row, sequence in enumerate(sequences):
        padded[row, : len(sequence)] = sequence
        mask[row, : len(sequence)] = True
    return torch.from_numpy(padded), torch.from_numpy(mask)


FACE_FRAMES = 12
"""Frames drawn from each utterance for one training step."""
CHUNK = 64
"""Raw utterances encoded at once where no gradient is needed."""


@dataclass(frozen=True, slots=True, eq=False)
class Videos:
    """V videos of up to U utterances.

    ``labels`` [V, U] float64: class index or number, NaN where there is none and on padding;
    ``vectors`` [V, U, R] by modality that comes ready-made; ``present`` [V, U] bool by modality;
    ``lengths`` [V].
    """

    samples: tuple[tuple[Sample, ...], ...]
    lengths: Tensor
    labels: Tensor
    vectors: dict[str, Tensor]
    present: dict[str, Tensor]

    def known(self) -> Tensor:
        """Where there is a label [V, U] bool."""
        return ~self.labels.isnan()

    def utterances(self) -> int:
        """Number of utterances."""
        return int(self.lengths.sum())


def make_videos(
    samples: Sequence[Sample],
    labels: Mapping[str, float | None],
    vectors: Mapping[str, int],
    words: Mapping[str, NDArray[np.float32]] | None = None,
) -> Videos:
    """Group ``samples`` by video, in their order.

    ``labels`` by sample key; ``vectors``: size of the ready-made vectors by modality; ``words``:
    vector of each sample's text by key, for those that have a text.
    """
    by_video: dict[str, list[Sample]] = {}
    for sample in samples:
        by_video.setdefault(sample.video, []).append(sample)
    grouped = tuple(tuple(video) for video in by_video.values())
    lengths = torch.tensor([len(video) for video in grouped], dtype=torch.long)
    shape = len(grouped), int(lengths.max()) if len(grouped) else 0
    targets = torch.full(shape, torch.nan, dtype=torch.float64)
    present = {name: torch.zeros(shape, dtype=torch.bool) for name in ("audio", "face", "text")}
    ready = {name: torch.zeros(*shape, size) for name, size in vectors.items() if size}
    for v, video in enumerate(grouped):
        for u, sample in enumerate(video):
            label = labels.get(sample.key)
            if label is not None:
                targets[v, u] = label
            found = {
                "audio": sample.audio,
                "face": sample.face,
                "text": words.get(sample.key) if words else None,
            }
            for name, array in found.items():
                present[name][v, u] = array is not None
                if array is not None and name in ready:
                    ready[name][v, u] = torch.from_numpy(np.asarray(array, dtype=np.float32))
    return Videos(grouped, lengths, targets, ready, present)


def batches(
    videos: Videos, count: int, utterances: int, rng: np.random.Generator | None
) -> Iterator[list[int]]:
    """Rows of videos: at most ``count`` of them and, if more than one, at most ``utterances``.

    Without ``rng`` in order, else shuffled.
    """
    order = np.arange(len(videos.samples)) if rng is None else rng.permutation(len(videos.samples))
    rows: list[int] = []
    held = 0
    for row in order:
        length = int(videos.lengths[row])
        if rows and (len(rows) == count or held + length > utterances):
            yield rows
            rows, held = [], 0
        rows.append(int(row))
        held += length
    if rows:
        yield rows


def encoded(
    model: TargetModel,
    videos: Videos,
    rows: Sequence[int],
    device: torch.device,
    rng: np.random.Generator | None = None,
) -> Utterances:
    """The videos ``rows`` as ``model`` takes them in; raw ones augmented where ``rng`` is given."""
    lengths = videos.lengths[list(rows)]
    longest = int(lengths.max())
    values, present = {}, {}
    for modality in model.config.modalities:
        there = videos.present[modality][list(rows), :longest]
        if modality in videos.vectors:
            vectors = videos.vectors[modality][list(rows), :longest].to(device)
            representation = model.encoder(modality)(vectors)
        else:
            representation = _raw(model, modality, videos, rows, there, device, rng)
        present[modality] = there.to(device)
        values[modality] = representation
    return Utterances(values, present, lengths)


def _raw(
    model: TargetModel,
    modality: str,
    videos: Videos,
    rows: Sequence[int],
    there: Tensor,
    device: torch.device,
    rng: np.random.Generator | None,
) -> Tensor:
    """Representations [B, U, R] of raw utterances, zero where there is none."""
    places = there.nonzero()
    chosen = [videos.samples[rows[int(b)]][int(u)] for b, u in places]
    size = model.config.representation_size(modality)
    result = torch.zeros(*there.shape, size, device=device)
    if not chosen:
        return result
    # In training the batch norms need all utterances together.
    step = len(chosen) if model.training else CHUNK
    encode = _encode_audio if modality == "audio" else _encode_face
    parts = [encode(model, chosen[i : i + step], device, rng) for i in range(0, len(chosen), step)]
    encoded_ones = torch.cat(parts).to(result.dtype)  # mixed precision gives bfloat16
    return result.index_put((places[:, 0].to(device), places[:, 1].to(device)), encoded_ones)


def _encode_audio(
    model: TargetModel,
    samples: Sequence[Sample],
    device: torch.device,
    rng: np.random.Generator | None,
) -> Tensor:
    log_mels = []
    for sample in samples:
        assert sample.audio is not None
        changed = normalised_log(sample.audio, FLOOR_DB)
        log_mels.append(changed if rng is None else augmented_log_mel(sample.audio, rng))
    padded, lengths = pad_log_mels(log_mels)
    # Of a changed voice the prosody is not known.
    prosody = None if rng is not None else _prosody(samples, device)
    return model.encode_audio(padded.to(device), lengths.to(device), prosody)[0]


def _prosody(samples: Sequence[Sample], device: torch.device) -> Tensor | None:
    """Statistics [N, 24], a row of NaN where a sample has none."""
    known = next((sample.prosody for sample in samples if sample.prosody is not None), None)
    if known is None:
        return None
    missing = np.full_like(known, np.nan)
    rows = [missing if sample.prosody is None else sample.prosody for sample in samples]
    return torch.from_numpy(np.stack(rows)).to(device)


def _encode_face(
    model: TargetModel,
    samples: Sequence[Sample],
    device: torch.device,
    rng: np.random.Generator | None,
) -> Tensor:
    sequences = [sample.face for sample in samples if sample.face is not None]
    extras = None
    if rng is None:
        landmarks, mask = pad_faces(sequences)
        extras = _extras(model, samples, mask, device)
    else:
        drawn = torch.from_numpy(np.stack([_drawn(sequence, rng) for sequence in sequences]))
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        landmarks = augmented_landmarks(drawn, generator)
        mask = torch.ones(landmarks.shape[:2], dtype=torch.bool)
    return model.encode_face(landmarks.to(device), mask.to(device), extras)[0]


def _extras(
    model: TargetModel, samples: Sequence[Sample], mask: Tensor, device: torch.device
) -> FaceExtras:
    """Neutral faces and looks at pixels, as at prediction; NaN where a sample has none."""
    points = model.config.face.points
    neutral = torch.full((len(samples), points, 2), torch.nan, device=device)
    looks: Tensor | None = None
    for row, sample in enumerate(samples):
        if sample.neutral is not None:
            neutral[row] = torch.from_numpy(sample.neutral).to(device)
        if sample.pictures is None:
            continue
        seen = model.look_at(torch.from_numpy(standardised(sample.pictures)).to(device))
        if seen is None:
            break
        if looks is None:
            looks = seen.new_full((*mask.shape, seen.shape[1]), torch.nan)
        looks[row, : PICTURE_EVERY * len(seen) : PICTURE_EVERY] = seen
    return FaceExtras(neutral, looks)


def _drawn(frames: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    rows = np.sort(rng.choice(len(frames), FACE_FRAMES, replace=len(frames) < FACE_FRAMES))
    return frames[rows]
