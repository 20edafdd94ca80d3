"""``make bench-noise``: M3ER's ablation, and real damage, with and without the modality check.

RAVDESS: damage to sound and landmarks of clips, judged by the shipped models' experts, which were
not trained on the actors; the fusion decides on made-up videos of COMPANY clips of one actor, and
what the signal checks find counts as missing for the protected. MOSI: noise in vectors. Videos:
every clip is damaged in voice or face and predicted with the utterances of the undamaged copy; what
the checks find in clips as they are is a false alarm. Results of seeds are kept in ``--cache``.
"""

import argparse
import dataclasses
import functools
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import damage
import numpy as np
import torch
from bench_mosi import STRONG, Mosi
from harness import Cache, Report, Spread, changed, mean, option_parser, positive, progress, run
from numpy.typing import NDArray

from avsent.errors import AvsentError
from avsent.extraction.features.quality import MOST_UNSTEADY, unsteadiness, voice_quality
from avsent.labels import MODALITIES, POLARITY_LABELS
from avsent.model.networks.config import ExpertsConfig
from avsent.model.networks.modality_check import ModalityCheck
from avsent.model.networks.target import TargetModel
from avsent.options import PredictOptions
from avsent.predictor import Predictor
from avsent.result.record import Result, UtteranceResult
from avsent.training.data.corpus import Sample
from avsent.training.dataset import Videos, batches, encoded, make_videos
from avsent.training.modality_check import (
    DAMAGED_SHARE,
    SNR,
    GuardData,
    fit_guard,
    noisy_landmarks,
    with_noise,
)
from avsent.training.run import train_seed
from avsent.training.splits import make_seed_data
from avsent.training.trainer import SeedContext
from recipes import default_models as recipe
from recipes import posteriors
from recipes.fusion import FusionTraining, fuse, guard_material
from recipes.members import FACE, Workspace
from recipes.ravdess import TEST_ACTORS, of_actors
from recipes.scores import scores
from recipes.voice_members import VoiceTraining
from recipes.voices import voice_features, voices_of_clips

CLIPS = (
    *("acted_disgusted_1080p.mp4", "acted_happy_1080p.mp4", "lrs3_closeup.mp4"),
    *("speech_closeup_512.mp4", "talk_700.mp4", "talk_angry_zh.mp4", "talk_happy_zh.mp4"),
    *("talk_surprise_zh.mp4", "talk_vfr.mp4"),
)
"""With a voice and a face."""
PARTS = ("RAVDESS", "MOSI", "clips")
WAYS = ("check", "no check", "check and proxy")
PLAIN, AS_IT_IS = "none", "as it is"
"""No damage: to a copy like the damaged ones, and to the clip itself."""
MEDIA = (".mp4", ".mpg", ".mov", ".avi", ".webm", ".wav")
CLIP_SEED = 17
VERSION = 5  # raise it when the same settings give other figures
MODALITY_DROPOUT = 0.3
COMPANY = 5
OTHERS = 60  # clips of actors known to the experts, whose voices make the babble
LEAST_LOSS = 0.02  # what costs the unprotected less is no damage: a ratio to it would be noise
CPU = torch.device("cpu")

SOUNDS: Mapping[str, Callable[..., Any]] = {
    "voice: noise, SNR 0.01": lambda s, others, rng: damage.white(s, -20.0, rng),
    "voice: babble, −5 dB": lambda s, others, rng: damage.babble(s, others, -5.0, rng),
    "voice: babble, 0 dB": lambda s, others, rng: damage.babble(s, others, 0.0, rng),
    "voice: music, −5 dB": lambda s, others, rng: damage.music(s, -5.0, rng),
    "voice: clipped, 40 times too loud": lambda s, others, rng: damage.clipped(s, 40.0),
}
MISSING = {"voice: missing": "audio", "face: missing": "face"}
NOISE = ("voice: noise, SNR 0.01", "face: noise, SNR 0.01")


