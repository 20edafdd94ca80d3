"""What ``avsent evaluate`` reports, from predictions alone."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import numpy as np
import pytest

from avsent.labels import EMOTIONS, POLARITY_LABELS
from avsent.training import metrics
from avsent.training.bootstrap import interval
from avsent.training.evaluation import Evaluation, Predictions, evaluate
from avsent.training.metrics import classification_metrics, scores
from avsent.training.regression_metrics import regression_metrics


def classes_of(count: int = 120, classes: int = 3, speakers: int = 4) -> Predictions:
    """Predictions that are right more often than not; 6 utterances a video."""
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


def numbers_of(*, with_classes: bool) -> Predictions:
    """Real-valued sentiment in fifths, some of it 0, and numbers near it."""
    base = classes_of()
    rng = np.random.default_rng(6)
    truth = np.clip(np.round(rng.normal(0.3, 1.5, 120)), -3, 3)
    return dataclasses.replace(
        base,
        truth=truth,
        values=truth + rng.normal(0, 0.8, 120),
        probabilities=base.probabilities if with_classes else None,
    )


def test_classes() -> None:
    predictions = classes_of()
    assert predictions.probabilities is not None
    found = evaluate(predictions, majority_class=2, draws=200, seed=1)
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
    found = evaluate(predictions, majority_class=2, draws=5)
    always = np.full(120, 2)
    assert found.baseline_class == "positive"
    assert found.baseline[metrics.ACCURACY] == pytest.approx((predictions.truth == always).mean())
    assert found.baseline[metrics.BALANCED_ACCURACY] == pytest.approx(1 / 3)
    assert found.baseline[metrics.AUC] == 0.5
    assert found.baseline[metrics.CALIBRATION_ERROR] is None
    unknown = evaluate(predictions, draws=5)
    assert (unknown.baseline, unknown.baseline_class) == ({}, None)
    assert {row.baseline for row in unknown.table_rows()} == {"–"}
    for wrong in (-1, 3):
        with pytest.raises(ValueError, match="no index of a label"):
            evaluate(predictions, majority_class=wrong, draws=5)


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


@pytest.mark.parametrize("with_classes", [False, True])
def test_numbers(with_classes: bool) -> None:
    predictions = numbers_of(with_classes=with_classes)
    assert predictions.values is not None
    found = evaluate(predictions, train_mean=0.25, majority_class=2, draws=100)
    of_numbers = regression_metrics(predictions.truth, predictions.values)
    assert {name: found.metrics[name] for name in of_numbers} == of_numbers
    assert found.baseline[metrics.MAE] == pytest.approx(np.abs(predictions.truth - 0.25).mean())
    assert found.baseline[metrics.CORRELATION] is None
    assert found.baseline_value == 0.25
    assert found.per_speaker[0].metrics[metrics.MAE] is not None
    if not with_classes:
        assert tuple(found.metrics) == metrics.REGRESSION_METRICS
        assert (found.per_class, found.confusion) == ((), ())
        assert set(found.per_speaker[0].metrics) == {metrics.MAE}
        return
    assert predictions.probabilities is not None
    assert tuple(found.metrics) == (*metrics.REGRESSION_METRICS, *metrics.CLASSIFICATION_METRICS)
    polarity = np.sign(predictions.truth).astype(int) + 1
    of_classes = classification_metrics(polarity, predictions.probabilities)
    assert {name: found.metrics[name] for name in of_classes} == of_classes
    assert [row.support for row in found.per_class] == np.bincount(polarity).tolist()


def test_intervals_are_over_videos() -> None:
    predictions = classes_of()
    assert predictions.probabilities is not None
    right = predictions.probabilities.argmax(axis=1) == predictions.truth
    expected = interval(
        lambda rows: float(right[rows].mean()), predictions.videos, draws=150, seed=9
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


@pytest.mark.parametrize(
    "predictions", [classes_of(), classes_of(classes=2), numbers_of(with_classes=True)]
)
def test_json_and_back(predictions: Predictions) -> None:
    found = evaluate(predictions, majority_class=1, train_mean=0.1, draws=20)
    plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert plain == found.to_dict()
    assert set(plain) == {field.name for field in dataclasses.fields(Evaluation)}
    assert plain["intervals"][metrics.ACCURACY].keys() == {"low", "high"}
    assert plain["per_class"][0].keys() == {"label", "precision", "recall", "f1", "support"}


def test_one_class_only_is_still_reported() -> None:
    predictions = dataclasses.replace(classes_of(), truth=np.zeros(120))
    found = evaluate(predictions, majority_class=0, draws=20)
    assert found.metrics[metrics.AUC] is None
    assert found.intervals[metrics.AUC] is None
    assert found.baseline[metrics.ACCURACY] == 1
    json.dumps(found.to_dict(), allow_nan=False)
    row = next(row for row in found.table_rows() if row.name == "AUC")
    assert row[1:] == ("–", "–", "–")


def test_rows_for_people() -> None:
    rows = evaluate(classes_of(), majority_class=0, draws=50).table_rows()
    assert [row.name for row in rows] == [
        *("accuracy", "balanced accuracy", "weighted F1", "macro F1", "AUC", "calibration error")
    ]
    accuracy = rows[0]
    low, high = map(float, accuracy.interval.split(" – "))
    assert low < float(accuracy.value) < high
    assert float(accuracy.baseline) < float(accuracy.value)


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
        ({"probabilities": None}, "probabilities, values or both"),
        ({"values": np.full(120, math.nan)}, "missing or infinite"),
        ({"values": np.zeros((120, 1))}, "120 keys"),
        ({"values": np.zeros(120), "labels": ("a", "b", "c")}, "must be negative"),
        ({"keys": (), "videos": (), "speakers": (), "truth": np.empty(0)}, "no predictions"),
    ],
)
def test_predictions_that_make_no_sense(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(classes_of(), **change)
