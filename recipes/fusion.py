"""The fusion of the experts: HMTL's network over their posteriors, trained as by ``avsent train``.

It learns from synthetic videos of one actor's clips, or of stills, 1 to 8 utterances long, some of
one label throughout and some mixed. With mixed ones alone, the network would learn to read an
utterance against its neighbours, and call a sad face in a sad video neutral.
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
from avsent.extraction.features.voice import FLOOR_DB, audio_features, normalised_log
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
from avsent.training.data.text import TextItem
from avsent.training.dataset import Videos, make_videos
from avsent.training.modality_check import SNR, GuardData, noisy_landmarks
from avsent.training.run import Trained, train_seed
from avsent.training.settings import OptimiserSettings, TrainSettings, TransferSettings
from avsent.training.source import pretrain_source
from avsent.training.splits import make_seed_data, make_task
from avsent.training.trainer import SeedContext
from recipes.corpora import (
    Stills,
    another_microphone,
    emotions_of,
    load_clips,
    of_actors,
    polarities_of,
)
from recipes.members import Task, Workspace, cached_prosody, members, train_prosody_member
from recipes.ravdess import RavdessClip
from recipes.scores import Scores

CHUNK = 256
COPIES = 2
"""Versions of each training clip as recorded by another microphone and camera."""
FER_EMOTIONS = ("angry", "disgust", "fearful", "happy", "neutral", "sad", "surprised")
"""FER2013's order, in the names of ``EMOTIONS``."""
FER_COUNTS = (3879, 389, 3988, 7157, 4917, 4780, 2896)
"""Training images of each."""
MOST_UTTERANCES = 8
UNIFORM_VIDEOS = 0.1
"""Share of synthetic videos with one label throughout."""
SINGLE_VIDEOS = 0.25
"""Share of synthetic videos of a single utterance."""
_LIKE = {"calm": "neutral"}

Array = NDArray[np.float32]


def noisy_clip(clip: RavdessClip, rng: np.random.Generator) -> RavdessClip:
    """``clip`` with noise at ``SNR`` in its sound and on its landmarks."""
    changed = clip
    if clip.sound is not None:
        power, prosody = _voice(noisy_sound(clip.sound, SNR, rng))
        changed = dataclasses.replace(changed, mel_power=power, prosody=prosody)
    if clip.face is not None:
        landmarks = noisy_landmarks(clip.face.landmarks, SNR, rng)
        changed = dataclasses.replace(
            changed, face=dataclasses.replace(clip.face, landmarks=landmarks)
        )
    return changed


