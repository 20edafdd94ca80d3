"""Which display of a batch fits where standard error goes."""

from __future__ import annotations

import sys

from avsent.cli.batch_display import Display, JsonDisplay, PlainDisplay


def make_display(*, quiet: bool, as_json: bool) -> Display:
    """JSON for machines, nothing but failures, lines, or bars on a terminal."""
    if as_json:
        return JsonDisplay()
    if quiet:
        return Display()
    if not sys.stderr.isatty():
        return PlainDisplay()
    # Here, because rich takes its time.
    from avsent.cli.batch_bars import BarDisplay

    return BarDisplay()
