"""The fusion of the experts: HMTL's network over posteriors, by the loop of ``avsent train``.

Made-up videos of one actor's clips, or of stills, 1 to 8 utterances long, some of one label
throughout and some mixed: a network that saw only mixed ones would learn to read an utterance
against its neighbours, and call a sad face in a sad video neutral.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from avsent.data.corpus import Corpus, Sample
from avsent.data.text_corpus import TextItem
from avsent.labels import EMOTIONS, POLARITY_LABELS, polarity_of
from avsent.networks.config import (
    ContextConfig,
    ExpertsConfig,
    FusionConfig,
    TargetConfig,
    VoteConfig,
)
from avsent.networks.target import TargetModel
from avsent.networks.vector_encoder import VectorEncoder
from avsent.training.material import make_material, make_task
from avsent.training.seed import Trained, Where, make_teaching, train_seed
from avsent.training.settings import OptimiserSettings, TrainSettings, TransferSettings
from avsent.training.shipped.guard_pools import guard_material
from avsent.training.shipped.pool import Pool, there
from avsent.training.shipped.posteriors import Experts

FER_EMOTIONS = ("angry", "disgust", "fearful", "happy", "neutral", "sad", "surprised")
"""FER2013's order, in the names of ``EMOTIONS``."""
FER_COUNTS = (3879, 389, 3988, 7157, 4917, 4780, 2896)
"""Training images of each."""
_LIKE = {"calm": "neutral"}
MOST_UTTERANCES = 8
UNIFORM_VIDEOS = 0.1
"""Share of made-up videos with one label throughout."""
SINGLE_VIDEOS = 0.25
"""Share of made-up videos of a single utterance."""


@dataclass(frozen=True, slots=True)
class Fusing:
    """Settings of the fusion. Numbers of made-up videos; ``missing``, the share of videos that lack
    one modality throughout and, of the others, the share of utterances that lack one; and what
    ``avsent train`` is told; ``vote``: the experts' votes are added to what the network says;
    ``check``: the model gets a guard."""

    clip_videos: int = 2000
    still_videos: int = 800
    validation_videos: int = 300
    missing: float = 0.3
    context: ContextConfig = field(
        default_factory=lambda: ContextConfig(
            first_gru=24, dense=32, second_gru=16, classifier=32, dropout=0.3
        )
    )
    optimiser: OptimiserSettings = field(
        default_factory=lambda: OptimiserSettings(
            epochs=6,
            patience=6,
            batch_videos=64,
            learning_rate=2e-3,
            rate_schedule="onecycle",
            weight_decay=1e-2,
            label_smoothing=0.02,
            select="loss",
        )
    )
    transfer: TransferSettings = field(default_factory=TransferSettings)
    fusion: FusionConfig = field(default_factory=FusionConfig)
    vote: bool = True
    check: bool = True


def fuse(
    clips: dict[str, Pool],
    stills: dict[str, Pool],
    settings: Fusing,
    seed: int,
    texts: list[TextItem] | None = None,
) -> Trained:
    """Train the fusion on pools by part ("train", "valid"); ``texts`` teach where the transfer
    settings name a source."""
    samples = [
        sample
        for part in ("train", "valid")
        for sample in drawn(clips[part], stills[part], settings, seed, part)
    ]
    first = next(iter(clips.values()))
    corpus = Corpus(
        name="posteriors",
        samples=tuple(samples),
        vectors={
            "audio": first.versions[0].audio.shape[1],
            "face": first.versions[0].face.shape[1],
        },
    )
    told = TrainSettings(
        label="label",
        labels=",".join(first.names),
        context=settings.context,
        transfer=settings.transfer,
        optimiser=settings.optimiser,
        fusion=settings.fusion,
        votes=vote_streams(first.names) if settings.vote else (),
        check=settings.check,
    )
    material = make_material(make_task(corpus, told.label, told.labels), told, seed, words=False)
    where = Where(torch.device("cpu"))
    teaching = None
    if settings.transfer.active:
        teaching = make_teaching(material, told, seed, where, texts)
    guarding = None
    if settings.check and clips["valid"].spoilt is not None and stills["valid"].spoilt is not None:
        guarding = guard_material(
            clips, stills, lambda own, still: drawn(own, still, settings, seed, "valid")
        )
    return train_seed(material, told, seed, where, teaching, guarding)


def drawn(clips: Pool, stills: Pool, settings: Fusing, seed: int, part: str) -> list[Sample]:
    """The made-up videos of a ``part``; of pools that differ in their posteriors alone, the same
    ones are drawn."""
    videos = settings.clip_videos if part == "train" else settings.validation_videos
    of_stills = settings.still_videos if part == "train" else settings.validation_videos
    rng = np.random.default_rng([seed, len(part)])
    samples = made_up(clips, videos, rng, part, "clips", settings.missing)
    return samples + made_up(stills, of_stills, rng, part, "stills", 0.0)


