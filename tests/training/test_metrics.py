"""Figures of merit: by hand, against scikit-learn and slow references; the bootstrap."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics as sk

from avsent.training import metrics
from avsent.training.metrics import (
    Interval,
    auc,
    ch_sims_metrics,
    class_indices,
    class_scores,
    classification_metrics,
    confusion_counts,
    correlation,
    expected_calibration_error,
    intervals,
    macro_f1,
    regression_metrics,
    weighted_f1,
)
from recipes.scores import majority, scores


@st.composite
def judged(draw: st.DrawFn) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Truth [N] and probabilities [N, C]; few values, so that there are ties and lost classes."""
    classes, count = draw(st.integers(2, 5)), draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    truth = rng.integers(0, draw(st.integers(1, classes)), count)
    weights = rng.integers(1, draw(st.integers(2, 30)), (count, classes)).astype(float)
    return truth, weights / weights.sum(axis=1, keepdims=True)


# --- classes -------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(judged())
def test_same_figures_as_scikit_learn(case: tuple[NDArray[np.int64], NDArray[np.float64]]) -> None:
    truth, probabilities = case
    decided = probabilities.argmax(axis=1)
    found = classification_metrics(truth, probabilities)
    both: dict[str, Any] = {"y_true": truth, "y_pred": decided}
    assert found[metrics.ACCURACY] == pytest.approx(sk.accuracy_score(**both))
    assert found[metrics.BALANCED_ACCURACY] == pytest.approx(
        sk.recall_score(**both, labels=np.unique(truth), average="macro", zero_division=0)
    )
    for name, average in ((metrics.WEIGHTED_F1, "weighted"), (metrics.MACRO_F1, "macro")):
        assert found[name] == pytest.approx(sk.f1_score(**both, average=average, zero_division=0))
    assert tuple(found) == metrics.CLASSIFICATION_METRICS


@settings(max_examples=150, deadline=None)
@given(judged())
def test_auc_is_the_probability_of_ordering_a_pair_correctly(
    case: tuple[NDArray[np.int64], NDArray[np.float64]],
) -> None:
    truth, probabilities = case
    classes = probabilities.shape[1]
    areas = []
    for c in [1] if classes == 2 else range(classes):
        pairs = list(itertools.product(probabilities[truth == c, c], probabilities[truth != c, c]))
        if pairs:
            areas.append(sum((a > b) + (a == b) / 2 for a, b in pairs) / len(pairs))
    found = auc(truth, probabilities)
    assert found == (pytest.approx(np.mean(areas)) if areas else None)
    if classes == 2 and areas:
        assert found == pytest.approx(sk.roc_auc_score(truth, probabilities[:, 1]))
    if classes > 2 and len(np.unique(truth)) == classes:
        assert found == pytest.approx(sk.roc_auc_score(truth, probabilities, multi_class="ovr"))


def test_auc_is_undefined_for_one_class() -> None:
    for classes in (2, 3):
        assert auc(np.array([1, 1]), np.full((2, classes), 1 / classes)) is None
    # Of three classes, the one that never occurs does not count.
    certain = np.eye(3)[[0, 1, 0]]
    assert auc(np.array([0, 1, 0]), certain) == 1
    assert auc(np.array([0, 1, 0]), np.full((3, 3), 1 / 3)) == 0.5


def test_classes_by_hand() -> None:
    #             truth      decided
    confusion = confusion_counts(np.array([0, 0, 0, 1, 1, 2]), np.array([0, 0, 1, 1, 3, 0]), 5)
    of_class = class_scores(confusion, ("a", "b", "c", "d", "e"))
    assert [row.support for row in of_class] == [3, 2, 1, 0, 0]
    assert [row.precision for row in of_class] == [2 / 3, 1 / 2, None, 0, None]
    assert [row.recall for row in of_class] == [2 / 3, 1 / 2, 0, None, None]
    assert [row.f1 for row in of_class] == [2 / 3, 1 / 2, 0, 0, None]
    # "d" is only decided for and counts; "e" never appears and does not.
    assert macro_f1(confusion) == pytest.approx((2 / 3 + 1 / 2) / 4)
    assert weighted_f1(confusion) == pytest.approx((3 * 2 / 3 + 2 / 2) / 6)


