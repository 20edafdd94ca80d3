"""The card of a shipped model: what it learnt from, who may use it, what it scored."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from avsent.files import atomic_text
from avsent.labels import EMOTIONS, MODALITIES, POLARITY_LABELS
from avsent.model.decision import NAMES
from avsent.model.networks.adaptation import MIN_UTTERANCES, PRIOR, subtract_group_mean
from avsent.model.networks.config import VoteConfig
from avsent.model.networks.modality_check import ModalityCheck
from avsent.model.networks.target import TargetModel, Utterances
from avsent.training.metrics import (
    Scores,
    class_scores,
    expected_calibration_error,
    majority,
    scores,
)
from avsent.training.modality_check import HIT, NEVER
from avsent.training.seed import Trained
from avsent.training.validation import softmax
from recipes.corpora import TEST_ACTORS
from recipes.fusion import Pool, Posteriors, Strangers

ADAPT_DRAWS = 20
"""Videos of each size drawn from each speaker where adaptation is measured."""
COMPANY = 4


@dataclass(frozen=True, slots=True)
class Judged:
    """Scores of utterances judged alone: by both modalities and by each; calibration error."""

    both: Scores
    face: Scores
    audio: Scores
    calibration_error: float


@torch.inference_mode()
def logits_of(
    model: TargetModel,
    said: Posteriors,
    videos: Sequence[NDArray[np.int64]] | None = None,
    without: str | None = None,
    adapt: float | None = None,
) -> NDArray[np.float64]:
    """Logits [N, C] of ``model`` (a fusion of vectors) for ``videos`` of rows, one after the other;
    by default every utterance is a video of its own. ``adapt``: the ``prior`` of
    :func:`adapted`, None for not adapted."""
    if videos is None:
        videos = [np.array([row]) for row in range(len(said.audio))]
    lengths = torch.tensor([len(rows) for rows in videos])
    shape = len(videos), int(lengths.max())
    values, present = {}, {}
    for name, vectors in (("audio", said.audio), ("face", said.face)):
        padded = torch.full((*shape, vectors.shape[1]), torch.nan)
        for place, rows in enumerate(videos):
            padded[place, : len(rows)] = torch.from_numpy(vectors[rows])
        present[name] = ~padded.isnan().all(dim=-1) & (torch.tensor(name != without))
        values[name] = model.encoder(name)(padded)
        if adapt is not None:
            values[name] = adapted(values[name], present[name], adapt)
    output = model(Utterances(values, present, lengths))
    inside = torch.arange(shape[1])[None] < lengths[:, None]
    found: NDArray[np.float64] = output.logits[inside].double().numpy()
    return found


def judge(model: TargetModel, pool: Pool, temperature: float, version: int = 0) -> Judged:
    """Every labelled utterance of ``pool``, alone."""
    known = pool.only(np.flatnonzero(pool.labels >= 0))
    said, classes = known.versions[version], len(pool.names)

    def alone(without: str | None) -> NDArray[np.float64]:
        return logits_of(model, said, without=without)

    logits = {without: alone(without) for without in (None, "audio", "face")}
    found = {
        without: scores(known.labels, values.argmax(axis=1), classes)
        for without, values in logits.items()
    }
    error = expected_calibration_error(softmax(logits[None] / temperature), known.labels)
    return Judged(found[None], found["audio"], found["face"], error)


def in_company(model: TargetModel, pool: Pool, seed: int) -> dict[str, Scores]:
    """The same utterances alone, among clips of the same label, and of another one."""
    known = pool.only(np.flatnonzero(pool.labels >= 0))
    rng = np.random.default_rng(seed)
    speakers, classes = np.array(known.speakers), len(pool.names)
    found = {}
    for kind in ("alone", "among their like", "among others"):
        videos = []
        for row in range(len(known.labels)):
            mates = np.zeros(0, dtype=np.int64)
            if kind != "alone":
                like = known.labels == known.labels[row]
                chosen = (speakers == speakers[row]) & (like == (kind == "among their like"))
                chosen[row] = False
                there = np.flatnonzero(chosen)
                mates = rng.choice(there, min(COMPANY, len(there)), replace=False)
            videos.append(np.concatenate([[row], mates]))
        logits = logits_of(model, known.versions[0], videos)
        first = np.cumsum([0, *(len(video) for video in videos[:-1])])
        found[kind] = scores(known.labels, logits[first].argmax(axis=1), classes)
    return found


def adapted_scores(
    model: TargetModel,
    pool: Pool,
    size: int,
    prior: float | None,
    seed: int,
    *,
    alike: bool = False,
) -> Scores:
    """Scores over videos of ``size`` utterances drawn from one speaker, adapted to the speaker with
    ``prior`` (None: not adapted). ``alike``: all utterances of a video have the same label."""
    known = pool.only(np.flatnonzero(pool.labels >= 0))
    rng = np.random.default_rng(seed)
    speakers = np.array(known.speakers)
    videos = []
    for speaker in sorted(set(known.speakers)):
        own = np.flatnonzero(speakers == speaker)
        for _ in range(ADAPT_DRAWS):
            there = own
            if alike:
                there = own[known.labels[own] == rng.choice(np.unique(known.labels[own]))]
            videos.append(rng.choice(there, min(size, len(there)), replace=False))
    logits = logits_of(model, known.versions[0], videos, adapt=prior)
    truth = known.labels[np.concatenate(videos)]
    return scores(truth, logits.argmax(axis=1), len(pool.names))


def adapted(values: torch.Tensor, present: torch.Tensor, prior: float) -> torch.Tensor:
    """Representations ``values`` [B, U, R] about the mean of their own video instead of that of
    the training data: each video is one group."""
    one_group = torch.zeros_like(present, dtype=torch.long)
    return subtract_group_mean(values, present, one_group, prior, MIN_UTTERANCES)


def without_stream(pool: Pool, modality: str, columns: slice) -> Pool:
    """``pool`` as if a stream of experts (its ``columns`` in ``modality``) did not exist."""
    versions = []
    for said in pool.versions:
        by_modality = {"audio": said.audio.copy(), "face": said.face.copy()}
        by_modality[modality][:, columns] = np.nan
        versions.append(Posteriors(by_modality["audio"], by_modality["face"]))
    return dataclasses.replace(pool, versions=tuple(versions))


def summed(pool: Pool, streams: Sequence[VoteConfig]) -> dict[str, Scores]:
    """What nothing but the sum of the streams' log probabilities decides, nothing learnt: by both
    modalities ("both"), "face" and "audio" alone. Every labelled utterance of ``pool``."""
    known = pool.only(np.flatnonzero(pool.labels >= 0))
    said = {"audio": known.versions[0].audio, "face": known.versions[0].face}
    found = {}
    for title, used in (("both", ("audio", "face")), ("face", ("face",)), ("audio", ("audio",))):
        total = sum(
            np.nan_to_num(said[stream.modality][:, list(stream.columns)])
            for stream in streams
            if stream.modality in used
        )
        found[title] = scores(known.labels, np.asarray(total).argmax(axis=1), len(pool.names))
    return found


def guard_text(guard: ModalityCheck | None) -> str:
    """A section of Markdown."""
    if guard is None:
        return "## Modality check\n\nNone: every voice and face is believed."
    config = guard.config
    check = (
        "A pair is never taken for contradictory: on the validation part no threshold helped."
        if config.agreement <= -1
        else f"Where they agree less than ρ = {config.agreement:.2f}, the less usual one is left "
        "out."
    )
    far = " and ".join(
        f"{NAMES[modality]} {limit:.2f}"
        for modality, limit in zip(MODALITIES, config.farthest, strict=True)
        if limit < NEVER
    )
    kind = (
        "one linear map"
        if config.linear
        else f"{config.neighbours} nearest neighbours among {config.basis} training pairs"
    )
    use = (
        "They are used, as the validation part was judged better with them"
        if config.stand_in
        else "They are not used unless `--proxy` is given: the validation part was judged better "
        "without"
    )
    return f"""## Modality check and proxies (M3ER)

