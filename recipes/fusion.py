"""The fusion of the experts: HMTL's network over their posteriors.

It starts as the sum of the experts' log probabilities, each with its own weight, and learns from
synthetic videos, 1 to 8 utterances long:

- RAVDESS: voice and face of one actor's clips;
- pairs: voices of any corpus with faces of any corpus, matched by label;
- voices of any corpus, faces of stills, alone.

Some have one label throughout and some are mixed: with mixed ones alone, the network would learn to
read an utterance against its neighbours, and call a sad face in a sad video neutral. In a share of
the pairs voice and face have different labels, and the face is right more often: in real videos
they often disagree, and two unsure streams must not make a sure decision. Some of the voices of
videos without faces have another label than the one that is told.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from avsent.labels import MODALITIES
from avsent.model.networks.config import ContextConfig, FusionConfig
from avsent.model.networks.target import TargetModel
from avsent.training.data.corpus import Corpus, Sample
from avsent.training.dataset import Videos, make_videos
from avsent.training.evaluation import calibrate, held_out_predictions
from avsent.training.modality_check import GuardData, fit_guard
from avsent.training.run import Trained
from avsent.training.settings import OptimiserSettings, TrainSettings
from avsent.training.splits import make_seed_data, make_task
from avsent.training.start import start_as_linear
from avsent.training.trainer import SeedContext, fit, make_model
from recipes.posteriors import streams_of

Array = NDArray[np.float32]

MOST_UTTERANCES = 8
UNIFORM_VIDEOS = 0.12
"""Share of synthetic videos with one label throughout."""
SINGLE_VIDEOS = 0.35
"""Share of synthetic videos of a single utterance."""
LIKE = {"calm": "neutral"}
"""Labels that stills lack, and what stands in for them."""
KINDS = {"ravdess": 0.35, "pairs": 0.3, "voices": 0.2, "faces": 0.15}
"""Shares of the kinds of synthetic videos."""
MISTAKEN = 0.2
"""Share of voices alone that have another label than the one that is told: what experts say of a
corpus that the fusion knows is righter than of one that it does not."""
FACE_RIGHT = 0.75
"""Share of the disagreements between voice and face in which the face is right."""
CLIP_FACES = 0.35
"""Share of pairs whose faces are an actor's."""
GRAFTED = 0.7
"""Share of RAVDESS's faces, which have no pictures, that get those of a still with their label."""
SCALE = 0.05
"""Of the logits inside the network at the start: there tanh is nearly linear."""


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """N utterances of one modality, or of both (then row for row). ``labels`` [N]: index in
    ``names``, −1 for none; ``corpora``, ``speakers`` [N]; ``versions``: posteriors of the modality
    [N, R], unchanged first, then augmented; ``noisy`` [N, R]: with noise, if known."""

    names: tuple[str, ...]
    labels: NDArray[np.int64]
    corpora: NDArray[np.str_]
    speakers: NDArray[np.str_]
    audio: tuple[Array, ...] = ()
    face: tuple[Array, ...] = ()
    noisy: dict[str, Array] = field(default_factory=dict)

    def only(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> Pool:
        """These utterances alone."""
        return Pool(
            self.names,
            self.labels[rows],
            self.corpora[rows],
            self.speakers[rows],
            tuple(version[rows] for version in self.audio),
            tuple(version[rows] for version in self.face),
            {modality: values[rows] for modality, values in self.noisy.items()},
        )

    def labelled(self) -> Pool:
        """The utterances with a label."""
        return self.only(self.labels >= 0)

    def with_noise(self) -> Pool:
        """The same utterances with noise."""
        return dataclasses.replace(
            self,
            audio=(self.noisy["audio"],) * len(self.audio) if self.audio else (),
            face=(self.noisy["face"],) * len(self.face) if self.face else (),
        )

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True, eq=False)
class Pools:
    """What the fusion learns from: ``clips`` with voice and face, ``voices``, ``stills``."""

    clips: Pool
    voices: Pool
    stills: Pool

    def without(self, corpus: str) -> Pools:
        """All but the voices of ``corpus``."""
        voices = self.voices.only(self.voices.corpora != corpus)
        return dataclasses.replace(self, voices=voices)

    def with_noise(self) -> Pools:
        """The same utterances with noise."""
        return Pools(*(pool.with_noise() for pool in (self.clips, self.voices, self.stills)))

    def split(self, validation: Sequence[str], share: float, seed: int) -> dict[str, Pools]:
        """Two parts: for validation the speakers ``validation`` of the clips' corpus, and a
        ``share`` of the speakers of every other corpus."""
        rng = np.random.default_rng(seed)
        held = [np.isin(self.clips.speakers, validation)]
        acted = np.unique(self.clips.corpora)
        for pool in (self.voices, self.stills):
            chosen = np.zeros(len(pool), dtype=np.bool_)
            for corpus in np.unique(pool.corpora):
                people = np.unique(pool.speakers[pool.corpora == corpus])
                some = rng.permutation(people)[: max(1, round(share * len(people)))]
                if corpus in acted:
                    some = np.array(validation)
                chosen |= np.isin(pool.speakers, some) & (pool.corpora == corpus)
            held.append(chosen)
        pools = self.clips, self.voices, self.stills
        return {
            "train": Pools(*(pool.only(~rows) for pool, rows in zip(pools, held, strict=True))),
            "valid": Pools(*(pool.only(rows) for pool, rows in zip(pools, held, strict=True))),
        }


