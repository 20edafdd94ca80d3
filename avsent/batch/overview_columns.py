"""The data of an overview as the page holds them: compact columns, names and warnings once.

Numbers are whole: milliseconds, ten-thousandths of a score, thousandths of a probability; so
20,000 utterances without text take half a megabyte, and the page reads them in an instant.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from avsent.batch.journal import State
from avsent.batch.overview_data import FileView, Overview, Said
from avsent.result.colours import colour_of_score, colours_of
from avsent.text import one_line

STATES = (State.done, State.failed, State.running, State.pending)
"""In the order of the numbers that stand for them."""
_SHADES = 10
"""Colours of scores on either side of 0."""


@dataclass(frozen=True, slots=True)
class Links:
    """Addresses of a file's result and page, relative to the overview; None where there is none."""

    result: str | None = None
    page: str | None = None


def columns_of(overview: Overview, links: Mapping[str, Links]) -> dict[str, Any]:
    """JSON-ready columns of all files and all utterances; ``links`` by name of the file.

    The utterances of a file stand together, in the order of the files.
    """
    remarks = _Numbered()
    said = [one for view in overview.files for one in view.said]
    return {
        "labels": [one_line(label) for label in overview.labels],
        "labelColours": colours_of(overview.labels),
        "scoreColours": [colour_of_score(n / _SHADES) for n in range(-_SHADES, _SHADES + 1)],
        "states": [state.value for state in STATES],
        "files": _of_files(overview.files, links, remarks),
        "utterances": _of_utterances(said, overview.labels, remarks),
        "remarks": remarks.texts,
    }


class _Numbered:
    """Texts that come again and again, each of them once."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def number(self, text: str) -> int:
        return self._numbers.setdefault(one_line(text), len(self._numbers))

    @property
    def texts(self) -> list[str]:
        return list(self._numbers)


def _of_files(
    files: Sequence[FileView], links: Mapping[str, Links], remarks: _Numbered
) -> dict[str, Any]:
    none = Links()
    return {
        "name": [one_line(view.entry.name) for view in files],
        "state": [STATES.index(view.entry.state) for view in files],
        "duration": [_scaled(view.entry.duration_s, 1000) for view in files],
        "count": [len(view.said) for view in files],
        "mean": [_scaled(view.mean_score, 10_000) for view in files],
        "remarks": {
            number: [remarks.number(text) for text in view.warnings]
            for number, view in enumerate(files)
            if view.warnings
        },
        "error": {
            number: one_line(view.entry.error)
            for number, view in enumerate(files)
            if view.entry.state == State.failed and view.entry.error
        },
        "result": [links.get(view.entry.name, none).result for view in files],
        "page": [links.get(view.entry.name, none).page for view in files],
    }


def _of_utterances(
    said: Sequence[Said], labels: Sequence[str], remarks: _Numbered
) -> dict[str, Any]:
    # A sentiment that the model does not know would be a damaged journal; it is shown as none.
    places = {label: number for number, label in enumerate(labels)}
    texts = any(one.text for one in said)
    return {
        "start": [round(one.start_s * 1000) for one in said],
        "length": [round((one.end_s - one.start_s) * 1000) for one in said],
        "label": [places.get(one.sentiment, -1) for one in said],
        "score": [_scaled(one.score, 10_000) for one in said],
        "certainty": [_scaled(one.certainty, 1000) for one in said],
        "text": [one_line(one.text) for one in said] if texts else None,
        "remarks": {
            number: remarks.number(one.warnings) for number, one in enumerate(said) if one.warnings
        },
    }


def _scaled(value: float | None, unit: int) -> int | None:
    return None if value is None else round(value * unit)
