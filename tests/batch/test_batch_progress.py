"""What is shown of a batch at work, and how it is counted."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from processes import on_terminal

from avsent.batch.events import (
    Advanced,
    Ended,
    Event,
    FileFailed,
    Finished,
    Looking,
    Planned,
    Retried,
    Started,
    Tables,
)
from avsent.batch.folders import LeftOut
from avsent.cli.progress import (
    Display,
    JsonDisplay,
    PlainDisplay,
    Tally,
    make_display,
    planned_text,
    state_text,
)

EVIL = "[red]a\x1b]0;owned\x07\nb\udcff.mp4"
SHOWN = r"[red]a\x1b]0;owned\x07 b\udcff.mp4"
PLANNED = Planned(files=9, to_do=4, done=3, failed=2, to_do_s=100.0, workers=2)
COURSE: tuple[Event, ...] = (
    Looking(0, 4),
    PLANNED,
    Started(EVIL, 0, 60.0),
    Started("c.wav", 1, None),
    Advanced(EVIL, 0, 30.0),
    Finished(EVIL, 0, 61.0, 5, 10.0),
    Retried("c.wav", 1, "its worker was killed"),
    Started("d", 0, 30.0),
    Finished("d", 0, 30.0, 1, 0.01, unchanged=True),
    Started("e", 0, 10.0),
    FileFailed("e", 0, "e: not media", 3),
    Started("c.wav", 1, None),
    Finished("c.wav", 1, 12.0, 0, 0.0),
    Tables(),
)


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def test_counting_with_a_clock() -> None:
    clock = Clock()
    tally = Tally(clock)
    assert (tally.elapsed_s, tally.speed, tally.left_s, tally.reached_s) == (0.0, None, None, 0.0)
    tally.take(Looking(0, 4))
    tally.take(PLANNED)
    clock.now_s += 500  # nothing is begun
    assert (tally.to_do, tally.to_do_s, tally.elapsed_s) == (4, 100.0, 0.0)

    tally.take(Started("a", 0, 60.0))
    tally.take(Started("b", 1, 40.0))
    clock.now_s += 2
    tally.take(Advanced("a", 0, 10.0))
    assert (tally.speed, tally.left_s) == (None, None)  # too early
    clock.now_s += 3
    assert (tally.elapsed_s, tally.speed, tally.reached_s) == (5.0, 2.0, 10.0)
    assert tally.left_s == pytest.approx(45.0)  # a tenth took five seconds
    assert state_text(tally) == "0/4 files  0:10.0/1:40.0  2.0x  0:45 left"

    tally.take(Advanced("b", 1, 20.0))
    tally.take(Retried("b", 1, "gone"))  # what it had done is lost
    assert (tally.reached_s, tally.speed) == (10.0, 2.0)
    clock.now_s += 5
    tally.take(Finished("a", 0, 61.0, 3, 9.0))  # a little longer than it said
    assert (tally.done, tally.reached_s, tally.speed) == (1, 60.0, 6.1)
    assert tally.left_s == pytest.approx(10 * 40 / 60)

    tally.take(Started("b", 1, 40.0))
    tally.take(Advanced("b", 1, 45.0))
    assert (tally.reached_s, tally.left_s) == (100.0, 0.0)
    tally.take(FileFailed("b", 1, "no", 3))
    assert (tally.done, tally.failed, tally.reached_s) == (1, 1, 100.0)
    assert tally.speed == 6.1  # what failed is no work done
    assert state_text(tally) == "2/4 files  1:40.0/1:40.0  6.1x  0:00 left"


def test_counting_files_of_unknown_duration() -> None:
    clock = Clock()
    tally = Tally(clock)
    tally.take(Planned(files=4, to_do=4, done=0, failed=0, to_do_s=0.0, workers=1))
    tally.take(Started("a", 0, None))
    clock.now_s += 10
    assert tally.left_s is None
    tally.take(Finished("a", 0, 50.0, 1, 10.0))
    assert (tally.speed, tally.left_s) == (5.0, 30.0)
    assert state_text(tally) == "1/4 files  5.0x  0:30 left"


def test_files_that_were_only_compared_are_not_fast() -> None:
    clock = Clock()
    tally = Tally(clock)
    tally.take(PLANNED)
    tally.take(Started("a", 0, 100.0))
    clock.now_s += 10
    tally.take(Finished("a", 0, 100.0, 0, 0.1, unchanged=True))
    assert (tally.done, tally.speed, tally.reached_s, tally.left_s) == (1, 0.0, 100.0, 0.0)


def test_plans_in_words() -> None:
    assert planned_text(PLANNED) == (
        "4 of 9 files to do, 1:40.0 of media; 2 workers; 3 done before; 2 failed before "
        "(--retry-failed tries them again)"
    )
    assert planned_text(Planned(1, 1, 0, 0, 0.0, 1)) == "1 of 1 files to do; 1 worker"
    assert planned_text(Planned(3, 0, 3, 0, 0.0, 0)) == "0 of 3 files to do; 3 done before"


def shown_by(display: Display) -> None:
    for event in COURSE:
        display(event)


def test_a_line_for_each_file(capsys: pytest.CaptureFixture[str]) -> None:
    shown_by(PlainDisplay())
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        f"avsent: {planned_text(PLANNED)}",
        f"avsent: [1/4] {SHOWN}: 5 utterances, 6.1x",
        "avsent: warning: c.wav: its worker was killed; it is tried again",
        "avsent: [2/4] d: unchanged",
        "avsent: error: e: not media",
        "avsent: [4/4] c.wav: 0 utterances",
    ]


def test_quiet_tells_only_what_went_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    shown_by(Display())
    out, err = capsys.readouterr()
    assert out == ""
    assert [line.split(": ")[1] for line in err.splitlines()] == ["warning", "error"]


def test_an_error_that_does_not_name_its_file(capsys: pytest.CaptureFixture[str]) -> None:
    Display()(FileFailed(EVIL, 0, "not enough\nmemory", 1))
    assert capsys.readouterr().err == f"avsent: error: {SHOWN}: not enough memory\n"


def test_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    shown_by(JsonDisplay())
    out, err = capsys.readouterr()
    assert err == ""
    lines = [json.loads(line) for line in out.splitlines()]
    assert out.isascii()
    assert [line["event"] for line in lines] == [
        *("looking", "planned", "started", "started", "advanced", "finished", "retried"),
        *("started", "finished", "started", "file_failed", "started", "finished", "tables"),
    ]
    assert (lines[1]["files"], lines[1]["workers"]) == (9, 2)
    assert (lines[5]["name"], lines[5]["utterances"], lines[5]["unchanged"]) == (EVIL, 5, False)
    assert (lines[10]["error"], lines[10]["exit_code"]) == ("e: not media", 3)
    batch = lines[-1]["batch"]
    assert (batch["done"], batch["failed"], batch["to_do"]) == (3, 1, 4)
    assert (batch["reached_s"], batch["to_do_s"]) == (100.0, 100.0)
    assert set(batch) == {
        *("done", "failed", "to_do", "reached_s", "to_do_s", "elapsed_s", "speed", "left_s")
    }


def test_the_end_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    left_out = LeftOut({".txt": 2, "": 1}, links_out=3, unread=["a/: Permission denied"])
    JsonDisplay()(Ended(1, 0, 0, 0, 5, 28.0, left_out))
    (line,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert line["left_out"] == {
        "others": {".txt": 2, "": 1},
        "links_out": 3,
        "links_broken": 0,
        "unread": ["a/: Permission denied"],
    }


def test_which_display(monkeypatch: pytest.MonkeyPatch) -> None:
    def name(*, quiet: bool, as_json: bool) -> str:
        with make_display(quiet=quiet, as_json=as_json) as display:
            return type(display).__name__

    assert name(quiet=True, as_json=True) == "JsonDisplay"
    assert name(quiet=True, as_json=False) == "Display"
    assert name(quiet=False, as_json=False) == "PlainDisplay"
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    assert name(quiet=False, as_json=False) == "BarDisplay"


ON_TERMINAL = f"""
import sys
sys.path.append({str(Path(__file__).parent)!r})
from avsent.cli.progress import make_display
from test_batch_progress import COURSE
with make_display(quiet=False, as_json=False) as display:
    for event in COURSE[:int(sys.argv[1])]:
        display(event)
        display._bars.refresh()
"""


@pytest.mark.parametrize("columns", ["120", "30"])
def test_bars_on_a_terminal(columns: str) -> None:
    text = on_terminal(ON_TERMINAL, str(len(COURSE)), columns=int(columns))
    assert "\x1b]" not in text
    assert "\x07" not in text
    flat = " ".join(text.split())
    assert "avsent: error: e: not media" in flat
    assert "its worker was killed; it is tried again" in flat
    if columns == "120":
        assert r"1 [red]a\x1b]0;" in text
        assert "0:30.0/1:00.0" in text
        assert "4/4 files" in text
        assert "2 c.wav" in text
        assert "1 idle" in text
        assert "writing tables" in text
        assert planned_text(PLANNED)[:40] in text
