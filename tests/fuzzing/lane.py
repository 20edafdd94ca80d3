"""One case in one child: forked from a process that has loaded everything, watched, judged."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import platform
import resource
import signal
import sys
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import av
import hypothesis
import torch

from tests.fuzzing.kinds import Case, Outcome

MEMORY_LIMIT_MB = 2048
CPU_LIMIT_S = 40.0
WALL_LIMIT_S = 120.0
"""A child may wait for the processor that others use; more than this it hangs."""
DOCUMENTED = (0, 2, 3, 4, 5)
TELLS_ON_STDOUT = (("data", "check"), ("batch", "--status"))
MAX_STDERR = 200_000
_POLL_S = 0.01
_PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 2**20
_TICKS = os.sysconf("SC_CLK_TCK")


def run_case(case: Case) -> Outcome:
    """Run ``case`` in a child; what became of it. The files stay where they are."""
    began_s = time.monotonic()
    pid = os.fork()
    if pid == 0:
        _child(case)
    status, stopped, peak_mb = _watch(pid, began_s)
    seconds = time.monotonic() - began_s
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)  # workers that it may have left
    code = os.waitstatus_to_exitcode(status)
    told = (case.folder / "stderr").read_bytes()[:MAX_STDERR].decode("utf-8", "replace")
    failures = [stopped] if stopped else [*_judged(case, code, told)]
    failures += _half_written(case, code)
    return Outcome(
        case.number, case.kind, case.what, code, seconds, peak_mb, tuple(failures), told[-4000:]
    )


def _child(case: Case) -> None:
    code = 99
    try:
        os.setsid()
        os.chdir(case.folder)
        for name, number in (("stdout", 1), ("stderr", 2)):
            os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (2**30, 2**30))
        code = _called(case)
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _called(case: Case) -> int:
    if case.call:
        from tests.fuzzing.readers import call

        return call(case.call, case.arguments)
    from avsent.cli.app import main

    return main(list(case.arguments))


def _watch(pid: int, began_s: float) -> tuple[int, str, float]:
    """Wait for the child, or stop it: its status, why it was stopped, the most memory it held."""
    peak_mb = 0.0
    too_much = f"more than {MEMORY_LIMIT_MB} MB of memory"
    while True:
        done, status, used = os.wait4(pid, os.WNOHANG)
        if done:  # it may have taken too much and ended between two looks
            peak_mb = max(peak_mb, used.ru_maxrss / 1024)
            return status, too_much if peak_mb > MEMORY_LIMIT_MB else "", peak_mb
        memory_mb, cpu_s = _usage(pid)
        peak_mb = max(peak_mb, memory_mb)
        stopped = ""
        if peak_mb > MEMORY_LIMIT_MB:
            stopped = too_much
        elif cpu_s > CPU_LIMIT_S or time.monotonic() - began_s > WALL_LIMIT_S:
            stopped = f"not done after {cpu_s:.0f} s of work"
        if stopped:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            _, status, used = os.wait4(pid, 0)
            return status, stopped, max(peak_mb, used.ru_maxrss / 1024)
        time.sleep(_POLL_S)


def _usage(pid: int) -> tuple[float, float]:
    """Resident memory and seconds of processor time of a process."""
    try:
        memory = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE_MB
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return memory, (int(fields[11]) + int(fields[12])) / _TICKS
    except (OSError, IndexError):
        return 0.0, 0.0


def _judged(case: Case, code: int, told: str) -> list[str]:
    failures = []
    if code < 0:
        failures.append(f"died of signal {-code}")
    elif code not in DOCUMENTED:
        failures.append(f"ended with {code}")
    lines = told.splitlines()
    errors = [line for line in lines if "error: " in line[:30]]
    if "Traceback" in told or any("internal error" in line for line in errors):
        failures.append("traceback: " + (errors[-1] if errors else lines[-1])[:300])
    if "No such option" in told or "requires an argument" in told:
        failures.append("the case itself is wrong")
    # Of several files each that failed has its line, and all of them another.
    if len(errors) > 1 and code != 5:
        failures.append(f"{len(errors)} errors instead of one line")
    if code in DOCUMENTED[1:] and not errors and case.arguments[:2] not in TELLS_ON_STDOUT:
        failures.append("failed without a word")
    if any(not c.isprintable() for line in lines for c in line if c != "\t"):
        failures.append("control characters on standard error")
    return failures


def _half_written(case: Case, code: int) -> list[str]:
    failures = []
    for path in case.folder.rglob("*"):
        if path.name.endswith(".tmp") or path.name.startswith(("unfinished", ".model", ".config")):
            failures.append(f"left {path.name}")
    for name in case.outputs:
        path = case.folder / name
        if path.is_file():
            try:
                _read_whole(path)
            except Exception as error:
                failures.append(f"half written: {name} ({error})"[:300])
        elif code == 0 and not name.endswith((".html", ".mp4", ".png")):
            failures.append(f"ended well without {name}")
    if Path("/tmp/avsent-fuzz-escape").exists() or list(case.folder.parents[1].glob("up*")):
        failures.append("wrote outside of its folder")
    return failures


def _read_whole(path: Path) -> None:
    """Raise where a file is not all there."""
    if path.suffix == ".json":
        json.loads(path.read_text(encoding="utf-8"))
    elif path.suffix == ".csv":
        with path.open(encoding="utf-8", newline="") as file:
            list(csv.reader(file, strict=True))
    elif path.suffix in {".html", ".svg", ".eaf"}:
        text = path.read_text(encoding="utf-8").rstrip().lower()
        ends = {".html": "</html>", ".svg": "</svg>", ".eaf": "</annotation_document>"}
        if not text.endswith(ends[path.suffix]):
            raise ValueError("no end")
    elif path.suffix == ".png":
        if not path.read_bytes().endswith(b"IEND\xaeB`\x82"):
            raise ValueError("no end")
    elif path.suffix == ".mp4":
        import av

        with av.open(str(path)) as file:
            sum(1 for _ in file.demux())


MEANINGS = {
    0: "used",
    2: "usage",
    3: "refused, or used in part",
    4: "checkpoint refused",
    5: "some of several refused",
}


def text_of(
    outcomes: Sequence[Outcome], *, seed: int, date: str, minutes: float | None, notes: str
) -> str:
    """The page, in Markdown."""
    failed = [outcome for outcome in outcomes if outcome.failures]
    kinds: dict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        kinds[outcome.kind].append(outcome)
    whole = sum(outcome.kind.startswith("media: ") for outcome in outcomes)
    read = len(kinds.get("media: read", []))
    lasted = "" if minutes is None else f", in {minutes:.0f} minutes, two at a time"
    lines = [
        f"# Hostile input, {date}",
        "",
        f"`make fuzz`: {len(outcomes):,} hostile files, seed {seed}, each read in a child process "
        f"of its own{lasted}. {len(failed)} of them failed.",
        "",
        f"A file fails where there is a traceback, an exit code that is not documented, more or "
        f"less than one line of error, a signal, more than {MEMORY_LIMIT_MB} MB of resident memory "
        f"(libraries included), more than {CPU_LIMIT_S:.0f} s of work or {WALL_LIMIT_S:.0f} s in "
        "all, a half-written output, a temporary file left over, a control character on standard "
        "error, or a file written outside of its folder.",
        "",
        f"Of the {whole:,} media files {whole - read:,} went through the whole of "
        f"`avsent predict`, {read:,} were read from the first packet to the last without it.",
        "",
        "| kind | files | used | refused | failed | longest | most memory |",
        "|---|---|---|---|---|---|---|",
    ]
    for kind, own in sorted(kinds.items()):
        used = sum(not outcome.failures and outcome.code == 0 for outcome in own)
        bad = sum(bool(outcome.failures) for outcome in own)
        slowest = max(outcome.seconds for outcome in own)
        largest = max(outcome.memory_mb for outcome in own)
        lines.append(
            f"| {kind} | {len(own):,} | {used:,} | {len(own) - used - bad:,} | {bad} "
            f"| {slowest:.1f} s | {largest:,.0f} MB |"
        )
    codes = Counter(outcome.code for outcome in outcomes)
    told = ", ".join(
        f"{code} ({MEANINGS.get(code, 'not documented')}) {count:,}"
        for code, count in sorted(codes.items())
    )
    lines += ["", f"Exit codes: {told}.", ""]
    slow = sorted(outcomes, key=lambda outcome: -outcome.seconds)[:3]
    large = sorted(outcomes, key=lambda outcome: -outcome.memory_mb)[:3]
    lines += [
        "Slowest: " + "; ".join(f"{o.number} ({o.what}) {o.seconds:.1f} s" for o in slow) + ".",
        "Largest: "
        + "; ".join(f"{o.number} ({o.what}) {o.memory_mb:,.0f} MB" for o in large)
        + ".",
        "",
    ]
    if failed:
        lines += [
            "## Failed",
            "",
            *(f"- {o.number} ({o.kind}, {o.what}): {'; '.join(o.failures)}" for o in failed),
            "",
        ]
    if notes:
        lines += [notes.rstrip(), ""]
    lines += [
        f"{platform.platform()}, Python {platform.python_version()}, PyAV {av.__version__} (FFmpeg "
        f"{'.'.join(map(str, av.ffmpeg_version_info.split('.')[:2]))}), torch {torch.__version__}, "
        f"hypothesis {hypothesis.__version__}.",
    ]
    return "\n".join(lines) + "\n"