def vote_streams(names: tuple[str, ...]) -> tuple[VoteConfig, ...]:
    """Where each expert speaks of ``names`` (the polarities or the emotions) in its modality, and
    how common these were where it learnt."""
    emotions, polarities = len(EMOTIONS), len(POLARITY_LABELS)
    own = emotions + polarities
    acted: tuple[float, ...] = ()
    both: tuple[float, ...] = ()
    if names == POLARITY_LABELS:
        said = tuple(range(emotions, own))
        looked = tuple(range(len(FER_EMOTIONS), len(FER_EMOTIONS) + polarities))
        # Clips and stills are drawn with all their emotions equally common.
        clips, stills = (_by_polarity(dict.fromkeys(of, 1.0)) for of in (EMOTIONS, FER_EMOTIONS))
        acted, both = np.log(clips).tolist(), np.log((clips + stills) / 2).tolist()
        pictured = np.log(_by_polarity(dict(zip(FER_EMOTIONS, FER_COUNTS, strict=True))))
    else:
        said = tuple(range(emotions))
        # Stills are never calm: pixels do not tell calm from neutral.
        looked = tuple(FER_EMOTIONS.index(_LIKE.get(name, name)) for name in EMOTIONS)
        counts = np.array(FER_COUNTS, dtype=np.float64)
        pictured = np.log(counts / counts.sum())[list(looked)]
    again = tuple(own + column for column in said)
    return (
        VoteConfig("audio", said, tuple(acted)),
        VoteConfig("audio", again),  # prosody: taught with equal weights
        VoteConfig("face", said, tuple(both)),
        VoteConfig("face", again, tuple(acted)),  # movement
        VoteConfig("face", tuple(2 * own + c for c in looked), tuple(pictured.tolist())),
    )


def _by_polarity(emotions: Mapping[str, float]) -> NDArray[np.float64]:
    """Shares of the polarities among ``emotions``, of which there are so many each."""
    shares = np.zeros(len(POLARITY_LABELS))
    for name, count in emotions.items():
        polarity = polarity_of(name)
        if polarity is not None:
            shares[polarity] += count
    return np.asarray(shares / shares.sum())


def made_up(
    pool: Pool, count: int, rng: np.random.Generator, part: str, what: str, missing: float
) -> list[Sample]:
    """Samples of ``count`` videos, each of one speaker (stills: of anyone)."""
    known = np.flatnonzero(pool.labels >= 0)
    speakers = np.array(pool.speakers)[known]
    rows_of = {
        (speaker, label): known[(speakers == speaker) & (pool.labels[known] == label)]
        for speaker in np.unique(speakers)
        for label in range(len(pool.names))
    }
    rows_of = {key: rows for key, rows in rows_of.items() if len(rows)}
    people = sorted({speaker for speaker, _ in rows_of})
    samples = []
    for number in range(count):
        speaker = people[int(rng.integers(len(people)))]
        labels = [label for label in range(len(pool.names)) if (speaker, label) in rows_of]
        alone = rng.random() < SINGLE_VIDEOS
        wanted = rng.choice(labels, 1 if alone else int(rng.integers(2, MOST_UTTERANCES + 1)))
        if rng.random() < UNIFORM_VIDEOS:
            wanted[:] = wanted[0]
        whole = rng.random()
        for place, label in enumerate(wanted):
            row = int(rng.choice(rows_of[speaker, int(label)]))
            heard, seen = (pool.versions[int(rng.integers(len(pool.versions)))] for _ in range(2))
            audio, face = there(heard.audio[row]), there(seen.face[row])
            if audio is not None and face is not None:
                lost = whole if whole < missing / 2 or whole > 1 - missing / 2 else rng.random()
                audio = None if lost < missing / 2 else audio
                face = None if lost > 1 - missing / 2 else face
            samples.append(
                Sample(
                    key=f"{part} {what} {number}/{place}",
                    video=f"{part} {what} {number}",
                    speaker=f"{part} {speaker}",
                    split=part,
                    labels={"label": pool.names[int(label)]},
                    audio=audio,
                    face=face,
                )
            )
    return samples


def assembled(config: ExpertsConfig, experts: Experts, fused: TargetModel) -> TargetModel:
    """The model that ships: ``experts`` below, the trained fusion above."""
    config = dataclasses.replace(
        config, audio_members=len(experts.audio), face_members=len(experts.face)
    )
    vectors = TargetConfig().vectors
    model = TargetModel(dataclasses.replace(fused.config, vectors=vectors, experts=config))
    state = {k: v for k, v in fused.state_dict().items() if "_encoder." not in k}
    model.load_state_dict(state, strict=False)
    for modality, network in zip(("audio", "face"), experts.networks(config), strict=True):
        encoder = model.encoder(modality)
        encoder.load_state_dict(network.state_dict())
        scale, own = fused.encoder(modality), encoder.get_submodule("scale")
        assert isinstance(scale, VectorEncoder)
        own.load_state_dict(scale.state_dict())
    return model.eval()
