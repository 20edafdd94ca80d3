"""The report in Markdown; every figure and every yes or no comes out of the measurements."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from measure import Boundaries, LongRun, Speed, StartUp

REAL_TIME_AIM = 10.0
DECODING_AIM = 2.5
MEMORY_AIM_BYTES = 1.2e9
MEMORY_GROWTH_AIM = 0.10
START_UP_AIM_S = 0.5
ROW_SUM_TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True)
class Measured:
    """What was measured; None for a section that was left out."""

    facts: tuple[tuple[str, str], ...]
    rerun: str
    date: str
    runs: int
    speed: Speed | None = None
    memory: tuple[LongRun, ...] | None = None
    start_up: StartUp | None = None
    boundaries: Boundaries | None = None


@dataclass(frozen=True, slots=True)
class Aim:
    """An aim, what was measured, and whether it was reached (None: not measured)."""

    text: str
    measured: str
    reached: bool | None


def report(measured: Measured) -> str:
    """The whole report."""
    parts = [
        f"# Prediction, {measured.date}",
        "Made by `make bench-predict`; once more:\n\n```sh\n" + measured.rerun + "\n```",
        _table(("", ""), measured.facts),
        "## Aims and what was reached",
        _table(
            ("aim", "measured", "reached"),
            [(a.text, a.measured, _answer(a.reached)) for a in aims(measured)],
        ),
    ]
    if measured.speed is not None:
        parts += _speed(measured.speed, measured.runs)
    if measured.memory is not None:
        parts += _memory(measured.memory)
    if measured.start_up is not None:
        parts += _start_up(measured.start_up)
    if measured.boundaries is not None:
        parts += _boundaries(measured.boundaries)
    return "\n\n".join(parts) + "\n"


def aims(measured: Measured) -> list[Aim]:
    """Every aim with its measurement."""
    start_up, found = measured.start_up, measured.boundaries
    return [
        *_speed_aims(measured.speed),
        *_memory_aims(measured.memory),
        _aim(
            f"`avsent --help` in under {START_UP_AIM_S} s",
            start_up and statistics.median(start_up.help),
            "{:.2f} s".format,
            lambda s: s < START_UP_AIM_S,
        ),
        _aim(
            f"`avsent --version` in under {START_UP_AIM_S} s",
            start_up and statistics.median(start_up.version),
            "{:.2f} s".format,
            lambda s: s < START_UP_AIM_S,
        ),
        _aim(
            "`avsent --version` does not import torch",
            None if start_up is None else float(start_up.imports_torch),
            lambda imports: "imports it" if imports else "does not",
            lambda imports: not imports,
        ),
        _aim(
            "rows of context attention sum to 1",
            found.deviation if found and found.rows else None,
            "off by at most {:.1g}".format,
            lambda off: off <= ROW_SUM_TOLERANCE,
        ),
    ]


def _speed_aims(speed: Speed | None) -> list[Aim]:
    clips = speed.clips if speed else ()
    small = [c.times_real_time for c in clips if (c.width, c.height) == (640, 360)]
    large = [c.ratio for c in clips if (c.width, c.height) == (1920, 1080)]
    return [
        _aim(
            f"at least {REAL_TIME_AIM:g} × real time at 640×360",
            min(small, default=None),
            "{:.1f} ×".format,
            lambda times: times >= REAL_TIME_AIM,
        ),
        _aim(
            f"at most {DECODING_AIM:g} × bare decoding at 1920×1080, the worst clip",
            max(large, default=None),
            "{:.2f} ×".format,
            lambda ratio: ratio <= DECODING_AIM,
        ),
    ]


def _memory_aims(memory: Sequence[LongRun] | None) -> list[Aim]:
    peaks = {run.minutes: run.run.peak_bytes for run in memory or ()}
    growth = peaks[20] / peaks[1] - 1 if {1, 20} <= peaks.keys() else None
    return [
        _aim(
            f"peak memory of 20 min within {MEMORY_GROWTH_AIM:.0%} of that of 1 min",
            growth,
            "{:+.1%}".format,
            lambda share: abs(share) <= MEMORY_GROWTH_AIM,
        ),
        _aim(
            f"peak memory of 20 min under {MEMORY_AIM_BYTES / 1e9:g} GB",
            peaks.get(20),
            lambda peak: f"{peak / 1e9:.2f} GB",
            lambda peak: peak < MEMORY_AIM_BYTES,
        ),
    ]


def _aim(
    text: str,
    value: float | None,
    shown: Callable[[float], str],
    reached: Callable[[float], bool],
) -> Aim:
    if value is None:
        return Aim(text, "not measured", None)
    return Aim(text, shown(value), reached(value))


def _speed(speed: Speed, runs: int) -> list[str]:
    clips = speed.clips
    return [
        "## Speed",
        f"In one warm process on `{speed.device}`. Before the first clip, not counted below: "
        f"{speed.import_s:.2f} s for imports, {speed.load_s:.2f} s for loading the checkpoint, "
        f"{speed.warm_up_s:.2f} s for a first prediction (of {clips[-1].name}), which loads the "
        "detectors. Times are the median of "
        f"{runs} run{'s' if runs > 1 else ''}, with the fastest and the slowest in brackets; "
        "decoding and predicting took turns. "
        "Bare decoding is PyAV with `thread_type` AUTO: all pictures and all sound, no conversion. "
        "CPU seconds count all threads.",
        _table(
            (
                *("clip", "size", "fps", "duration", "predict", "× real time", "bare decoding"),
                *("predict / decoding", "CPU s of predict", "CPU s of decoding"),
            ),
            [
                (
                    f"`{c.name}`",
                    f"{c.width}×{c.height}",
                    f"{c.fps:g}",
                    f"{c.duration_s:.2f} s",
                    _spread(c.predicting.wall),
                    f"{c.times_real_time:.1f}",
                    _spread(c.decoding.wall),
                    f"{c.ratio:.2f}",
                    f"{c.predicting.cpu_s:.2f}",
                    f"{c.decoding.cpu_s:.2f}",
                )
                for c in clips
            ],
        ),
        "### Seconds per stage",
        "Wall seconds, in runs of their own with clocks round each part. The stages run in two "
        "threads, beside each other and beside the decoder's own threads: their sum exceeds the "
        "wall time, and a stage that waits for a core, or for the other thread's Python, gets "
        "longer by it. _Other_ is what the main thread does besides.",
        _stages(speed),
    ]


def _stages(speed: Speed) -> str:
    from stages import MAIN_STAGES, READER_STAGES, STAGE_TEXTS

    rows = []
    for thread, names in (("reading", READER_STAGES), ("main", MAIN_STAGES)):
        for name in names:
            seconds = [f"{c.stages.get(name, 0.0):.3f}" for c in speed.clips]
            rows.append((thread, f"{name}: {STAGE_TEXTS[name]}", *seconds))
    rest = [c.staged_s - sum(c.stages.get(name, 0.0) for name in MAIN_STAGES) for c in speed.clips]
    rows.append(("main", "other", *(f"{seconds:.3f}" for seconds in rest)))
    rows.append(("", "wall time of these runs", *(f"{c.staged_s:.3f}" for c in speed.clips)))
    return _table(("thread", "stage", *(f"`{c.name}`" for c in speed.clips)), rows)


def _memory(memory: Sequence[LongRun]) -> list[str]:
    return [
        "## Memory",
        "`avsent predict VIDEO -o OUT.json` in a fresh process; the video is `many_utterances.mp4` "
        "again and again. MB are 10⁶ bytes of resident memory at the highest point.",
        _table(
            ("minutes", "duration", "peak memory", "wall", "CPU", "utterances", "warnings"),
            [
                (
                    str(run.minutes),
                    f"{run.duration_s:.1f} s",
                    f"{run.run.peak_bytes / 1e6:.0f} MB",
                    f"{run.run.seconds:.1f} s",
                    f"{run.run.cpu_s:.1f} s",
                    str(run.utterances),
                    str(run.warnings),
                )
                for run in memory
            ],
        ),
    ]


def _start_up(start_up: StartUp) -> list[str]:
    rows = [
        (f"`avsent {option}`", _spread(seconds))
        for option, seconds in (("--help", start_up.help), ("--version", start_up.version))
    ]
    imports = "imports" if start_up.imports_torch else "does not import"
    return [
        "## Start-up",
        f"Fresh processes, median of {len(start_up.help)}. `avsent --version` {imports} torch.",
        _table(("command", "wall"), rows),
    ]


def _boundaries(found: Boundaries) -> list[str]:
    rows = [
        (str(number), f"{single:.3f}", f"{span:.3f}")
        for number, (single, span) in enumerate(zip(found.single, found.span, strict=True), 1)
    ]
    means = ("mean", f"{statistics.mean(found.single):.3f}", f"{statistics.mean(found.span):.3f}")
    return [
        "## Utterance boundaries",
        f"`many_utterances.mp4`: {len(found.single)} true utterances, {found.found} found. "
        "Intersection over union of each true one with (a) the best single found one, (b) the "
        "span from the first to the last found one that lies in it by more than half.",
        _table(("true utterance", "(a) best single", "(b) span"), [*rows, means]),
        f"{found.rows} rows of context attention, as given in the result, sum to 1 with a "
        f"deviation of at most {found.deviation:.1g}.",
    ]


def _answer(reached: bool | None) -> str:
    return {True: "yes", False: "**no**", None: "–"}[reached]


def _spread(seconds: Sequence[float]) -> str:
    middle = f"{statistics.median(seconds):.2f} s"
    return middle if len(seconds) < 2 else f"{middle} ({min(seconds):.2f}–{max(seconds):.2f})"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
