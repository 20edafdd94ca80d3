"""``make train-default``: builds ``models/default`` and ``models/emotion`` from the corpora.

1. The pixel network is trained on FER+'s and the strangers' training parts.
2. Members of the other experts are trained on RAVDESS's actors 1–20, on six foreign corpora of
   voices and on the same stills, each without one group of actors and one corpus, for which it
   gives out-of-fold posteriors.
3. For each set of labels, HMTL's fusion is trained on these posteriors and on the stills'
   validation parts. Actors 17–20, two fifths of the speakers of each foreign corpus and of the
   stills choose the epoch and the seed; the temperature is that of voices of corpora that a fusion
   did not know, and of these stills.
4. Actors 21–24 and the stills' test parts measure the shipped models; ``make bench-strangers``
   measures them on corpora left out.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from avsent.errors import AvsentError
from avsent.extraction.extractor import FeatureConfig
from avsent.labels import EMOTIONS, POLARITY_LABELS
from avsent.model.checkpoint import Calibration, load_checkpoint, save_checkpoint
from avsent.model.index import write_index
from avsent.model.networks.config import ExpertsConfig
from avsent.model.networks.encoders import PixelNetwork, VectorEncoder
from avsent.model.networks.target import TargetModel
from avsent.training.evaluation import fit_temperature
from avsent.training.run import Trained
from recipes import posteriors
from recipes.card import Report, logits_of, write_card
from recipes.fusion import FusionTraining, Pool, Pools, fuse
from recipes.members import Workspace
from recipes.pixels import PixelTraining, judge_pictures, train_pixels
from recipes.posteriors import Experts, Material, cross_fitted, ensemble
from recipes.ravdess import TEST_ACTORS, load_clips
from recipes.scores import scores
from recipes.stills import CORPORA, FERPLUS, Stills, load_stills
from recipes.voices import (
    FOREIGN,
    IN_NOISE,
    WHISPER_AUDIO,
    cached_features,
    load_voices,
    voices_of_clips,
    whisper_encoder,
)

LICENCE = "CC BY-NC-SA 4.0"
GROUPS = ((1, 2, 3, 4), (5, 6, 7, 8), (9, 10, 11, 12), (13, 14, 15, 16), (17, 18), (19, 20))
"""Of RAVDESS's actors; a member learns without one of them and without one foreign corpus."""
CORPORA_OF_VOICES = (*FOREIGN, "BAVED")
VALIDATION = ("actor 17", "actor 18", "actor 19", "actor 20")
HELD = 0.4
"""Share of the foreign speakers and of the stills for validation."""
VERSIONS = (0, 1)
"""Of the voices: as they are, and as of another recording."""
MODELS = {"default": POLARITY_LABELS, "emotion": EMOTIONS}
TRAINED_ON = ("RAVDESS", *CORPORA_OF_VOICES, "FER2013", "strangers")