class _Rows:
    """Rows of a pool by source (a speaker of a corpus; of stills the corpus) and label."""

    def __init__(self, pool: Pool, *, by_corpus: bool = False) -> None:
        sources = pool.corpora if by_corpus else np.char.add(pool.corpora, pool.speakers)
        self.of: dict[str, dict[int, NDArray[np.int64]]] = {}
        self.sources: dict[str, list[str]] = {}
        for source in np.unique(sources):
            own = sources == source
            found = {
                int(label): np.flatnonzero(own & (pool.labels == label))
                for label in np.unique(pool.labels[own & (pool.labels >= 0)])
            }
            if found:
                self.of[str(source)] = found
                corpus = str(pool.corpora[own][0])
                self.sources.setdefault(corpus, []).append(str(source))

    def draw(self, rng: np.random.Generator) -> dict[int, NDArray[np.int64]]:
        """The rows by label of some source; every corpus is as likely."""
        corpora = sorted(self.sources)
        sources = self.sources[corpora[int(rng.integers(len(corpora)))]]
        return self.of[sources[int(rng.integers(len(sources)))]]


class VideoMaker:
    """Draws synthetic videos from ``pools``; ``disagree``: share of pairs with different labels;
    ``missing``: share of videos that lack one modality throughout and, of the others, share of
    utterances that lack one."""

    def __init__(self, pools: Pools, disagree: float, missing: float) -> None:
        self.pools, self.disagree, self.missing = pools, disagree, missing
        self._clips, self._voices = _Rows(pools.clips), _Rows(pools.voices)
        self._stills = _Rows(pools.stills, by_corpus=True)
        self._names = pools.clips.names
        self._pixels = streams_of(self._names)["pixels"].own

    def make(self, count: int, rng: np.random.Generator, part: str) -> list[Sample]:
        """Samples of ``count`` videos."""
        kinds = list(KINDS)
        drawn = rng.choice(len(kinds), size=count, p=list(KINDS.values()))
        return [
            sample
            for number, kind in enumerate(drawn)
            for sample in self._video(kinds[kind], f"{part} {kinds[kind]} {number}", part, rng)
        ]

    def _video(self, kind: str, name: str, part: str, rng: np.random.Generator) -> list[Sample]:
        voices, faces, pool = self._sources(kind, rng)
        labels = self._labels(voices, faces, rng)
        lost = rng.random()
        samples = []
        for place, label in enumerate(labels):
            audio, face, told = self._utterance(kind, voices, faces, pool, label, rng)
            if audio is not None and face is not None:
                whole = lost < self.missing / 2 or lost > 1 - self.missing / 2
                chance = lost if whole else rng.random()
                audio = None if chance < self.missing / 2 else audio
                face = None if chance > 1 - self.missing / 2 else face
            samples.append(
                Sample(
                    key=f"{name}/{place}",
                    video=name,
                    speaker=name,
                    split=part,
                    labels={"label": self._names[told]},
                    audio=audio,
                    face=face,
                )
            )
        return samples

    def _sources(
        self, kind: str, rng: np.random.Generator
    ) -> tuple[dict[int, NDArray[np.int64]], dict[int, NDArray[np.int64]], Pool]:
        """Rows by label for the voice and for the face (empty: none), and the face's pool."""
        if kind == "ravdess":
            own = self._clips.draw(rng)
            return own, own, self.pools.clips
        voices = {} if kind == "faces" else self._voices.draw(rng)
        if kind == "pairs" and rng.random() < CLIP_FACES:
            return voices, self._clips.draw(rng), self.pools.clips
        return voices, {} if kind == "voices" else self._stills.draw(rng), self.pools.stills

    def _labels(
        self,
        voices: dict[int, NDArray[np.int64]],
        faces: dict[int, NDArray[np.int64]],
        rng: np.random.Generator,
    ) -> list[int]:
        known = [
            label
            for label in range(len(self._names))
            if (not voices or label in voices) and (not faces or self._like(label) in faces)
        ]
        if not known:  # no label in common: the voice's
            known = list(voices or faces)
        alone = rng.random() < SINGLE_VIDEOS
        wanted = rng.choice(known, 1 if alone else int(rng.integers(2, MOST_UTTERANCES + 1)))
        if rng.random() < UNIFORM_VIDEOS:
            wanted[:] = wanted[0]
        return [int(label) for label in wanted]

    def _like(self, label: int) -> int:
        """The label of stills for ``label``."""
        name = self._names[label]
        return self._names.index(LIKE.get(name, name))

    def _utterance(
        self,
        kind: str,
        voices: dict[int, NDArray[np.int64]],
        faces: dict[int, NDArray[np.int64]],
        pool: Pool,
        label: int,
        rng: np.random.Generator,
    ) -> tuple[Array | None, Array | None, int]:
        """Posteriors of voice and face, and the label that is told."""
        pools, told = self.pools, label
        if kind == "ravdess":
            row = int(rng.choice(voices[label]))
            face = _drawn(pools.clips.face, row, rng)
            return _drawn(pools.clips.audio, row, rng), self._grafted(face, label, rng), told
        audio = face = None
        if voices:
            heard, unlike = label, sorted(set(voices) - {label})
            if kind == "voices" and unlike and rng.random() < MISTAKEN:
                heard = int(rng.choice(unlike))
            audio = _drawn(pools.voices.audio, int(rng.choice(voices[heard])), rng)
        if faces:
            seen = self._like(label)
            others = sorted(set(faces) - {seen})
            if voices and others and (seen not in faces or rng.random() < self.disagree):
                seen = int(rng.choice(others))
                told = seen if rng.random() < FACE_RIGHT else label
            face = _drawn(pool.face, int(rng.choice(faces[seen])), rng)
            if pool is pools.clips:
                face = self._grafted(face, seen, rng)
        return audio, face, told

    def _grafted(self, face: Array | None, label: int, rng: np.random.Generator) -> Array | None:
        """A clip's ``face`` with the pixel stream of a still that has its label."""
        if face is None or rng.random() >= GRAFTED:
            return face
        stills = self._stills.draw(rng)
        if self._like(label) not in stills:
            return face
        row = int(rng.choice(stills[self._like(label)]))
        face = face.copy()
        face[self._pixels] = self.pools.stills.face[0][row][self._pixels]
        return face