@pytest.mark.parametrize("wrong", [[0, -1], [0, 3], [0.0, math.nan], [0.5, 1.0], [math.inf, 0.0]])
def test_a_label_outside_the_classes_is_refused(wrong: list[float]) -> None:
    truth, right = np.array(wrong), np.array([0, 1])
    probabilities = np.full((2, 3), 1 / 3)
    for judge in (
        lambda: class_indices(truth, 3),
        lambda: scores(truth, right, 3),
        lambda: scores(right, truth, 3),
        lambda: majority(truth, right, 3),
        lambda: classification_metrics(truth, probabilities),
        lambda: expected_calibration_error(probabilities, truth),
    ):
        with pytest.raises(ValueError, match="no class index below 3"):
            judge()
    assert class_indices(np.array([2.0, 0.0]), 3).tolist() == [2, 0]


def test_calibration_against_a_slow_reference() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(3), 200)
    truth = rng.integers(0, 3, 200)
    bins: dict[int, list[tuple[bool, float]]] = {}
    for row, right in zip(probabilities, truth, strict=True):
        bins.setdefault(min(int(row.max() * 10), 9), []).append((row.argmax() == right, row.max()))
    gaps = [
        abs(np.mean([r - c for r, c in inside])) * len(inside) / 200 for inside in bins.values()
    ]
    found = expected_calibration_error(probabilities, truth)
    assert found == pytest.approx(sum(gaps))
    assert 0 < found < 1


def test_figures_without_utterances_are_undefined() -> None:
    nothing = classification_metrics(np.empty(0, dtype=int), np.empty((0, 3)))
    assert set(nothing.values()) == {None}
    for of_numbers in (regression_metrics, ch_sims_metrics):
        assert set(of_numbers(np.empty(0), np.empty(0)).values()) == {None}


def test_every_figure_has_a_title() -> None:
    of_numbers = (*metrics.REGRESSION_METRICS, *metrics.CH_SIMS_METRICS)
    names = (*metrics.CLASSIFICATION_METRICS, *of_numbers)
    assert set(metrics.TITLES) == set(names)
    assert len(set(metrics.TITLES.values())) == len(names)


# --- numbers -------------------------------------------------------------------------------------


def test_numbers_by_hand() -> None:
    truth = np.array([-3.0, -0.4, 0.0, 0.0, 1.5, 2.5, 3.0])
    predicted = np.array([-4.0, 0.2, -0.1, 0.3, 1.6, 2.4, 0.0])
    found = regression_metrics(truth, predicted)
    assert tuple(found) == metrics.REGRESSION_METRICS
    assert found[metrics.MAE] == pytest.approx((1 + 0.6 + 0.1 + 0.3 + 0.1 + 0.1 + 3) / 7)
    # Clipped to ±3, then halves to the even neighbour: 1.5 → 2, 2.5 → 2; −0.4, 0.2 → 0.
    assert found[metrics.ACC_7] == pytest.approx(6 / 7)
    assert found[metrics.ACC_5] == pytest.approx(6 / 7)
    # ≥ 0: truth 0 0 1 1 1 1 1, predicted 0 1 0 1 1 1 1.
    assert found[metrics.ACC_2_HAS0] == pytest.approx(5 / 7)
    assert found[metrics.F1_HAS0] == pytest.approx((2 * 0.5 + 5 * 0.8) / 7)
    # > 0 without the two zeros: truth 0 0 1 1 1, predicted 0 1 1 1 0.
    assert found[metrics.ACC_2_NON0] == pytest.approx(3 / 5)
    assert found[metrics.F1_NON0] == pytest.approx((2 * 0.5 + 3 * 4 / 6) / 5)


