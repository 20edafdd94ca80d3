"""``avsent batch``: every video of a folder, as often as it takes."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avsent.cli.options import (
    SESSION,
    AdaptOption,
    CheckOption,
    CheckpointOption,
    DebugOption,
    DeviceOption,
    FaceOption,
    LandmarksOption,
    ProxyOption,
    QuietOption,
    RateOption,
    StrictOption,
    check_option_file,
)
from avsent.cli.outcome import printing, say, warn
from avsent.errors import PartialFailure, UsageError
from avsent.options import Adapt, FaceChoice
from avsent.result.writers import Format

if TYPE_CHECKING:
    from avsent.batch.run import Report, Status


def print_status(out: Path, *, as_json: bool) -> int:
    """Print it on standard output; returns the exit code: 5 where files failed."""
    from avsent.batch.run import status_of
    from avsent.errors import PartialFailure

    status = status_of(out)
    text = json.dumps(_plain(status), indent=2) if as_json else "\n".join(_lines(out, status))
    with printing():
        print(text, file=sys.stdout)
    return PartialFailure.exit_code if status.failures else 0


def _plain(status: Status) -> dict[str, object]:
    return {
        "files": status.files,
        **{state.value: count for state, count in status.states.items()},
        "gone": status.gone,
        "at_work": status.at_work,
        "media_s": round(status.media_s, 3),
        "work_s": round(status.work_s, 3),
        "speed": None if status.speed is None else round(status.speed, 3),
        "utterances": status.utterances,
        "running_files": list(status.running),
        "failures": [
            {
                "source": entry.name,
                "error": entry.error,
                "exit_code": entry.exit_code,
                "attempts": entry.attempts,
            }
            for entry in status.failures
        ],
    }


def _lines(out: Path, status: Status) -> list[str]:
    from avsent.batch.journal import State
    from avsent.text import clock, one_line

    counts = ", ".join(
        f"{count} {_word(state.value, status)}"
        for state, count in status.states.items()
        if count or state in (State.done, State.failed)
    )
    lines = [f"{one_line(str(out))}: {status.files} files: {counts}"]
    if status.gone:
        lines.append(f"{status.gone} of earlier runs are no longer in the folder")
    if status.speed is not None:
        lines.append(
            f"{status.utterances} utterances in {clock(status.media_s)} of media; one worker did "
            f"{status.speed:.1f} x real time"
        )
    lines.append("a batch is at work on it" if status.at_work else "no batch is at work on it")
    lines += [f"running: {one_line(name)}" for name in status.running]
    for entry in status.failures:
        # Made safe first: the journal holds what is no UTF-8 in an error as escapes.
        name, error = one_line(entry.name), one_line(entry.error or "")
        lines.append(f"failed: {error if name in error else f'{name}: {error}'}")
    return lines


def _word(state: str, status: Status) -> str:
    """What a batch was at when it ended is not running any more."""
    return "cut short" if state == "running" and not status.at_work else state


class EngineName(StrEnum):
    """Where the work is done."""

    local = "local"
    ray = "ray"


def batch(
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="FOLDER",
            help="Every video and sound file in it and below it is done.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="OUT",
            help="Folder for the results: the same tree as FOLDER, utterances.csv with all of "
            "them, summary.json. The same OUT again goes on where the batch stopped.",
            show_default=False,
        ),
    ] = None,
    status: Annotated[
        Path | None,
        typer.Option(
            "--status",
            metavar="OUT",
            help="Only tell how the batch in OUT stands: counts, speed, failures and why.",
            show_default=False,
        ),
    ] = None,
    glob: Annotated[
        list[str] | None,
        typer.Option(
            "--glob",
            metavar="PATTERN",
            help="Do files that match this, such as '*.dat' or 'day1/*.mp4', instead of all with "
            "the ending of a video or sound file. May be given several times.",
            show_default=False,
        ),
    ] = None,
    format: Annotated[
        list[Format] | None,
        typer.Option(
            "--format",
            "-f",
            metavar="|".join(Format),
            help="Format of each video's result; may be given several times. By default json.",
            show_default=False,
        ),
    ] = None,
    checkpoint: CheckpointOption = "default",
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            metavar="N",
            min=1,
            max=1024,
            help="Files done at the same time; by default as many as there are cores, as far as "
            "memory reaches.",
            show_default=False,
        ),
    ] = None,
    engine: Annotated[
        EngineName,
        typer.Option(
            "--engine",
            metavar="|".join(EngineName),
            help="Worker processes here, or actors on a Ray cluster (pip install 'avsent[ray]').",
        ),
    ] = EngineName.local,
    ray_address: Annotated[
        str | None,
        typer.Option(
            "--ray-address",
            metavar="HOST:PORT|auto",
            help="The cluster; by default one is started here for as long as the batch lasts.",
            show_default=False,
        ),
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try files again that failed in earlier runs.")
    ] = False,
    time_limit: Annotated[
        float | None,
        typer.Option(
            "--time-limit",
            metavar="SECONDS",
            min=0.0,
            help="Give a file up after so long; 0 for never. By default ten minutes and twenty "
            "times its duration.",
            show_default=False,
        ),
    ] = None,
    face: FaceOption = FaceChoice.speaking,
    adapt: AdaptOption = Adapt.none,
    device: DeviceOption = "auto",
    rate: RateOption = None,
    landmarks: LandmarksOption = None,
    check: CheckOption = True,
    proxy: ProxyOption = None,
    strict: StrictOption = False,
    json_progress: Annotated[
        bool,
        typer.Option(
            "--json-progress",
            help="Print what happens as JSON lines on standard output; with --status, print that "
            "as JSON.",
        ),
    ] = False,
    quiet: QuietOption = False,
    debug: DebugOption = False,
) -> None:
    """Tell the sentiment in every video of a folder, many at a time.

    A journal in OUT remembers what is done: the same command again does only what is new, has
    changed, or was cut short, and ends in the same files as if nothing had happened.
    """
    if status is not None:
        if folder is not None or output is not None:
            raise UsageError("--status OUT stands alone: leave FOLDER and -o out")
        _end_with_status(status, as_json=json_progress)
    if folder is None:
        raise UsageError("give the FOLDER with the videos")
    if output is None:
        raise UsageError("give a folder for the results with -o OUT")
    if ray_address is not None and engine is not EngineName.ray:
        raise UsageError("--ray-address goes with --engine ray")
    check_option_file("--landmarks", landmarks)

    # Here, so that mistakes above are told at once.
    from avsent.batch.engines.choose import make_engine, make_work, prepare_engine
    from avsent.batch.run import BatchOptions, run_batch
    from avsent.cli.batch_progress import make_display

    work = make_work(
        engine.value,
        checkpoint=checkpoint,
        device=device,
        face=face,
        adapt=adapt,
        analysis_rate_hz=rate,
        strict=strict,
        landmarks=landmarks,
        check=check,
        proxy=proxy,
        debug=SESSION.debug,
    )
    options = BatchOptions(
        work=work,
        adapt=adapt.value,
        formats=tuple(dict.fromkeys(format or [Format.json])),
        globs=tuple(glob or ()),
        retry_failed=retry_failed,
        time_limit_s=time_limit,
    )
    with make_display(quiet=quiet, as_json=json_progress) as display:
        report = run_batch(
            folder,
            output,
            lambda plan: make_engine(work, workers, len(plan.jobs), engine.value, ray_address),
            options,
            display,
            lambda: prepare_engine(engine.value),
        )
    _tell(report, output, quiet=quiet or json_progress)
    if report.failures:
        raise PartialFailure(
            f"{len(report.failures)} of {len(report.found.files)} files failed; the others are "
            "done; avsent batch --status tells why"
        )


def _end_with_status(out: Path, *, as_json: bool) -> None:
    raise typer.Exit(print_status(out, as_json=as_json))


def _tell(report: Report, out: Path, *, quiet: bool) -> None:
    """How it ended, in a line, and what was left out of it."""
    if quiet:
        return
    from avsent.text import clock

    for folder in report.found.unread:
        warn(f"a folder cannot be read and is left out: {folder}")
    if report.found.links_out:
        warn(f"{report.found.links_out} links lead out of the folder and are left out")
    done = report.did + report.kept
    parts = [f"{done} files done" + (f" ({report.kept} before)" if report.kept else "")]
    parts.append(f"{report.utterances} utterances in {clock(report.duration_s)}")
    if report.found.others:
        parts.append(f"{report.found.others} files of other kinds left alone")
    if report.gone:
        parts.append(
            f"{report.gone} of earlier runs are gone: their results stay, not in the table"
        )
    say("", f"{'; '.join(parts)}; results in {out}")
