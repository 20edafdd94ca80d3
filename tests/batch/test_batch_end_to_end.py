"""``avsent batch`` on real clips, as installed: whole runs, broken ones, and what a rerun does."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import HANG_S, hear_ctrl_c, run_avsent
from media_files import RATE_HZ, write_sound
from processes import python

from avsent.batch.journal import Journal, exclusive

CLIPS = {
    "one.mpg": "grid/bbaf2n.mpg",
    "two.mpg": "grid/lbax4n.mpg",
    "day 1/three.mpg": "grid/pbap1a.mpg",
    "day 1/talk.mp4": "talk_neutral_zh.mp4",
    "day 1/talk.wav": "speech_only.wav",
    "day 1/ünïcode/no face.webm": "no_duration.webm",
    "-dash.mp4": "lrs3_closeup.mp4",
}
BAD = "day 1/bad.mp4"


@pytest.fixture(scope="module")
def folder(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real clips in a tree, one file that is none, and some of other kinds."""
    root = tmp_path_factory.mktemp("videos")
    for name, clip in CLIPS.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(clips / clip, root / name)
    (root / BAD).write_bytes(b"no media at all")
    (root / "notes.txt").write_text("not for us", encoding="utf-8")
    (root / ".hidden.mp4").write_bytes(b"not for us either")
    return root


@pytest.fixture(scope="module")
def whole(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The outputs of a batch that nothing disturbed."""
    out = tmp_path_factory.mktemp("whole")
    done = run_avsent("batch", folder, "-o", out, "-f", "json", "-f", "srt")
    assert done.returncode == 5, done.stderr
    assert done.stdout == ""
    assert "error: day 1/bad.mp4 is not a media file" in done.stderr
    assert "7 files done; " in done.stderr
    assert "1 other file left out, by ending: .txt (1); see --glob" in done.stderr
    return out


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    """A copy of these outputs, journal and all."""
    return Path(shutil.copytree(whole, tmp_path / "out"))


def outputs(out: Path) -> dict[str, bytes]:
    """All files of a batch but its journal's own."""
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and ".avsent" not in path.relative_to(out).parts
    }


def attempts(out: Path) -> dict[str, int]:
    with Journal(out, write=False) as journal:
        return {entry.name: entry.attempts for entry in journal.entries()}


def test_the_tree_is_mirrored(whole: Path, folder: Path) -> None:
    expected = {f"{name}.{form}" for name in CLIPS for form in ("json", "srt")}
    expected |= {"utterances.csv", "utterances.parquet", "summary.json"}
    assert set(outputs(whole)) == expected
    one = json.loads((whole / "day 1/talk.wav.json").read_text(encoding="utf-8"))
    assert one["source"] == "day 1/talk.wav"
    assert one["duration_s"] == pytest.approx(8.0, abs=0.1)


def test_results_are_those_of_predict(whole: Path, folder: Path) -> None:
    done = run_avsent("predict", folder / "day 1/talk.mp4", "-f", "json")
    alone = json.loads(done.stdout)
    ours = json.loads((whole / "day 1/talk.mp4.json").read_text(encoding="utf-8"))
    assert ours.pop("source") == "day 1/talk.mp4"
    del alone["source"]
    assert ours == alone


