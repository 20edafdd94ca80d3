"""The card of a shipped model: training data, licence, figures on held-out data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from avsent.files import atomic_text
from avsent.labels import MODALITIES, POLARITY_LABELS
from avsent.model.decision import NAMES
from avsent.model.networks.adaptation import MIN_UTTERANCES, PRIOR, subtract_group_mean
from avsent.model.networks.encoders import VectorEncoder
from avsent.model.networks.modality_check import ModalityCheck
from avsent.model.networks.target import TargetModel, Utterances
from avsent.training.evaluation import softmax
from avsent.training.metrics import class_scores, expected_calibration_error
from avsent.training.modality_check import DAMAGED_SHARE, NEVER
from avsent.training.run import Trained
from avsent.training.run_folder import markdown_table
from recipes.fusion import Pool
from recipes.posteriors import streams_of
from recipes.ravdess import TEST_ACTORS
from recipes.scores import Scores, majority, scores

ADAPT_DRAWS = 20
"""Videos of each size drawn from each speaker to measure adaptation."""
CONTEXT_CLIPS = 4
"""Clips beside the evaluated one where context is measured."""


@dataclass(frozen=True, slots=True)
class ModalityScores:
    """Scores of single utterances: by both modalities and by each; calibration error."""

    both: Scores
    face: Scores
    audio: Scores
    calibration_error: float


@torch.inference_mode()
def logits_of(
    model: TargetModel,
    pool: Pool,
    videos: Sequence[NDArray[np.int64]] | None = None,
    without: str | None = None,
    adapt: float | None = None,
    *,
    together: bool = False,
) -> NDArray[np.float64]:
    """Logits [N, C] of ``model`` (a fusion of vectors) for the rows of all ``videos``, after its
    modality check, as in prediction; by default every utterance of ``pool`` is a video of its own.
    ``without``: a modality to leave out; ``adapt``: the ``prior`` of :func:`adapted`, None for no
    adaptation; ``together``: the mean is that of all videos, not of each."""
    if videos is None:
        videos = [np.array([row]) for row in range(len(pool))]
    lengths = torch.tensor([len(rows) for rows in videos])
    shape = len(videos), int(lengths.max())
    values, present = {}, {}
    for name, versions in (("audio", pool.audio), ("face", pool.face)):
        encoder = model.encoder(name)
        assert isinstance(encoder, VectorEncoder)
        padded = torch.full((*shape, len(encoder.mean)), torch.nan)
        for place, rows in enumerate(videos):
            if versions:
                padded[place, : len(rows)] = torch.from_numpy(versions[0][rows])
        present[name] = ~padded.isnan().all(dim=-1) & (torch.tensor(name != without))
        values[name] = encoder(padded)
        if adapt is not None:
            group = (1, -1) if together else shape
            moved = adapted(
                values[name].view(*group, padded.shape[-1]), present[name].view(group), adapt
            )
            values[name] = moved.view(padded.shape)
    output = model(model.check_modalities(Utterances(values, present, lengths)).utterances)
    inside = torch.arange(shape[1])[None] < lengths[:, None]
    found: NDArray[np.float64] = output.logits[inside].double().numpy()
    return found


def modality_scores(model: TargetModel, pool: Pool, temperature: float) -> ModalityScores:
    """Scores over every labelled utterance of ``pool``, each without context."""
    known, classes = pool.labelled(), len(pool.names)
    logits = {
        without: logits_of(model, known, without=without) for without in (None, "audio", "face")
    }
    found = {
        without: scores(known.labels, values.argmax(axis=1), classes)
        for without, values in logits.items()
    }
    error = expected_calibration_error(softmax(logits[None] / temperature), known.labels)
    return ModalityScores(found[None], found["audio"], found["face"], error)


def scores_in_context(model: TargetModel, pool: Pool, seed: int) -> dict[str, Scores]:
    """Scores of the same utterances alone, beside clips of the same label, and of other labels."""
    known = pool.labelled()
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
                mates = rng.choice(there, min(CONTEXT_CLIPS, len(there)), replace=False)
            videos.append(np.concatenate([[row], mates]))
        logits = logits_of(model, known, videos)
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
    known = pool.labelled()
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
    logits = logits_of(model, known, videos, adapt=prior)
    truth = known.labels[np.concatenate(videos)]
    return scores(truth, logits.argmax(axis=1), len(pool.names))


def adapted(values: torch.Tensor, present: torch.Tensor, prior: float) -> torch.Tensor:
    """Representations ``values`` [B, U, R] centred on their own video's mean instead of that of the
    training data; each video is one group."""
    one_group = torch.zeros_like(present, dtype=torch.long)
    return subtract_group_mean(values, present, one_group, prior, MIN_UTTERANCES)


def summed(pool: Pool, modalities: Sequence[str] = MODALITIES) -> Scores:
    """Scores of the plain sum of the experts' log probabilities, without training, over every
    labelled utterance of ``pool``."""
    known = pool.labelled()
    said = {"audio": known.audio, "face": known.face}
    total = np.zeros((len(known), len(pool.names)))
    for stream in streams_of(pool.names).values():
        if stream.modality in modalities and said[stream.modality]:
            total += np.nan_to_num(said[stream.modality][0][:, list(stream.columns)])
    return scores(known.labels, total.argmax(axis=1), len(pool.names))


def guard_text(guard: ModalityCheck | None) -> str:
    """The card's section about the guard."""
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
utterances {DAMAGED_SHARE:.0%} had one modality in noise (SNR 0.01) or exchanged.

