"""``avsent predict VIDEO --annotate FILE`` from end to end; when no annotated video can be made:
one line, and nothing half-written."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from annotated import pictures, said, sound_packets, write_clip
from conftest import SAMPLE, run_avsent
from processes import python

from avsent.errors import InputError, MediaError, OutputError, UsageError
from avsent.progress import Progress
from avsent.views.annotate.drawing import Style
from avsent.views.annotate.video import annotate

ENDINGS = (".mp4", ".mkv")
ONE = said((0.2, 5.0, 1, "positive"))


def test_predict_writes_the_annotated_video(tmp_path: Path) -> None:
    target = tmp_path / "annotated.mp4"
    done = run_avsent("predict", SAMPLE, "--format", "json", "--annotate", target)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert os.listdir(tmp_path) == [target.name]
    before, after = pictures(SAMPLE), pictures(target)
    assert [t for t, _ in before] == [t for t, _ in after]
    assert [d for _, d in sound_packets(SAMPLE)] == [d for _, d in sound_packets(target)]

    # Every utterance that has a face shows its colour in the upper half, where the face is.
    height, width = after[0][1].shape[:2]
    style = Style(width, height, result["model"]["labels"])
    faces = [u for u in result["utterances"] if u["track"] is not None]
    assert faces
    for utterance in faces:
        middle_s = (utterance["start_s"] + utterance["end_s"]) / 2
        number = min(range(len(after)), key=lambda n: abs(after[n][0] - middle_s))
        plate = np.array(style.colour(utterance["sentiment"]))
        upper = np.s_[: height * 2 // 3]
        changed = np.abs(after[number][1][upper].astype(int) - before[number][1][upper])
        alike = np.abs(after[number][1][upper].astype(int) - plate).max(axis=2) < 30
        assert (alike & (changed.max(axis=2) > 25)).sum() > 100, utterance["index"]


def test_what_has_no_picture_is_refused(clips: Path, tmp_path: Path) -> None:
    target = tmp_path / "annotated.mp4"
    done = run_avsent("predict", clips / "speech_only.wav", "--quiet", "--annotate", target)
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1
    assert "no picture to draw on; leave --annotate out" in done.stderr
    assert os.listdir(tmp_path) == []


def test_an_ending_that_is_no_video_is_refused(tmp_path: Path) -> None:
    done = run_avsent("predict", SAMPLE, "--annotate", tmp_path / "x.gif")
    assert done.returncode == 2
    assert ".mp4 or .mkv" in done.stderr


def test_sound_alone_has_no_picture(clips: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no picture to draw on; leave --annotate out"):
        annotate(clips / "speech_only.wav", tmp_path / "out.mp4", ONE, [])
    with pytest.raises(MediaError, match="empty"):
        annotate(clips / "empty_file.webm", tmp_path / "out.mp4", ONE, [])
    assert os.listdir(tmp_path) == []


def test_the_source_is_not_overwritten(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", [0, 40])
    (tmp_path / "same.mp4").symlink_to(source)
    before = source.read_bytes()
    for name in ("in.mp4", "same.mp4"):
        with pytest.raises(UsageError, match="is an input"):
            annotate(source, tmp_path / name, ONE, [])
    with pytest.raises(OutputError, match="there is no folder"):
        annotate(source, tmp_path / "none" / "out.mp4", ONE, [])
    assert source.read_bytes() == before


def test_an_interrupt_leaves_nothing_and_keeps_the_old(tmp_path: Path) -> None:
    source = write_clip(tmp_path / "in.mp4", range(0, 4000, 40))
    target = tmp_path / "out.mp4"
    target.write_bytes(b"older")

    def interrupt(progress: Progress) -> None:
        if progress.completed > 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        annotate(source, target, ONE, [], interrupt)
    assert sorted(os.listdir(tmp_path)) == ["in.mp4", "out.mp4"]
    assert target.read_bytes() == b"older"


@pytest.mark.skipif(sys.platform == "win32", reason="no limits on the size of files")
@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("limit", [2_000, 60_000])
def test_a_full_disk_is_one_line(tmp_path: Path, ending: str, limit: int) -> None:
    code = f"""
import resource
from pathlib import Path
from annotated import said
from avsent.views.annotate.video import annotate
from avsent.errors import OutputError
resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
try:
    annotate(Path({str(SAMPLE)!r}), Path({str(tmp_path / "out")!r} + {ending!r}), said(), [])
except OutputError as error:
    print(error)
"""
    done = python(code, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"cannot write {tmp_path}/out{ending}: File too large\n"
    assert done.stderr == ""
    assert os.listdir(tmp_path) == []
