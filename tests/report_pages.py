"""What the tests of report pages share: where things stand in a page, and pages of results."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from browser import Opened, until

from avsent.result.record import Result
from avsent.views.report.page import write_report

Open = Callable[..., Opened]

SHOWN = "[...document.querySelectorAll('.utterances tbody tr')].map(r => Number(r.dataset.index))"
CHOSEN = "Number(document.querySelector('tr[aria-current]')?.dataset.index ?? -1)"
NOW = "document.querySelector('video, audio').currentTime"
PAUSED = "document.querySelector('video, audio').paused"
OUT = "document.querySelectorAll('.block.is-out').length"


def page_of(path: Path, result: Result) -> Path:
    write_report(path, result, media=None)
    return path


def start_of(opened: Opened, index: int) -> tuple[float, float]:
    one = opened.page.evaluate(
        "i => JSON.parse(document.getElementById('head').textContent).utterances[i]", index
    )
    return one["start"], one["end"]


def ready(opened: Opened) -> Any:
    until(opened.page, "document.querySelector('video, audio').readyState >= 2")
    return opened.page
