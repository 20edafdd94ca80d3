"""A batch from beginning to end, but for the model: a run goes on where another stopped."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from batching import NAMES, Batch, filled

from avsent.batch.engines.base import Work
from avsent.batch.events import Event, Finished
from avsent.batch.outputs import Outputs
from avsent.batch.run import BatchOptions, run_batch
from avsent.options import Adapt, PredictOptions
from avsent.result.writers import Format


@pytest.fixture
def batch(tmp_path: Path) -> Batch:
    return filled(tmp_path)


def test_once_and_again(batch: Batch) -> None:
    batch.put("notes.txt", "none of this")
    ended = batch.run()
    assert sorted(batch.read) == sorted(NAMES)
    assert (ended.did, ended.kept, ended.gone) == (3, 0, 0)
    assert batch.failed() == ["b.wav"]
    assert (ended.utterances, ended.duration_s) == (5, 1.0 + 11.0 + 16.0)
    assert (ended.failed, ended.left_out.others) == (1, {".txt": 1})
    assert set(batch.tree()) == {
        *("a.mp4.json", "sub/c.mp4.json", "sub/d.mp4.json"),
        *("summary.json", "utterances.csv", "utterances.parquet"),
    }
    inodes = {name: (batch.out / name).stat().st_ino for name in batch.tree()}
    ended = batch.run()
    assert batch.read == []
    assert (ended.did, ended.kept, ended.failed) == (0, 3, 1)
    assert {name: (batch.out / name).stat().st_ino for name in batch.tree()} == inodes


def test_a_new_format_and_a_touched_file_at_once(batch: Batch) -> None:
    batch.run()
    before = batch.tree()
    os.utime(batch.media / "a.mp4", ns=(0, 1))
    batch.run(Format.json, Format.srt)
    assert batch.read == []
    assert [n.unchanged for n in batch.events if isinstance(n, Finished)] == [True]
    after = batch.tree()
    assert {name: after[name] for name in before} == before
    assert set(after) - set(before) == {f"{n}.srt" for n in NAMES if n != "b.wav"}


def test_new_changed_gone_and_failing_files(batch: Batch, tmp_path: Path) -> None:
    batch.run()
    batch.put("a.mp4", "2")
    batch.put("sub/d.mp4", "bad now")
    batch.put("e.mp4", "1")
    (batch.media / "sub" / "c.mp4").unlink()
    ended = batch.run()
    assert sorted(batch.read) == ["a.mp4", "e.mp4", "sub/d.mp4"]
    assert (ended.did, ended.kept, ended.gone) == (2, 0, 1)
    assert batch.failed() == ["b.wav", "sub/d.mp4"]
    tree = batch.tree()
    assert "sub/d.mp4.json" not in tree
    assert "sub/c.mp4.json" in tree  # kept, but not in the tables

    # Everything else is as after a single run.
    fresh = Batch(tmp_path / "fresh")
    for name, content in [
        ("a.mp4", "2"),
        ("b.wav", "bad"),
        ("sub/d.mp4", "bad now"),
        ("e.mp4", "1"),
    ]:
        fresh.put(name, content)
    fresh.run()
    assert {name: tree[name] for name in tree if name != "sub/c.mp4.json"} == fresh.tree()


def test_failed_files_are_tried_again_when_asked(batch: Batch) -> None:
    batch.run()
    batch.run(retry_failed=True)
    assert batch.read == ["b.wav"]
    seen = (batch.media / "b.wav").stat()
    (batch.media / "b.wav").write_text("3  ")  # as long as before
    os.utime(batch.media / "b.wav", ns=(0, seen.st_mtime_ns))
    batch.run()
    assert batch.read == []
    ended = batch.run(retry_failed=True)
    assert batch.read == ["b.wav"]
    assert ended.failed == 0


def test_a_batch_interrupted_at_any_event_ends_the_same(tmp_path: Path) -> None:
    whole = filled(tmp_path / "whole")
    whole.run(Format.json, Format.csv)
    steps = len(whole.events)
    assert steps > 8
    for step in range(steps):
        batch = filled(tmp_path / str(step))
        events = 0

        def listen(event: Event, stop_at: int = step) -> None:
            nonlocal events
            if events == stop_at:
                raise KeyboardInterrupt
            events += 1

        with pytest.raises(KeyboardInterrupt):
            batch.run(Format.json, Format.csv, listener=listen)
        before = set(batch.read)
        batch.run(Format.json, Format.csv)
        assert batch.tree() == whole.tree()
        # No file whose result was kept is done again.
        done = {n.name for n in whole.events[:step] if isinstance(n, Finished)}
        assert not done & set(batch.read)
        assert before | set(batch.read) == set(NAMES)


@pytest.mark.parametrize("call", range(3))
def test_interrupted_before_its_outputs_are_written(
    batch: Batch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    whole = filled(tmp_path / "whole")
    whole.run()
    calls = 0
    write = Outputs.write

    def killed(*arguments: object) -> None:
        nonlocal calls
        calls += 1
        if calls > call:
            raise KeyboardInterrupt
        write(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Outputs, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            batch.run()
    kept = set(batch.read)
    assert len(batch.tree()) == call
    batch.run()
    assert batch.tree() == whole.tree()
    assert len(kept & set(batch.read)) <= 1  # what came with it, and was not kept yet


def test_other_options_do_all_again(batch: Batch) -> None:
    batch.run()
    batch.read.clear()
    options = BatchOptions(Work(options=PredictOptions(adapt=Adapt.speaker)))
    run_batch(batch.media, batch.out, batch._engine, options)
    assert sorted(batch.read) == sorted(NAMES)
    summary = json.loads((batch.out / "summary.json").read_text())
    assert summary["options"]["adapt"] == "speaker"