def main() -> int:
    parser = argparse.ArgumentParser(description="Rebuild the shipped models.")
    parser.add_argument("--data", type=Path, required=True, help="holds ravdess/, voices/, …")
    parser.add_argument(
        "--cache", type=Path, default=Path("cache"), help="keeps all intermediate results"
    )
    parser.add_argument("--out", type=Path, default=Path("models"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=2, help="processes that train members")
    given = parser.parse_args()
    # More threads sum in another order, which gives another model.
    torch.set_num_threads(1)
    try:
        rebuild(Workspace(given.data, given.cache, given.jobs, Timer()), given.out, given.seeds)
    except AvsentError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


class Timer:
    """Prints lines with the seconds since the start, on stderr."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def __call__(self, line: str) -> None:
        print(f"[{time.monotonic() - self._start:6.0f} s] {line}", file=sys.stderr, flush=True)


def rebuild(workspace: Workspace, out: Path, seeds: list[int]) -> None:
    """Train and write both models, their cards and the index."""
    pixels = pixel_network(workspace)
    config = ExpertsConfig(pixels=pixels.config)
    material = load_material(config, workspace)
    experts = cross_fitted(config, GROUPS, CORPORA_OF_VOICES, material, pixels, workspace)
    workspace.say("posteriors")
    test = load_stills(workspace.data, workspace.cache, "ferplus", "test")
    decided = judge_pictures(pixels, test.grey).argmax(axis=1)
    pictures = scores(test.majority, decided, len(FERPLUS))
    for name, labels in MODELS.items():
        held_out = HeldOut.of(config, experts, material, labels, workspace)
        parts = held_out.pools.split(VALIDATION, HELD, seed=0)
        trained = []
        for seed in seeds:
            trained.append(fuse(parts, FusionTraining(), seed))
            value = trained[-1].progress.best_value
            workspace.say(f"{name}, seed {seed}: validation {value:.4f}")
        report = Report(name, labels, tuple(trained), held_out.tests, pictures)
        judged = [left_out(held_out.pools, corpus, seeds[0])[1] for corpus in FOREIGN]
        calibration = Calibration(strangers_temperature(judged, faces_of(parts, report.best)))
        workspace.say(f"{name}: temperature {calibration.temperature:.3f}")
        seeds_of = tuple(dataclasses.replace(one, calibration=calibration) for one in trained)
        report = dataclasses.replace(report, seeds=seeds_of)
        best = report.best
        model = assembled(config, ensemble(experts), best.model)
        save_checkpoint(
            out / name,
            model,
            name=name,
            licence=LICENCE,
            features=FeatureConfig(audio=WHISPER_AUDIO),
            calibration=best.calibration,
            trained_on=TRAINED_ON,
        )
        load_checkpoint(out / name)
        write_card(out / name, report, model)
        workspace.say(f"wrote {out / name}")
    write_index(out)


def pixel_network(workspace: Workspace) -> PixelNetwork:
    """The pixel network, trained or read from the cache.

    Raises:
        DatasetError: a corpus is missing or unreadable.
    """
    settings = PixelTraining()
    ferplus, strangers = (
        load_stills(workspace.data, workspace.cache, corpus, "train") for corpus in CORPORA
    )
    state = workspace.cache / "pixels.safetensors"
    return train_pixels(ferplus, strangers, 0, settings, state, workspace.say)


def load_material(config: ExpertsConfig, workspace: Workspace) -> Material:
    """All clips and voices, with their features.

    Raises:
        DatasetError: a corpus is missing or unreadable.
    """
    clips = load_clips(workspace.data, workspace.cache)
    voices = voices_of_clips(clips) + load_voices(workspace.data)
    versions = []
    for version in VERSIONS:
        versions.append(cached_features(voices, config.whisper, workspace.cache, version))
        workspace.say(f"voices, version {version}")
    noisy = cached_features(voices[: len(clips)], config.whisper, workspace.cache, IN_NOISE)
    return Material(clips, voices, versions, noisy)


@dataclass(frozen=True, slots=True, eq=False)
class HeldOut:
    """Posteriors on people held out from the experts: ``pools`` train and validate the fusion,
    ``tests`` measure it."""

    pools: Pools
    tests: dict[str, Pool]

    @classmethod
    def of(
        cls,
        config: ExpertsConfig,
        experts: list[Experts],
        material: Material,
        names: tuple[str, ...],
        workspace: Workspace,
    ) -> HeldOut:
        """Posteriors with the labels ``names``."""
        clips = [
            clip_pool(config, one, material, group, names, number)
            for number, (one, group) in enumerate(zip(experts, GROUPS, strict=True))
        ]
        everyone = ensemble(experts)
        foreign = [
            voice_pool(config, one, material, corpus, names)
            for one, corpus in zip(experts, FOREIGN, strict=True)
        ]
        stills = {
            (corpus, split): still_pool(
                config,
                everyone,
                load_stills(workspace.data, workspace.cache, corpus, split),
                corpus,
                names,
            )
            for corpus in CORPORA
            for split in ("valid", "test")
        }
        own = merged(clips)
        voices = merged([dataclasses.replace(own, face=(), noisy={}), *foreign])
        pools = Pools(own, voices, merged([stills[corpus, "valid"] for corpus in CORPORA]))
        tests = {
            "clips": clip_pool(config, everyone, material, TEST_ACTORS, names, 99, copies=0),
            **{corpus: stills[corpus, "test"] for corpus in CORPORA},
        }
        return cls(pools, tests)


class Judged(NamedTuple):
    """``logits`` [N, C] on people that the experts do not know, and their labels [N]."""

    logits: NDArray[np.float64]
    truth: NDArray[np.int64]


def left_out(pools: Pools, corpus: str, seed: int) -> tuple[Trained, Judged]:
    """A fusion that learnt without the voices of ``corpus``, and what it says of each of them."""
    test = pools.voices.only(pools.voices.corpora == corpus).labelled()
    parts = pools.without(corpus).split(VALIDATION, HELD, seed=0)
    trained = fuse(parts, FusionTraining(check=False), seed)
    return trained, Judged(logits_of(trained.model, test), test.labels)


def faces_of(parts: Mapping[str, Pools], trained: Trained) -> Judged:
    """What ``trained`` says of the validation part's stills, each alone."""
    stills = parts["valid"].stills.labelled()
    return Judged(logits_of(trained.model, stills), stills.labels)


def strangers_temperature(voices: Sequence[Judged], faces: Judged) -> float:
    """The temperature with the least cross-entropy on people that nothing knows: half by
    ``voices``, each corpus as much, half by ``faces``. Those of RAVDESS have no say: in the studio
    the model is right too often."""
    parts = [*((one, 1 / len(voices)) for one in voices), (faces, 1.0)]
    return fit_temperature(
        np.concatenate([one.logits for one, _ in parts]),
        np.concatenate([one.truth for one, _ in parts]),
        np.concatenate([np.full(len(one.truth), w / len(one.truth)) for one, w in parts]),
    )


def clip_pool(
    config: ExpertsConfig,
    experts: Experts,
    material: Material,
    actors: Sequence[int],
    names: tuple[str, ...],
    seed: int,
    copies: int = 2,
) -> Pool:
    """Voice and face of the clips of ``actors``: unchanged, then ``copies`` augmented ones; and
    with noise."""
    rows = np.array(
        [row for row, clip in enumerate(material.clips) if clip.actor in actors], dtype=np.int64
    )
    clips = [material.clips[row] for row in rows]
    rng = np.random.default_rng([seed, 77])
    versions = [material.versions[min(k, len(material.versions) - 1)] for k in range(copies + 1)]
    noise = np.random.default_rng([seed, 79])
    assert material.noisy is not None
    return Pool(
        names,
        posteriors.clip_labels(clips, names),
        np.array(["RAVDESS"] * len(clips)),
        np.array([f"actor {clip.actor}" for clip in clips]),
        tuple(posteriors.of_voices(config, experts, version, rows) for version in versions),
        (
            posteriors.of_clips(config, experts, clips),
            *(posteriors.of_clips(config, experts, clips, rng) for _ in range(copies)),
        ),
        {
            "audio": posteriors.of_voices(config, experts, material.noisy, rows),
            "face": posteriors.of_clips(config, experts, clips, noise, noisy=True),
        },
    )


def voice_pool(
    config: ExpertsConfig,
    experts: Experts,
    material: Material,
    corpus: str,
    names: tuple[str, ...],
) -> Pool:
    """The labelled voices of ``corpus``."""
    rows = material.rows((), (corpus,))
    voices = [material.voices[row] for row in rows]
    audio = tuple(
        posteriors.of_voices(config, experts, version, rows) for version in material.versions
    )
    return Pool(
        names,
        posteriors.voice_labels(voices, names),
        np.array([corpus] * len(rows)),
        np.array([voice.speaker for voice in voices]),
        audio,
    )


def still_pool(
    config: ExpertsConfig,
    experts: Experts,
    stills: Stills,
    corpus: str,
    names: tuple[str, ...],
) -> Pool:
    """The faces of ``stills`` that were found."""
    stills = stills.only(stills.found)
    face = posteriors.of_stills(config, experts, stills)
    noisy = posteriors.of_stills(config, experts, stills, np.random.default_rng(80))
    return Pool(
        names,
        posteriors.still_labels(stills, names),
        np.array([corpus] * len(stills)),
        np.array([str(person) for person in stills.person]),
        face=(face,),
        noisy={"face": noisy},
    )


def merged(pools: Sequence[Pool]) -> Pool:
    """All utterances of ``pools``, one after the other; of the versions as many as all have."""
    first = pools[0]

    def versions(name: str) -> tuple[np.ndarray, ...]:
        parts = [getattr(pool, name) for pool in pools]
        return tuple(np.concatenate(part) for part in zip(*parts, strict=False))

    return Pool(
        first.names,
        np.concatenate([pool.labels for pool in pools]),
        np.concatenate([pool.corpora for pool in pools]),
        np.concatenate([pool.speakers for pool in pools]),
        versions("audio"),
        versions("face"),
        {
            modality: np.concatenate([pool.noisy[modality] for pool in pools])
            for modality in first.noisy
        },
    )


def assembled(config: ExpertsConfig, experts: Experts, fused: TargetModel) -> TargetModel:
    """The shipped model: ``experts`` as encoders, the trained fusion on top."""
    config = dataclasses.replace(
        config, audio_members=len(experts.voice), face_members=len(experts.face)
    )
    vectors = type(fused.config.vectors)()
    audio = dataclasses.replace(fused.config.audio, mel_bands=config.whisper.mel_bands)
    model = TargetModel(
        dataclasses.replace(fused.config, vectors=vectors, experts=config, audio=audio)
    )
    state = {k: v for k, v in fused.state_dict().items() if "_encoder." not in k}
    model.load_state_dict(state, strict=False)
    for modality, network in zip(("audio", "face"), experts.networks(config), strict=True):
        encoder = model.encoder(modality)
        encoder.load_state_dict(network.state_dict())
        scale, own = fused.encoder(modality), encoder.get_submodule("scale")
        assert isinstance(scale, VectorEncoder)
        own.load_state_dict(scale.state_dict())
    whisper = whisper_encoder(config.whisper).state_dict()
    model.encoder("audio").get_submodule("whisper").load_state_dict(whisper)
    return model.eval()
