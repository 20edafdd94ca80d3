"""What the user sees when a command ends otherwise than well: one line, and an exit code."""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Iterator

from avsent.errors import AvsentError, OutputError
from avsent.text import one_line

INTERRUPTED = 130
"""128 + SIGINT, as shells report a command ended by Ctrl-C."""
READER_GONE = 141
"""128 + SIGPIPE, as shells report a command whose reader (``| head``) has left."""


class ReaderGoneError(Exception):
    """Nobody reads standard output any more."""


def say(kind: str, message: object) -> None:
    """Print one line on standard error: ``avsent: error: …``, or without the kind."""
    line = ": ".join(filter(None, ["avsent", kind, one_line(str(message))]))
    # Where standard error is closed or full there is nobody left to tell.
    with contextlib.suppress(OSError, ValueError):
        print(line, file=sys.stderr, flush=True)


def warn(message: str) -> None:
    """Print a warning on standard error."""
    say("warning", message)


def report(error: BaseException, *, debug: bool) -> int:
    """Print what went wrong, in one line, and give the exit code that stands for it.

    Parameters
    ----------
    debug
        Whether to print the traceback first.
    """
    if debug:
        traceback.print_exception(error)
    if isinstance(error, AvsentError):
        say("error", error)
        return error.exit_code
    # torch has its own error for the memory of a GPU; its name is known without importing torch.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        say("error", "not enough memory; close other programs, or try --device cpu")
        return 1
    detail = one_line(str(error))
    name = type(error).__name__
    hint = "" if debug else " (run again with --debug for the traceback)"
    say("internal error", f"{name}: {detail}{hint}" if detail else f"{name}{hint}")
    return 1


@contextlib.contextmanager
def printing() -> Iterator[None]:
    """Write to standard output inside this block: it is flushed, and failures are told apart."""
    try:
        yield
        if sys.stdout is not None:  # as where it was closed: then nothing was written
            sys.stdout.flush()
    except BrokenPipeError as error:
        _silence_stdout()
        raise ReaderGoneError from error
    except OSError as error:
        _silence_stdout()
        reason = error.strerror or error
        raise OutputError(f"cannot write to standard output: {reason}") from error


def _silence_stdout() -> None:
    """Send what is still buffered nowhere, or Python would complain about it at the very end."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
