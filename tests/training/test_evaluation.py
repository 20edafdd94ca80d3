"""Figures of predictions, `avsent evaluate`, and settings that `avsent train` refuses."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_runs import AUDIO, POLARITIES, changed, feature_file, small_corpus, small_settings

from avsent.cli.app import main
from avsent.extraction.extractor import FeatureConfig
from avsent.extraction.features.voice import AudioConfig
from avsent.labels import EMOTIONS, POLARITY_LABELS, LabelScale
from avsent.training import metrics
from avsent.training.data.corpus import Corpus
from avsent.training.data.feature_files import write_features
from avsent.training.evaluation import Evaluation, Predictions, evaluate, evaluate_checkpoint
from avsent.training.metrics import classification_metrics, intervals, regression_metrics
from avsent.training.run import Request, run
from avsent.training.run_folder import RunFolder
from avsent.training.start import open_start
from recipes.scores import scores


def classes_of(count: int = 120, classes: int = 3, speakers: int = 4) -> Predictions:
    """Mostly correct predictions; 6 utterances per video."""
    rng = np.random.default_rng(5)
    truth = rng.integers(0, classes, count)
    probabilities = rng.dirichlet(np.ones(classes), count)
    probabilities[np.arange(count), truth] += 0.4
    return Predictions(
        keys=tuple(f"u{i}" for i in range(count)),
        videos=tuple(f"v{i // 6}" for i in range(count)),
        speakers=tuple(f"s{i // 6 % speakers}" for i in range(count)),
        labels=POLARITY_LABELS if classes == 3 else EMOTIONS[:classes],
        truth=truth,
        probabilities=probabilities / probabilities.sum(axis=1, keepdims=True),
    )


def numbers_of() -> Predictions:
    """Real-valued sentiment in fifths, some of it 0, and numbers near it."""
    base = classes_of()
    rng = np.random.default_rng(6)
    truth = np.clip(np.round(rng.normal(0.3, 1.5, 120)), -3, 3)
    return dataclasses.replace(
        base,
        truth=truth,
        values=truth + rng.normal(0, 0.8, 120),
    )


def test_classes() -> None:
    predictions = classes_of()
    found = evaluate(predictions, train=np.array([2, 0, 2]), draws=200, seed=1)
    assert found.metrics == classification_metrics(predictions.truth, predictions.probabilities)
    assert (found.count, found.videos, found.labels) == (120, 20, POLARITY_LABELS)
    decided = predictions.probabilities.argmax(axis=1)
    assert found.confusion == scores(predictions.truth, decided, 3).confusion
    assert [row.label for row in found.per_class] == list(POLARITY_LABELS)
    assert [row.support for row in found.per_class] == [sum(row) for row in found.confusion]
    for row, counts, place in zip(found.per_class, found.confusion, range(3), strict=True):
        assert row.recall == pytest.approx(counts[place] / sum(counts))
    for name, value in found.metrics.items():
        between = found.intervals[name]
        assert value is not None
        assert between is not None
        assert between.low < between.high
        if name != metrics.CALIBRATION_ERROR:  # drawing the same utterances twice adds to it
            assert between.low < value < between.high


def test_the_baseline_is_that_of_the_training_part() -> None:
    predictions = classes_of()
    found = evaluate(predictions, train=np.array([2, 0, 2]), draws=5)
    always = np.full(120, 2)
    assert found.baseline_class == "positive"
    assert found.baseline[metrics.ACCURACY] == pytest.approx((predictions.truth == always).mean())
    assert found.baseline[metrics.BALANCED_ACCURACY] == pytest.approx(1 / 3)
    assert found.baseline[metrics.AUC] == 0.5
    assert found.baseline[metrics.CALIBRATION_ERROR] is None
    unknown = evaluate(predictions, draws=5)
    assert (unknown.baseline, unknown.baseline_class) == ({}, None)
    assert {baseline for *_, baseline in unknown.table_rows()} == {"–"}
    for wrong in (-1, 3):
        with pytest.raises(ValueError, match="no class index"):
            evaluate(predictions, train=np.array([wrong]), draws=5)


def test_speakers_add_up() -> None:
    predictions = classes_of()
    found = evaluate(predictions, draws=5)
    assert [row.speaker for row in found.per_speaker] == ["s0", "s1", "s2", "s3"]
    assert sum(row.count for row in found.per_speaker) == 120
    right = sum(row.count * (row.metrics[metrics.ACCURACY] or 0) for row in found.per_speaker)
    assert right / 120 == pytest.approx(found.metrics[metrics.ACCURACY])
    assert set(found.per_speaker[0].metrics) == {metrics.ACCURACY, metrics.BALANCED_ACCURACY}
    assert (
        evaluate(dataclasses.replace(predictions, speakers=("",) * 120), draws=5).per_speaker == ()
    )


def test_accuracy_of_unsure_and_of_other_decisions() -> None:
    probabilities = np.array([[0.5, 0.4, 0.1], [0.4, 0.5, 0.1], [0.1, 0.1, 0.8], [0.8, 0.1, 0.1]])
    five = np.concatenate([probabilities, probabilities[3:]])
    names = tuple("abcde")
    truth = np.array([0, 0, 2, 0, 1])
    plain = Predictions(names, names, ("",) * 5, POLARITY_LABELS, truth, five)
    assert evaluate(plain, draws=5).certainty == {}
    marked = dataclasses.replace(plain, unsure=np.array([True, True, False, False, False]))
    found = evaluate(marked, draws=5)
    # Of the two right and wrong; of the three two right.
    assert found.certainty == {
        "unsure": {"count": 2, "accuracy": 0.5},
        "sure": {"count": 3, "accuracy": pytest.approx(2 / 3)},
    }
    assert found.to_dict()["certainty"]["unsure"] == {"count": 2, "accuracy": 0.5}
    none = dataclasses.replace(plain, unsure=np.zeros(5, dtype=bool))
    assert evaluate(none, draws=5).certainty == {}
    all_ = evaluate(dataclasses.replace(plain, unsure=np.ones(5, dtype=bool)), draws=5).certainty
    assert (all_["unsure"]["count"], all_["sure"]) == (5, {"count": 0, "accuracy": None})
    with pytest.raises(ValueError, match="5 keys, but arrays of"):
        dataclasses.replace(plain, unsure=np.zeros(4, dtype=bool))


def test_numbers() -> None:
    predictions = numbers_of()
    assert predictions.values is not None
    found = evaluate(predictions, train=np.array([0.0, 0.5]), draws=100)
    of_numbers = regression_metrics(predictions.truth, predictions.values)
    assert {name: found.metrics[name] for name in of_numbers} == of_numbers
    assert found.baseline[metrics.MAE] == pytest.approx(np.abs(predictions.truth - 0.25).mean())
    assert found.baseline[metrics.CORRELATION] is None
    assert found.baseline_value == 0.25
    assert found.per_speaker[0].metrics[metrics.MAE] is not None
    assert tuple(found.metrics) == (*metrics.REGRESSION_METRICS, *metrics.CLASSIFICATION_METRICS)
    polarity = np.sign(predictions.truth).astype(int) + 1
    of_classes = classification_metrics(polarity, predictions.probabilities)
    assert {name: found.metrics[name] for name in of_classes} == of_classes
    assert [row.support for row in found.per_class] == np.bincount(polarity).tolist()


def test_intervals_are_over_videos() -> None:
    predictions = classes_of()
    right = predictions.probabilities.argmax(axis=1) == predictions.truth
    (expected,) = intervals(
        lambda rows: [float(right[rows].mean())], predictions.videos, draws=150, seed=9
    )
    found = evaluate(predictions, draws=150, seed=9)
    accuracy = found.intervals[metrics.ACCURACY]
    assert accuracy is not None
    assert expected is not None
    assert accuracy.low == pytest.approx(expected.low)
    assert accuracy.high == pytest.approx(expected.high)
    one_video = evaluate(dataclasses.replace(predictions, videos=("v",) * 120), draws=5)
    assert set(one_video.intervals.values()) == {None}
    assert (found, found.seed) == (evaluate(predictions, draws=150, seed=9), 9)


@pytest.mark.parametrize("predictions", [classes_of(), classes_of(classes=2), numbers_of()])
def test_json_and_back(predictions: Predictions) -> None:
    found = evaluate(predictions, train=np.array([1, 0, 1]), draws=20)
    plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert plain == found.to_dict()
    assert set(plain) == {field.name for field in dataclasses.fields(Evaluation)}
    assert plain["intervals"][metrics.ACCURACY].keys() == {"low", "high"}
    assert plain["per_class"][0].keys() == {"label", "precision", "recall", "f1", "support"}


def test_one_class_only_is_still_reported() -> None:
    predictions = dataclasses.replace(classes_of(), truth=np.zeros(120))
    found = evaluate(predictions, train=np.zeros(1), draws=20)
    assert found.metrics[metrics.AUC] is None
    assert found.intervals[metrics.AUC] is None
    assert found.baseline[metrics.ACCURACY] == 1
    json.dumps(found.to_dict(), allow_nan=False)
    row = next(row for row in found.table_rows() if row[0] == "AUC")
    assert row[1:] == ("–", "–", "–")


def test_table_rows() -> None:
    rows = evaluate(classes_of(), train=np.zeros(1), draws=50).table_rows()
    assert [name for name, *_ in rows] == [
        *("accuracy", "balanced accuracy", "weighted F1", "macro F1", "AUC", "calibration error")
    ]
    _, accuracy, interval, baseline = rows[0]
    low, high = map(float, interval.split(" – "))
    assert low < float(accuracy) < high
    assert float(baseline) < float(accuracy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"truth": np.full(120, -1)}, "no class index"),
        ({"truth": np.full(120, math.nan)}, "no class index"),
        ({"truth": np.zeros(119)}, "120 keys"),
        ({"videos": ("v",)}, "120 keys"),
        ({"labels": ("negative", "positive")}, "2 labels"),
        ({"probabilities": np.full((120, 3), 0.5)}, "sum to 1"),
        ({"probabilities": np.full((120, 3), math.nan)}, "sum to 1"),
        ({"values": np.full(120, math.nan)}, "missing or infinite"),
        ({"values": np.zeros((120, 1))}, "120 keys"),
        ({"values": np.zeros(120), "labels": ("a", "b", "c")}, "must be negative"),
        ({"keys": (), "videos": (), "speakers": (), "truth": np.empty(0)}, "no predictions"),
    ],
)
def test_predictions_that_make_no_sense(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(classes_of(), **change)


CPU = torch.device("cpu")


pytestmark = pytest.mark.usefixtures("one_thread")


def trained(folder: Path, corpus: Corpus, **settings: Any) -> Path:
    settings = small_settings(**{"epochs": 2, **settings})
    run(Request(corpus, settings, (0,), RunFolder(folder), CPU))
    return folder


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on three polarities, with gaps."""
    return trained(tmp_path_factory.mktemp("classes"), three())


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("numbers"), small_corpus(), label="sentiment")


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    corpus = small_corpus(raw=True, speakers=4)
    return trained(tmp_path_factory.mktemp("raw"), corpus, epochs=1)