Proxies: {kind}. {use}."""


CARD_FILE = "CARD.md"
STILLS = 26_784  # pictures of FER+ that teach
ADAPT_SIZES = (3, 5, 10)
SURE = 0.8
"""A wrong decision with a higher ``score`` than this misleads."""


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """All trained fusions of one shipped model, a seed each; ``tests``: pools by name ("clips",
    "ferplus", "strangers"); ``pictures``: of the pixel network alone on FER+'s test part, eight
    classes."""

    name: str
    labels: tuple[str, ...]
    seeds: tuple[Trained, ...]
    tests: Mapping[str, Pool]
    pictures: Scores

    @property
    def best(self) -> Trained:
        """The seed with the least loss on validation: it ships."""
        return max(self.seeds, key=lambda one: one.progress.best_value)


def write_card(folder: Path, report: Report, model: TargetModel) -> None:
    """Write ``CARD.md`` into ``folder``."""
    with atomic_text(folder / CARD_FILE) as file:
        file.write(card_text(report, model))


def card_text(report: Report, model: TargetModel) -> str:
    """The card as Markdown."""
    pool = report.tests["clips"]
    temperature = report.best.calibration.temperature
    over_seeds = [
        modality_scores(one.model, pool, one.calibration.temperature) for one in report.seeds
    ]
    best = modality_scores(report.best.model, pool, temperature)
    size = sum(parameter.numel() for parameter in model.parameters())
    what = "sentiment" if report.labels == POLARITY_LABELS else "emotion"
    parts = [
        _HEAD.format(
            name=report.name,
            what=what,
            size=f"{size:,}",
            labels=", ".join(report.labels),
            stills=f"{STILLS:,}",
        ),
        _results(report, over_seeds, best, pool),
        _stills(report),
        f"Expected calibration error on the test clips: {best.calibration_error:.3f} "
        f"({_spread([one.calibration_error for one in over_seeds])} over the seeds); temperature "
        f"{temperature:.2f}: that of voices of corpora that a fusion did not know, and of the "
        "stills' validation parts.",
        _certainty(report) if report.labels == POLARITY_LABELS else "",
        _TEXT,
        _context(report, pool),
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
- **Voices of seven corpora** in seven languages, 5,738 clips: nEMO, KoreanETOD and
  IndianEmoSpeech (CC BY-NC-SA 4.0); ASED, EMOVO, URDU and BAVED (for research). IndianEmoSpeech
  also gives the background noise that is mixed into voices.
- **FER2013** (Goodfellow et al. 2013), for research, with the votes of **FER+** (Barsoum et al.
  2016, MIT): {stills} grey stills in eight classes; pictures that are mostly "unknown" or "no
  face", or occur in a later split, were dropped.
- **Strangers**: 11,075 faces of 4,500 persons from press photographs, for research.
- **Whisper** base (Radford et al. 2022, OpenAI, MIT): its encoder, unchanged, represents the voice.
- The weights are shared under CC BY-NC-SA 4.0, **not for commercial use**.

## Who was held out
RAVDESS's actors 1–20 and the foreign corpora teach: each of the six members of an expert learnt
without one group of actors and without one foreign corpus and judges those, and the fusion learns
from what is said of strangers. Actors 17–20 and two fifths of the foreign speakers and of the
stills' validation parts choose epoch and seed. Actors 21–24, FER+'s test part and a
fifth of the strangers test. How the recipe does on corpora that it never saw:
`make bench-strangers`, [docs/benchmarks](../../docs/benchmarks/README.md)."""

