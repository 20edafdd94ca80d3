"""The fusion of the experts: HMTL's network over posteriors, by the loop of ``avsent train``.

Made-up videos of one actor's clips, or of stills, 1 to 8 utterances long, some of one label
throughout and some mixed: a network that saw only mixed ones would learn to read an utterance
against its neighbours, and call a sad face in a sad video neutral.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avsent.extraction.features.face import standardised
from avsent.extraction.features.spectrogram import FLOOR_DB, normalised_log
from avsent.extraction.features.voice import audio_features
from avsent.extraction.media.events import SAMPLE_RATE_HZ
from avsent.labels import EMOTIONS, POLARITY_LABELS, polarity_of
from avsent.model.networks.config import (
    ContextConfig,
    ExpertsConfig,
    FusionConfig,
    TargetConfig,
    VoteConfig,
)
from avsent.model.networks.encoders import FaceExtras, PixelNetwork, VectorEncoder
from avsent.model.networks.experts import (
    AudioExperts,
    AudioMember,
    FaceExperts,
    FaceMember,
    ProsodyMember,
)
from avsent.model.networks.target import TargetModel
from avsent.training.augmentation import augmented_landmarks
from avsent.training.data.corpus import Corpus, Sample
from avsent.training.data.ravdess_landmarks import RavdessClip
from avsent.training.data.text import TextItem
from avsent.training.dataset import Videos, make_videos
from avsent.training.metrics import Scores
from avsent.training.modality_check import (
    SNR,
    GuardMaterial,
    noisy_landmarks,
    noisy_pictures,
    noisy_sound,
)
from avsent.training.seed import Trained, Where, make_teaching, train_seed
from avsent.training.settings import OptimiserSettings, TrainSettings, TransferSettings
from avsent.training.splits import make_material, make_task
from recipes.corpora import (
    Stills,
    another_microphone,
    emotions_of,
    load_clips,
    of_actors,
    polarities_of,
)
from recipes.members import Task, Workshop, cached_prosody, members, train_prosody_member


def noisy_clip(clip: RavdessClip, rng: np.random.Generator) -> RavdessClip:
    """``clip`` with noise at ``SNR`` in its sound and on its landmarks."""
    changed = clip
    if clip.sound is not None:
        heard = audio_features(noisy_sound(clip.sound, SNR, rng), 0.0)
        power, spoken = (None, None) if heard is None else (heard.power, heard.prosody)
        changed = dataclasses.replace(changed, mel_power=power, prosody=spoken)
    if clip.face is not None:
        landmarks = noisy_landmarks(clip.face.landmarks, SNR, rng)
        changed = dataclasses.replace(
            changed, face=dataclasses.replace(clip.face, landmarks=landmarks)
        )
    return changed


def noisy_stills(stills: Stills, rng: np.random.Generator) -> Stills:
    """``stills`` with noise at ``SNR`` in their pictures, and on their landmarks as much as a
    face's movement over a clip, ``LEAST_MOVEMENT`` over the root of ``SNR``."""
    landmarks = [noisy_landmarks(one[None].numpy(), SNR, rng) for one in stills.landmarks]
    return dataclasses.replace(
        stills,
        landmarks=torch.from_numpy(np.concatenate(landmarks)),
        pictures=noisy_pictures(stills.pictures, SNR, rng),
    )


CHUNK = 256


@dataclass(frozen=True, slots=True, eq=False)
class Posteriors:
    """Of N items, ``audio`` [N, A] and ``face`` [N, F] as the experts give them; a row of NaN
    where the modality is missing."""

    audio: NDArray[np.float32]
    face: NDArray[np.float32]

    def only(self, rows: NDArray[np.int64]) -> Posteriors:
        """These items alone."""
        return Posteriors(self.audio[rows], self.face[rows])


