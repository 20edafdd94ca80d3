"""One batch at a time on one OUT: a lock that the system takes away from whoever dies."""

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
    """Hold OUT inside the block.

    Raises:
        OutputError: another batch holds it, or it cannot be written.
    """
    folder = out / FOLDER_NAME
    prepare_folder(folder)
    # A moment: --status asks for the lock to tell whether a batch is at work.
    lock = FileLock(folder / LOCK_NAME, timeout=1)
    try:
        lock.acquire()
    except Timeout as error:
        raise OutputError(
            f"{out}: another batch is at work on it{_holder(folder)}; wait for it, or give "
            "another -o"
        ) from error
    except (OSError, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"cannot write {folder}: {reason}") from error
    try:
        # Only for the message above: that it is written or not decides nothing.
        with contextlib.suppress(OSError):
            since = time.strftime("%Y-%m-%d %H:%M")
            text = f"process {os.getpid()} on {platform.node()} since {since}"
            (folder / HOLDER_NAME).write_text(text, encoding="utf-8")
        yield
    finally:
        with contextlib.suppress(OSError):
            (folder / HOLDER_NAME).unlink(missing_ok=True)
        lock.release()


def is_held(out: Path) -> bool:
    """Whether a batch is at work on OUT, as far as one can tell without writing to it."""
    path = out / FOLDER_NAME / LOCK_NAME
    if not path.is_file():
        return False  # the lock would make it, and its folders
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except (Timeout, NotImplementedError):
        return True
    except OSError:
        return False
    lock.release()
    return False


def _holder(folder: Path) -> str:
    with contextlib.suppress(OSError):
        text = (folder / HOLDER_NAME).read_text(encoding="utf-8", errors="replace")
        return f" ({text[:200]})" if text else ""
    return ""