_TEXT = """## Text as a teacher
No transcript taught this model. Over five seeds of the `default` before it, unpaired transcripts
(MELD, CMU-MOSI) lowered the loss on validation from .5149 to .5141 (paired t-test: p = .02) and
left the balanced accuracy on the test clips as it was (.922, .923): too little to ship. Text
taught it only through Whisper's pretraining. Your own text teaches with
`avsent train --source-text`."""

_LIMITS = """## What it is not
Trained on acted emotion, mostly, and on stills. On spontaneous speech, other languages, turned or
covered faces and poor microphones expect less than the tables say. Known failures: a quiet negative
is read as neutral; joy is hard to hear; a talking mouth may look like surprise or joy.
It tells how an utterance comes across, not what a person feels. Do not use it to judge, rank,
hire, score or survey people, to detect lies or illness, or where a wrong answer harms someone."""


def _results(
    report: Report, over_seeds: Sequence[ModalityScores], best: ModalityScores, pool: Pool
) -> str:
    known = pool.labels[pool.labels >= 0]
    base = majority(known, known, len(report.labels))
    found = [
        ("majority class", base, [base]),
        ("sum of the experts' log probabilities", summed(pool), []),
        ("voice and face", best.both, [one.both for one in over_seeds]),
        ("face alone", best.face, [one.face for one in over_seeds]),
        ("voice alone", best.audio, [one.audio for one in over_seeds]),
    ]
    rows = [
        [
            *(title, f"{one.accuracy:.3f}", f"{one.balanced_accuracy:.3f}"),
            _spread([s.accuracy for s in seeds]),
            _spread([s.balanced_accuracy for s in seeds]),
        ]
        for title, one, seeds in found
    ]
    head = ["test", "accuracy", "balanced", "accuracy, seeds", "balanced, seeds"]
    names = ", ".join(str(one.seed) for one in report.seeds)
    return (
        f"## Measured on actors {min(TEST_ACTORS)}–{max(TEST_ACTORS)}\n\nSeed {report.best.seed} "
        f"ships; the right half is mean ± sd of the fusion over seeds {names} on the same experts. "
        "Balanced accuracy is the mean recall over the classes. Every clip is judged alone, by the "
        "model as it ships, modality check included; RAVDESS comes without pictures, so the pixel "
        "network has no say here.\n\n"
    ) + markdown_table(head, rows)


def _stills(report: Report) -> str:
    rows = []
    for corpus, title in (("ferplus", "FER+ test part"), ("strangers", "strangers, new persons")):
        known = report.tests[corpus].labelled()
        logits = logits_of(report.best.model, known)
        found = scores(known.labels, logits.argmax(axis=1), len(report.labels))
        error = expected_calibration_error(
            softmax(logits / report.best.calibration.temperature), known.labels
        )
        recalls = class_scores(np.array(found.confusion), report.labels)
        rows.append(
            [
                title,
                f"{len(known):,}",
                f"{found.accuracy:.3f}",
                f"{found.balanced_accuracy:.3f}",
                ", ".join("–" if one.recall is None else f"{one.recall:.2f}" for one in recalls),
                f"{error:.3f}",
            ]
        )
    head = [
        "faces that dlib finds",
        "faces",
        "accuracy",
        "balanced",
        "recalls",
        "calibration error",
    ]
    return (
        "## Measured on stills\n\nThe label of a face is that of most votes; recalls in the order "
        "of the labels; ECE is the expected calibration error.\n\n"
        f"{markdown_table(head, rows)}\n\nThe pixel network alone, eight classes, all "
        f"{report.pictures.count:,} pictures of FER+'s test part: accuracy "
        f"{report.pictures.accuracy:.3f}."
    )