class Protection(NamedTuple):
    """Whether the model was trained with modality dropout; whether modalities are checked; whether
    proxies stand in; ``plain``: the check is M3ER's ρ alone."""

    dropout: bool
    check: bool
    proxy: bool
    plain: bool = False


PROTECTIONS = {
    "unprotected": Protection(False, False, False),
    "ρ alone": Protection(False, True, False, plain=True),
    "check, no proxy": Protection(False, True, False),
    "full: check and proxy": Protection(False, True, True),
    "modality dropout only": Protection(True, False, False),
    "dropout, check": Protection(True, True, False),
    "dropout, check, proxy": Protection(True, True, True),
}
SHIPS = "dropout, check"
NOTE = f"""As in M3ER's ablation (Mittal et al., AAAI 2020) {DAMAGED_SHARE:.0%} of the utterances
of the test part are damaged, each in one modality. Balanced accuracy, mean ± sd over seeds. The
thresholds and the use of proxies were chosen on the validation part, with noise and exchanged
modalities only. *ρ alone*: M3ER's check by canonical correlation; *check*: signal checks, distance
from the training data, ρ; *proxy*: replaces a modality that fails; *modality dropout*:
training utterances lacked a modality ({MODALITY_DROPOUT:.0%} in MOSI; RAVDESS: as in the recipe).
What ships is *{SHIPS}*."""
RAVDESS_NOTE = f"""Three polarities (one of them always: .333), actors 21–24, in made-up videos of
{COMPANY} clips of an actor. RAVDESS has landmarks but no pictures that could be covered or blurred:
for those see the real video."""
MOSI_NOTE = """Two classes (one of them always: .500), features and split of `bench-mosi`, strong
regularisation, no transfer."""

