"""The head of a batch's overview: what it is about, its figures, and what must be said of them."""

from __future__ import annotations

from typing import Any

from avsent.batch.journal import State
from avsent.batch.overview_data import Overview
from avsent.text import one_line

_FEW = 3
"""How many models are named one by one."""


def head_of(overview: Overview, title: str) -> dict[str, Any]:
    """JSON-ready: title, facts (model and options), tiles (name, figure, aside, kind), notes."""
    return {
        "title": title,
        "facts": [one_line(fact) for fact in _facts(overview)],
        "tiles": _tiles(overview),
        "notes": _notes(overview),
    }


def _facts(overview: Overview) -> list[str]:
    names = [f"{model.name} ({model.sha256[:8]})" for model in overview.models]
    if len(names) > _FEW:
        names = [*names[:_FEW], f"{len(names) - _FEW} more"]
    facts = [f"model {', '.join(names)}"] if names else []
    for key, value in overview.options.items():
        if value not in (None, False):
            facts.append(key if value is True else f"{key} {value}")
    return facts


def _tiles(overview: Overview) -> list[tuple[str, str, str, str]]:
    done = overview.of_state(State.done)
    said = [one for view in done for one in view.said]
    failed = len(overview.of_state(State.failed))
    warned = sum(bool(view.warnings or any(one.warnings for one in view.said)) for view in done)
    seconds = sum(view.entry.duration_s or 0.0 for view in done)
    mean = f"{sum(one.score for one in said) / len(said):+.2f}" if said else "–"
    each = f"{len(said) / len(done):.1f} per file" if done else ""
    return [
        ("Files", f"{len(overview.files):,}", f"{len(done):,} done", ""),
        ("Failed", f"{failed:,}", _share(failed, len(overview.files)), "bad" if failed else ""),
        ("Duration", _span(seconds), "of what is done", ""),
        ("Utterances", f"{len(said):,}", each, ""),
        ("Mean score", mean.replace("-", "−"), "from −1 to 1", ""),
        ("Files with warnings", f"{warned:,}", _share(warned, len(done)), ""),
    ]


def _notes(overview: Overview) -> list[str]:
    notes = []
    if overview.left:
        when = "was at work when this page was made" if overview.at_work else "was not finished"
        notes.append(
            f"The batch {when}: {overview.left:,} of {len(overview.files):,} files are not in yet."
        )
    if overview.mixed:
        notes.append(
            "Results of more than one model or choice of options stand beside each other here: "
            "the batch was being done again."
        )
    if overview.preliminary:
        notes.append("All results will change when the last file is done (--adapt corpus).")
    return notes


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else ""


def _span(seconds: float) -> str:
    """``2 h 13 min``, ``4 min 5 s``, ``12 s``."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60:,} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
