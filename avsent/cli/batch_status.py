"""``avsent batch --status OUT``: how a batch stands."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from avsent.cli.outcome import printing

if TYPE_CHECKING:
    from avsent.batch.status import Status


def print_status(out: Path, *, as_json: bool) -> int:
    """Print it on standard output; returns the exit code: 5 where files failed."""
    from avsent.batch.status import status_of
    from avsent.errors import PartialFailure

    status = status_of(out)
    text = json.dumps(_plain(status), indent=2) if as_json else "\n".join(_lines(out, status))
    with printing():
        print(text, file=sys.stdout)
    return PartialFailure.exit_code if status.failures else 0


def _plain(status: Status) -> dict[str, object]:
    return {
        "files": status.files,
        **{state.value: count for state, count in status.states.items()},
        "gone": status.gone,
        "at_work": status.at_work,
        "media_s": round(status.media_s, 3),
        "work_s": round(status.work_s, 3),
        "speed": None if status.speed is None else round(status.speed, 3),
        "utterances": status.utterances,
        "running_files": list(status.running),
        "failures": [
            {
                "source": entry.name,
                "error": entry.error,
                "exit_code": entry.exit_code,
                "attempts": entry.attempts,
            }
            for entry in status.failures
        ],
    }


def _lines(out: Path, status: Status) -> list[str]:
    from avsent.batch.entries import State
    from avsent.writers.text import clock, one_line

    counts = ", ".join(
        f"{count} {_word(state.value, status)}"
        for state, count in status.states.items()
        if count or state in (State.done, State.failed)
    )
    lines = [f"{one_line(str(out))}: {status.files} files: {counts}"]
    if status.gone:
        lines.append(f"{status.gone} of earlier runs are no longer in the folder")
    if status.speed is not None:
        lines.append(
            f"{status.utterances} utterances in {clock(status.media_s)} of media; one worker did "
            f"{status.speed:.1f} x real time"
        )
    lines.append("a batch is at work on it" if status.at_work else "no batch is at work on it")
    lines += [f"running: {one_line(name)}" for name in status.running]
    for entry in status.failures:
        # Made safe first: the journal holds what is no UTF-8 in an error as escapes.
        name, error = one_line(entry.name), one_line(entry.error or "")
        lines.append(f"failed: {error if name in error else f'{name}: {error}'}")
    return lines


def _word(state: str, status: Status) -> str:
    """What a batch was at when it ended is not running any more."""
    return "cut short" if state == "running" and not status.at_work else state