Row = dict[str, Any]
"""An utterance with a ``damage`` to a ``modality``, judged in a ``way``. ``lost``: modalities that
the undamaged, unchecked one has and this one has not; ``why``: its warnings; ``same``: its label is
that of the undamaged, unchecked utterance; ``change``: of the score, absolute."""
Figures = dict[str, Any]
Rng = np.random.Generator
Faults = Mapping[str, NDArray[np.bool_]]  # by modality, whether a signal check finds damage [N]
Said = Mapping[str, NDArray[np.float32]]  # by modality, posteriors [N, R], NaN where it is missing
ShippedAndPlain = tuple[TargetModel, ModalityCheck | None, ModalityCheck | None]
"""A trained model, the guard that ships, and one that uses ρ alone."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = option_parser(__doc__, data="the shared folder data", clips="folder of the clips")
    parser.add_argument("--cache", type=Path, default=Path("cache"))
    parser.add_argument("--seeds", type=positive, default=5)
    parser.add_argument("--videos", type=positive, default=6000, help="that teach a fusion")
    parser.add_argument("--only", choices=PARTS, nargs="+", default=PARTS)
    parser.add_argument("--most-clips", type=positive, help="of real video (default: all)")
    parser.add_argument("--quick", action="store_true", help="only print, write no report")
    return run(parser, measure, arguments)


def measure(options: argparse.Namespace) -> Iterator[Report]:
    torch.set_num_threads(1)
    kept, seeds = Cache(options.cache / "bench" / "noise.jsonl"), range(options.seeds)
    report = Report("noise", "Damaged modalities: checks and proxies", NOTE, seeds=str([*seeds]))

    def per_seed(
        corpus: str, make: Callable[[], Any], how: Callable[..., Figures], **more: Any
    ) -> list[Figures]:
        made = functools.cache(make)  # only where something is missing
        key = {"kind": corpus, "version": VERSION, **more}

        def measured(seed: int) -> Figures:
            return how(made(), seed)

        return [kept.get_or_run(key | {"seed": s}, functools.partial(measured, s)) for s in seeds]

    found: dict[str, list[Figures]] = {}
    report.figures["seeds"] = found
    if "RAVDESS" in options.only:
        found["RAVDESS"] = per_seed(
            "RAVDESS",
            lambda: Ravdess(options.data, options.cache, options.videos),
            Ravdess.measured,
            videos=options.videos,
            settings=repr((VoiceTraining(), FACE, FusionTraining())),
        )
        write_damages(report, "RAVDESS", found["RAVDESS"], RAVDESS_NOTE)
    if "MOSI" in options.only:
        mosi = options.data / "mosi" / "mosi_utterance.npz"
        found["MOSI"] = per_seed("MOSI", lambda: Mosi(mosi, kept), measure_mosi)
        write_damages(report, "MOSI", found["MOSI"], MOSI_NOTE)
    if "clips" in options.only:
        with tempfile.TemporaryDirectory(prefix="avsent-bench-") as work:
            write_clips(report, measure_clips(options.clips, Path(work), options.most_clips))
    yield report


def write_damages(report: Report, corpus: str, found: Sequence[Figures], note: str) -> None:
    """Figures, losses as shares of the unprotected model's, what validation chose."""

    def values(kind: str, name: str, key: str = "balanced") -> Spread:
        return Spread(one["damages"][kind][name][key] for one in found)

    kinds = found[0]["damages"]
    rows = [{"damage": kind, **{n: values(kind, n) for n in PROTECTIONS}} for kind in kinds]
    report.section(corpus, rows, note)
    unprotected, *others = PROTECTIONS
    whole = mean(rows[0][unprotected])
    losses = []
    for row in rows:
        lost = whole - mean(row[unprotected])
        shares = {n: (whole - mean(row[n])) / lost if lost >= LEAST_LOSS else None for n in others}
        out = {f"{m} dropped": mean(values(row["damage"], SHIPS, m)) for m in MODALITIES}
        losses.append({"damage": row["damage"], "unprotected loses": lost, **shares, **out})
    report.section(
        f"{corpus}: what is lost",
        losses,
        "As a share of the unprotected model's loss (aim: a third at most; none below a loss of "
        f"{LEAST_LOSS:g}); and the share of voices and faces that *{SHIPS}* drops.",
    )
    chosen = [{"model": kind, **one["chosen"][kind]} for one in found for kind in one["chosen"]]
    report.section(f"{corpus}: guards chosen on validation", chosen)


def guard(model: TargetModel, material: GuardData, seed: int) -> ShippedAndPlain:
    """Fit both guards; thresholds are chosen on the validation part."""
    full = fit_guard(model, material, CPU, seed)
    plain = fit_guard(
        model, material, CPU, seed, distance_limits=(np.inf,), false_alarms=(0, 0.02, 0.1, 0.3)
    )
    return model, full, plain


@torch.inference_mode()
def judge(
    guarded: ShippedAndPlain, protection: Protection, videos: Videos
) -> tuple[float, dict[str, float]]:
    """Balanced accuracy on ``videos``; by modality the share of those present that the check takes
    for ineffectual."""
    model, full, plain = guarded
    model.set_modality_check(plain if protection.plain else full)
    decided, truth = [], []
    dropped, there = dict.fromkeys(MODALITIES, 0), dict.fromkeys(MODALITIES, 0)
    for rows in batches(videos, 64, 4096, None):
        utterances = encoded(model, videos, rows, CPU)
        found = model.check_modalities(utterances, check=protection.check, proxy=protection.proxy)
        logits = model(found.utterances).logits
        labels = videos.labels[rows, : logits.shape[1]]
        known = ~labels.isnan()
        decided.append(logits[known].argmax(dim=-1).numpy())
        truth.append(labels[known].numpy().astype(np.int64))
        if protection.check and found.outcome is not None:
            for modality in MODALITIES:
                present = utterances.present[modality]
                there[modality] += int(present.sum())
                dropped[modality] += int((present & ~found.outcome.effective[modality]).sum())
    measured = scores(np.concatenate(truth), np.concatenate(decided), len(model.config.labels))
    return measured.balanced_accuracy, {m: dropped[m] / max(there[m], 1) for m in MODALITIES}


