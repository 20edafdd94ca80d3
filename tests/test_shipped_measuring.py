"""How a fusion is measured: alone, in company, adapted, without a stream."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_experts import MOVING, SPOKEN
from small_fusing import pool_of, trained

from avsent.networks.config import VoteConfig
from avsent.training.metrics import scores
from avsent.training.shipped.measuring import (
    adapted,
    adapted_scores,
    in_company,
    judge,
    logits_of,
    summed,
    without_stream,
)
from avsent.training.shipped.pool import Pool
from avsent.training.shipped.posteriors import Posteriors

pytestmark = pytest.mark.usefixtures("one_thread")


def test_videos_of_rows() -> None:
    model, said = trained().model, pool_of(2, 5).versions[0]
    alone = logits_of(model, said)
    assert alone.shape == (len(said.audio), 3)
    videos = [np.array([3, 1, 4]), np.array([5])]
    found = logits_of(model, said, videos)
    assert found.shape == (4, 3)
    np.testing.assert_allclose(found[3], alone[5], atol=1e-5)  # padding changes nothing
    np.testing.assert_allclose(found[:3], logits_of(model, said, videos[:1]), atol=1e-5)
    assert np.abs(found[:3] - alone[[3, 1, 4]]).max() > 1e-3  # the context does
    silent = Posteriors(np.full_like(said.audio, np.nan), said.face)
    np.testing.assert_allclose(logits_of(model, silent), logits_of(model, said, without="audio"))


def test_in_company_of_their_own_speaker() -> None:
    pool, model = pool_of(3, 6), trained().model
    found = in_company(model, pool, seed=0)
    assert list(found) == ["alone", "among their like", "among others"]
    assert {one.count for one in found.values()} == {3 * 3 * 6}
    assert found["alone"] == judge(model, pool, 1.0).both
    assert found["among their like"].balanced_accuracy > 0.85
    assert in_company(model, pool, seed=0) == found


def test_adapted_by_hand() -> None:
    values = torch.tensor([[[1.0], [4.0], [7.0], [100.0]], [[7.0], [9.0], [0.0], [0.0]]])
    present = torch.tensor([[True, True, True, False], [True, True, False, False]])
    # Three are there, mean 4; with a prior of 1 three quarters of it are taken away.
    found = adapted(values, present, 1.0)[present]
    assert found[:, 0].tolist() == pytest.approx([-2.0, 1.0, 4.0, 7.0, 9.0])  # two are too few
    assert adapted(values, present, 0.0)[0, :3, 0].tolist() == pytest.approx([-3.0, 0.0, 3.0])


def test_a_strong_prior_changes_nothing() -> None:
    model, pool = trained().model, pool_of(3, 6)
    plain = adapted_scores(model, pool, 5, None, seed=0)
    assert plain.count == 3 * 20 * 5
    assert adapted_scores(model, pool, 5, 1e9, seed=0) == plain
    assert adapted_scores(model, pool, 5, 0.0, seed=0) != plain


def test_where_all_are_alike_adapting_takes_it_for_the_speaker() -> None:
    model, pool = trained().model, pool_of(3, 6)
    plain = adapted_scores(model, pool, 5, None, seed=0, alike=True)
    moved = adapted_scores(model, pool, 5, 0.0, seed=0, alike=True)
    assert plain.count == moved.count == 3 * 20 * 5
    assert plain.balanced_accuracy > moved.balanced_accuracy + 0.2
    # Six of each label: more than there are cannot be drawn.
    assert adapted_scores(model, pool, 9, None, seed=0, alike=True).count == 3 * 20 * 6


@pytest.mark.parametrize(("modality", "stream"), [("face", MOVING), ("audio", SPOKEN)])
def test_without_a_stream(modality: str, stream: slice) -> None:
    pool, untouched = pool_of(2, 6), pool_of(2, 6).versions[0]
    found = without_stream(pool, modality, stream).versions[0]
    for name in ("audio", "face"):
        expected = getattr(untouched, name).copy()
        np.testing.assert_array_equal(getattr(pool.versions[0], name), expected)
        if name == modality:
            expected[:, stream] = np.nan
        np.testing.assert_array_equal(getattr(found, name), expected)
    model, known = trained().model, pool.labels >= 0
    decided = logits_of(model, found).argmax(axis=1)[known]
    assert scores(pool.labels[known], decided, 3).balanced_accuracy > 0.6


def test_sums_by_hand() -> None:
    """Three utterances, two labels: what is missing adds nothing, and what has no label is not
    counted."""
    nan = np.nan
    audio = np.array([[-0.1, -9.0], [-2.0, -1.0], [nan, nan], [-9.0, -0.1]])
    face = np.array([[-0.1, -4.0, -1.0], [-5.0, -1.0, -2.0], [nan, -0.3, -1.0], [0.0, 0.0, 0.0]])
    said = Posteriors(audio.astype(np.float32), face.astype(np.float32))
    labels = np.array([1, 0, 0, -1])
    pool = Pool(("a", "b"), labels, ("x",) * 4, (said,))
    streams = (
        VoteConfig("audio", (0, 1)),
        VoteConfig("face", (1, 0)),
        VoteConfig("face", (1, 2)),
    )
    # Of a and b: voice (−.1, −9), (−2, −1), (0, 0); face (−8, −1.1), (−2, −7), (−.6, −1).
    decided = {"both": [0, 0, 0], "face": [1, 0, 0], "audio": [0, 1, 0]}
    expected = {name: scores(labels[:3], np.array(one), 2) for name, one in decided.items()}
    assert summed(pool, streams) == expected