def test_halves_go_to_the_even_neighbour_as_in_mmsa() -> None:
    for number, even, other in ((0.5, 0.0, 1.0), (2.5, 2.0, 3.0), (-1.5, -2.0, -1.0)):
        truth = np.array([number])
        assert regression_metrics(truth, np.array([even]))[metrics.ACC_7] == 1
        assert regression_metrics(truth, np.array([other]))[metrics.ACC_7] == 0


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(-15, 15), st.integers(-20, 20)), min_size=1, max_size=40))
def test_numbers_as_mmsa_computes_them(pairs: list[tuple[int, int]]) -> None:
    truth, predicted = np.array(pairs, dtype=float).T / 5
    found = regression_metrics(truth, predicted)
    for name, limit in ((metrics.ACC_7, 3), (metrics.ACC_5, 2)):
        same = [
            round(min(limit, max(-limit, t))) == round(min(limit, max(-limit, p)))
            for t, p in zip(truth.tolist(), predicted.tolist(), strict=True)
        ]
        assert found[name] == pytest.approx(sum(same) / len(same))
    has0 = {"y_true": truth >= 0, "y_pred": predicted >= 0}
    assert found[metrics.ACC_2_HAS0] == pytest.approx(sk.accuracy_score(**has0))
    assert found[metrics.F1_HAS0] == pytest.approx(
        sk.f1_score(**has0, average="weighted", zero_division=0)
    )
    kept = truth != 0
    if kept.any():
        non0 = {"y_true": truth[kept] > 0, "y_pred": predicted[kept] > 0}
        assert found[metrics.ACC_2_NON0] == pytest.approx(sk.accuracy_score(**non0))
        assert found[metrics.F1_NON0] == pytest.approx(
            sk.f1_score(**non0, average="weighted", zero_division=0)
        )
    else:
        assert found[metrics.ACC_2_NON0] is None
        assert found[metrics.F1_NON0] is None
    if np.ptp(truth) and np.ptp(predicted):
        expected = np.corrcoef(truth, predicted)[0, 1]
        assert found[metrics.CORRELATION] == pytest.approx(expected, abs=1e-9)
    else:
        assert found[metrics.CORRELATION] is None


def test_ch_sims_by_hand() -> None:
    truth = np.array([-1.0, -0.7, -0.1, 0.0, 0.1, 0.2, 0.7, 1.0])
    predicted = np.array([-2.0, -0.6, 0.0, 0.1, -0.1, 0.3, 0.9, 0.5])
    found = ch_sims_metrics(truth, predicted)
    assert tuple(found) == metrics.CH_SIMS_METRICS
    # > 0: truth 0 0 0 0 1 1 1 1, predicted 0 0 0 1 0 1 1 1.
    assert found[metrics.SIMS_ACC_2] == 6 / 8
    assert found[metrics.SIMS_F1] == pytest.approx(0.75)  # 3 of 4 right in either class
    # ≤ −0.1, ≤ 0.1, above: truth 0 0 0 1 1 2 2 2, predicted 0 0 1 1 0 2 2 2.
    assert found[metrics.SIMS_ACC_3] == 6 / 8
    # ≤ −0.7, ≤ −0.1, ≤ 0.1, ≤ 0.7, above: truth 0 0 1 2 2 3 3 4, predicted 0 1 2 2 1 3 4 3.
    assert found[metrics.SIMS_ACC_5] == 3 / 8
    # −2 counts as −1.
    differences = (0, 0.1, 0.1, 0.1, 0.2, 0.1, 0.2, 0.5)
    assert found[metrics.SIMS_MAE] == pytest.approx(sum(differences) / 8)
    clipped = np.array([-1.0, *predicted[1:]])
    assert found[metrics.SIMS_CORRELATION] == pytest.approx(np.corrcoef(truth, clipped)[0, 1])


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(-12, 12), st.integers(-15, 15)), min_size=1, max_size=40))
def test_ch_sims_against_a_slow_reference(pairs: list[tuple[int, int]]) -> None:
    """Each number is looked for in MMSA's intervals, which hold their upper end."""
    truth, predicted = np.array(pairs, dtype=float).T / 10
    found = ch_sims_metrics(truth, predicted)

    def classes(numbers: NDArray[np.float64], *ends: float) -> list[int]:
        return [
            next(i for i, end in enumerate((*ends, 1.0)) if min(1.0, max(-1.0, n)) <= end)
            for n in numbers.tolist()
        ]

    for name, ends in (
        (metrics.SIMS_ACC_2, (0.0,)),
        (metrics.SIMS_ACC_3, (-0.1, 0.1)),
        (metrics.SIMS_ACC_5, (-0.7, -0.1, 0.1, 0.7)),
    ):
        right, decided = classes(truth, *ends), classes(predicted, *ends)
        assert found[name] == pytest.approx(sk.accuracy_score(right, decided))
        if name == metrics.SIMS_ACC_2:
            expected = sk.f1_score(right, decided, average="weighted", zero_division=0)
            assert found[metrics.SIMS_F1] == pytest.approx(expected)


