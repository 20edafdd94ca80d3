"""A file in two halves: extracted in a process without a model, and put together in another."""

from __future__ import annotations

import dataclasses
import multiprocessing
from collections.abc import Sequence
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pytest
from conftest import SAMPLE

import avsent
from avsent.analysis import (
    Analysis,
    FileFacts,
    PredictOptions,
    assemble,
    each_of_file,
    extract_file,
)
from avsent.checkpoints import load_checkpoint
from avsent.decision import Decider
from avsent.encoding import EncodedUtterance
from avsent.errors import BoundariesError
from avsent.features.config import FeatureConfig
from avsent.lean import LeanFeatures, lean
from avsent.pipeline import Predictor, torch_device
from avsent.results import ModelInfo

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def decider() -> Decider:
    return Decider(load_checkpoint(), torch_device("cpu"))


def concluded(decider: Decider, analysis: Analysis, model: ModelInfo) -> avsent.Result:
    return Predictor(decider, model).conclude(analysis)


def in_halves(
    decider: Decider, path: Path, options: PredictOptions | None = None
) -> tuple[Analysis, FileFacts]:
    encoded: list[EncodedUtterance] = []
    facts = each_of_file(
        extract_file(path, decider.features, options),
        lambda one: encoded.append(decider.encode(one)),
    )
    return assemble(decider, encoded, facts, options), facts


def test_both_halves_are_a_prediction(decider: Decider) -> None:
    predictor = avsent.load(device="cpu")
    analysis, facts = in_halves(decider, SAMPLE)
    assert concluded(decider, analysis, predictor.model) == predictor.predict(SAMPLE)
    assert facts.source == str(SAMPLE)
    assert not facts.silent
    assert sorted(facts.neutrals) == [track.track for track in facts.tracks]
    assert all(face.shape == (51, 2) for face in facts.neutrals.values())


def test_given_utterances_that_overlap_or_lie_beyond(decider: Decider, tmp_path: Path) -> None:
    given = tmp_path / "given.csv"
    given.write_text("start_s,end_s\n0.5,9.0\n1.0,4.0\n15.0,20.0\n30.0,31.0\n")
    options = PredictOptions(utterances=given)
    predictor = avsent.load(device="cpu")
    analysis, facts = in_halves(decider, SAMPLE, options)
    result = concluded(decider, analysis, predictor.model)
    assert result == predictor.predict(SAMPLE, options=options)
    times = [(one.start_s, one.end_s) for one in result.utterances]
    assert times == [(0.5, 9.0), (1.0, 4.0), (15.0, facts.duration_s)]
    assert facts.warnings == ()
    assert result.warnings == ("1 given utterances lie beyond its end and are left out",)


def test_a_window_counts_only_in_silence(decider: Decider) -> None:
    some: list[EncodedUtterance] = []
    facts = each_of_file(
        extract_file(SAMPLE, decider.features), lambda one: some.append(decider.encode(one))
    )
    some[1] = dataclasses.replace(some[1], provisional=True)
    assert len(assemble(decider, some, facts).represented) == 3
    silent = dataclasses.replace(facts, silent=True)
    assert len(assemble(decider, some, silent).represented) == 4


def test_a_bad_file_of_utterances(tmp_path: Path) -> None:
    given = tmp_path / "given.csv"
    given.write_text("start_s,end_s\n0.5,900.0\n")
    options = PredictOptions(utterances=given)
    with pytest.raises(BoundariesError, match="longer than 300 s; split it"):
        next(extract_file(SAMPLE, FeatureConfig(), options))


# --- between processes ---------------------------------------------------------------------------


def extract_elsewhere(path: Path, to: Connection) -> None:
    """What a worker does: sends the features of each utterance, then the facts."""
    facts = each_of_file(extract_file(path, FeatureConfig()), lambda one: to.send(lean(one)))
    to.send(facts)


def received(path: Path) -> tuple[list[LeanFeatures], FileFacts, int]:
    """All that a worker sends of one file, and how many bytes it takes."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe(duplex=False)
    worker = context.Process(target=extract_elsewhere, args=(path, there))
    worker.start()
    there.close()
    features: list[LeanFeatures] = []
    total = 0
    try:
        while True:
            sent = here.recv_bytes()
            total += len(sent)
            item = ForkingPickler.loads(sent)
            if isinstance(item, FileFacts):
                return features, item, total
            features.append(item)
    finally:
        here.close()
        worker.join()


def test_extracted_in_another_process(decider: Decider) -> None:
    features, facts, total = received(SAMPLE)
    predictor = avsent.load(device="cpu")
    encoded: Sequence[EncodedUtterance] = decider.encode_many(features)
    result = concluded(decider, assemble(decider, encoded, facts), predictor.model)
    assert result == predictor.predict(SAMPLE)
    assert total < 40_000 * facts.duration_s  # so that a pipe holds up nothing


def test_lean_keeps_what_is_looked_at() -> None:
    first = next(extract_file(SAMPLE, FeatureConfig()))
    thin = lean(first)
    assert first.face is not None
    assert first.face.crops is not None
    assert thin.face is not None
    assert thin.face.pictures is not None
    assert thin.face.pictures.shape == (-(-len(first.face.crops) // 2), 48, 48)
    assert thin.face.pictures.dtype == np.uint8
    assert (thin.segment, thin.track, thin.warnings) == (first.segment, first.track, first.warnings)
    assert thin.audio is not None
    assert first.audio is not None
    assert thin.audio.log_mel is first.audio.log_mel