def _drawn(versions: Sequence[Array], row: int, rng: np.random.Generator) -> Array | None:
    """A row of one of the ``versions``; None where the modality is missing."""
    vector = versions[int(rng.integers(len(versions)))][row]
    return None if np.isnan(vector).all() else vector


@dataclass(frozen=True, slots=True)
class FusionTraining:
    """Settings of the fusion: numbers of synthetic videos, settings of ``avsent train``, ``pull``
    toward the weights at the start (see ``trainer.FitSetup``); ``check``: the model gets a modality
    check."""

    videos: int = 8000
    validation_videos: int = 2000
    disagree: float = 0.2
    missing: float = 0.25
    pull: float = 30.0
    context: ContextConfig = field(
        default_factory=lambda: ContextConfig(
            first_gru=48, dense=64, second_gru=32, classifier=64, dropout=0.15
        )
    )
    optimiser: OptimiserSettings = field(
        default_factory=lambda: OptimiserSettings(
            epochs=8,
            patience=8,
            batch_videos=64,
            learning_rate=3e-4,
            rate_schedule="onecycle",
            weight_decay=1e-3,
            label_smoothing=0.02,
            select="loss",
        )
    )
    fusion: FusionConfig = field(default_factory=FusionConfig)
    start: bool = True
    check: bool = True


def fuse(
    parts: dict[str, Pools],
    settings: FusionTraining,
    seed: int,
) -> Trained:
    """Train the fusion on the pools of the parts "train" and "valid"."""
    counts = {"train": settings.videos, "valid": settings.validation_videos}
    samples: list[Sample] = []
    for part, pools in parts.items():
        maker = VideoMaker(pools, settings.disagree, settings.missing)
        # The validation part is the same for every seed.
        rng = np.random.default_rng([seed if part == "train" else 0, len(part)])
        samples += maker.make(counts[part], rng, part)
    first = parts["train"].clips
    sizes = {"audio": first.audio[0].shape[1], "face": first.face[0].shape[1]}
    corpus = Corpus(name="posteriors", samples=tuple(samples), vectors=sizes)
    train_settings = TrainSettings(
        label="label",
        labels=",".join(first.names),
        context=settings.context,
        optimiser=settings.optimiser,
        fusion=settings.fusion,
        check=settings.check,
    )
    task = make_task(corpus, train_settings.label, train_settings.labels)
    data = make_seed_data(task, train_settings, seed, words=False)
    context = SeedContext(torch.device("cpu"))
    model = make_model(data.config(train_settings, train_settings.target), data.train, seed)
    if settings.start:
        start_from_experts(model, data.train)
    setup = context.setup("target", data.train, data.valid, train_settings, seed)
    progress = fit(model, dataclasses.replace(setup, pull=settings.pull))
    if settings.check:
        model.set_modality_check(
            fit_guard(model, guard_material(parts, settings), context.device, seed)
        )
    calibration = calibrate(model, data.valid, context.device)
    return Trained(
        seed=seed,
        model=model,
        calibration=calibration,
        progress=progress,
        predictions=held_out_predictions(model, data, context.device, calibration),
        pretrained=None,
    )