Voice and face are compared by canonical correlation ({config.components} components, fitted on the
training clips, surprise included). {check} Distances from the training data above which one is left
out (1 is usual): {far or "none"}. The thresholds were chosen on the validation actors, of whose
utterances {HIT:.0%} had one modality in noise (SNR 0.01) or exchanged.

Proxies: {kind}. {use}."""


CARD_FILE = "CARD.md"
ADAPT_SIZES = (3, 5, 10)
SURE = 0.8
"""From this ``score`` on a wrong decision misleads."""


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """Everything trained for one shipped model: by kind ("none": without transfer, "text") and
    seed; ``best`` is what ships."""

    name: str
    labels: tuple[str, ...]
    trained: Mapping[str, Sequence[Trained]]
    strangers: Strangers
    kind: str
    best: Trained

    @classmethod
    def of(
        cls,
        name: str,
        labels: tuple[str, ...],
        trained: Mapping[str, Sequence[Trained]],
        strangers: Strangers,
    ) -> Report:
        """Choose, on validation alone: text teaches what ships only where the mean over the seeds
        is better with it; then the best seed."""
        kind = max(trained, key=lambda name: np.mean(validation_of(trained[name])))
        best = max(trained[kind], key=lambda one: one.progress.best_value)
        return cls(name, labels, trained, strangers, kind, best)


def validation_of(trained: Sequence[Trained]) -> list[float]:
    """What each seed was chosen by (more is better): minus its loss on validation."""
    return [one.progress.best_value for one in trained]


def write_card(folder: Path, report: Report, model: TargetModel) -> None:
    """Write ``CARD.md`` into ``folder``, whole or not at all."""
    with atomic_text(folder / CARD_FILE) as file:
        file.write(card_text(report, model))


def card_text(report: Report, model: TargetModel) -> str:
    """The card as Markdown."""
    pool = report.strangers.test_clips.pool(report.labels)
    stills = report.strangers.test_stills.pool(report.labels)
    temperature = report.best.calibration.temperature
    judged = [judge(one.model, pool, one.calibration.temperature) for one in _seeds(report)]
    best = judge(report.best.model, pool, temperature)
    size = sum(parameter.numel() for parameter in model.parameters())
    what = "sentiment" if report.labels == POLARITY_LABELS else "emotion"
    parts = [
        _HEAD.format(
            name=report.name, what=what, size=f"{size:,}", labels=", ".join(report.labels)
        ),
        _results(report, judged, best, pool),
        _pictures(report, stills),
        f"Expected calibration error on the test clips: {best.calibration_error:.3f} "
        f"({_spread([one.calibration_error for one in judged])} over the seeds); temperature "
        f"{temperature:.2f}, fitted on the validation actors.",
        _certainty(report, pool, stills) if report.labels == POLARITY_LABELS else "",
        _text(report, pool),
        _company(report, pool),
        _adaptation(report, pool),
        _classes(report, best),
        _sexes(report, pool),
        guard_text(model.guard),
        _LIMITS,
    ]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


_HEAD = """# {name}: {what} of an utterance from voice and face

