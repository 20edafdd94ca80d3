"""One torch thread for small work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_torch_thread() -> Iterator[None]:
    """Run what is inside on one CPU thread of torch.

    Networks as small as ours gain nothing by a second one, and lose up to tenfold where the
    other cores are busy with decoding.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
