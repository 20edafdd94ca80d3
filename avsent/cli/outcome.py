"""What commands print: messages on standard error, tables on standard output; exit codes."""

import contextlib
import os
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal

from avsent.errors import AvsentError, OutputError
from avsent.text import one_line

INTERRUPTED = 130  # 128 + SIGINT, as shells report a command ended by Ctrl-C
READER_GONE = 141  # 128 + SIGPIPE, as shells report a command whose reader (``| head``) has left


class ReaderGoneError(Exception):
    """Nobody reads standard output any more, as after ``| head``."""


def say(kind: str, message: object) -> None:
    """Print one line on standard error: ``avsent: error: …``, or without the kind."""
    line = ": ".join(filter(None, ["avsent", kind, one_line(str(message))]))
    # Standard error may be closed or full.
    with contextlib.suppress(OSError, ValueError):
        print(line, file=sys.stderr, flush=True)


def warn(message: str, *, quiet: bool = False) -> None:
    """Print a warning on standard error, unless ``quiet``."""
    if not quiet:
        say("warning", message)


def say_wrote(target: object, *, quiet: bool) -> None:
    """Tell people, but no log, which file was written."""
    if sys.stderr.isatty() and not quiet:
        say("", f"wrote {target}")


def report_error(error: BaseException, *, debug: bool) -> int:
    """Print an error in one line, with ``debug`` after its traceback; returns its exit code."""
    if debug:
        traceback.print_exception(error)
    if isinstance(error, AvsentError):
        say("error", error)
        return error.exit_code
    # torch.OutOfMemoryError is recognised by its name, without importing torch.
    name, detail = type(error).__name__, one_line(str(error))
    if isinstance(error, MemoryError) or name == "OutOfMemoryError":
        say("error", "not enough memory; close other programs, or try --device cpu")
        return 1
    hint = "" if debug else " (run again with --debug for the traceback)"
    say("internal error", f"{name}: {detail}{hint}" if detail else f"{name}{hint}")
    return 1


@contextlib.contextmanager
def printing() -> Iterator[None]:
    """Write to standard output inside this block, and flush it. Raises ReaderGoneError if the
    reader closed the pipe, OutputError if it cannot be written, as on a full disk."""
    try:
        yield
        if sys.stdout is not None:  # None if it was closed from the start
            sys.stdout.flush()
    except BrokenPipeError as error:
        _silence_stdout()
        raise ReaderGoneError from error
    except OSError as error:
        _silence_stdout()
        reason = error.strerror or error
        raise OutputError(f"cannot write to standard output: {reason}") from error


def print_table(
    rows: Iterable[Sequence[str]],
    head: Sequence[str] = (),
    *,
    title: str = "",
    figures: bool = False,
    styles: Mapping[str, str] | None = None,
) -> None:
    """Print a table if standard output is a terminal, else one line per row, tab-separated.

    ``figures``: columns after the first are aligned to the right, and ``head`` is printed in
    lines as well. ``styles``: Rich's style of each cell with this text.
    """
    head, *lines = [[one_line(cell) for cell in row] for row in (head, *rows)]
    if not sys.stdout.isatty():
        if figures:
            lines.insert(0, head)
        if title:
            lines = [[f"# {title}"], *lines, [""]]
        for line in lines:
            print("\t".join(line).rstrip("\t"))
        return
    if not lines:
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=title or None,
        title_justify="left",
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
        header_style="dim",
        show_header=bool(head),
    )
    for number in range(len(lines[0])):
        justify: Literal["left", "right"] = "right" if figures and number else "left"
        table.add_column(Text(head[number] if head else ""), justify=justify, overflow="fold")
    for line in lines:
        table.add_row(*(Text(cell, style=(styles or {}).get(cell, "")) for cell in line))
    console = Console(markup=False, emoji=False, highlight=False)
    console.print(table)
    if title:
        console.print()


def _silence_stdout() -> None:
    """Discard what is still buffered, or Python fails to flush it at exit."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
