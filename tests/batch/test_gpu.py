"""The engine of a machine with a GPU, run on the processor, where it does the same, only slower.
Running out of memory is simulated."""

from __future__ import annotations

import csv
import os
import shutil
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from avsent.batch.engines.base import Engine, Failed, Job, Work
from avsent.batch.engines.gpu import MOST_UTTERANCES, GpuEngine
from avsent.batch.engines.local import LocalEngine
from avsent.batch.engines.worker import Extracted, ExtractWorker
from avsent.batch.events import Advanced, Ended, Event, Retried, ignore_event
from avsent.batch.run import BatchOptions, run_batch, status_of
from avsent.options import Adapt, PredictOptions

WORK = Work(device="cpu", threads=1)


@pytest.fixture(scope="module")
def folder(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files with several utterances, with one, without voice, without face, and a bad one."""
    root = tmp_path_factory.mktemp("videos")
    for name in ("talk_vfr.mp4", "grid/bbaf2n.mpg", "no_audio_cinepak.avi", "speech_only.wav"):
        shutil.copyfile(clips / name, root / Path(name).name)
    (root / "bad.mp4").write_bytes(b"no media")
    return root


def run(
    folder: Path,
    out: Path,
    engine: Engine,
    listener: Callable[[Event], None] = ignore_event,
) -> Ended:
    return run_batch(folder, out, lambda plan: engine, BatchOptions(work=WORK), listener)


def failures(out: Path) -> dict[str, str]:
    return {entry.name: entry.error or "" for entry in status_of(out).failures}


def rows(out: Path) -> list[list[str]]:
    with (out / "utterances.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


@pytest.fixture(scope="module")
def expected(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[list[str]]:
    """What workers that do all of it by themselves find."""
    out = tmp_path_factory.mktemp("local")
    ended = run(folder, out, LocalEngine(WORK, 2))
    assert (ended.did, ended.failed) == (4, 1)
    return rows(out)


def assert_same(found: list[list[str]], expected: list[list[str]]) -> None:
    """The same utterances, numbers within what rounding in batches makes of them."""
    assert len(found) == len(expected) > 4
    for own, other in zip(found, expected, strict=True):
        for a, b in zip(own, other, strict=True):
            assert a == b or float(a) == pytest.approx(float(b), abs=2e-4)


def test_batches_across_files_give_the_same_results(
    folder: Path, expected: list[list[str]], tmp_path: Path
) -> None:
    ended = run(folder, tmp_path, GpuEngine(WORK, 2, together=True))
    assert (ended.did, list(failures(tmp_path))) == (4, ["bad.mp4"])
    assert_same(rows(tmp_path), expected)
    again = run(folder, tmp_path, GpuEngine(WORK, 2, together=True))
    assert (again.did, again.kept) == (0, 4)


def refusing(engine: GpuEngine, refuses: Callable[[Sequence[Any]], bool]) -> None:
    """Let the real encoder run out of memory on what it ``refuses``."""
    encode = engine._predictor.decider.encode

    def scarce(features: Sequence[Any], *, together: bool | None = None) -> Any:
        if refuses(features):
            raise torch.OutOfMemoryError("staged")
        return encode(features, together=together)

    engine._predictor.decider.encode = scarce  # type: ignore[method-assign]


def test_batches_are_halved_until_they_fit(
    folder: Path, expected: list[list[str]], tmp_path: Path
) -> None:
    engine = GpuEngine(WORK, 2, together=True)
    sizes: list[int] = []
    refusing(engine, lambda features: sizes.append(len(features)) or len(features) > 1)
    run(folder, tmp_path, engine)
    assert_same(rows(tmp_path), expected)
    if max(sizes) > 1:  # utterances had to wait for each other
        assert engine._batch.most < MOST_UTTERANCES


def test_an_utterance_that_never_fits_costs_its_own_file_only(
    folder: Path, expected: list[list[str]], tmp_path: Path
) -> None:
    engine = GpuEngine(WORK, 2, together=True)
    refusing(engine, lambda features: any(one.face is None for one in features))
    run(folder, tmp_path, engine)
    failed = failures(tmp_path)
    assert sorted(failed) == ["bad.mp4", "speech_only.wav"]
    assert failed["speech_only.wav"].startswith("speech_only.wav: the utterance at ")
    assert "too long for the memory of the GPU" in failed["speech_only.wav"]
    assert_same(rows(tmp_path), [row for row in expected if row[0] != "speech_only.wav"])


def test_a_lost_worker_leaves_nothing_of_its_file_behind(
    folder: Path, expected: list[list[str]], tmp_path: Path
) -> None:
    engine = GpuEngine(WORK, 1, together=True)
    retried: list[str] = []

    def kill_once(event: Event) -> None:
        match event:
            case Advanced(name, worker, completed_s) if not retried and completed_s > 2:
                if name == "talk_vfr.mp4" and worker in engine._living:
                    os.kill(engine._living[worker].process.pid, signal.SIGKILL)
            case Retried(name):
                retried.append(name)

    run(folder, tmp_path, engine, kill_once)
    assert retried == ["talk_vfr.mp4"]
    assert_same(rows(tmp_path), expected)


def test_lack_of_memory_for_the_speech_detector_costs_the_file_only(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory() -> None:
        raise MemoryError

    path = folder / "speech_only.wav"
    job = Job(0, path.name, path)
    with monkeypatch.context() as patch:
        patch.setattr("avsent.extraction.utterances.segmentation.default_detector", no_memory)
        worker = ExtractWorker(WORK)
        failed = worker.outcome(job, lambda message: None)
    assert isinstance(failed, Failed)
    assert failed.error == "not enough memory; try fewer --workers"
    assert isinstance(worker.outcome(job, lambda message: None), Extracted)


def test_a_defect_of_the_gpu_ends_the_batch(folder: Path, tmp_path: Path) -> None:
    engine = GpuEngine(WORK, 1, together=True)

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    engine._predictor.decider.encode = broken  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="illegal memory access"):
        run(folder, tmp_path, engine)
    assert not engine._encoder.is_alive()
    # Nothing is lost by it: the next run does what is left.
    assert run(folder, tmp_path, GpuEngine(WORK, 2)).did == 4


def test_adaptation_to_the_corpus_with_the_gpu_engine(folder: Path, tmp_path: Path) -> None:
    work = Work(device="cpu", threads=1, options=PredictOptions(adapt=Adapt.corpus))
    options = BatchOptions(work=work)
    tables = []
    for name, engine in (
        ("gpu", GpuEngine(work, 2, together=True)),
        ("local", LocalEngine(work, 2)),
    ):
        run_batch(folder, tmp_path / name, lambda plan, e=engine: e, options)  # type: ignore[misc]
        tables.append(rows(tmp_path / name))
    assert_same(*tables)

    # Other files, and so another mean; an output that cannot be written costs its own file only.
    (tmp_path / "local" / "talk_vfr.mp4.json").unlink()
    (tmp_path / "local" / "talk_vfr.mp4.json").mkdir()
    options = BatchOptions(work=work, globs=("*.mpg", "*.mp4"))
    ended = run_batch(folder, tmp_path / "local", lambda plan: LocalEngine(work, 1), options)
    assert (ended.did, ended.kept) == (0, 1)
    assert list(failures(tmp_path / "local")) == ["bad.mp4", "talk_vfr.mp4"]