HMTL target model over experts, {size} parameters, labels {labels}.
Rebuilt by `make train-default` (`recipes/default_models.py` tells the steps).

## Data and licence
- **RAVDESS** (Livingstone and Russo 2018), CC BY-NC-SA 4.0: sound and dlib landmarks of 1,440
  acted speech clips, 24 actors, two sentences. happy is positive; neutral and calm are neutral;
  sad, angry, fearful and disgust are negative; surprise has no polarity: it teaches emotion only.
- **FER2013** (Goodfellow et al. 2013), for research: 28,006 grey stills in seven classes; images
  that occur in more than one split were dropped from training.
- **MELD** (Poria et al. 2019), transcripts, for research: a text that teaches; see below.
- **CMU-MOSI** (Zadeh et al. 2016), transcripts, for research: the same.
- The weights are shared under CC BY-NC-SA 4.0, **not for commercial use**.

## Who was held out
Actors 1–20 teach: each of the five members of an expert learnt from 16 of them and judges the
other four, and the fusion learns from what is said of strangers. Actors 17–20 choose epoch, seed
and temperature; actors 21–24 test. FER2013: training part for the experts, public test part for
the fusion (two fifths of it validate), private test part for the figures."""

_LIMITS = """## What it is not
Trained on acted emotion by North American English speakers who say two sentences, and on stills.
On spontaneous speech, other languages, turned or covered faces and poor microphones expect less
than the tables say. Known failures: a quiet negative is read as neutral; raised voices and foreign
speech lean to negative; a talking mouth may look like surprise or joy.
It tells how an utterance comes across, not what a person feels. Do not use it to judge, rank,
hire, score or survey people, to detect lies or illness, or where a wrong answer harms someone."""


def _seeds(report: Report) -> Sequence[Trained]:
    return report.trained[report.kind]


def _results(report: Report, judged: Sequence[Judged], best: Judged, pool: Pool) -> str:
    teaching = report.strangers.clips.pool(report.labels)
    known = teaching.labels[teaching.labels >= 0]
    base = majority(known, pool.labels[pool.labels >= 0], len(report.labels))
    rows = [("majority class", base, [base])]
    for name in ("both", "face", "audio"):
        title = {"both": "voice and face", "face": "face alone", "audio": "voice alone"}[name]
        rows.append((title, getattr(best, name), [getattr(one, name) for one in judged]))
    lines = [
        f"| {title} | {one.accuracy:.3f} | {one.balanced_accuracy:.3f} "
        f"| {_spread([s.accuracy for s in all_of])} "
        f"| {_spread([s.balanced_accuracy for s in all_of])} |"
        for title, one, all_of in rows
    ]
    seeds = ", ".join(str(one.seed) for one in _seeds(report))
    head = (
        f"## Measured on actors {min(TEST_ACTORS)}–{max(TEST_ACTORS)}\n\nSeed {report.best.seed} "
        f"ships; the right half is mean ± sd of the fusion over seeds {seeds} on the same experts. "
        "Balanced accuracy is the mean recall over the classes. Every clip is judged alone; "
        "RAVDESS comes without pictures, so the pixel network has no say here.\n\n"
    )
    table = ["| test | accuracy | balanced | accuracy, seeds | balanced, seeds |", "|---" * 5 + "|"]
    return head + "\n".join([*table, *lines])


def _pictures(report: Report, stills: Pool) -> str:
    known = stills.only(np.flatnonzero(stills.labels >= 0))
    logits = logits_of(report.best.model, known.versions[0])
    found = scores(known.labels, logits.argmax(axis=1), len(report.labels))
    lines = [
        f"FER2013's private test part, faces that dlib finds, landmarks and pixels: accuracy "
        f"{found.accuracy:.3f}, balanced {_over_present(found):.3f}.",
        f"The pixel network alone, seven classes, all {_count(report.strangers.pictures):,} images "
        f"of that part: accuracy {report.strangers.pictures.accuracy:.3f}, balanced "
        f"{report.strangers.pictures.balanced_accuracy:.3f} (people: about .65).",
    ]
    return "\n".join(lines)


def _count(found: Scores) -> int:
    return int(np.array(found.confusion).sum())


def _certainty(report: Report, clips: Pool, stills: Pool) -> str:
    """How far ``score`` is from 0 where the decision is right, and where it is wrong."""
    rows = []
    for title, pool in (("test clips", clips), ("FER2013 stills", stills)):
        known = pool.only(np.flatnonzero(pool.labels >= 0))
        logits = logits_of(report.best.model, known.versions[0])
        shares = softmax(logits / report.best.calibration.temperature)
        far = np.abs(shares[:, 2] - shares[:, 0])
        right = shares.argmax(axis=1) == known.labels
        cells = title, *map(_mean, (far[right], far[~right], far[~right] > SURE))
        rows.append("| " + " | ".join(cells) + " |")
    return (
        "`score` is the probability of positive minus that of negative. Its mean distance from 0:"
        f"\n\n| where | decision right | decision wrong | wrong and beyond ±{SURE} |\n"
        "|---|---|---|---|\n" + "\n".join(rows)
    )


def _over_present(found: Scores) -> float:
    """Mean recall over the classes that occur (stills are never calm)."""
    counts = np.array(found.confusion)
    there = counts.sum(axis=1) > 0
    return float(np.mean(np.diag(counts)[there] / counts.sum(axis=1)[there]))


def _text(report: Report, pool: Pool) -> str:
    rows = []
    for kind, title in (("none", "no transfer"), ("text", "taught by text")):
        values = [-value for value in validation_of(report.trained[kind])]
        tested = [judge(one.model, pool, 1.0).both for one in report.trained[kind]]
        balanced = _spread([one.balanced_accuracy for one in tested])
        rows.append(f"| {title} | {_spread(values, 4)} | {balanced} |")
    ships = "ships" if report.kind == "text" else "does not ship"
    return (
        "## Text as a teacher\n\nUnpaired transcripts (MELD, CMU-MOSI) through HM-Decoder and "
        "HM-Discriminator, over the seeds. Chosen by the loss on validation, less is better; the "
        f"test clips had no part in it. The taught one {ships}.\n\n"
        "| fusion | validation loss | test, balanced accuracy |\n|---|---|---|\n" + "\n".join(rows)
    )


def _company(report: Report, pool: Pool) -> str:
    rows = [
        f"| {kind} | {found.accuracy:.3f} | {found.balanced_accuracy:.3f} |"
        for kind, found in in_company(report.best.model, pool, seed=1).items()
    ]
    return (
        "## Company\n\nThe same test clips, each alone or in a video with four others of the same "
        "actor.\n\n| clip | accuracy | balanced |\n|---|---|---|\n" + "\n".join(rows)
    )


def _adaptation(report: Report, pool: Pool) -> str:
    rows = []
    for size in ADAPT_SIZES:
        cells = [
            adapted_scores(report.best.model, pool, size, prior, seed=2, alike=alike)
            for alike in (False, True)
            for prior in (None, PRIOR)
        ]
        row = " | ".join(f"{found.balanced_accuracy:.3f}" for found in cells)
        rows.append(f"| {size} | {row} |")
    return (
        "## Adapted to the speaker\n\nNever to be compared with the plain figures: balanced "
        "accuracy over videos of so many utterances drawn from one test actor, with and without "
        "`--adapt speaker`; labels as they come, and all of a video alike. What somebody shows all "
        "the time is taken for the speaker's own face and voice: it is off unless asked for.\n\n"
        "| utterances | plain | adapted | alike, plain | alike, adapted |\n"
        "|---|---|---|---|---|\n" + "\n".join(rows)
    )


def _classes(report: Report, best: Judged) -> str:
    head = "| truth \\ decision | " + " | ".join(report.labels) + " | recall |"
    rows = [
        f"| {label} | " + " | ".join(str(count) for count in counts) + f" | {_ratio(one.recall)} |"
        for label, counts, one in zip(
            report.labels,
            best.both.confusion,
            class_scores(np.array(best.both.confusion), report.labels),
            strict=True,
        )
    ]
    line = "|---" * (len(report.labels) + 2) + "|"
    return "## By class, voice and face\n\n" + "\n".join([head, line, *rows])


def _sexes(report: Report, pool: Pool) -> str:
    """Per sex (odd actors are men) and, for sentiment, per emotion acted."""
    known = np.flatnonzero(pool.labels >= 0)
    decided = logits_of(report.best.model, pool.only(known).versions[0]).argmax(axis=1)
    right = decided == pool.labels[known]
    odd = np.array([int(pool.speakers[row].split()[-1]) % 2 == 1 for row in known])
    emotion = report.strangers.test_clips.emotion[known]
    rows = [
        f"| {title} | {int(which.sum())} | {right[which].mean():.3f} |"
        for title, which in (
            ("women", ~odd),
            ("men", odd),
            *((name, emotion == place) for place, name in enumerate(EMOTIONS)),
        )
        if which.any()
    ]
    return (
        "## By sex and by acted emotion, voice and face\n\n| clips | number | accuracy |\n"
        "|---|---|---|\n" + "\n".join(rows)
    )


def _mean(values: NDArray[Any]) -> str:
    return f"{values.mean():.2f}" if len(values) else "–"


def _ratio(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _spread(values: Sequence[float], digits: int = 3) -> str:
    return f"{np.mean(values):.{digits}f} ± {np.std(values):.{digits}f}"
