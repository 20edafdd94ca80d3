"""dlib's models, loaded once per thread: a file is 100 MB, and dlib's objects must not be used
by two threads at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

_KEPT = threading.local()


def loaded(key: str, load: Callable[[], Any]) -> Any:
    """What ``load`` gives, from the second call of this thread with the same ``key`` on without
    calling it."""
    if key not in vars(_KEPT):
        setattr(_KEPT, key, load())
    return getattr(_KEPT, key)