def noisy_stills(stills: Stills, rng: np.random.Generator) -> Stills:
    """``stills`` with noise at ``SNR`` in their pictures, and on their landmarks as much as a
    face's movement over a clip, ``MIN_MOVEMENT`` over the root of ``SNR``."""
    landmarks = [noisy_landmarks(one[None].numpy(), SNR, rng) for one in stills.landmarks]
    return dataclasses.replace(
        stills,
        landmarks=torch.from_numpy(np.concatenate(landmarks)),
        pictures=noisy_pictures(stills.pictures, SNR, rng),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Posteriors:
    """The experts' log probabilities for N items: ``audio`` [N, A] and ``face`` [N, F]; a row of
    NaN for a missing modality."""

    audio: NDArray[np.float32]
    face: NDArray[np.float32]

    def only(self, rows: NDArray[np.int64]) -> Posteriors:
        """These items alone."""
        return Posteriors(self.audio[rows], self.face[rows])


@dataclass(frozen=True, slots=True, eq=False)
class Experts:
    """Trained members, and the pixel network."""

    audio: tuple[AudioMember, ...]
    prosody: tuple[ProsodyMember, ...]
    face: tuple[FaceMember, ...]
    pixels: PixelNetwork

    def networks(self, config: ExpertsConfig) -> tuple[AudioExperts, FaceExperts]:
        """The members in the networks of a model, in evaluation mode."""
        config = dataclasses.replace(
            config, audio_members=len(self.audio), face_members=len(self.face)
        )
        audio, face = AudioExperts(config), FaceExperts(config)
        own = (*audio.members, *audio.prosody, *face.members)
        for network, member in zip(own, (*self.audio, *self.prosody, *self.face), strict=True):
            network.load_state_dict(member.state_dict())
        face.pixels.load_state_dict(self.pixels.state_dict())
        return audio.eval(), face.eval()


def cross_fitted(
    config: ExpertsConfig,
    groups: Sequence[Sequence[int]],
    pixels: PixelNetwork,
    seed: int,
    workspace: Workspace,
) -> list[Experts]:
    """One member of each kind per group of actors, trained on the clips of all other groups."""
    clips = load_clips(workspace.data, workspace.cache)
    versions = cached_prosody(clips, workspace.cache)
    tasks, prosody_members = [], []
    for number, group in enumerate(groups):
        others = tuple(actor for other in groups if other is not group for actor in other)
        tasks += [Task(kind, others, 100 * seed + number, config) for kind in ("audio", "face")]
        rows = [row for row, clip in enumerate(clips) if clip.actor in others]
        prosody_members.append(
            train_prosody_member(config, [clips[r] for r in rows], versions[:, rows])
        )
    made = members(tasks, workspace)
    found = []
    for audio, prosody, face in zip(made[::2], prosody_members, made[1::2], strict=True):
        assert isinstance(audio, AudioMember)
        assert isinstance(face, FaceMember)
        found.append(Experts((audio,), (prosody,), (face,), pixels))
    return found


def ensemble(experts: Sequence[Experts]) -> Experts:
    """All members as one ensemble."""
    return Experts(
        tuple(member for one in experts for member in one.audio),
        tuple(member for one in experts for member in one.prosody),
        tuple(member for one in experts for member in one.face),
        experts[0].pixels,
    )


@torch.inference_mode()
def posteriors_of_clips(
    config: ExpertsConfig,
    experts: Experts,
    clips: Sequence[RavdessClip],
    rng: np.random.Generator | None = None,
) -> Posteriors:
    """Posteriors of ``clips``, unchanged or, with ``rng``, augmented as by another microphone and
    camera."""
    audio_experts, face_experts = experts.networks(config)
    audio = np.full((len(clips), config.posteriors("audio")), np.nan, dtype=np.float32)
    face = np.full((len(clips), config.posteriors("face")), np.nan, dtype=np.float32)
    for row, clip in enumerate(clips):
        inputs = _audio_inputs(clip, rng)
        if inputs is not None:
            audio[row] = audio_experts.posteriors(*inputs)[0][0].numpy()
        if clip.face is not None:
            neutral = clip.face.neutral
            last = clip.face.landmarks[:1] if neutral is None else neutral[None]
            frames = torch.from_numpy(np.concatenate([clip.face.landmarks, last]))[None]
            if rng is not None:
                generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
                frames = augmented_landmarks(frames, generator)
            extras = FaceExtras(neutral=None if neutral is None else frames[:, -1])
            face[row] = _face_posteriors(face_experts, frames[:, :-1], extras)[0]
    return Posteriors(audio, face)


def _audio_inputs(
    clip: RavdessClip, rng: np.random.Generator | None
) -> tuple[Tensor, Tensor, Tensor | None] | None:
    """Log-mel [1, mel, N], its length [1] and prosody [1, 24]; None for a silent clip."""
    power, prosody, sound = clip.mel_power, clip.prosody, clip.sound
    if rng is not None and sound is not None:
        power, prosody = _voice(another_microphone(sound, SAMPLE_RATE_HZ, rng))
    if power is None:
        return None
    log_mel = torch.from_numpy(normalised_log(power, FLOOR_DB))[None]
    known = None if prosody is None else torch.from_numpy(prosody)[None]
    return log_mel, torch.tensor([log_mel.shape[2]]), known


def _voice(sound: Array) -> tuple[Array, Array | None] | tuple[None, None]:
    """Mel power [mel, N] and prosody [24] of samples; None for silence."""
    found = audio_features(sound, 0.0)
    return (None, None) if found is None else (found.power, found.prosody)


@torch.inference_mode()
def posteriors_of_stills(config: ExpertsConfig, experts: Experts, stills: Stills) -> Posteriors:
    """Posteriors of ``stills``: landmarks and pixels of one frame, no movement and no voice."""
    _, face_experts = experts.networks(config)
    face = []
    for first in range(0, len(stills.pictures), CHUNK):
        rows = slice(first, first + CHUNK)
        looks = face_experts.classify_pixels(torch.from_numpy(standardised(stills.pictures[rows])))
        extras = FaceExtras(pixels=looks[:, None])
        face.append(_face_posteriors(face_experts, stills.landmarks[rows][:, None], extras))
    audio = np.full((len(stills.pictures), config.posteriors("audio")), np.nan, dtype=np.float32)
    return Posteriors(audio, np.concatenate(face))


def _face_posteriors(experts: FaceExperts, landmarks: Tensor, extras: FaceExtras) -> Array:
    mask = torch.ones(landmarks.shape[:2], dtype=torch.bool)
    found: Array = experts.posteriors(landmarks, mask, extras)[0].numpy()
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """Utterances for synthetic videos. ``labels`` [N]: index in ``names``, −1 for none;
    ``speakers`` [N]; ``versions``: their posteriors, unchanged first, then augmented; ``noisy``:
    with noise, if known."""

    names: tuple[str, ...]
    labels: NDArray[np.int64]
    speakers: tuple[str, ...]
    versions: tuple[Posteriors, ...]
    noisy: Posteriors | None = None

    def only(self, rows: NDArray[np.int64]) -> Pool:
        """These utterances alone."""
        versions = tuple(said.only(rows) for said in self.versions)
        speakers = tuple(self.speakers[row] for row in rows)
        noisy = None if self.noisy is None else self.noisy.only(rows)
        return Pool(self.names, self.labels[rows], speakers, versions, noisy)

    def labelled(self) -> Pool:
        """The utterances with a label."""
        return self.only(np.flatnonzero(self.labels >= 0))

    def with_noise(self) -> Pool:
        """The same utterances with noise."""
        assert self.noisy is not None
        return dataclasses.replace(self, versions=(self.noisy,) * len(self.versions))


def split_pool(pool: Pool, share: float, seed: int) -> dict[str, Pool]:
    """Two parts of a pool without speakers; a ``share`` of it is for validation."""
    order = np.random.default_rng(seed).permutation(len(pool.labels))
    cut = round(share * len(order))
    return {"valid": pool.only(np.sort(order[:cut])), "train": pool.only(np.sort(order[cut:]))}


def by_speaker(pool: Pool, validation: Sequence[str]) -> dict[str, Pool]:
    """Two parts of a pool: the speakers ``validation`` and the others."""
    held = np.array([speaker in validation for speaker in pool.speakers])
    return {
        "valid": pool.only(np.flatnonzero(held)),
        "train": pool.only(np.flatnonzero(~held)),
    }


def _vector(vector: Array) -> Array | None:
    """A row of posteriors; None if its modality is missing."""
    return None if np.isnan(vector).all() else vector


@dataclass(frozen=True, slots=True, eq=False)
class LabelledPosteriors:
    """Posteriors of N items in several versions, with their labels; ``noisy``: of the same items
    with noise."""

    versions: tuple[Posteriors, ...]
    emotion: NDArray[np.int64]
    polarity: NDArray[np.int64]
    speakers: tuple[str, ...]
    noisy: Posteriors | None = None

    def pool(self, names: tuple[str, ...]) -> Pool:
        """With the labels of ``names``: the three polarities, or the eight emotions."""
        labels = self.polarity if names == POLARITY_LABELS else self.emotion
        assert names in (POLARITY_LABELS, EMOTIONS)
        return Pool(names, labels, self.speakers, self.versions, self.noisy)


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """Posteriors on people held out from the experts: the fusion is trained and tested on them.
    ``pictures``: scores of the pixel network alone on all of FER2013's private test part, seven
    classes."""

    clips: LabelledPosteriors
    stills: LabelledPosteriors
    test_clips: LabelledPosteriors
    test_stills: LabelledPosteriors
    pictures: Scores


def out_of_fold_posteriors(
    config: ExpertsConfig,
    experts: Sequence[Experts],
    groups: Sequence[Sequence[int]],
    clips: Sequence[RavdessClip],
    seed: int,
    copies: int = COPIES,
) -> LabelledPosteriors:
    """Out-of-fold posteriors: of each group of actors, by the experts trained on the others."""
    parts = [
        clip_posteriors(config, expert, of_actors(clips, group), seed + number, copies)
        for number, (expert, group) in enumerate(zip(experts, groups, strict=True))
    ]
    return LabelledPosteriors(
        tuple(_joined([part.versions[k] for part in parts]) for k in range(copies + 1)),
        np.concatenate([part.emotion for part in parts]),
        np.concatenate([part.polarity for part in parts]),
        tuple(speaker for part in parts for speaker in part.speakers),
        _joined([part.noisy for part in parts if part.noisy is not None]),
    )


def clip_posteriors(
    config: ExpertsConfig,
    experts: Experts,
    clips: Sequence[RavdessClip],
    seed: int = 0,
    copies: int = 0,
) -> LabelledPosteriors:
    """Posteriors of ``clips``: unchanged, then of ``copies`` augmented ones; and with noise."""
    rng = np.random.default_rng([seed, 77])
    versions = [posteriors_of_clips(config, experts, clips)]
    versions += [posteriors_of_clips(config, experts, clips, rng) for _ in range(copies)]
    speakers = tuple(f"actor {clip.actor}" for clip in clips)
    rng = np.random.default_rng([seed, 79])
    noisy = posteriors_of_clips(config, experts, [noisy_clip(clip, rng) for clip in clips])
    return LabelledPosteriors(
        tuple(versions), emotions_of(clips), polarities_of(clips), speakers, noisy
    )


def still_posteriors(config: ExpertsConfig, experts: Experts, stills: Stills) -> LabelledPosteriors:
    """Posteriors of ``stills``; all people in them are held out from the experts."""
    speakers = ("still",) * len(stills.pictures)
    clean = posteriors_of_stills(config, experts, stills)
    noisy = posteriors_of_stills(config, experts, noisy_stills(stills, np.random.default_rng(80)))
    return LabelledPosteriors((clean,), stills.emotion, stills.polarity, speakers, noisy)


def _joined(parts: Sequence[Posteriors]) -> Posteriors:
    return Posteriors(
        np.concatenate([part.audio for part in parts]),
        np.concatenate([part.face for part in parts]),
    )


def guard_material(
    clips: dict[str, Pool],
    stills: dict[str, Pool],
    draw: Callable[[Pool, Pool], list[Sample]],
) -> GuardData:
    """Data to fit the guard of a fusion on: all training clips, including those whose emotion has
    no label here (surprise is no damage); the synthetic videos of the validation part, with such
    clips, without and with noise.

    ``draw``: the validation part's samples from its clips and stills.
    """
    first = clips["train"].versions[0]
    sizes = {"audio": first.audio.shape[1], "face": first.face.shape[1]}
    indices = {name: float(index) for index, name in enumerate(clips["train"].names)}

    def videos(samples: list[Sample]) -> Videos:
        labels = {sample.key: indices.get(sample.labels.get("label", "")) for sample in samples}
        return make_videos(samples, labels, sizes)

    def validation(own: Pool, still: Pool) -> Videos:
        return videos([*draw(own, still), *_single_videos(own, 0, unlabelled_only=True)])

    versions = range(len(clips["train"].versions))
    return GuardData(
        videos([sample for v in versions for sample in _single_videos(clips["train"], v)]),
        validation(clips["valid"], stills["valid"]),
        validation(clips["valid"].with_noise(), stills["valid"].with_noise()),
    )


def _single_videos(pool: Pool, version: int, *, unlabelled_only: bool = False) -> list[Sample]:
    """Each utterance of ``pool``, or only those without a label, as a video of its own."""
    posteriors = pool.versions[version]
    return [
        Sample(
            key=f"alone {version} {row}",
            video=f"alone {version} {row}",
            labels={"label": pool.names[label]} if label >= 0 else {},
            audio=_vector(posteriors.audio[row]),
            face=_vector(posteriors.face[row]),
        )
        for row, label in enumerate(pool.labels)
        if label < 0 or not unlabelled_only
    ]


@dataclass(frozen=True, slots=True)
class FusionTraining:
    """Settings of the fusion: numbers of synthetic videos, settings of ``avsent train``.

    ``missing``: share of videos that lack one modality throughout and, of the others, share of
    utterances that lack one; ``vote``: the experts' votes are added to the network's logits;
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
    settings: FusionTraining,
    seed: int,
    texts: list[TextItem] | None = None,
) -> Trained:
    """Train the fusion on pools by part ("train", "valid"); ``texts`` teach it if the transfer
    settings name a source."""
    samples = [
        sample
        for part in ("train", "valid")
        for sample in draw_samples(clips[part], stills[part], settings, seed, part)
    ]
    first = next(iter(clips.values()))
    sizes = {"audio": first.versions[0].audio.shape[1], "face": first.versions[0].face.shape[1]}
    corpus = Corpus(name="posteriors", samples=tuple(samples), vectors=sizes)
    train_settings = TrainSettings(
        label="label",
        labels=",".join(first.names),
        context=settings.context,
        transfer=settings.transfer,
        optimiser=settings.optimiser,
        fusion=settings.fusion,
        votes=vote_streams(first.names) if settings.vote else (),
        check=settings.check,
    )
    task = make_task(corpus, train_settings.label, train_settings.labels)
    material = make_seed_data(task, train_settings, seed, words=False)
    context = SeedContext(torch.device("cpu"))
    source = None
    if settings.transfer.active:
        source = pretrain_source(material, train_settings, seed, context, texts)
    guard_data = None
    if settings.check and clips["valid"].noisy is not None and stills["valid"].noisy is not None:
        guard_data = guard_material(
            clips, stills, lambda own, still: draw_samples(own, still, settings, seed, "valid")
        )
    return train_seed(material, train_settings, seed, context, source, guard_data)


def draw_samples(
    clips: Pool, stills: Pool, settings: FusionTraining, seed: int, part: str
) -> list[Sample]:
    """The synthetic videos of a ``part``; they depend on the labels and speakers of the pools, not
    on the posteriors."""
    videos = settings.clip_videos if part == "train" else settings.validation_videos
    still_videos = settings.still_videos if part == "train" else settings.validation_videos
    rng = np.random.default_rng([seed, len(part)])
    samples = synthetic_videos(clips, videos, rng, part, "clips", settings.missing)
    return samples + synthetic_videos(stills, still_videos, rng, part, "stills", 0.0)


def vote_streams(names: tuple[str, ...]) -> tuple[VoteConfig, ...]:
    """For each stream, the columns of the labels ``names`` (polarities or emotions) in its
    modality, and the log prior of these labels in its training."""
    emotions, polarities = len(EMOTIONS), len(POLARITY_LABELS)
    own = emotions + polarities
    acted: tuple[float, ...] = ()
    both: tuple[float, ...] = ()
    if names == POLARITY_LABELS:
        said = tuple(range(emotions, own))
        looked = tuple(range(len(FER_EMOTIONS), len(FER_EMOTIONS) + polarities))
        # Members are trained on balanced emotions.
        clips, stills = (_by_polarity(dict.fromkeys(of, 1.0)) for of in (EMOTIONS, FER_EMOTIONS))
        acted, both = np.log(clips).tolist(), np.log((clips + stills) / 2).tolist()
        pictured = np.log(_by_polarity(dict(zip(FER_EMOTIONS, FER_COUNTS, strict=True))))
    else:
        said = tuple(range(emotions))
        # FER2013 has no calm: pixels do not tell calm from neutral.
        looked = tuple(FER_EMOTIONS.index(_LIKE.get(name, name)) for name in EMOTIONS)
        counts = np.array(FER_COUNTS, dtype=np.float64)
        pictured = np.log(counts / counts.sum())[list(looked)]
    again = tuple(own + column for column in said)
    return (
        VoteConfig("audio", said, tuple(acted)),
        VoteConfig("audio", again),  # prosody: trained with equal class weights
        VoteConfig("face", said, tuple(both)),
        VoteConfig("face", again, tuple(acted)),  # movement
        VoteConfig("face", tuple(2 * own + c for c in looked), tuple(pictured.tolist())),
    )


def _by_polarity(emotions: Mapping[str, float]) -> NDArray[np.float64]:
    """Shares of the polarities, from counts by emotion."""
    shares = np.zeros(len(POLARITY_LABELS))
    for name, count in emotions.items():
        polarity = polarity_of(name)
        if polarity is not None:
            shares[polarity] += count
    return np.asarray(shares / shares.sum())


def synthetic_videos(
    pool: Pool, count: int, rng: np.random.Generator, part: str, what: str, missing: float
) -> list[Sample]:
    """Samples of ``count`` videos, each of one speaker (stills: of any)."""
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
            audio, face = _vector(heard.audio[row]), _vector(seen.face[row])
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
    """The shipped model: ``experts`` as encoders, the trained fusion on top."""
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


def noisy_sound(
    samples: NDArray[np.float32], snr: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Mono ``samples`` [N] with white noise of 1 / ``snr`` times their power."""
    level = float(np.sqrt(np.mean(np.square(samples, dtype=np.float64)) / snr))
    return (samples + level * rng.normal(size=samples.shape)).astype(np.float32)


def noisy_pictures(
    pictures: NDArray[np.uint8], snr: float, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Grey ``pictures`` [N, H, W] with white noise of 1 / ``snr`` times the variance of each."""
    spread = pictures.std(axis=(1, 2), keepdims=True) / np.sqrt(snr)
    noisy = pictures + spread * rng.normal(size=pictures.shape)
    return np.asarray(np.clip(noisy, 0, 255), dtype=np.uint8)
