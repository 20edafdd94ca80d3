"""What the transfer costs: epochs with and without it, in turns, in one process."""

from __future__ import annotations

import dataclasses
import statistics
import time
from dataclasses import dataclass
from typing import Any

import torch
from experiments import progress
from mosi_runs import Mosi, Setup

from avsent.training.losses import Updates, balanced_weights
from avsent.training.seed import Teaching, make_teaching
from avsent.training.settings import TrainSettings
from avsent.training.source import make_model
from avsent.training.trainer import Course, make_transfer, one_epoch

ROUNDS = 15
BUSY = 0.5
"""Load beside us from which two threads are not timed: they would wait for each other."""
WARM_UP = 2


@dataclass(frozen=True, slots=True)
class Speed:
    """Median seconds of an epoch's training part, and the utterances in it."""

    threads: int
    utterances: int
    seconds: dict[str, list[float]]

    def median(self, transfer: str) -> float:
        """Seconds of an epoch."""
        return statistics.median(self.seconds[transfer])

    def rate(self, transfer: str) -> float:
        """Utterances per second."""
        return self.utterances / self.median(transfer)

    @property
    def ratio(self) -> float:
        """Full HMTL / no transfer: median over the rounds, each with its own neighbours."""
        pairs = zip(self.seconds["full"], self.seconds["none"], strict=True)
        return statistics.median(full / none for full, none in pairs)


def measure_speeds(mosi: Mosi, load: float) -> tuple[Speed, ...]:
    """One thread; and two, where ``load`` (before this program ran) leaves both cores free."""
    return tuple(measure_speed(mosi, threads) for threads in ((1, 2) if load < BUSY else (1,)))


def measure_speed(mosi: Mosi, threads: int) -> Speed:
    """Train two models side by side, an epoch of one, then an epoch of the other."""
    torch.set_num_threads(threads)
    # One thread can be timed by its own CPU clock, which other work does not disturb.
    clock = time.process_time if threads == 1 else time.perf_counter
    settings = Setup(transfer="full").settings()
    material = mosi.material(settings, 0)
    short = dataclasses.replace(
        settings, optimiser=dataclasses.replace(settings.optimiser, epochs=2)
    )
    teaching = make_teaching(material, short, 0, mosi.where)
    runs = {
        name: _prepared(mosi, settings, teaching if name == "full" else None)
        for name in ("none", "full")
    }
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(WARM_UP + ROUNDS):
        for name, (model, updates, course) in runs.items():
            began = clock()
            one_epoch(model, updates, course, number)
            if number >= WARM_UP:
                seconds[name].append(clock() - began)
    torch.set_num_threads(1)
    speed = Speed(threads, material.train.utterances(), seconds)
    progress(f"speed, {threads} threads: full / none = {speed.ratio:.2f}")
    return speed


def _prepared(mosi: Mosi, settings: TrainSettings, teaching: Teaching | None) -> tuple[Any, ...]:
    material = mosi.material(settings, 0)
    model = make_model(material.config(settings, settings.target), material.train, 0)
    course = Course(
        train=material.train,
        valid=material.valid,
        optimiser=settings.optimiser,
        transfer=settings.transfer,
        seed=0,
        device=torch.device("cpu"),
        teacher=teaching.teacher if teaching is not None else None,
    )
    weights = balanced_weights(material.train.labels, 2)
    transfer = make_transfer(model, course)
    return model, Updates(model, transfer, course.optimiser, course.transfer, weights), course