@dataclass(frozen=True, slots=True, eq=False)
class Experts:
    """Members that were trained, and the pixel network."""

    audio: tuple[AudioMember, ...]
    prosody: tuple[ProsodyMember, ...]
    face: tuple[FaceMember, ...]
    pixels: PixelNetwork

    def networks(self, config: ExpertsConfig) -> tuple[AudioExperts, FaceExperts]:
        """The members in the networks that a model has, in evaluation mode."""
        config = dataclasses.replace(
            config, audio_members=len(self.audio), face_members=len(self.face)
        )
        audio, face = AudioExperts(config), FaceExperts(config)
        for places, made in (
            (audio.members, self.audio),
            (audio.prosody, self.prosody),
            (face.members, self.face),
        ):
            for own, member in zip(places, made, strict=True):
                own.load_state_dict(member.state_dict())
        face.pixels.load_state_dict(self.pixels.state_dict())
        return audio.eval(), face.eval()


def cross_fitted(
    config: ExpertsConfig,
    groups: Sequence[Sequence[int]],
    pixels: PixelNetwork,
    seed: int,
    shop: Workshop,
) -> list[Experts]:
    """One member of each kind per group of actors: taught by the clips of all other groups."""
    clips = load_clips(shop.data, shop.cache)
    versions = cached_prosody(clips, shop.cache)
    tasks, spoken = [], []
    for number, group in enumerate(groups):
        others = tuple(actor for other in groups if other is not group for actor in other)
        tasks += [Task(kind, others, 100 * seed + number, config) for kind in ("audio", "face")]
        rows = [row for row, clip in enumerate(clips) if clip.actor in others]
        spoken.append(train_prosody_member(config, [clips[r] for r in rows], versions[:, rows]))
    made = members(tasks, shop)
    found = []
    for audio, prosody, face in zip(made[::2], spoken, made[1::2], strict=True):
        assert isinstance(audio, AudioMember)
        assert isinstance(face, FaceMember)
        found.append(Experts((audio,), (prosody,), (face,), pixels))
    return found


def together(experts: Sequence[Experts]) -> Experts:
    """All members in one."""
    return Experts(
        tuple(member for one in experts for member in one.audio),
        tuple(member for one in experts for member in one.prosody),
        tuple(member for one in experts for member in one.face),
        experts[0].pixels,
    )


@torch.inference_mode()
def of_clips(
    config: ExpertsConfig,
    experts: Experts,
    clips: Sequence[RavdessClip],
    rng: np.random.Generator | None = None,
) -> Posteriors:
    """Posteriors of ``clips``, unchanged or, with ``rng``, as another microphone and camera would
    have taken them."""
    hear, see = experts.networks(config)
    audio = np.full((len(clips), config.posteriors("audio")), np.nan, dtype=np.float32)
    face = np.full((len(clips), config.posteriors("face")), np.nan, dtype=np.float32)
    for row, clip in enumerate(clips):
        heard = _heard(clip, rng)
        if heard is not None:
            audio[row] = hear.posteriors(*heard)[0][0].numpy()
        if clip.face is not None:
            neutral = clip.face.neutral
            rest = clip.face.landmarks[:1] if neutral is None else neutral[None]
            shown = torch.from_numpy(np.concatenate([clip.face.landmarks, rest]))[None]
            if rng is not None:
                generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
                shown = augmented_landmarks(shown, generator)
            extras = FaceExtras(neutral=None if neutral is None else shown[:, -1])
            face[row] = _seen(see, shown[:, :-1], extras)[0]
    return Posteriors(audio, face)


def _heard(
    clip: RavdessClip, rng: np.random.Generator | None
) -> tuple[Tensor, Tensor, Tensor | None] | None:
    """Log-mel [1, mel, N], its length [1] and prosody [1, 24]; None where nothing is heard."""
    power, spoken, sound = clip.mel_power, clip.prosody, clip.sound
    if rng is not None and sound is not None:
        found = audio_features(another_microphone(sound, SAMPLE_RATE_HZ, rng), 0.0)
        power, spoken = (None, None) if found is None else (found.power, found.prosody)
    if power is None:
        return None
    log_mel = torch.from_numpy(normalised_log(power, FLOOR_DB))[None]
    known = None if spoken is None else torch.from_numpy(spoken)[None]
    return log_mel, torch.tensor([log_mel.shape[2]]), known


