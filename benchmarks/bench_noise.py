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
from harness import Cache, Report, Spread, changed, mean, option_parser, progress, run
from numpy.typing import NDArray

from avsent.errors import AvsentError
from avsent.extraction.features.quality import (
    LEAST_SHARPNESS,
    MOST_UNSTEADY,
    unsteadiness,
    voice_fault,
)
from avsent.extraction.features.voice import audio_features
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
from avsent.training.splits import SeedData, make_seed_data
from avsent.training.trainer import SeedContext
from recipes.corpora import TEST_ACTORS, load_clips, of_actors
from recipes.default_models import GROUPS, STILLS_HELD, VALIDATION, held_out_posteriors
from recipes.fusion import (
    FusionTraining,
    Posteriors,
    by_speaker,
    cross_fitted,
    draw_samples,
    ensemble,
    fuse,
    guard_material,
    posteriors_of_clips,
    split_pool,
)
from recipes.members import Workspace
from recipes.pixels import pixel_network
from recipes.ravdess import RavdessClip
from recipes.scores import scores

CLIPS = (
    *("acted_disgusted_1080p.mp4", "acted_happy_1080p.mp4", "lrs3_closeup.mp4"),
    *("speech_closeup_512.mp4", "talk_700.mp4", "talk_angry_zh.mp4", "talk_happy_zh.mp4"),
    *("talk_surprise_zh.mp4", "talk_vfr.mp4"),
)
"""With a voice and a face."""
WAYS = ("check", "no check", "check and proxy")
PLAIN, AS_IT_IS = "none", "as it is"
"""No damage: to a copy like the damaged ones, and to the clip itself."""
MEDIA = (".mp4", ".mpg", ".mov", ".avi", ".webm", ".wav")
CLIP_SEED = 17
VERSION = 3  # raise it when the same settings give other figures
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
_COVERED = ("blurred", "mouth under a mask", "eyes behind dark glasses")
FACES = {"face: noise, SNR 0.01": "noise", **{f"face: {kind}": kind for kind in _COVERED}}
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
{MODALITY_DROPOUT:.0%} of training utterances lacked a modality. What ships is *{SHIPS}*."""
RAVDESS_NOTE = f"""Three polarities (one of them always: .333), actors 21–24, in made-up videos of
{COMPANY} clips of an actor. Damage to faces comes from the landmark model below; whether blur is
found is drawn from FER2013's pictures."""
MOSI_NOTE = """Two classes (one of them always: .500), features and split of `bench-mosi`, strong
regularisation, no transfer."""

Row = dict[str, Any]
"""An utterance with a ``damage`` to a ``modality``, judged in a ``way``. ``lost``: modalities that
the undamaged, unchecked one has and this one has not; ``why``: its warnings; ``same``: its label is
that of the undamaged, unchecked utterance; ``change``: of the score, absolute."""
Figures = dict[str, Any]
Rng = np.random.Generator
Faults = Mapping[str, NDArray[np.bool_]]  # by modality, whether a signal check finds damage [N]
ShippedAndPlain = tuple[TargetModel, ModalityCheck, ModalityCheck]
"""A trained model, the guard that ships, and one that uses ρ alone."""


def main(arguments: Sequence[str] | None = None) -> int:
    parser = option_parser(__doc__, data="the shared folder data", clips="folder of the clips")
    parser.add_argument("--cache", type=Path, default=Path("cache"))
    parser.add_argument("--seeds", type=int, default=5)
    return run(parser, measure, arguments)