def judge_all(
    systems: Mapping[bool, ShippedAndPlain], tests: Mapping[str, tuple[Videos, Videos, Faults]]
) -> Figures:
    """By damage and protection: balanced accuracy and dropped shares; and what validation chose.

    ``systems``: by whether modality dropout was used; ``tests``: the damaged videos, the same
    without what signal checks find, and these faults."""
    names = {False: "without", True: "with dropout"}
    chosen = {
        names[d]: dataclasses.asdict(full.config) for d, (_, full, _) in systems.items() if full
    }
    found: Figures = {"chosen": chosen, "damages": {}}
    for kind, (plain, checked, faults) in tests.items():
        lost = {m: float(np.mean(faults[m])) for m in MODALITIES}
        found["damages"][kind] = {}
        for name, protection in PROTECTIONS.items():
            signals = protection.check and not protection.plain
            videos = checked if signals else plain
            value, shares = judge(systems[protection.dropout], protection, videos)
            if signals:
                shares = {m: lost[m] + (1 - lost[m]) * shares[m] for m in MODALITIES}
            found["damages"][kind][name] = {"balanced": value, **shares}
    return found


def hits(count: int | tuple[int, ...], rng: Rng) -> NDArray[np.bool_]:
    """Which utterances are damaged."""
    return np.asarray(rng.random(count) < DAMAGED_SHARE)