@torch.inference_mode()
def of_stills(config: ExpertsConfig, experts: Experts, stills: Stills) -> Posteriors:
    """Posteriors of ``stills``: landmarks and pixels of one frame, no movement and no voice."""
    _, see = experts.networks(config)
    face = []
    for first in range(0, len(stills.pictures), CHUNK):
        rows = slice(first, first + CHUNK)
        looks = see.classify_pixels(torch.from_numpy(standardised(stills.pictures[rows])))
        extras = FaceExtras(pixels=looks[:, None])
        face.append(_seen(see, stills.landmarks[rows][:, None], extras))
    audio = np.full((len(stills.pictures), config.posteriors("audio")), np.nan, dtype=np.float32)
    return Posteriors(audio, np.concatenate(face))


def _seen(see: FaceExperts, landmarks: Tensor, extras: FaceExtras) -> NDArray[np.float32]:
    mask = torch.ones(landmarks.shape[:2], dtype=torch.bool)
    found: NDArray[np.float32] = see.posteriors(landmarks, mask, extras)[0].numpy()
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """Utterances to make videos of. ``labels`` [N]: index in ``names``, −1 for none; ``speakers``
    [N]; ``versions``: posteriors of the N, unchanged first, then as other devices give them;
    ``spoilt``: what is left of them in noise, where that is known."""

    names: tuple[str, ...]
    labels: NDArray[np.int64]
    speakers: tuple[str, ...]
    versions: tuple[Posteriors, ...]
    spoilt: Posteriors | None = None

    def only(self, rows: NDArray[np.int64]) -> Pool:
        """These utterances alone."""
        versions = tuple(said.only(rows) for said in self.versions)
        speakers = tuple(self.speakers[row] for row in rows)
        spoilt = None if self.spoilt is None else self.spoilt.only(rows)
        return Pool(self.names, self.labels[rows], speakers, versions, spoilt)

    def in_noise(self) -> Pool:
        """The same utterances, spoilt."""
        assert self.spoilt is not None
        return dataclasses.replace(self, versions=(self.spoilt,) * len(self.versions))


def split_pool(pool: Pool, share: float, seed: int) -> dict[str, Pool]:
    """A pool of utterances without speakers in two parts: ``share`` of it is for validation."""
    order = np.random.default_rng(seed).permutation(len(pool.labels))
    cut = round(share * len(order))
    return {"valid": pool.only(np.sort(order[:cut])), "train": pool.only(np.sort(order[cut:]))}


def by_speaker(pool: Pool, validation: Sequence[str]) -> dict[str, Pool]:
    """A pool in two parts: the speakers ``validation`` and the others."""
    held = np.array([speaker in validation for speaker in pool.speakers])
    return {
        "valid": pool.only(np.flatnonzero(held)),
        "train": pool.only(np.flatnonzero(~held)),
    }