def test_the_table_and_the_summary(whole: Path) -> None:
    with (whole / "utterances.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    each = []
    for name in sorted(CLIPS, key=os.fsencode):
        result = json.loads((whole / f"{name}.json").read_text(encoding="utf-8"))
        each += [(name, u["index"], u["sentiment"]) for u in result["utterances"]]
    assert [(r["source"], int(r["index"]), r["sentiment"]) for r in rows] == each
    assert len(each) >= 6
    summary = json.loads((whole / "summary.json").read_text(encoding="utf-8"))
    assert summary["files"] == {"done": 7, "failed": 1, "without_utterances": 1}
    assert summary["utterances"] == len(each)
    assert [failure["source"] for failure in summary["failures"]] == [BAD]
    assert summary["model"]["name"] == "default"


def test_killed_at_any_moment_it_ends_the_same(whole: Path, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [Path(sys.executable).with_name("avsent"), "batch", folder, "-o", out]
    command += ["-f", "json", "-f", "srt", "--json-progress"]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert running.stdout is not None
    for line in running.stdout:
        event = json.loads(line)
        if event["event"] == "finished":
            break
    running.send_signal(signal.SIGKILL)
    running.wait()
    running.stdout.close()
    before = attempts(out)
    assert 1 <= sum(before.values()) < len(before)
    again = run_avsent("batch", folder, "-o", out, "-f", "json", "-f", "srt", "--quiet")
    assert again.returncode == 5
    assert outputs(out) == outputs(whole)
    assert not any((out / ".avsent" / "tmp").iterdir())
    # What was done stayed done, what was begun was begun once more.
    assert sum(attempts(out).values()) <= len(before) + 2


def test_two_batches_on_one_out(copy: Path, folder: Path) -> None:
    before = outputs(copy)
    with exclusive(copy):
        second = run_avsent("batch", folder, "-o", copy, "-f", "vtt")
        status = run_avsent("batch", "--status", copy)
    assert second.returncode == 3
    (line,) = second.stderr.splitlines()
    assert f"another batch is at work on it (process {os.getpid()} on" in line
    assert "a batch is at work on it" in status.stdout
    assert outputs(copy) == before


def test_ctrl_c_is_a_clean_stop(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [Path(sys.executable).with_name("avsent"), "batch", folder, "-o", out]
    running = subprocess.Popen(
        [*command, "--json-progress"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=hear_ctrl_c,
    )
    assert running.stdout is not None
    assert running.stderr is not None
    for line in running.stdout:
        if json.loads(line)["event"] == "started":
            break
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=HANG_S)
    assert running.returncode == 130
    assert said == "avsent: interrupted\n"
    assert all(json.loads(content) for name, content in outputs(out).items() if "json" in name)
    status = json.loads(run_avsent("batch", "--status", out, "--json-progress").stdout)
    assert status["running"] == 0
    assert status["pending"] + status["done"] + status["failed"] == 8


RERUN = """
import sys
from avsent.cli import main
code = main(["batch", {folder!r}, "-o", {out!r}, "-f", "json", "-f", "srt"])
heavy = {{"torch", "av", "librosa", "dlib"}} & set(sys.modules)
print(code, sorted(heavy))
"""


def test_a_batch_that_is_done_is_left_alone(copy: Path, folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in copy.rglob("*") if path.is_file()}
    code = RERUN.format(folder=str(folder), out=str(copy))
    done = python(code, capture_output=True)
    assert done.stdout == "5 []\n"  # nothing heavy was loaded for it
    assert "0 of 8 files to do; 7 done before; 1 failed before (--retry-failed" in done.stderr
    after = {path: path.stat().st_mtime_ns for path in copy.rglob("*") if path.is_file()}
    changed = {path.name for path in after if after[path] != before.get(path)}
    assert changed <= {"journal.db", "lock"}


def test_what_changed_is_done_anew_and_nothing_else(
    copy: Path, folder: Path, clips: Path, tmp_path: Path
) -> None:
    videos = Path(shutil.copytree(folder, tmp_path / "videos"))
    before, tries = outputs(copy), attempts(copy)
    os.utime(videos / "one.mpg", (1, 1))  # touched, but the same
    shutil.copyfile(clips / "grid/srin5s.mpg", videos / "two.mpg")  # another content
    shutil.copyfile(clips / "grid/srin5s.mpg", videos / BAD)  # mended
    (videos / "day 1/three.mpg").unlink()
    (copy / "day 1/talk.mp4.json").unlink()
    (copy / "day 1/talk.wav.json").write_bytes(b"{")  # cut short
    done = run_avsent("batch", videos, "-o", copy, "-f", "json", "-f", "csv")
    assert done.returncode == 0, done.stderr
    assert "one.mpg: unchanged" in done.stderr
    assert "1 of earlier runs are gone" in done.stderr
    now, times = outputs(copy), attempts(copy)
    redone = {name for name in times if times[name] > tries[name]}
    assert redone == {"one.mpg", "two.mpg", BAD}
    for name in ("one.mpg.json", "day 1/talk.mp4.json", "day 1/talk.wav.json", "one.mpg.srt"):
        assert now[name] == before[name], name
    assert now["two.mpg.json"] != before["two.mpg.json"]
    assert "two.mpg.csv" in now
    assert "-dash.mp4.csv" in now  # a new format needs no new analysis
    assert "day 1/three.mpg.json" in now  # kept, but not in the table
    assert b"three.mpg" not in now["utterances.csv"]
    assert b"bad.mp4" in now["utterances.csv"]


def test_failed_ones_are_tried_again_on_demand(copy: Path, folder: Path) -> None:
    tries = attempts(copy)
    done = run_avsent("batch", folder, "-o", copy, "-f", "json", "-f", "srt", "--retry-failed")
    assert done.returncode == 5
    now = attempts(copy)
    assert {name for name in now if now[name] > tries[name]} == {BAD}
    status = run_avsent("batch", "--status", copy)
    assert status.returncode == 5
    assert "8 files: 7 done, 1 failed" in status.stdout
    assert "failed: day 1/bad.mp4 is not a media file" in status.stdout


@pytest.fixture
def small(clips: Path, tmp_path: Path) -> Path:
    """Four short clips."""
    root = tmp_path / "small"
    root.mkdir()
    for name in ("bbaf2n", "bgbn9s", "brbk7n", "lbaq5s"):
        shutil.copyfile(clips / f"grid/{name}.mpg", root / f"{name}.mpg")
    return root


def scores(text: str) -> dict[str, str]:
    return {row["source"]: row["score"] for row in csv.DictReader(text.splitlines())}


def test_adapted_to_the_corpus_as_predict_does(small: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run_avsent("batch", small, "-o", out, "--adapt", "corpus", "-q")
    assert done.returncode == 0, done.stderr
    names = sorted(path.name for path in small.iterdir())
    alone = run_avsent("predict", *names, "--adapt", "corpus", "-f", "csv", cwd=small)
    assert scores((out / "utterances.csv").read_text(encoding="utf-8")) == scores(alone.stdout)
    result = json.loads((out / f"{names[0]}.json").read_text(encoding="utf-8"))
    assert f"{result['utterances'][0]['score']:.6f}" == scores(alone.stdout)[names[0]]
    # Another file changes the mean, and so every result; no other file is read for that.
    (small / names[0]).unlink()
    before = attempts(out)
    assert run_avsent("batch", small, "-o", out, "--adapt", "corpus", "-q").returncode == 0
    fewer = scores((out / "utterances.csv").read_text(encoding="utf-8"))
    assert fewer.keys() == set(names[1:])
    assert all(fewer[name] != scores(alone.stdout)[name] for name in names[1:])
    assert attempts(out) == before


def test_another_model_does_all_anew(small: Path, tmp_path: Path) -> None:
    for name in ("bgbn9s", "brbk7n", "lbaq5s"):
        (small / f"{name}.mpg").unlink()
    out = tmp_path / "out"
    for checkpoint in ("default", "emotion"):
        assert (
            run_avsent("batch", small, "-o", out, "--checkpoint", checkpoint, "-q").returncode == 0
        )
    result: dict[str, Any] = json.loads((out / "bbaf2n.mpg.json").read_text(encoding="utf-8"))
    assert result["model"]["name"] == "emotion"
    assert attempts(out) == {"bbaf2n.mpg": 2}
    assert "p_happy" in (out / "utterances.csv").read_text(encoding="utf-8").splitlines()[0]


def test_a_damaged_model_stops_it_at_once(small: Path, tmp_path: Path) -> None:
    from avsent.model.folders import shipped_folder

    model = Path(shutil.copytree(shipped_folder() / "default", tmp_path / "model"))
    with (model / "model.safetensors").open("r+b") as file:
        file.seek(2000)
        file.write(b"oops")
    done = run_avsent("batch", small, "-o", tmp_path / "out", "--checkpoint", model, "-q")
    assert done.returncode == 4
    (line,) = done.stderr.splitlines()
    assert "damaged" in line


def test_a_table_gives_each_video_its_utterances(tmp_path: Path) -> None:
    videos, table, out = tmp_path / "videos", tmp_path / "all.csv", tmp_path / "out"
    noise = np.random.default_rng(0).normal(0, 0.1, 3 * RATE_HZ)
    for name in ("a.wav", "day 1/b.wav"):
        (videos / name).parent.mkdir(parents=True, exist_ok=True)
        write_sound(videos / name, noise, "pcm_s16le")
    batch = ("batch", "videos", "-o", "out", "--utterances", "all.csv", "--workers", "1")

    def starts() -> list[tuple[str, str]]:
        with (out / "utterances.csv").open(encoding="utf-8", newline="") as file:
            return [(row["source"], row["start_s"]) for row in csv.DictReader(file)]

    table.write_text("video;start_s;end_s\na.wav;0,5;1\nday 1\\b.wav;1;2\nday 1\\b.wav;1,5;3\n")
    done = run_avsent(*batch, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert starts() == [
        ("a.wav", "0.500000"),
        ("day 1/b.wav", "1.000000"),
        ("day 1/b.wav", "1.500000"),
    ]
    table.write_text("video;start_s;end_s\na.wav;0,25;1\n")  # the same batch with another table
    done = run_avsent(*batch, cwd=tmp_path)
    assert done.returncode == 5
    assert starts() == [("a.wav", "0.250000")]
    assert "all.csv: no row is for b.wav; its column video has “a.wav”" in done.stderr