class Ravdess:
    """The material of all seeds, damage included: seeds differ in what is hit and in the fusion."""

    def __init__(self, data: Path, cache: Path, videos: int) -> None:
        workspace = Workspace(data, cache, 1, progress)
        pixels = recipe.pixel_network(workspace)
        self._config = ExpertsConfig(pixels=pixels.config)
        material = recipe.load_material(self._config, workspace)
        experts = posteriors.cross_fitted(
            self._config, recipe.GROUPS, recipe.CORPORA_OF_VOICES, material, pixels, workspace
        )
        self._everyone, self._videos_to_learn = posteriors.ensemble(experts), videos
        held_out = recipe.HeldOut.of(self._config, experts, material, POLARITY_LABELS, workspace)
        self._parts = held_out.pools.split(recipe.VALIDATION, recipe.HELD, seed=0)
        clips = of_actors(material.clips, TEST_ACTORS)
        self._test = [clip for clip in clips if clip.polarity is not None]
        pool = held_out.tests["clips"].labelled()
        self._no_faults: Faults = {m: np.zeros(len(pool), dtype=bool) for m in MODALITIES}
        self._clean: tuple[Said, Faults]
        self._clean = {"audio": pool.audio[0], "face": pool.face[0]}, self._no_faults
        others = of_actors(material.clips, recipe.GROUPS[0])[:: 240 // OTHERS]
        sounds = [clip.sound for clip in others if clip.sound is not None]
        self._spoilt: dict[str, tuple[Said, Faults]] = {}
        for kind in (*SOUNDS, NOISE[1], *MISSING):
            self._spoilt[kind] = self._damaged(kind, sounds, np.random.default_rng(3))
            progress(f"RAVDESS: {kind}")

    def measured(self, seed: int) -> Figures:
        systems = {dropout: self._trained(dropout, seed) for dropout in (False, True)}
        rng, count = np.random.default_rng([seed, 3]), len(self._test)
        order = self._order(rng)
        said: dict[str, tuple[Said, Faults]] = {"clean": self._clean}
        for kind, spoilt in self._spoilt.items():
            said[kind] = _mixed(self._clean, spoilt, hits(count, rng))
        hit, voice = hits(count, rng), rng.random(count) < 0.5
        first = _mixed(self._clean, self._spoilt[NOISE[0]], hit & voice)
        said["noise, SNR 0.01, in either"] = _mixed(first, self._spoilt[NOISE[1]], hit & ~voice)
        tests = {}
        for kind, (values, faults) in said.items():
            plain, checked = (self._videos(order, values, f) for f in (self._no_faults, faults))
            tests[kind] = plain, checked, faults
        return judge_all(systems, tests)

    def _trained(self, dropout: bool, seed: int) -> ShippedAndPlain:
        settings = FusionTraining(videos=self._videos_to_learn, check=False)
        if not dropout:
            settings = changed(settings, missing=0.0)
        model = fuse(self._parts, settings, seed).model
        return guard(model, guard_material(self._parts, settings), seed)

    def _damaged(self, kind: str, others: Sequence[damage.Sound], rng: Rng) -> tuple[Said, Faults]:
        """Posteriors of all test clips with damage ``kind``, and where a signal check finds it."""
        clean, _ = self._clean
        if kind in MISSING:
            modality = MISSING[kind]
            return {**clean, modality: np.full_like(clean[modality], np.nan)}, self._no_faults
        if kind in SOUNDS:
            voices = [
                dataclasses.replace(voice, sound=SOUNDS[kind](voice.sound, others, rng))
                for voice in voices_of_clips(self._test)
            ]
            features, rows = voice_features(voices, self._config.whisper), np.arange(len(voices))
            said = posteriors.of_voices(self._config, self._everyone, features, rows)
            faults = np.array([voice_quality(voice.sound).fault is not None for voice in voices])
            return {**clean, "audio": said}, {**self._no_faults, "audio": faults}
        noisy = []
        for clip in self._test:
            assert clip.face is not None
            landmarks = noisy_landmarks(clip.face.landmarks, SNR, rng)
            face = dataclasses.replace(clip.face, landmarks=landmarks)
            noisy.append(dataclasses.replace(clip, face=face))
        said = posteriors.of_clips(self._config, self._everyone, noisy)
        shaky = [unsteadiness(clip.face.landmarks) > MOST_UNSTEADY for clip in noisy if clip.face]
        return {**clean, "face": said}, {**self._no_faults, "face": np.array(shaky)}

    def _order(self, rng: Rng) -> list[list[int]]:
        """Made-up videos: rows of clips of one actor, every clip once."""
        actors = np.array([clip.actor for clip in self._test])
        videos = []
        for actor in sorted(set(actors.tolist())):
            rows = rng.permutation(np.flatnonzero(actors == actor)).tolist()
            videos += [rows[first : first + COMPANY] for first in range(0, len(rows), COMPANY)]
        return videos

    def _videos(self, order: Sequence[Sequence[int]], said: Said, faults: Faults) -> Videos:
        """What a signal check found is absent."""
        samples = []
        for number, rows in enumerate(order):
            for row in rows:
                there = {
                    m: None if faults[m][row] or np.isnan(said[m][row]).all() else said[m][row]
                    for m in MODALITIES
                }
                key = self._test[row].clip_id
                audio, face = there["audio"], there["face"]
                samples.append(Sample(key=key, video=f"video {number}", audio=audio, face=face))
        labels = {clip.clip_id: float(clip.polarity or 0) for clip in self._test}
        videos = make_videos(samples, labels, {m: said[m].shape[1] for m in MODALITIES})
        vectors = {m: torch.as_tensor(v) for m, v in videos.vectors.items()}
        return dataclasses.replace(videos, vectors=vectors)


def _mixed(
    before: tuple[Said, Faults], spoilt: tuple[Said, Faults], hit: NDArray[np.bool_]
) -> tuple[Said, Faults]:
    """``before`` with what is ``spoilt`` where it is ``hit`` [N]."""
    said = {m: np.where(hit[:, None], spoilt[0][m], before[0][m]) for m in MODALITIES}
    return said, {m: before[1][m] | (hit & spoilt[1][m]) for m in MODALITIES}


def measure_mosi(mosi: Mosi, seed: int) -> Figures:
    """Vectors of the test part damaged."""
    progress(f"MOSI, seed {seed}")
    plain = changed(STRONG, check=False)
    dropout = changed(plain, optimiser={"modality_dropout": MODALITY_DROPOUT})
    material = make_seed_data(mosi.task, plain, seed, words=False)
    own = GuardData(material.train, material.valid, with_noise(material.valid, seed))
    systems = {
        name: guard(train_seed(material, settings, seed, SeedContext(CPU)).model, own, seed)
        for name, settings in ((False, plain), (True, dropout))
    }
    test = material.test
    noise = _noisy(test, 1000 + seed, np.random.default_rng([seed, 1]))
    # The same utterances lose a modality.
    hit = hits(tuple(test.labels.shape), np.random.default_rng([seed, 1]))
    none = {m: torch.zeros_like(there) for m, there in test.present.items()}
    absent = dataclasses.replace(test, present=none)
    tests = {
        "clean": test,
        "noise": noise,
        "voice missing": _replaced(test, {"audio": absent}, {"audio": hit}),
        "face missing": _replaced(test, {"face": absent}, {"face": hit}),
    }
    no_faults: Faults = {m: np.zeros(1, dtype=bool) for m in MODALITIES}
    return judge_all(systems, {kind: (v, v, no_faults) for kind, v in tests.items()})


def _noisy(videos: Videos, seed: int, rng: Rng) -> Videos:
    """Noise in one modality of those that are hit."""
    shape = tuple(videos.labels.shape)
    hit, voice = hits(shape, rng), rng.random(shape) < 0.5
    which = {"audio": hit & voice, "face": hit & ~voice}
    return _replaced(videos, dict.fromkeys(MODALITIES, with_noise(videos, seed)), which)


def _replaced(videos: Videos, damaged: Mapping[str, Videos], which: Faults) -> Videos:
    """``videos`` with vectors and presence of ``damaged`` where ``which`` [V, U] says so."""
    vectors, present = dict(videos.vectors), dict(videos.present)
    for m, other in damaged.items():
        at = torch.from_numpy(which[m])
        vectors[m] = torch.where(at[..., None], other.vectors[m], vectors[m])
        present[m] = torch.where(at, other.present[m], present[m])
    return dataclasses.replace(videos, vectors=vectors, present=present)


def measure_clips(clips: Path, work: Path, most: int | None) -> list[Row]:
    """Damage to CLIPS, and all clips as they are; ``most`` of each. Copies lie in ``work``."""
    predictor = Predictor.load()
    others = [damage.read_copy(path).sound for path in sorted((clips / "grid").glob("*.mp*g*"))]
    rows: list[Row] = []
    for name in CLIPS[:most]:
        progress(f"damage to {name}")
        rows += _damage_clip(predictor, clips / name, work, others)
    progress("all clips as they are")
    for file in sorted([*clips.iterdir(), *(clips / "grid").iterdir()])[:most]:
        if file.suffix in MEDIA:
            try:
                ways = _every_way(predictor, file, None)
            except AvsentError:  # some are there to be refused
                continue
            for way, result in ways.items():
                rows += _compared(file.name, AS_IT_IS, PLAIN, way, ways["no check"], result)
    return rows


def _damage_clip(
    predictor: Predictor, clip: Path, work: Path, others: Sequence[damage.Sound]
) -> Iterator[Row]:
    copy, file, spoken = damage.read_copy(clip), work / "copy.mkv", work / "utterances.csv"
    damage.write_copy(copy, file)
    analysis = predictor.analyse(file, options=PredictOptions(check=False, sightings=True))
    both = [u for u in predictor.conclude(analysis).utterances if _effective(u) == set(MODALITIES)]
    if not both:
        return
    lines = ["start_s,end_s", *(f"{u.start_s:.3f},{u.end_s:.3f}" for u in both)]
    spoken.write_text("\n".join(lines) + "\n", encoding="utf-8")
    reference = predictor.predict(file, options=PredictOptions(check=False, utterances=spoken))
    rng = np.random.default_rng([CLIP_SEED, *clip.name.encode()])
    damages: dict[tuple[str, str], damage.Make] = {(PLAIN, PLAIN): lambda: copy}
    damages |= {("audio", kind): m for kind, m in damage.voice_damages(copy, others, rng).items()}
    faces = damage.face_damages(copy, analysis.sightings, rng)
    damages |= {("face", kind): make for kind, make in faces.items()}
    for (modality, kind), make in damages.items():
        damage.write_copy(make(), file)
        for way, result in _every_way(predictor, file, spoken).items():
            yield from _compared(clip.name, kind, modality, way, reference, result)


def _every_way(predictor: Predictor, file: Path, spoken: Path | None) -> dict[str, Result]:
    options = PredictOptions(utterances=spoken)
    without = dataclasses.replace(options, check=False)
    checked = predictor.analyse(file, options=options)
    unchecked = dataclasses.replace(checked, options=without)
    if any("not used" in text for one in checked.utterances for text in one.features.warnings):
        # A signal that failed its check was not even encoded; else the same analysis serves.
        unchecked = predictor.analyse(file, options=without)
    proxy = dataclasses.replace(checked, options=dataclasses.replace(options, proxy=True))
    analyses = (checked, unchecked, proxy)
    return {way: predictor.conclude(a) for way, a in zip(WAYS, analyses, strict=True)}


def _compared(
    clip: str, kind: str, modality: str, way: str, reference: Result, result: Result
) -> Iterator[Row]:
    common = {"clip": clip, "damage": kind, "modality": modality, "way": way}
    for before, after in zip(reference.utterances, result.utterances, strict=True):
        yield common | {
            "start_s": before.start_s,
            "lost": sorted(_effective(before) - _effective(after)),
            "why": [w for w in after.warnings if w not in before.warnings],
            "same": before.sentiment == after.sentiment,
            "change": abs(after.score - before.score),
        }


def _effective(utterance: UtteranceResult) -> set[str]:
    return {name for name, share in utterance.modalities.items() if share.effective}


def write_clips(report: Report, rows: Sequence[Row]) -> None:
    """Damage by damage, then the false alarms."""
    damaged = [row for row in rows if row["damage"] != AS_IT_IS]
    table = []
    for modality, kind in dict.fromkeys((row["modality"], row["damage"]) for row in damaged):
        own = [r for r in damaged if (r["modality"], r["damage"]) == (modality, kind)]
        by_way = {way: [row for row in own if row["way"] == way] for way in WAYS}
        lost = [row["lost"] for row in by_way["check"]]
        line = {"modality": modality, "damage": kind, "utterances": len(lost)}
        line["found"] = mean([modality in one for one in lost])
        line["sound one lost"] = mean([bool(set(one) - {modality}) for one in lost])
        line |= {f"same label, {w}": mean([r["same"] for r in by_way[w]]) for w in WAYS}
        line |= {f"score changes by, {w}": mean([r["change"] for r in by_way[w]]) for w in WAYS}
        table.append(line)
    report.section(
        "Real video",
        table,
        f"{len({row['clip'] for row in damaged})} clips of at most {damage.MOST_S:.0f} s. *Found*: "
        "the damaged modality is not used; *sound one lost*: the other one is not used. Label and "
        "score against the decision on the undamaged utterance without checks.",
    )
    plain = [row for row in rows if row["damage"] == AS_IT_IS and row["way"] == "check"]
    alarms = [row for row in plain if row["lost"]]
    figures = {
        "clips": len({row["clip"] for row in plain}),
        "utterances": len(plain),
        "utterances that lose a modality": len(alarms),
        "utterances with another label": sum(not row["same"] for row in plain),
    }
    report.section("All readable clips as they are", figures)
    names = ("clip", "start_s", "lost", "why")
    report.section("Of them lost", [{name: row[name] for name in names} for row in alarms])


if __name__ == "__main__":
    sys.exit(main())
