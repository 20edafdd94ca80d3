"""``avsent batch``: every video of a folder; how far a batch has come."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from avsent.cli import options, outcome, progress
from avsent.errors import PartialFailure, UsageError
from avsent.options import Adapt, FaceChoice, PredictOptions
from avsent.result.writers import Format
from avsent.text import clock, one_line

if TYPE_CHECKING:
    from avsent.batch import events, run

EngineName = StrEnum("EngineName", ["local", "ray"])


def batch(
    folder: Path | None = options.argument(
        "FOLDER", "All video and sound files in it and its subfolders.", None
    ),
    output: Path | None = options.option(
        "--output -o OUT",
        "Folder for the results: the same tree as FOLDER, utterances.csv with all of them, "
        "summary.json. The same OUT again resumes the batch.",
    ),
    status: Path | None = options.option(
        "--status OUT",
        "Only print how far the batch in OUT has come: counts, speed, failures with their reasons.",
    ),
    glob: list[str] | None = options.option(
        "--glob PATTERN",
        "Process the files that match, such as '*.dat' or 'day1/*.mp4', instead of all with the "
        "ending of a video or sound file. May be repeated.",
    ),
    follow_links: bool = options.option(
        "--follow-links",
        "Follow links to folders, and to files outside of FOLDER. Each folder is searched once.",
        False,
    ),
    format: list[Format] | None = options.option(
        "--format -f",
        "Format of each video's result; may be repeated. Default: json.",
        choices=Format,
    ),
    checkpoint: str = options.CHECKPOINT,
    workers: int | None = options.option(
        "--workers N",
        "Files processed at the same time. Default: one per core, fewer where memory is short.",
        min=1,
        max=1024,
    ),
    engine: EngineName = options.option(
        "--engine",
        "Worker processes here, or actors on a Ray cluster (pip install 'avsent[ray]').",
        EngineName.local,
    ),
    ray_address: str | None = options.option(
        "--ray-address HOST:PORT|auto", "The cluster. Default: start one here for this batch."
    ),
    retry_failed: bool = options.option(
        "--retry-failed", "Process files that failed before once more.", False
    ),
    time_limit: float | None = options.option(
        "--time-limit SECONDS",
        "Stop working on a file after this time; 0: never. Default: ten minutes plus twenty times "
        "its duration.",
        min=0.0,
    ),
    utterances: Path | None = options.UTTERANCES,
    tier: str | None = options.TIER,
    face: FaceChoice = options.FACE,
    adapt: Adapt = options.ADAPT,
    audio_track: str | None = options.AUDIO_TRACK,
    video_track: int | None = options.VIDEO_TRACK,
    device: str = options.DEVICE,
    rate: float | None = options.RATE,
    landmarks: Path | None = options.LANDMARKS,
    check: bool = options.CHECK,
    proxy: bool | None = options.PROXY,
    strict: bool = options.STRICT,
    json_progress: bool = options.option(
        "--json-progress",
        "Print progress as JSON lines on standard output; with --status, print JSON.",
        False,
    ),
    quiet: bool = options.QUIET,
    debug: bool = options.DEBUG,
) -> None:
    """Predict the sentiment in every video of a folder, several at a time.

    A journal in OUT records finished files: the same command again processes only files that are
    new, changed or unfinished, and gives the same results as one run without interruption.
    """
    if status is not None:
        if folder is not None or output is not None:
            raise UsageError("--status OUT stands alone: leave FOLDER and -o out")
        raise typer.Exit(print_status(status, as_json=json_progress))
    if folder is None:
        raise UsageError("give the FOLDER with the videos")
    if output is None:
        raise UsageError("give a folder for the results with -o OUT")
    if ray_address is not None and engine is not EngineName.ray:
        raise UsageError("--ray-address goes with --engine ray")
    if engine is EngineName.ray and device.startswith("cuda:"):
        raise UsageError("on a Ray cluster Ray hands out the GPUs: give --device cuda, or cpu")
    options.check_option_file("--landmarks", landmarks)
    options.check_utterances(utterances, tier, several=True)

    # Imported here, so that mistakes above are reported at once.
    from avsent.batch import run
    from avsent.batch.engines import base, choose

    predict_options = PredictOptions(
        utterances=utterances,
        tier=tier,
        face=face,
        audio_track=audio_track,
        video_track=video_track,
        analysis_rate_hz=rate,
        strict=strict,
        landmarks=landmarks,
        adapt=adapt,
        check=check,
        proxy=proxy,
    )
    work = base.Work(checkpoint, device, predict_options, debug=options.SESSION.debug)
    batch_options = run.BatchOptions(
        work=work,
        formats=tuple(dict.fromkeys(format or [Format.json])),
        globs=tuple(glob or ()),
        follow_links=follow_links,
        retry_failed=retry_failed,
        time_limit_s=time_limit,
    )
    with progress.make_display(quiet=quiet, as_json=json_progress) as display:
        ended = run.run_batch(
            folder,
            output,
            lambda plan: choose.make_engine(
                work, workers, len(plan.jobs), engine.value, ray_address
            ),
            batch_options,
            display,
            lambda: choose.prepare_engine(engine.value),
        )
    if not quiet and not json_progress:
        _print_summary(ended, output)
    if ended.failed:
        files = ended.did + ended.kept + ended.failed
        raise PartialFailure(
            f"{ended.failed} of {files} files failed; the others are done; avsent batch --status "
            "tells why"
        )


def _print_summary(ended: events.Ended, out: Path) -> None:
    """What was done, in a line, after warnings of what was left out."""
    for warning in ended.left_out.warnings():
        outcome.warn(warning)
    done = ended.did + ended.kept
    parts = [f"{done} files done" + (f" ({ended.kept} before)" if ended.kept else "")]
    parts.append(f"{ended.utterances} utterances in {clock(ended.duration_s)}")
    parts += ended.left_out.other_kinds()
    if ended.gone:
        parts.append(f"{ended.gone} of earlier runs are gone: their results stay, not in the table")
    outcome.say("", f"{'; '.join(parts)}; results in {out}")


def print_status(out: Path, *, as_json: bool) -> int:
    """Print how far the batch in ``out`` has come; returns the exit code: 5 if files failed."""
    from avsent.batch import run

    status = run.status_of(out)
    with outcome.printing():
        if as_json:
            print(json.dumps(_status_fields(status), indent=2))
        else:
            print("\n".join(_status_lines(out, status)))
    return PartialFailure.exit_code if status.failures else 0


def _status_fields(status: run.Status) -> dict[str, object]:
    return {
        "files": status.files,
        **{state.value: count for state, count in status.states.items()},
        "gone": status.gone,
        "at_work": status.at_work,
        **{n: progress.rounded(getattr(status, n)) for n in ("media_s", "work_s", "speed")},
        "utterances": status.utterances,
        "running_files": list(status.running),
        "failures": [
            {"source": e.name, "error": e.error, "exit_code": e.exit_code, "attempts": e.attempts}
            for e in status.failures
        ],
    }


def _status_lines(out: Path, status: run.Status) -> list[str]:
    # What was running when a batch ended is not running any more.
    words = {} if status.at_work else {"running": "cut short"}
    counts = ", ".join(
        f"{count} {words.get(state, state)}"
        for state, count in status.states.items()
        if count or state in ("done", "failed")
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
        # In one line first: where the name is no UTF-8, the error holds it as escapes.
        error = progress.error_with_name(one_line(entry.name), one_line(entry.error or ""))
        lines.append(f"failed: {error}")
    return lines