def test_correlation_at_the_edges() -> None:
    line = np.array([0.1, 0.2, 0.3])
    assert correlation(line, np.full(3, 0.1)) is None
    assert correlation(line, 1e-200 * line) == pytest.approx(1)  # squares would vanish
    assert correlation(line, -line) == pytest.approx(-1)


def test_missing_or_infinite_numbers_are_refused() -> None:
    for truth, predicted in (([math.nan, 1.0], [0.0, 1.0]), ([0.0, 1.0], [0.0, math.inf])):
        for of_numbers in (regression_metrics, ch_sims_metrics):
            with pytest.raises(ValueError, match="missing or infinite"):
                of_numbers(np.array(truth), np.array(predicted))
    with pytest.raises(ValueError, match="do not match"):
        regression_metrics(np.zeros(2), np.zeros(3))


# --- bootstrap -----------------------------------------------------------------------------------


def interval(
    statistic: Callable[[NDArray[np.int64]], float | None],
    groups: Sequence[Any] | NDArray[Any],
    **options: Any,
) -> Interval | None:
    """The interval of one figure."""
    return intervals(lambda rows: [statistic(rows)], groups, **options)[0]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(4, 12), st.integers(2, 6))
def test_the_interval_contains_the_figure(seed: int, videos: int, size: int) -> None:
    values = np.random.default_rng(seed).normal(size=videos * size)
    groups = np.repeat(np.arange(videos), size)
    found = interval(lambda rows: float(values[rows].mean()), groups, draws=300, seed=seed)
    assert found is not None
    assert found.low < values.mean() < found.high


def test_whole_videos_are_drawn() -> None:
    groups = ["b", "a", "b", "c", "a", "b"]
    members = {name: [i for i, g in enumerate(groups) if g == name] for name in "abc"}
    seen: set[int] = set()

    def look(rows: NDArray[np.int64]) -> float:
        times = np.bincount(rows, minlength=6)
        for inside in members.values():
            assert len({int(times[i]) for i in inside}) == 1  # all of a video, equally often
        drawn = sum(int(times[inside[0]]) for inside in members.values())
        assert drawn == 3  # as many videos as there are
        seen.add(len(rows))
        return float(len(rows))

    assert interval(look, groups, draws=200) is not None
    assert seen == {3, 4, 5, 6, 7, 8, 9}  # cbb = 7; ccc = 3; bbb = 9