def there(vector: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """A row of posteriors; None where its modality is missing."""
    return None if np.isnan(vector).all() else vector


COPIES = 2
"""Versions of each training clip as another microphone and camera would have taken it."""


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """Posteriors of N items in several versions, with all that is known of them; ``spoilt``: of
    the same items full of noise."""

    versions: tuple[Posteriors, ...]
    emotion: NDArray[np.int64]
    polarity: NDArray[np.int64]
    speakers: tuple[str, ...]
    spoilt: Posteriors | None = None

    def pool(self, names: tuple[str, ...]) -> Pool:
        """With the labels of ``names``: the three polarities, or the eight emotions."""
        labels = self.polarity if names == POLARITY_LABELS else self.emotion
        assert names in (POLARITY_LABELS, EMOTIONS)
        return Pool(names, labels, self.speakers, self.versions, self.spoilt)


@dataclass(frozen=True, slots=True, eq=False)
class Strangers:
    """Posteriors on people that the experts have not met: to learn the fusion from, and to measure
    it. ``pictures``: the pixel network alone on all of FER2013's private test part, seven classes.
    """

    clips: Known
    stills: Known
    test_clips: Known
    test_stills: Known
    pictures: Scores


def know_strangers(
    config: ExpertsConfig,
    experts: Sequence[Experts],
    groups: Sequence[Sequence[int]],
    clips: Sequence[RavdessClip],
    seed: int,
    copies: int = COPIES,
) -> Known:
    """Each group of actors, judged by the experts that never met it."""
    parts = []
    for number, (expert, group) in enumerate(zip(experts, groups, strict=True)):
        theirs = of_actors(clips, group)
        parts.append(know_clips(config, expert, theirs, seed + number, copies))
    return Known(
        tuple(_joined([part.versions[k] for part in parts]) for k in range(copies + 1)),
        np.concatenate([part.emotion for part in parts]),
        np.concatenate([part.polarity for part in parts]),
        tuple(speaker for part in parts for speaker in part.speakers),
        _joined([part.spoilt for part in parts if part.spoilt is not None]),
    )


def know_clips(
    config: ExpertsConfig,
    experts: Experts,
    clips: Sequence[RavdessClip],
    seed: int = 0,
    copies: int = 0,
) -> Known:
    """What ``experts`` say of ``clips``: unchanged, then ``copies`` changed ones; and of noise."""
    rng = np.random.default_rng([seed, 77])
    versions = [of_clips(config, experts, clips)]
    versions += [of_clips(config, experts, clips, rng) for _ in range(copies)]
    speakers = tuple(f"actor {clip.actor}" for clip in clips)
    rng = np.random.default_rng([seed, 79])
    spoilt = of_clips(config, experts, [noisy_clip(clip, rng) for clip in clips])
    return Known(tuple(versions), emotions_of(clips), polarities_of(clips), speakers, spoilt)


def know_stills(config: ExpertsConfig, experts: Experts, stills: Stills) -> Known:
    """What ``experts`` say of ``stills``; everyone in them is a stranger."""
    speakers = ("still",) * len(stills.pictures)
    said = of_stills(config, experts, stills)
    spoilt = of_stills(config, experts, noisy_stills(stills, np.random.default_rng(80)))
    return Known((said,), stills.emotion, stills.polarity, speakers, spoilt)


def _joined(parts: Sequence[Posteriors]) -> Posteriors:
    return Posteriors(
        np.concatenate([part.audio for part in parts]),
        np.concatenate([part.face for part in parts]),
    )


def guard_material(
    clips: dict[str, Pool],
    stills: dict[str, Pool],
    draw: Callable[[Pool, Pool], list[Sample]],
) -> GuardMaterial:
    """What the guard of a fusion is fitted on: all clips, also those whose emotion has no label
    here (it must not take surprise for damage); the made-up videos of the validation part, with
    those clips, as they are and in noise.

    ``draw``: the validation part's samples from its clips and stills.
    """
    names = clips["train"].names
    labels = {name: float(index) for index, name in enumerate(names)}

    def videos(*parts: list[Sample]) -> Videos:
        samples = [sample for part in parts for sample in part]
        encoded = {sample.key: labels.get(sample.labels.get("label", "")) for sample in samples}
        first = clips["train"].versions[0]
        return make_videos(
            samples, encoded, {"audio": first.audio.shape[1], "face": first.face.shape[1]}
        )

    every = [
        sample
        for version in range(len(clips["train"].versions))
        for sample in _alone(clips["train"], version, lambda label: True)
    ]
    sound, noisy = (
        (clips["valid"], stills["valid"]),
        (
            clips["valid"].in_noise(),
            stills["valid"].in_noise(),
        ),
    )
    return GuardMaterial(
        videos(every),
        *(
            videos(
                draw(*pools),
                _alone(pools[0], 0, lambda label: label < 0),
            )
            for pools in (sound, noisy)
        ),
    )


def _alone(pool: Pool, version: int, chosen: Callable[[int], bool]) -> list[Sample]:
    """Each utterance of ``pool`` whose label is ``chosen``, as a video of its own."""
    said = pool.versions[version]
    return [
        Sample(
            key=f"alone {version} {row}",
            video=f"alone {version} {row}",
            labels={"label": pool.names[label]} if label >= 0 else {},
            audio=there(said.audio[row]),
            face=there(said.face[row]),
        )
        for row, label in enumerate(pool.labels)
        if chosen(int(label))
    ]


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