def _certainty(report: Report) -> str:
    """How far ``score`` is from 0 where the decision is right, and where it is wrong."""
    rows = []
    for title, name in (("test clips", "clips"), ("strangers", "strangers")):
        known = report.tests[name].labelled()
        logits = logits_of(report.best.model, known)
        probabilities = softmax(logits / report.best.calibration.temperature)
        far = np.abs(probabilities[:, 2] - probabilities[:, 0])
        right = probabilities.argmax(axis=1) == known.labels
        shares = (far[right], far[~right], far[~right] > SURE)
        cells = [f"{values.mean():.2f}" if len(values) else "–" for values in shares]
        rows.append([title, *cells])
    head = ["where", "decision right", "decision wrong", f"wrong and beyond ±{SURE}"]
    return (
        "`score` is the probability of positive minus that of negative. Its mean distance from 0:"
        f"\n\n{markdown_table(head, rows)}"
    )


def _context(report: Report, pool: Pool) -> str:
    rows = [
        [kind, f"{found.accuracy:.3f}", f"{found.balanced_accuracy:.3f}"]
        for kind, found in scores_in_context(report.best.model, pool, seed=1).items()
    ]
    return (
        "## Company\n\nThe same test clips, each alone or in a video with four others of the same "
        "actor.\n\n"
    ) + markdown_table(["clip", "accuracy", "balanced"], rows)


def _adaptation(report: Report, pool: Pool) -> str:
    rows = []
    for size in ADAPT_SIZES:
        cells = [
            adapted_scores(report.best.model, pool, size, prior, seed=2, alike=alike)
            for alike in (False, True)
            for prior in (None, PRIOR)
        ]
        rows.append([str(size), *(f"{found.balanced_accuracy:.3f}" for found in cells)])
    head = ["utterances", "plain", "adapted", "alike, plain", "alike, adapted"]
    return (
        "## Adapted to the speaker\n\nNever to be compared with the plain figures: balanced "
        "accuracy over videos of so many utterances drawn from one test actor, with and without "
        "`--adapt speaker`; labels as they come, and all of a video alike. What somebody shows all "
        "the time is taken for the speaker's own face and voice: it is off unless asked for.\n\n"
    ) + markdown_table(head, rows)


def _classes(report: Report, best: ModalityScores) -> str:
    counts = best.both.confusion
    found = class_scores(np.array(counts), report.labels)
    rows = [
        [one.label, *map(str, row), "–" if one.recall is None else f"{one.recall:.3f}"]
        for one, row in zip(found, counts, strict=True)
    ]
    head = ["truth \\ decision", *report.labels, "recall"]
    return "## By class, voice and face\n\n" + markdown_table(head, rows)


def _sexes(report: Report, pool: Pool) -> str:
    """Per sex: odd actors are men."""
    known = pool.labelled()
    right = logits_of(report.best.model, known).argmax(axis=1) == known.labels
    odd = np.array([int(speaker.split()[-1]) % 2 == 1 for speaker in known.speakers])
    rows = [
        [title, str(int(which.sum())), f"{right[which].mean():.3f}"]
        for title, which in (("women", ~odd), ("men", odd))
        if which.any()
    ]
    return f"## By sex, voice and face\n\n{markdown_table(['clips', 'number', 'accuracy'], rows)}"


def _spread(values: Sequence[float], digits: int = 3) -> str:
    if not values:
        return "–"
    return f"{np.mean(values):.{digits}f} ± {np.std(values):.{digits}f}"
