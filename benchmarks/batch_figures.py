"""What a batch's report is made of: all measurements, and the figures that come out of them."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass

from batch_profile import Profile
from batch_runs import BatchRun, Reruns, Turn
from batch_sets import ClipSet
from report import Aim

SCALING_AIM = 1.8
REAL_TIME_AIM = 15.0
RERUN_AIM_S = 2.0


@dataclass(frozen=True, slots=True)
class Measured:
    """Everything that was measured. ``peer``: its versions, or why there is none."""

    facts: tuple[tuple[str, str], ...]
    rerun: str
    date: str
    clips: ClipSet
    plain: ClipSet
    turns: tuple[Turn, ...]
    profile: Profile
    reruns: Reruns
    peer: str

    def of_turns(self, figure: Callable[[Turn], float]) -> tuple[float, ...]:
        """One figure of each turn."""
        return tuple(figure(turn) for turn in self.turns)

    def median(self, figure: Callable[[Turn], float]) -> float:
        """The middle one of them."""
        return statistics.median(self.of_turns(figure))


def shown(values: tuple[float, ...], form: str = "{:.2f}") -> str:
    """The median, and the smallest and largest where there are more."""
    middle = form.format(statistics.median(values))
    if len(values) < 2:
        return middle
    return f"{middle} ({form.format(min(values))}–{form.format(max(values))})"


def aims(measured: Measured) -> list[Aim]:
    """Every aim, what was measured, and whether it was reached."""
    media_s = measured.plain.media_s
    slowest = max(again.wall_s for again in measured.reruns.again)
    return [
        _least(
            measured,
            f"two workers at least {SCALING_AIM:g} × as fast as one on one core, whole commands",
            lambda turn: turn.one.taken.wall_s / turn.two.taken.wall_s,
            SCALING_AIM,
        ),
        _least(
            measured,
            "the same without the start of the workers",
            lambda turn: turn.one.work_s / turn.two.work_s,
            SCALING_AIM,
        ),
        _least(
            measured,
            f"two workers on two cores at least {REAL_TIME_AIM:g} × real time at 640×360, whole "
            "command",
            lambda turn: media_s / turn.plain.taken.wall_s,
            REAL_TIME_AIM,
        ),
        _least(
            measured,
            "the same without the start of the workers",
            lambda turn: media_s / turn.plain.work_s,
            REAL_TIME_AIM,
        ),
        Aim(
            f"rerun of a finished batch of {measured.reruns.files} files in under "
            f"{RERUN_AIM_S:g} s, the slowest of {len(measured.reruns.again)}",
            f"{slowest:.2f} s",
            slowest < RERUN_AIM_S,
        ),
        _equal(measured),
    ]


def _least(measured: Measured, text: str, figure: Callable[[Turn], float], aim: float) -> Aim:
    found = measured.of_turns(figure)
    return Aim(text, f"{shown(found)} ×", statistics.median(found) >= aim)


def _equal(measured: Measured) -> Aim:
    equal, files = min(turn.equal for turn in measured.turns), len(measured.clips.files)
    text = "the batch's results are those of `avsent predict`, to the last digit"
    return Aim(text, f"{equal} of {files} files", equal == files)


@dataclass(frozen=True, slots=True)
class Scaling:
    """How many times as fast two workers are, over all turns: ``ratio`` = 2 × ``thrift`` ×
    ``filling``. ``thrift``: CPU seconds with one worker over those with two; ``filling``: the
    share of their time that two cores were busy, over that of one."""

    ratio: float
    thrift: float
    filling: float
    busy_two: float
    busy_one: float


def scaling(measured: Measured) -> Scaling:
    """Of whole commands."""

    def total(figure: Callable[[Turn], float]) -> float:
        return sum(measured.of_turns(figure))

    one_s, two_s = total(lambda t: t.one.taken.wall_s), total(lambda t: t.two.taken.wall_s)
    one_cpu, two_cpu = total(lambda t: t.one.taken.cpu_s), total(lambda t: t.two.taken.cpu_s)
    busy_one, busy_two = one_cpu / one_s, two_cpu / (2 * two_s)
    return Scaling(one_s / two_s, one_cpu / two_cpu, busy_two / busy_one, busy_two, busy_one)


def overhead_s(run: BatchRun) -> float:
    """Wall seconds of a command in which no file was worked on: its start and its end."""
    return run.taken.wall_s - run.work_s
