"""As many at once as the device has memory for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from avsent.errors import InputError

T = TypeVar("T")
R = TypeVar("R")


class BatchSize:
    """How many items are worked on together: halved where the device runs out of memory.

    Attributes:
        most: items of the next batch at most. It never grows again: what did not fit once would
            not fit twice, and each time costs a batch.
    """

    def __init__(self, most: int) -> None:
        if most < 1:
            raise ValueError(f"a batch has at least one item, not {most}")
        self.most = most

    def halving(
        self,
        work: Callable[[Sequence[T]], Sequence[R]],
        items: Sequence[T],
        name: Callable[[T], str] = lambda item: "an utterance",
    ) -> list[R]:
        """What ``work`` makes of all ``items``, in their order, ``most`` at a time.

        ``name``: what to call an item in an error: its file, and where it is in there.

        Raises:
            InputError: an item does not fit even by itself.
        """
        done: list[R] = []
        while len(done) < len(items):
            batch = items[len(done) : len(done) + self.most]
            made = _within_memory(work, batch)
            if made is not None:
                done += made
            elif len(batch) > 1:
                self.most = (len(batch) + 1) // 2
            else:
                raise InputError(
                    f"{name(batch[0])}: too long for the memory of the GPU, even by itself; stop "
                    "what else uses that GPU, cut it with --utterances, or use --device cpu"
                )
        return done


def _within_memory(
    work: Callable[[Sequence[T]], Sequence[R]], batch: Sequence[T]
) -> Sequence[R] | None:
    """What ``work`` makes of ``batch``; None where memory was too small for it."""
    try:
        made = work(batch)
    except torch.OutOfMemoryError:
        # The error holds on to all that was in use when it came up: emptied after it is gone.
        pass
    else:
        if len(made) != len(batch):
            raise ValueError(f"{len(batch)} items went in, {len(made)} came out")
        return made
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return None