def test_the_interval_covers_as_often_as_it_says() -> None:
    # Videos have a level of their own (sd 1) and utterances around it (sd 1): the mean of 30
    # videos of 5 has a standard deviation of sqrt(1 / 30 + 1 / 150) = .2; drawn one by one,
    # utterances would give half of that, and cover about two times of three.
    rng = np.random.default_rng(7)
    groups = np.repeat(np.arange(30), 5)
    covered, widths = 0, []
    for trial in range(200):
        values = np.repeat(rng.normal(size=30), 5) + rng.normal(size=150)
        found = interval(lambda rows, v=values: v[rows].mean(), groups, draws=200, seed=trial)
        assert found is not None
        covered += found.low <= 0 <= found.high
        widths.append(found.high - found.low)
    assert 0.87 <= covered / 200 <= 0.99
    assert np.mean(widths) == pytest.approx(2 * 1.96 * 0.2, rel=0.12)


def test_cases_without_an_interval() -> None:
    values = np.arange(6.0)
    assert interval(lambda rows: float(values[rows].mean()), ["one"] * 6) is None
    groups = np.repeat(np.arange(3), 2)
    assert interval(lambda rows: None, groups, draws=20) is None
    # Undefined in every draw without the first video: about 30 of 100.
    often = interval(lambda rows: 1.0 if 0 in rows else None, groups, draws=200)
    assert often is None
    many = np.arange(50)
    rarely = interval(lambda rows: 1.0 if (rows < 10).any() else None, many, draws=200)
    assert rarely == Interval(1.0, 1.0)
    for bad in ({"draws": 0}, {"level": 1.0}, {"level": 0.0}):
        with pytest.raises(ValueError, match="a bootstrap needs"):
            interval(lambda rows: 1.0, groups, **bad)
    with pytest.raises(ValueError, match="a bootstrap needs"):
        interval(lambda rows: 1.0, [])


def test_the_same_seed_gives_the_same_intervals() -> None:
    values = np.random.default_rng(0).normal(size=(60, 2))
    groups = np.repeat(np.arange(12), 5)

    def means(rows: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.asarray(values[rows].mean(axis=0))

    first = intervals(means, groups, draws=100, seed=3)
    assert first == intervals(means, groups, draws=100, seed=3)
    assert first != intervals(means, groups, draws=100, seed=4)
    wide, narrow = (interval(lambda r: means(r)[0], groups, level=level) for level in (0.95, 0.5))
    assert wide is not None
    assert narrow is not None
    assert wide.low < narrow.low < narrow.high < wide.high


def test_all_figures_of_many_utterances_have_intervals() -> None:
    rng = np.random.default_rng(0)
    truth, groups = rng.integers(0, 7, 752), rng.integers(0, 31, 752)
    probabilities = rng.dirichlet(np.ones(7), 752)

    def all_figures(rows: NDArray[np.int64]) -> list[float | None]:
        return list(classification_metrics(truth[rows], probabilities[rows]).values())

    found = intervals(all_figures, groups, draws=1000)
    assert len(found) == len(metrics.CLASSIFICATION_METRICS)
    assert None not in found


def test_scores_of_decisions_and_of_the_majority() -> None:
    truth, decided = np.array([0, 0, 0, 2]), np.array([0, 1, 0, 2])
    found = scores(truth, decided, 3)
    assert found.confusion == ((2, 1, 0), (0, 0, 0), (0, 0, 1))
    assert (np.sum(found.confusion), found.accuracy) == (4, 0.75)
    assert found.balanced_accuracy == pytest.approx((2 / 3 + 1) / 2)
    assert all(type(count) is int for row in found.confusion for count in row)
    always = majority(np.array([1, 2, 2, 1]), truth, 3)  # the first of two commonest
    assert always.confusion == ((0, 3, 0), (0, 0, 0), (0, 1, 0))
    empty = scores(truth[:0], truth[:0], 3)
    assert (np.sum(empty.confusion), empty.accuracy, empty.balanced_accuracy) == (0, 0.0, 0.0)