def three() -> Corpus:
    return small_corpus(classes=POLARITIES, speakers=12, gaps=True)


def written(folder: Path, corpus: Corpus) -> Path:
    write_features(folder / "data.npz", corpus)
    return folder / "data.npz"


def refused(
    capsys: pytest.CaptureFixture[str], code: int, *arguments: str | Path, usage: bool = False
) -> str:
    """The one line of an error."""
    assert main([str(argument) for argument in arguments]) == code
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert lines[0].startswith("avsent: error: "), err
    assert len(lines) == (3 if code == 2 else 1)
    return lines[0]


# --- figures ---


@pytest.mark.parametrize("part", ["test", "valid"])
def test_the_figures_are_those_of_the_run(classes: Path, part: str, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    arguments = ["evaluate", str(classes / "checkpoint"), str(written(tmp_path, three()))]
    assert main([*arguments, "--split", part, "-o", str(out), "--quiet"]) == 0
    found = json.loads(out.read_text())
    before = json.loads((classes / "seed-0/evaluation.json").read_text())["target"][part]
    assert found["part"] == part
    assert found["baseline_from"] == "train"
    assert found["left_out"] == 1
    for name, value in before.items():
        assert found[name] == value, name


def test_numbers_too(numbers: Path, tmp_path: Path) -> None:
    found = evaluate_checkpoint(
        numbers / "checkpoint", small_corpus(), label="sentiment"
    ).evaluation.to_dict()
    before = json.loads((numbers / "seed-0/evaluation.json").read_text())["target"]["test"]
    assert found == before
    assert {"mae", "correlation", "accuracy"} <= set(found["metrics"])


def test_ch_sims_figures_where_labels_are_from_minus_1_to_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are those of the labels as written, also on a cut (0.7, which is read as 2.1)."""
    corpus = small_corpus(speakers=12, utterances=4)
    labels = itertools.cycle(("-0.8", "0.2", "-0.1", "0.7", "-0.7", "1", "0", "0.1"))
    samples = [
        dataclasses.replace(one, labels={"sentiment": next(labels)}) for one in corpus.samples
    ]
    data, run_folder = written(tmp_path, corpus.subset(samples)), tmp_path / "run"
    options = ["--label", "sentiment", "--label-range", "-1", "1"]
    arguments = ["--epochs", "5", "--learning-rate", "0.02", "-o", str(run_folder), "--quiet"]
    assert main(["train", str(data), *options, *arguments]) == 0
    assert "\nCH-SIMS acc-5\t" in capsys.readouterr().out

    out = tmp_path / "out.json"
    # The model keeps the range.
    command = ["evaluate", str(run_folder), str(data), "--label", "sentiment", "--draws", "100"]
    assert main([*command, "-o", str(out), "--quiet"]) == 0
    table = capsys.readouterr().out
    found = json.loads(out.read_text())
    with (run_folder / "seed-0/predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    label_of = {sample.key: float(sample.labels["sentiment"]) for sample in samples}
    truth = np.array([label_of[row["utterance"]] for row in rows])
    predicted = np.array([float(row["value"]) / 3 for row in rows])
    expected = metrics.ch_sims_metrics(truth, predicted)
    for name, value in expected.items():
        assert found["metrics"][name] == pytest.approx(value, abs=1e-4), name
        assert found["baseline"][name] != value, name
        assert f"\n{metrics.TITLES[name]}\t{found['metrics'][name]:.3f}\t" in table
    mae = np.abs(truth - predicted).mean()
    assert found["metrics"][metrics.MAE] == pytest.approx(3 * mae, abs=1e-3)


@pytest.mark.parametrize("scale", [None, LabelScale(1, -1), LabelScale(-2, 2)])
def test_no_ch_sims_figures_of_other_labels(numbers: Path, scale: LabelScale | None) -> None:
    corpus = dataclasses.replace(small_corpus(), scale=scale)
    samples = [dataclasses.replace(one, labels={"sentiment": "1"}) for one in corpus.samples]
    found = evaluate_checkpoint(
        numbers, corpus.subset(samples), label="sentiment", part="all", draws=5
    )
    assert not set(metrics.CH_SIMS_METRICS) & set(found.evaluation.metrics)


def test_raw_features_too(raw: Path) -> None:
    corpus = small_corpus(raw=True, speakers=4)
    found = evaluate_checkpoint(raw / "checkpoint", corpus).evaluation.to_dict()
    before = json.loads((raw / "seed-0/evaluation.json").read_text())["target"]["test"]
    assert found == before


def test_json_confusion_and_words(
    classes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out, picture = written(tmp_path, three()), tmp_path / "o.json", tmp_path / "c.svg"
    command = ["evaluate", str(classes / "checkpoint"), str(data)]
    options = ["--format", "json", "-o", str(out), "--confusion", str(picture)]
    assert main([*command, *options, "--draws", "100"]) == 0
    stdout, err = capsys.readouterr()
    found = json.loads(stdout)
    assert stdout == out.read_text()
    assert found["draws"] == 100
    assert sum(map(sum, found["confusion"])) == found["count"]
    assert "<svg" in picture.read_text()
    assert err == "avsent: warning: 1 utterance left out: no label, or no voice and face\n"
    assert main([*command, "--quiet"]) == 0
    stdout, err = capsys.readouterr()
    assert err == ""
    blocks = [block.splitlines() for block in stdout.strip().split("\n\n")]
    assert [block[0].split(",")[0] for block in blocks] == [
        f"# {found['count']} utterances of 3 videos",
        "# per class",
        "# confusion",
        "# marked as unsure",
        "# per speaker",
    ]
    sure, unsure = (found["certainty"][name] for name in ("sure", "unsure"))
    assert sure["count"] + unsure["count"] == found["count"]
    assert blocks[3][2:] == [
        f"{name}\t{one['count']}\t{metrics.figure_text(one['accuracy'])}"
        for name, one in (("unsure", unsure), ("sure", sure))
    ]
    assert [line.split("\t")[0] for line in blocks[2][2:]] == list(POLARITIES)
    assert [row.split("\t")[1:] for row in blocks[2][2:]] == [
        [str(count) for count in row] for row in found["confusion"]
    ]


def test_without_parts_everything_is_evaluated(classes: Path) -> None:
    corpus = small_corpus(classes=POLARITIES, speakers=12, given=False)
    found = evaluate_checkpoint(classes / "checkpoint", corpus)
    assert found.part == found.baseline_from == "all"
    assert found.evaluation.count == len(corpus.samples)
    assert found.left_out == 0


def test_the_drawn_parts_are_used_for_evaluation(tmp_path: Path) -> None:
    corpus = small_corpus(classes=POLARITIES, speakers=12, given=False)
    run_folder = trained(tmp_path / "run", corpus)
    split = json.loads((run_folder / "checkpoint" / "parts.json").read_text())
    found = evaluate_checkpoint(run_folder / "checkpoint", corpus)
    assert (found.part, found.baseline_from) == ("test", "train")
    assert set(found.predictions.keys) == set(split["test"])
    assert len(split["train"]) + len(split["valid"]) + len(split["test"]) == len(corpus.samples)
    ran = json.loads((run_folder / "seed-0" / "evaluation.json").read_text())
    assert found.evaluation.metrics == ran["target"]["test"]["metrics"]
    whole = evaluate_checkpoint(run_folder, corpus)  # a run's folder stands for its checkpoint
    assert whole.evaluation == found.evaluation
    other = small_corpus(classes=POLARITIES, speakers=12, given=False, seed=1)
    assert evaluate_checkpoint(run_folder / "checkpoint", other).part == "all"


def test_data_that_the_checkpoint_learnt_from(
    classes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus, learnt = three(), "; its figures here say nothing about new people\n"
    train = [sample.key for sample in corpus.samples if sample.split == "train"]
    found = evaluate_checkpoint(classes / "checkpoint", corpus, part="all", draws=5)
    kept = len({*found.predictions.keys} & {*train})
    assert found.learnt_from == f"{kept} of these {len(found.predictions.keys)} utterances"
    assert (kept, len(train)) == (13, 15)  # two lack a label, or voice and face
    assert evaluate_checkpoint(classes / "checkpoint", corpus, draws=5).learnt_from == ""
    command = ["evaluate", str(classes), str(written(tmp_path, corpus)), "--draws", "100"]
    assert main([*command, "--split", "train"]) == 0
    found_line = f"avsent: warning: {classes.name} learnt from {kept} of these {kept} utterances"
    assert found_line + learnt in capsys.readouterr().err
    assert main([*command, "--split", "train", "--quiet"]) == 0
    assert capsys.readouterr().err == ""
    assert main(command) == 0
    assert "learnt from" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "path", "key", "learnt"),
    [
        ("crema d", "x.npz", "v0_0", "CREMA-D"),
        ("mine", "corpora/CREMA_D/videos/manifest.csv", "v0_0", "CREMA-D"),
        ("mine", "Ravdess.npz", "v0_0", "RAVDESS"),
        ("mine", "x", "Actor_12/01-01-06-01-02-01-12.mp4#0", "RAVDESS"),
        ("ravdess", "crema-d", "v0_0", "RAVDESS and CREMA-D"),
        ("mine", "crema-d-new/ravdess2/x.npz", "v0_0", ""),
        ("mine", "x", "2026-01-01-06-01-02-01-12.mp4", ""),
        ("mine", "x", "01-01-06-01-02-01-25.mp4", ""),  # there are 24 actors
    ],
)
def test_corpora_that_the_checkpoint_learnt_from(
    classes: Path, tmp_path: Path, name: str, path: str, key: str, learnt: str
) -> None:
    folder = tmp_path / "checkpoint"
    shutil.copytree(classes / "checkpoint", folder)
    config = json.loads((folder / "config.json").read_text())
    config["trained_on"] = ["RAVDESS", "CREMA-D"]
    (folder / "config.json").write_text(json.dumps(config))
    corpus = small_corpus(classes=POLARITIES, speakers=2, seed=1)
    samples = (dataclasses.replace(corpus.samples[0], key=key), *corpus.samples[1:])
    corpus = dataclasses.replace(corpus, name=name, samples=samples)
    found = evaluate_checkpoint(folder, corpus, part="all", draws=5, path=Path(path))
    assert found.learnt_from == learnt


def renamed(corpus: Corpus) -> Corpus:
    """The same utterances, last one first, in a manifest elsewhere: without parts."""
    return dataclasses.replace(
        corpus,
        name="elsewhere",
        samples=tuple(
            dataclasses.replace(one, key=f"k{n}", video=f"copy/{one.video}", speaker="", split="")
            for n, one in enumerate(reversed(corpus.samples))
        ),
    )


@pytest.mark.parametrize("raw_features", [False, True])
def test_training_data_under_other_names_are_known(raw_features: bool, tmp_path: Path) -> None:
    corpus = small_corpus(raw=raw_features, gaps=True)
    none = None if raw_features else np.zeros(5, np.float32)
    corpus = changed(corpus, {"v2": {"face": none}})
    run_folder = trained(tmp_path / "run", corpus, epochs=1)
    train = [one for one in corpus.samples if one.split == "train" and any(one.labels.values())]
    found = evaluate_checkpoint(run_folder, renamed(corpus), draws=5)
    assert found.learnt_from == f"{len(train)} of these {found.evaluation.count} utterances"
    held_out = corpus.subset(one for one in corpus.samples if one.split != "train")
    assert evaluate_checkpoint(run_folder, renamed(held_out), draws=5).learnt_from == ""
    other = renamed(small_corpus(raw=raw_features, gaps=True, seed=1))
    assert evaluate_checkpoint(run_folder, other, draws=5).learnt_from == ""
    # One of the two modalities is enough. A face of zeros stands for none: it tells nothing.
    faceless = [dataclasses.replace(one, face=none) for one in train]
    found = evaluate_checkpoint(run_folder, renamed(corpus.subset(faceless)), draws=5)
    voices = sum(one.audio is not None for one in faceless)
    assert found.learnt_from == f"{voices} of these {found.evaluation.count} utterances"
    assert voices < len(train)


def test_what_the_start_of_a_model_learnt_from_is_known(tmp_path: Path) -> None:
    """Of a chain of three: utterances of the first two, and corpora named by the first."""
    corpora = [small_corpus(raw=True, classes=POLARITIES, seed=seed) for seed in range(4)]
    trained(tmp_path / "0", corpora[0], epochs=1)
    config = tmp_path / "0/checkpoint/config.json"
    config.write_text(config.read_text().replace('"trained_on": []', '"trained_on": ["SEMAINE"]'))
    for number in (1, 2):
        start = open_start(tmp_path / str(number - 1))
        request = Request(
            corpora[number],
            start.settings(small_settings(epochs=1)),
            seeds=(0,),
            folder=RunFolder(tmp_path / str(number)),
            device=CPU,
            start=start,
        )
        run(request)
    chain = [
        evaluate_checkpoint(tmp_path / "2", renamed(corpus), draws=5).learnt_from
        for corpus in corpora
    ]
    assert [line.split(" ")[0] for line in chain] == ["10", "10", "10", ""]
    named = dataclasses.replace(corpora[3], name="semaine")
    assert evaluate_checkpoint(tmp_path / "2", named, draws=5).learnt_from == "SEMAINE"


@pytest.mark.parametrize("parts", ['{"learnt": 5}', '{"train": [["a"]]}', "[]", "{"])
def test_damaged_parts(
    classes: Path, parts: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(classes / "checkpoint", tmp_path / "checkpoint")
    (tmp_path / "checkpoint/parts.json").write_text(parts)
    data = written(tmp_path, three())
    line = refused(capsys, 4, "evaluate", tmp_path / "checkpoint", data)
    assert "parts.json: damaged, " in line
    assert line.endswith("; restore it, or delete it")


# --- what does not fit ---


def test_features_of_another_kind(
    classes: Path, raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = small_corpus()
    samples = tuple(dataclasses.replace(s, audio=s.audio[:3]) for s in plain.samples)  # type: ignore[index]
    small = dataclasses.replace(plain, samples=samples, vectors={**plain.vectors, "audio": 3})
    sounds = small_corpus(raw=True, speakers=4)
    loud = FeatureConfig(audio=dataclasses.replace(AudioConfig(), trim_db=33.0))
    cases = [
        (classes, small, f"needs audio vectors of size {AUDIO}, tiny has audio vectors of size 3"),
        (classes, sounds, f"needs audio vectors of size {AUDIO}, tiny has raw sound"),
        (raw, plain, f"needs raw sound, tiny has audio vectors of size {AUDIO}"),
        (raw, dataclasses.replace(sounds, features=loud), "features made in another way"),
    ]
    for model, corpus, message in cases:
        data = written(tmp_path, corpus)
        assert message in refused(capsys, 4, "evaluate", model / "checkpoint", data)


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({}, ["--label", "emotion"], "no column 'emotion'; choose with --label from label, senti"),
        ({"labels": {"label": "tired"}}, [], "tiny: v0_0: 'tired' is none of the labels negative"),
        ({"split": "valid"}, ["--split", "test"], "has no part 'test'; choose another --split"),
        ({"labels": {"label": ""}}, [], "no utterance of the part 'test' has a label and audio or"),
        ({"audio": None, "face": None}, [], "no utterance of the part 'test' has a label and audi"),
    ],
)
def test_data_that_cannot_be_evaluated(
    classes: Path,
    change: dict[str, Any],
    options: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    corpus = three()
    changed = [dataclasses.replace(one, **change) for one in corpus.samples]
    data = written(tmp_path, corpus.subset(changed))
    assert message in refused(capsys, 3, "evaluate", classes / "checkpoint", data, *options)


def test_other_mistakes(classes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, model = written(tmp_path, three()), classes / "checkpoint"
    before = data.read_bytes()
    for code, arguments, message in (
        (2, [model, data, "-o", "x.txt"], "x.txt: its name must end in .json"),
        (2, [model, data, "--confusion", "x.json"], "must end in .png or .svg"),
        (2, [model, data, "--draws", "5"], "--draws"),
        (2, [model, data, "--split", "most"], "--split"),
        (3, [model, data, "-o", tmp_path / "no/x.json"], "there is no folder"),
        (3, [model, tmp_path / "gone.npz"], "no such file"),
        (4, [tmp_path, data], "not a checkpoint"),
        (4, ["nothing", data], "unknown checkpoint 'nothing'"),
    ):
        assert message in refused(capsys, code, "evaluate", *arguments)
    assert data.read_bytes() == before


# --- what train refuses ---


@pytest.mark.parametrize(
    ("code", "arguments", "message"),
    [
        (2, "-o out --target text", "'text' is none of audio,face audio face"),
        (2, "-o out --source audio --target audio", "audio cannot teach itself"),
        (2, "-o out --source audio --source-text", "name two sources"),
        (2, "-o out --source face --text-corpus t.csv", "leave --source out"),
        (2, "-o out --transfer distil", "--transfer needs a source"),
        (2, "-o out --source face --transfer distil --gamma 1", "--gamma is HMTL's"),
        (2, "-o out --beta 2", "--beta needs a source"),
        (2, "-o out --schedule decay", "--schedule needs a source"),
        (2, "-o out --cross-fit 5", "--cross-fit needs a source"),
        (2, "-o out --source-text --cross-fit 1", "--cross-fit needs 2 folds or more"),
        (2, "-o out --text-corpus t.csv --cross-fit 3", "--cross-fit is for texts of the data"),
        (2, "-o out --label mood", "'mood' is none of label, emotion, sentiment"),
        (2, "-o out --fusion tfn --target audio", "--fusion tfn needs --target audio,face"),
        (2, "-o out --fusion fbp --target face", "--fusion fbp needs --target audio,face"),
        (2, "-o out --fusion multiplicative --target audio", "needs --target audio,face"),
        (2, "-o out --fusion multiplicative --label sentiment", "multiplicative needs classes"),
        (2, "-o out --fusion lmf --target audio", "--fusion lmf needs --target audio,face"),
        (2, "-o out --fusion mult --target face", "--fusion mult needs --target audio,face"),
        (2, "-o out --fusion mult", "--fusion mult needs raw sound and faces, not ready-made"),
        (2, "-o out --fusion cnn-lstm --target face", "--fusion cnn-lstm needs raw sound and"),
        (2, "-o out --fusion sum", "--fusion"),
        (2, "-o out --fusion-beta 2", "--fusion-beta needs --fusion multiplicative"),
        (2, "-o out --fusion fbp --fusion-original", "--fusion-original needs --fusion mul"),
        (2, "-o out --fbp-factors 2", "--fbp-factors needs --fusion fbp"),
        (2, "-o out --fusion tfn --fbp-outputs 9", "--fbp-outputs needs --fusion fbp"),
        (2, "-o out --fusion fbp --rank 2", "--rank needs --fusion lmf"),
        (2, "-o out --segments 2", "--segments needs --fusion avef or cnn-lstm or mult"),
        (2, "-o out --fusion avef --segments 33", "--segments"),
        (2, "-o out --attention-scale 1.5", "--attention-scale"),
        (2, "-o out --attention-scale .2", "--attention-scale needs raw sound or faces; leave it"),
        (2, "-o out --source-text --text-encoder no/such/model", "no sentence-transformers model"),
        (2, "-o out --epochs 0", "--epochs"),
        (2, "-o out --device gpu", "'gpu' is none of auto, cpu"),
        (3, "-o out --label emotion", "no column 'emotion'; choose with --label from label, senti"),
        (3, "-o out --labels happy,sad", "tiny: v0_0: 'negative' is none of the labels happy, sad"),
        (3, "-o out --labels real", "'negative' is not a number"),
        (3, "-o out --labels happy", "at least two are needed"),
        (3, "-o out --text-corpus gone.csv", "gone.csv"),
        (3, "-o data.npz --epochs 1", "data.npz: holds other files"),
        (3, "-o data.npz/out --epochs 1", "data.npz/out: cannot be written"),
    ],
)
def test_options_that_make_no_sense(
    code: int,
    arguments: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    before = feature_file(tmp_path / "data.npz").read_bytes()
    assert message in refused(capsys, code, "train", "data.npz", *arguments.split())
    assert [path.name for path in tmp_path.iterdir()] == ["data.npz"]
    assert (tmp_path / "data.npz").read_bytes() == before


def test_data_that_cannot_be_learnt_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = small_corpus()
    wordless = [dataclasses.replace(one, words=None, text="") for one in corpus.samples]
    sizes = {name: size for name, size in corpus.vectors.items() if name != "text"}
    shared = [dataclasses.replace(one, speaker="ann") for one in corpus.samples]
    cases = [
        (
            dataclasses.replace(corpus.subset(wordless), vectors=sizes),
            "no transcript to teach with; fill the text column",
        ),
        (corpus.subset(shared), "'ann' is in train and in valid; put each speaker into one part"),
        (corpus.subset(corpus.samples[:2]), "too few speakers or videos with a label"),
    ]
    for data, message in cases:
        path = written(tmp_path, data)
        line = refused(capsys, 3, "train", path, "--source-text", "-o", tmp_path / "out")
        assert message in line
        assert not (tmp_path / "out").exists()
    gone = refused(capsys, 3, "train", tmp_path / "gone", "-o", tmp_path / "out")
    assert "no such file or folder" in gone
    (tmp_path / "manifest.csv").write_text("video,speaker\na.mp4,ann\n")
    line = refused(capsys, 3, "train", tmp_path, "-o", tmp_path / "out")
    assert "manifest.csv:1: no column label, emotion or sentiment; add one of them" in line


def test_speakers_in_several_parts_are_accepted_on_demand(tmp_path: Path) -> None:
    corpus = small_corpus()
    shared = [dataclasses.replace(one, speaker="ann") for one in corpus.samples]
    path = written(tmp_path, corpus.subset(shared))
    arguments = ["--split-by", "video", "--epochs", "1", "--quiet", "-o", str(tmp_path / "out")]
    assert main(["train", str(path), *arguments]) == 0
    assert (
        "No part shares a video with another" in (tmp_path / "out/checkpoint/CARD.md").read_text()
    )