def guard_material(parts: dict[str, Pools], settings: FusionTraining) -> GuardData:
    """Data to fit the modality check on: synthetic videos, and every training clip whose emotion
    has no label here (surprise is no damage); videos of the validation part, of the voices those of
    its clips alone, without and with noise."""
    held = parts["valid"]
    held = dataclasses.replace(held, voices=dataclasses.replace(held.clips, face=()))
    valid, noisy = (
        VideoMaker(pools, settings.disagree, settings.missing).make(
            settings.validation_videos, np.random.default_rng([0, 5]), "valid"
        )
        for pools in (held, held.with_noise())
    )
    maker = VideoMaker(parts["train"], settings.disagree, 0.0)
    train = maker.make(settings.videos // 2, np.random.default_rng([0, 6]), "train")
    pool = parts["train"].clips
    train += [
        Sample(
            key=f"alone {version} {row}",
            video=f"alone {version} {row}",
            labels={},
            audio=_row(pool.audio[version], row),
            face=_row(pool.face[version], row),
        )
        for version in range(len(pool.audio))
        for row in np.flatnonzero(pool.labels < 0).tolist()
    ]
    return GuardData(*(_videos(samples, pool) for samples in (train, valid, noisy)))


def _row(values: Array, row: int) -> Array | None:
    return _drawn([values], row, np.random.default_rng(0))


def _videos(samples: list[Sample], pool: Pool) -> Videos:
    indices = {name: float(index) for index, name in enumerate(pool.names)}
    labels = {sample.key: indices.get(sample.labels.get("label", "")) for sample in samples}
    sizes = {"audio": pool.audio[0].shape[1], "face": pool.face[0].shape[1]}
    return make_videos(samples, labels, sizes)


# --- The start ------------------------------------------------------------------------------------


@torch.no_grad()
def start_from_experts(model: TargetModel, train: Videos) -> None:
    """Set the weights of ``model`` so that its logits are the weighted sum of the experts' log
    probabilities that fits ``train`` best."""
    sums = {m: _logit_map(model, m) for m in MODALITIES}
    weights, biases = _stream_weights(model, train, sums)
    maps = {
        m: (torch.einsum("s,scr->cr", weights[m], torch.stack(sums[m])), biases[m])
        for m in MODALITIES
    }
    start_as_linear(model, maps, SCALE)


def _logit_map(model: TargetModel, modality: str) -> list[Tensor]:
    """For each stream of ``modality`` a matrix [C, R]: standardised posteriors → log probabilities
    of the labels, from their mean."""
    scale = model.scale(modality)
    deviation = scale.deviation.where(scale.deviation.isfinite(), torch.zeros(()))
    maps = []
    for stream in streams_of(model.config.labels).values():
        if stream.modality == modality:
            found = torch.zeros(len(stream.columns), len(deviation))
            rows = torch.arange(len(stream.columns))
            columns = torch.tensor(stream.columns)
            found[rows, columns] = deviation[columns]
            maps.append(found)
    return maps


@torch.enable_grad()
def _stream_weights(
    model: TargetModel, train: Videos, sums: dict[str, list[Tensor]]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Weight of each stream, and bias [C] of each modality, that give the least cross-entropy."""
    known = train.labels.isfinite() & (train.labels >= 0)
    truth = train.labels[known].long()
    terms: dict[str, Tensor] = {}
    there: dict[str, Tensor] = {}
    for modality in MODALITIES:
        vectors = model.encoder(modality)(train.vectors[modality][known])
        there[modality] = train.present[modality][known][:, None].float()
        terms[modality] = torch.stack([vectors @ part.T for part in sums[modality]])
    weights = {m: torch.ones(len(sums[m]), requires_grad=True) for m in MODALITIES}
    biases = {m: torch.zeros(model.config.outputs, requires_grad=True) for m in MODALITIES}
    optimiser = torch.optim.LBFGS(
        [*weights.values(), *biases.values()], max_iter=50, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        logits = torch.zeros(len(truth), model.config.outputs)
        for m in MODALITIES:
            voted = torch.einsum("s,snc->nc", weights[m], terms[m]) + biases[m]
            logits = logits + there[m] * voted
        total = functional.cross_entropy(logits, truth)
        total.backward()  # type: ignore[no-untyped-call]
        return total

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    return ({m: w.detach() for m, w in weights.items()}, {m: b.detach() for m, b in biases.items()})
