"""When no annotated video can be made: one line, and nothing half-written."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from annotated import said, write_clip
from conftest import SAMPLE
from processes import python

from avsent.errors import InputError, MediaError, OutputError, UsageError
from avsent.progress import Progress
from avsent.views.annotate.video import annotate

ENDINGS = (".mp4", ".mkv")
ONE = said((0.2, 5.0, 1, "positive"))


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