def measure(options: argparse.Namespace) -> Iterator[Report]:
    torch.set_num_threads(1)
    kept, seeds = Cache(options.cache / "bench" / "noise.jsonl"), range(options.seeds)

    def per_seed(
        corpus: str, make: Callable[[], Any], how: Callable[..., Figures]
    ) -> list[Figures]:
        made = functools.cache(make)  # only where something is missing
        key = {"kind": corpus, "version": VERSION}
        return [kept.get_or_run(key | {"seed": s}, lambda s=s: how(made(), s)) for s in seeds]

    mosi = options.data / "mosi" / "mosi_utterance.npz"
    found = {
        "MOSI": per_seed("MOSI", lambda: Mosi(mosi, kept), measure_mosi),
        "RAVDESS": per_seed(
            "RAVDESS", lambda: Ravdess(options.data, options.cache), Ravdess.measured
        ),
    }
    with tempfile.TemporaryDirectory(prefix="avsent-bench-") as work:
        rows = measure_clips(options.clips, Path(work))
    report = Report("noise", "Damaged modalities: checks and proxies", NOTE, seeds=str([*seeds]))
    report.figures["seeds"] = found
    write_damages(report, "RAVDESS", found["RAVDESS"], RAVDESS_NOTE)
    write_damages(report, "MOSI", found["MOSI"], MOSI_NOTE)
    dirty = [one["noise in training"] for one in found["MOSI"]]
    report.section(
        "MOSI: noise in the training and validation parts too",
        {way: Spread(one[way] for one in dirty) for way in dirty[0]},
        "*Check* leaves outliers out of the training part and guards the model.",
    )
    write_clips(report, rows)
    note = "FER2013: gain among people (0: an average face), gain within a clip, residual in eye "
    faces = damage.load_or_measure(options.data, options.cache)
    report.section("Landmarks of damaged faces", damage.landmark_rows(faces), f"{note}distances.")
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
    chosen = {names[d]: dataclasses.asdict(full.config) for d, (_, full, _) in systems.items()}
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
    """The material of all seeds."""

    def __init__(self, data: Path, cache: Path) -> None:
        workspace = Workspace(data, cache, 1)
        pixels = pixel_network(workspace)
        self._config = ExpertsConfig(pixels=pixels.config)
        experts = cross_fitted(self._config, GROUPS, pixels, 0, workspace)
        self._everyone = ensemble(experts)
        clips = load_clips(data, cache)
        self._test = [clip for clip in of_actors(clips, TEST_ACTORS) if clip.polarity is not None]
        others = of_actors(clips, GROUPS[0])[:: 240 // OTHERS]
        self._others = [clip.sound for clip in others if clip.sound is not None]
        self._faces = damage.load_or_measure(data, cache)
        self._sharpness = damage.blurred_sharpness(data)
        progress("RAVDESS: posteriors")
        self._known = held_out_posteriors(self._config, experts, workspace)
        self._clean = posteriors_of_clips(self._config, self._everyone, self._test)
        self._no_faults: Faults = {m: np.zeros(len(self._test), dtype=bool) for m in MODALITIES}

    def measured(self, seed: int) -> Figures:
        systems = {dropout: self._trained(dropout, seed) for dropout in (False, True)}
        rng, count = np.random.default_rng([seed, 3]), len(self._test)
        order = self._order(rng)
        clean = self._clean, self._no_faults
        said, noisy = {"clean": clean}, {}
        for kind in (*SOUNDS, *FACES, *MISSING):
            noisy[kind] = self._spoilt(kind, rng)
            said[kind] = _mixed(clean, noisy[kind], hits(count, rng))
            progress(f"RAVDESS, seed {seed}: {kind}")
        hit, voice = hits(count, rng), rng.random(count) < 0.5
        first = _mixed(clean, noisy[NOISE[0]], hit & voice)
        said["noise, SNR 0.01, in either"] = _mixed(first, noisy[NOISE[1]], hit & ~voice)
        tests = {}
        for kind, (posteriors, faults) in said.items():
            plain, checked = (self._videos(order, posteriors, f) for f in (self._no_faults, faults))
            tests[kind] = plain, checked, faults
        return judge_all(systems, tests)

    def _trained(self, dropout: bool, seed: int) -> ShippedAndPlain:
        clips = by_speaker(self._known.clips.pool(POLARITY_LABELS), VALIDATION)
        stills = split_pool(self._known.stills.pool(POLARITY_LABELS), STILLS_HELD, seed=0)
        settings = (
            FusionTraining(check=False) if dropout else FusionTraining(check=False, missing=0.0)
        )
        model = fuse(clips, stills, settings, seed).model
        made = guard_material(
            clips, stills, lambda own, still: draw_samples(own, still, settings, seed, "valid")
        )
        return guard(model, made, seed)

    def _spoilt(self, kind: str, rng: Rng) -> tuple[Posteriors, Faults]:
        """Posteriors of all test clips with damage ``kind``, and where a signal check finds it."""
        said = {m: getattr(self._clean, m) for m in MODALITIES}
        if kind in MISSING:
            said[MISSING[kind]] = np.full_like(said[MISSING[kind]], np.nan)
            return Posteriors(**said), self._no_faults
        damaged, faults = zip(*(self._damaged(c, kind, rng) for c in self._test), strict=True)
        modality = "audio" if kind in SOUNDS else "face"
        said[modality] = getattr(
            posteriors_of_clips(self._config, self._everyone, damaged), modality
        )
        return Posteriors(**said), {**self._no_faults, modality: np.array(faults)}

    def _damaged(self, clip: RavdessClip, kind: str, rng: Rng) -> tuple[RavdessClip, bool]:
        """The damaged half of a ``clip``, and whether a signal check finds the damage."""
        if kind in SOUNDS:
            sound = SOUNDS[kind](clip.sound, self._others, rng)
            heard = audio_features(sound, 0.0)
            power, spoken = (None, None) if heard is None else (heard.power, heard.prosody)
            only = dataclasses.replace(clip, face=None, mel_power=power, prosody=spoken)
            return only, voice_fault(sound) is not None
        how = FACES[kind]
        if how == "noise":
            landmarks = noisy_landmarks(clip.face.landmarks, SNR, rng)
            face = dataclasses.replace(clip.face, landmarks=landmarks)
        else:
            face = damage.damaged_face(clip.face, how, self._faces, rng)
        fault = unsteadiness(face.landmarks) > MOST_UNSTEADY
        if how in damage.BLURS_PX:
            # There is no picture whose blur could be measured: another one's stands in.
            fault = fault or bool(rng.choice(self._sharpness) < LEAST_SHARPNESS)
        return dataclasses.replace(clip, mel_power=None, prosody=None, face=face), bool(fault)

    def _order(self, rng: Rng) -> list[list[int]]:
        """Made-up videos: rows of clips of one actor, every clip once."""
        actors = np.array([clip.actor for clip in self._test])
        videos = []
        for actor in sorted(set(actors.tolist())):
            rows = rng.permutation(np.flatnonzero(actors == actor)).tolist()
            videos += [rows[first : first + COMPANY] for first in range(0, len(rows), COMPANY)]
        return videos

    def _videos(self, order: Sequence[Sequence[int]], said: Posteriors, faults: Faults) -> Videos:
        """What a signal check found is absent."""
        samples = []
        for number, rows in enumerate(order):
            for row in rows:
                vectors = {m: getattr(said, m)[row] for m in MODALITIES}
                there = {
                    m: None if faults[m][row] or np.isnan(vector).all() else vector
                    for m, vector in vectors.items()
                }
                key = self._test[row].clip_id
                samples.append(Sample(key=key, video=f"video {number}", **there))
        labels = {clip.clip_id: float(clip.polarity or 0) for clip in self._test}
        videos = make_videos(samples, labels, {m: getattr(said, m).shape[1] for m in MODALITIES})
        vectors = {m: torch.as_tensor(v) for m, v in videos.vectors.items()}
        return dataclasses.replace(videos, vectors=vectors)


def _mixed(
    before: tuple[Posteriors, Faults], noisy: tuple[Posteriors, Faults], hit: NDArray[np.bool_]
) -> tuple[Posteriors, Faults]:
    """``before`` with what is ``spoilt`` where it is ``hit`` [N]."""
    pairs = {m: (getattr(noisy[0], m), getattr(before[0], m)) for m in MODALITIES}
    said = {m: np.where(hit[:, None], damaged, clean) for m, (damaged, clean) in pairs.items()}
    return Posteriors(**said), {m: before[1][m] | (hit & noisy[1][m]) for m in MODALITIES}


def measure_mosi(mosi: Mosi, seed: int) -> Figures:
    """Vectors of the test part damaged; and noise in all parts."""
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
    found = judge_all(systems, {kind: (v, v, no_faults) for kind, v in tests.items()})
    rng = np.random.default_rng([seed, 2])
    parts = {p: _noisy(getattr(material, p), 2000 + seed, rng) for p in ("train", "valid")}
    dirty: SeedData = dataclasses.replace(material, **parts)
    found["noise in training"] = {}
    for name, check, way in (
        ("unprotected", False, "unprotected"),
        ("check (training and test)", True, "check, no proxy"),
    ):
        model = train_seed(dirty, changed(STRONG, check=check), seed, SeedContext(CPU)).model
        value, _ = judge((model, model.guard, model.guard), PROTECTIONS[way], noise)
        found["noise in training"][name] = value
    return found


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


def measure_clips(clips: Path, work: Path) -> list[Row]:
    """Damage to CLIPS, and all clips as they are. Copies are written into ``work``."""
    predictor = Predictor.load()
    others = [damage.read_copy(path).sound for path in sorted((clips / "grid").glob("*.mp*g*"))]
    rows: list[Row] = []
    for name in CLIPS:
        progress(f"damage to {name}")
        rows += _damage_clip(predictor, clips / name, work, others)
    progress("all clips as they are")
    for file in sorted([*clips.iterdir(), *(clips / "grid").iterdir()]):
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
    damages = {(PLAIN, PLAIN): lambda: copy}
    damages |= {("audio", kind): m for kind, m in damage.voice_damages(copy, others, rng).items()}
    faces = damage.face_damages(copy, analysis.sightings, rng)
    damages |= {("face", kind): make for kind, make in faces.items()}
    for (modality, kind), make in damages.items():
        damage.write_copy(make(), file)
        for way, result in _every_way(predictor, file, spoken).items():
            yield from _compared(clip.name, kind, modality, way, reference, result)


def _every_way(predictor: Predictor, file: Path, spoken: Path | None) -> dict[str, Result]:
    options = PredictOptions(utterances=spoken)
    checked = predictor.analyse(file, options=options)
    unchecked = dataclasses.replace(checked, check=False)
    if any("not used" in warning for one in checked.utterances for warning in one.warnings):
        # A signal that failed its check was not even encoded; else the same analysis serves.
        unchecked = predictor.analyse(file, options=dataclasses.replace(options, check=False))
    analyses = (checked, unchecked, dataclasses.replace(checked, proxy=True))
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
