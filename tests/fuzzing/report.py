"""What a run found, as a dated file."""

from __future__ import annotations

import platform
from collections import Counter, defaultdict
from collections.abc import Sequence

import av
import hypothesis
import torch

from tests.fuzzing.cases import Outcome
from tests.fuzzing.lane import CPU_LIMIT_S, MEMORY_LIMIT_MB, WALL_LIMIT_S

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
