"""The fuzzer itself: it finds what it is to find, and a tiny run of it (``make fuzz`` is long)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from random import Random

from conftest import HANG_S, ROOT
from fuzzing.mutate import boxes, drawn, mutated, spoilt
from media_files import write_video

WATCHED = """
import sys
from pathlib import Path
from tests.fuzzing import lane, readers
from tests.fuzzing.kinds import Case

lane.MEMORY_LIMIT_MB = 900
NO_LIMIT_S = 1e9  # only the reader that hangs is stopped by time, whatever else the machine does

def crash(path): __import__("os").abort()
def hang(path):
    while True: pass
def fill(path): kept = bytearray(2_000_000_000); kept[::4096] = b"x" * len(kept[::4096])
def leave(path): Path(".avsent-1.tmp").touch()
def half(path): Path("out.json").write_text("{")
def raising(path): raise KeyError("x")
def fine(path): Path("out.json").write_text("{}")

folder = Path(sys.argv[1])
for number, reader in enumerate((crash, hang, fill, leave, half, raising, fine)):
    readers.READERS[reader.__name__] = reader
    place = folder / str(number)
    place.mkdir()
    lane.CPU_LIMIT_S = 1.0 if reader is hang else NO_LIMIT_S
    lane.WALL_LIMIT_S = NO_LIMIT_S
    case = Case(number, "test", place, ("x",), reader.__name__, "", ("out.json",))
    print(reader.__name__, *lane.run_case(case).failures, sep="|")
"""


def test_what_must_not_happen_is_seen(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, tmp_path],
        cwd=ROOT, text=True, capture_output=True, timeout=HANG_S, check=True,
    )  # fmt: skip
    told = {line.split("|")[0]: line.partition("|")[2] for line in done.stdout.splitlines()}
    assert "died of signal 6" in told["crash"]
    assert "s of work" in told["hang"]
    assert "of memory" in told["fill"]
    assert "left .avsent-1.tmp" in told["leave"]
    assert "half written: out.json" in told["half"]
    assert "ended with 1" in told["raising"]
    assert "traceback" in told["raising"]
    assert told["fine"] == ""


def test_a_tiny_run() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzzing", "--count", "400", "--kind", "feature cache"],
        cwd=ROOT, text=True, capture_output=True, timeout=HANG_S, check=False,
    )  # fmt: skip
    last = done.stdout.splitlines()[-1]
    assert last.endswith(" passed, 0 failed"), done.stdout
    assert int(last.split()[0]) >= 4


def test_the_same_number_gives_the_same_bytes(tmp_path: Path) -> None:
    data = write_video(tmp_path / "v.mp4", [0, 40, 80]).read_bytes()
    names = {data[place + 4 : place + 8] for place, _ in boxes(data)}
    assert {b"moov", b"trak", b"stsd", b"mdat"} <= names
    found = [mutated(data, Random(n), data) for n in range(60)]
    assert found == [mutated(data, Random(n), data) for n in range(60)]
    assert sum(one != data for one in found) > 50
    assert drawn("manifest", 3) == drawn("manifest", 3)
    assert spoilt({"a": [1.0]}, 7, Random(7)) == spoilt({"a": [1.0]}, 7, Random(7))
