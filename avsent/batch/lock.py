"""One batch at a time on one OUT: the system releases the lock of a process that dies."""

from __future__ import annotations

import contextlib
import os
import platform
import time
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from avsent.batch.journal import FOLDER_NAME
from avsent.errors import OutputError
from avsent.files import prepare_folder

LOCK_NAME = "lock"
HOLDER_NAME = "lock-holder"


@contextlib.contextmanager
def exclusive(out: Path) -> Iterator[None]:
    """Lock OUT inside the block.

    Raises:
        OutputError: another batch holds the lock, or it cannot be written.
    """
    folder = out / FOLDER_NAME
    prepare_folder(folder)
    # One second, because --status takes the lock for a moment to see whether a batch is at work.
    lock = FileLock(folder / LOCK_NAME, timeout=1)
    holder = folder / HOLDER_NAME  # only for the message: the lock itself does not depend on it
    try:
        lock.acquire()
    except Timeout as error:
        text = ""
        with contextlib.suppress(OSError):
            text = holder.read_text(encoding="utf-8", errors="replace")
        by = f" ({text[:200]})" if text else ""
        raise OutputError(
            f"{out}: another batch is at work on it{by}; wait for it, or give another -o"
        ) from error
    except (OSError, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"cannot write {folder}: {reason}") from error
    try:
        with contextlib.suppress(OSError):
            since = time.strftime("%Y-%m-%d %H:%M")
            text = f"process {os.getpid()} on {platform.node()} since {since}"
            holder.write_text(text, encoding="utf-8")
        yield
    finally:
        with contextlib.suppress(OSError):
            holder.unlink(missing_ok=True)
        lock.release()


def is_held(out: Path) -> bool:
    """Whether a batch is at work on OUT, as far as one can tell without writing to it."""
    path = out / FOLDER_NAME / LOCK_NAME
    if not path.is_file():
        return False  # the lock would make it, and its folders
    try:
        with FileLock(path, timeout=0):
            return False
    except (Timeout, NotImplementedError):
        return True
    except OSError:
        return False
