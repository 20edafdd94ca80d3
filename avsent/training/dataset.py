"""Samples of one part of a corpus as padded videos, and how a batch of them enters a model."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avsent.errors import DatasetError
from avsent.extraction.extractor import FeatureConfig
from avsent.extraction.features.voice import FLOOR_DB
from avsent.model.encoding import encode_faces, encode_log_mels, encode_voices, look_at
from avsent.model.networks.target import TargetModel, Utterances
from avsent.training.augmentation import augmented_landmarks, augmented_log_mel
from avsent.training.data.corpus import Sample

FACE_FRAMES = 12  # frames drawn from each utterance for one training step
CHUNK = 64  # raw utterances in a batch of the encoders where no gradient is needed


@dataclass(frozen=True, slots=True, eq=False)
class Videos:
    """V videos of up to U utterances.

    ``labels`` [V, U] float64: class index or number, NaN where there is none and on padding;
    ``vectors`` [V, U, R] by modality that comes ready-made; ``present`` [V, U] bool by modality;
    ``lengths`` [V]; ``floor_db``: of the spectrograms of raw voices; ``representations`` [R] by
    modality and sample, of raw utterances that frozen encoders have encoded already.
    """

    samples: tuple[tuple[Sample, ...], ...]
    lengths: Tensor
    labels: Tensor
    vectors: dict[str, Tensor]
    present: dict[str, Tensor]
    floor_db: float = FLOOR_DB
    representations: Mapping[tuple[str, Sample], Tensor] = field(default_factory=dict)

    def known(self) -> Tensor:
        """Where there is a label [V, U] bool."""
        return ~self.labels.isnan()

    def usable(self, modalities: Sequence[str]) -> NDArray[np.bool_]:
        """Where there is a label and one of the ``modalities`` [V, U]."""
        present = torch.stack([self.present[name] for name in modalities]).any(dim=0)
        return np.asarray((self.known() & present).numpy())


def make_videos(
    samples: Sequence[Sample],
    labels: Mapping[str, float | None],
    vectors: Mapping[str, int],
    words: Mapping[str, NDArray[np.float32]] | None = None,
    features: FeatureConfig | None = None,
) -> Videos:
    """Group ``samples`` by video, in their order.

    ``labels`` by sample key; ``vectors``: size of the ready-made vectors by modality; ``words``:
    vector of each sample's text by key, for those that have a text; ``features``: settings of raw
    samples, by default those of a new model.
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
    floor_db = (features or FeatureConfig()).audio.floor_db
    return Videos(grouped, lengths, targets, ready, present, floor_db)


def check_parts(train: Videos, valid: Videos, modalities: Sequence[str]) -> None:
    """Raise DatasetError if a part has no labelled utterance with one of the ``modalities``; there
    may be no validation part at all."""
    for name, videos in (("training", train), ("validation", valid)):
        if (videos is train or videos.samples) and not videos.usable(modalities).any():
            raise DatasetError(
                f"no {name} utterance has a label and {' or '.join(modalities)}; add some"
            )


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
    """The videos ``rows`` as input of ``model``; raw ones are augmented where ``rng`` is given, and
    zero where there is nothing."""
    lengths = videos.lengths[list(rows)]
    longest = int(lengths.max())
    values, present = {}, {}
    for modality in model.config.modalities:
        there = videos.present[modality][list(rows), :longest]
        present[modality] = there.to(device)
        if modality in videos.vectors:
            vectors = videos.vectors[modality][list(rows), :longest].to(device)
            values[modality] = model.encoder(modality)(vectors)
            continue
        size = model.config.representation_size(modality)
        values[modality] = torch.zeros(*there.shape, size, device=device)
        places = there.nonzero()
        chosen = [videos.samples[rows[int(b)]][int(u)] for b, u in places]
        known = [videos.representations.get((modality, sample)) for sample in chosen]
        ready = [one for one in known if one is not None]
        if chosen and len(ready) == len(chosen):
            values[modality][there.to(device)] = torch.stack(ready).to(device)
        elif chosen:
            # In training the batch norms need all utterances together.
            step = len(chosen) if model.training else CHUNK
            parts = [
                _encode(model, modality, chosen[i : i + step], videos.floor_db, device, rng)
                for i in range(0, len(chosen), step)
            ]
            found = torch.cat(parts).to(values[modality].dtype)  # mixed precision gives bfloat16
            at = places[:, 0].to(device), places[:, 1].to(device)
            values[modality] = values[modality].index_put(at, found)
    return Utterances(values, present, lengths)


@torch.no_grad()
def representations_of(
    model: TargetModel, samples: Sequence[Sample], floor_db: float, device: torch.device
) -> dict[tuple[str, Sample], Tensor]:
    """Representations [R] of raw ``samples``, by modality and sample."""
    model.to(device).eval()
    found: dict[tuple[str, Sample], Tensor] = {}
    for modality in model.config.modalities:
        there = [sample for sample in samples if getattr(sample, modality) is not None]
        # On a processor one by one, as in prediction: that takes half the time.
        step = 1 if device.type == "cpu" else CHUNK
        for first in range(0, len(there), step):
            chunk = there[first : first + step]
            rows = _encode(model, modality, chunk, floor_db, device).float().cpu()
            found |= {(modality, one): row for one, row in zip(chunk, rows, strict=True)}
    return found


def _encode(
    model: TargetModel,
    modality: str,
    samples: Sequence[Sample],
    floor_db: float,
    device: torch.device,
    rng: np.random.Generator | None = None,
) -> Tensor:
    """Representations [N, R] of raw utterances. The neutral face and pictures of augmented ones are
    not known; the voice experts, which have learnt, hear every voice unchanged."""
    unknown = [None] * len(samples)
    if modality == "audio":
        powers = [sample.audio for sample in samples if sample.audio is not None]
        if rng is None or model.config.experts is not None:
            prosody = [sample.prosody for sample in samples]
            return encode_voices(model, powers, prosody, floor_db, device)[0]
        log_mels = [augmented_log_mel(power, rng, floor_db) for power in powers]
        return encode_log_mels(model, log_mels, device)[0]
    sequences = [sample.face for sample in samples if sample.face is not None]
    if rng is None:
        neutrals = [sample.neutral for sample in samples]
        pixels = [look_at(model, [sample.pictures], device)[0] for sample in samples]
        return encode_faces(model, sequences, neutrals, pixels, device)[0]
    drawn = torch.from_numpy(np.stack([draw_frames(sequence, rng) for sequence in sequences]))
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    changed = list(augmented_landmarks(drawn, generator).numpy())
    return encode_faces(model, changed, unknown, unknown, device)[0]


def draw_frames(frames: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """``FACE_FRAMES`` of ``frames`` [T, ...], in their order; some several times if T is less."""
    rows = np.sort(rng.choice(len(frames), FACE_FRAMES, replace=len(frames) < FACE_FRAMES))
    return frames[rows]
