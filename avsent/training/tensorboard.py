"""Figures of every epoch for TensorBoard, where it is installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

Board = Callable[[str, dict[str, float]], None]


@contextmanager
def scalars(folder: Path) -> Iterator[Board]:
    """A function that takes the stage and what was measured in one of its epochs."""
    if find_spec("tensorboard") is None:
        yield lambda stage, measured: None
        return
    from torch.utils.tensorboard import SummaryWriter

    for old in folder.glob("events.*"):  # a resumed run tells its earlier epochs again
        old.unlink(missing_ok=True)
    with SummaryWriter(str(folder)) as writer:

        def board(stage: str, measured: dict[str, float]) -> None:
            for name, value in measured.items():
                if name != "epoch":
                    writer.add_scalar(f"{stage}/{name}", value, int(measured["epoch"]))

        yield board
