"""The report in Markdown; every figure and every yes or no comes out of the measurements."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator

from batch_figures import Measured, aims, shown
from batch_parts import STAGE_OF
from batch_runs import BatchRun, Taken, Turn
from batch_sets import ClipSet
from batch_words import bounds
from experiments import table

QUIET = 0.95
_ANSWERS = {True: "yes", False: "**no**", None: "–"}


def report(measured: Measured) -> str:
    """The whole report."""
    parts = [
        f"# Batch, {measured.date}",
        "Made by `make bench-batch`; once more:\n\n```sh\n" + measured.rerun + "\n```",
        table(("what", "value"), measured.facts),
        "## Aims and what was reached",
        table(
            ("aim", "measured", "reached"),
            [(a.text, a.measured, _ANSWERS[a.reached]) for a in aims(measured)],
        ),
        "Figures are the median of "
        f"{len(measured.turns)} turn{'s' if len(measured.turns) > 1 else ''}, with the least and "
        "the greatest in brackets. In a turn every way is gone once, one after the other, and "
        "ratios are taken within a turn, so that what else the machine does hits both sides. "
        "_Without the start_: from when the first worker begins with its first file (imports are "
        "done, the model is loaded) to the end of the last file. CPU seconds count all processes "
        "and threads.",
        *_noise(measured),
        *_ways(measured),
        *_plain(measured),
        *_profile(measured),
        *_reruns(measured),
        "## What bounds it",
        *bounds(measured),
    ]
    return "\n\n".join(parts) + "\n"


def _noise(measured: Measured) -> Iterator[str]:
    busy = measured.profile.busy
    if busy < QUIET:
        yield (
            f"**Not a quiet machine**: a thread that never waits was on its core for {busy:.0%} of "
            "the time, because other programs were, too. Speeds are too low by about as much."
        )


def _ways(measured: Measured) -> Iterator[str]:
    clips = measured.clips
    yield f"## {len(clips.files)} clips of talking heads"
    yield _clips(clips)
    rows = [
        _way(measured, "`avsent batch --workers 2`", 2, lambda t: t.two.taken),
        _way(measured, "`avsent batch --workers 1`, held to one core", 1, lambda t: t.one.taken),
        _way(measured, "`avsent batch --workers 1`", 2, lambda t: t.roomy.taken),
        _way(measured, "`avsent predict`, a process for each file", 2, lambda t: t.single),
        _way(measured, "`Predictor.predict` in one warm process", 2, lambda t: t.warm),
        _way(measured, "bare decoding (PyAV, all pictures and sound)", 2, lambda t: t.decoding),
    ]
    if all(turn.peer for turn in measured.turns):
        rows.append(_way(measured, "`fer`, 5 pictures a second, no sound", 2, _peer))
    yield table(
        (
            *("way", "cores", "wall, s", "× real time", "without the start, s", "× real time"),
            *("CPU, s", "CPU s per s of media", "largest process, MB"),
        ),
        rows,
    )
    yield (
        "One worker on two cores has a thread for reading and listening beside the one that looks "
        "for faces; one on one core does all in one thread, as each of two workers does. The warm "
        "process has predicted a first file before its clock starts. The batch finds "
        f"{measured.turns[0].two.utterances} utterances, and {measured.turns[0].faces} times a "
        "face in a picture; how right it is with the same settings is measured by "
        "`make bench-folds` and `make bench-clips`."
    )
    yield "### Against each other"
    yield table(("ratio", "times as fast"), list(_ratios(measured)))
    yield _peer_words(measured)


def _clips(clips: ClipSet) -> str:
    grid = [clip for clip in clips.clips if clip.path.parent.name == "grid"]
    rows = [
        (f"`{c.path.name}`", f"{c.width}×{c.height}", f"{c.duration_s:.2f}", str(c.times))
        for c in clips.clips
        if c not in grid
    ]
    if grid:
        seconds = sum(clip.duration_s for clip in grid)
        size = f"{grid[0].width}×{grid[0].height}"
        rows.append(
            (f"{len(grid)} of the GRID corpus", size, f"{seconds:.2f} together", str(grid[0].times))
        )
    text = table(("clip", "size", "seconds", "times in the folder"), rows)
    return f"{text}\n\n{clips.media_s:.1f} s of media, each file under a name of its own."


def _way(
    measured: Measured, name: str, cores: int, taken: Callable[[Turn], Taken]
) -> tuple[str, ...]:
    media_s, turns = measured.clips.media_s, measured.turns
    found = [taken(turn) for turn in turns]
    walls = tuple(one.wall_s for one in found)
    works = tuple(one.work_s for one in found if one.work_s is not None)
    cpu = tuple(one.cpu_s for one in found)
    peak = max(one.peak_bytes for one in found)
    return (
        name,
        str(cores),
        shown(walls, "{:.1f}"),
        f"{media_s / statistics.median(walls):.1f}",
        shown(works, "{:.1f}") if works else "–",
        f"{media_s / statistics.median(works):.1f}" if works else "–",
        shown(cpu, "{:.1f}"),
        f"{statistics.median(cpu) / media_s:.3f}",
        f"{peak / 1e6:.0f}" if peak else "–",
    )


def _peer(turn: Turn) -> Taken:
    assert turn.peer is not None
    return Taken(turn.peer.seconds, turn.peer.cpu_s, turn.peer.work_s)


def _ratios(measured: Measured) -> Iterator[tuple[str, str]]:
    """How many times as fast a batch with two workers is, and what one gains by a second core."""

    def row(text: str, figure: Callable[[Turn], float]) -> tuple[str, str]:
        return text, shown(measured.of_turns(figure))

    two, start = "two workers", "without the start"
    yield row(f"{two} / one on one core", lambda t: t.one.taken.wall_s / t.two.taken.wall_s)
    yield row(f"{two} / one on one core, {start}", lambda t: t.one.work_s / t.two.work_s)
    yield row(f"{two} / one on two cores", lambda t: t.roomy.taken.wall_s / t.two.taken.wall_s)
    yield row(f"{two} / one on two cores, {start}", lambda t: t.roomy.work_s / t.two.work_s)
    yield row(
        "one on two cores / one on one core, without the start",
        lambda t: t.one.work_s / t.roomy.work_s,
    )
    yield row(
        f"{two} / the sum of single `avsent predict`",
        lambda t: t.single.wall_s / t.two.taken.wall_s,
    )
    yield row(f"{two} / one warm process, {start}", lambda t: _work(t.warm) / t.two.work_s)
    yield row(f"{two} / bare decoding, {start}", lambda t: _work(t.decoding) / t.two.work_s)
    if all(turn.peer for turn in measured.turns):
        yield row(f"{two} / `fer`, {start}", lambda t: _work(_peer(t)) / t.two.work_s)


def _work(taken: Taken) -> float:
    return taken.wall_s if taken.work_s is None else taken.work_s


def _peer_words(measured: Measured) -> str:
    peer = measured.turns[0].peer
    if peer is None:
        return f"Not held against `fer`: {measured.peer}."
    return (
        f"The peer: {measured.peer}, in an environment of its own, its defaults (Haar cascade, "
        "TensorFlow Lite), the model loaded once, 5 pictures a second by presentation time, all "
        f"files one after the other: {peer.pictures} pictures, a face in {peer.with_face} "
        f"({peer.with_face / peer.pictures:.0%}). It tells an emotion for each picture, and hears "
        "nothing; avsent looks at 10 a second."
    )


def _plain(measured: Measured) -> Iterator[str]:
    plain = measured.plain
    clip = plain.clips[0]
    yield f"## {clip.width}×{clip.height}, default settings"
    yield (
        f"`{clip.path.name}` ({clip.duration_s:.1f} s) {clip.times} times, two workers on two "
        f"cores; {plain.media_s:.0f} s of media, "
        f"{measured.turns[0].plain.utterances} utterances."
    )

    def row(text: str, figure: Callable[[BatchRun], float], form: str) -> tuple[str, str]:
        return text, shown(measured.of_turns(lambda turn: figure(turn.plain)), form)

    yield table(
        ("what", "measured"),
        [
            row("wall, s", lambda run: run.taken.wall_s, "{:.1f}"),
            row("× real time", lambda run: plain.media_s / run.taken.wall_s, "{:.1f}"),
            row("without the start, s", lambda run: run.work_s, "{:.1f}"),
            row("× real time", lambda run: plain.media_s / run.work_s, "{:.1f}"),
            row("CPU, s", lambda run: run.taken.cpu_s, "{:.1f}"),
            row("CPU s per s of media", lambda run: run.taken.cpu_s / plain.media_s, "{:.3f}"),
        ],
    )


def _profile(measured: Measured) -> Iterator[str]:
    from stages import STAGE_TEXTS

    profile = measured.profile
    stages = sorted(profile.stages.items(), key=lambda item: -item[1])

    def row(name: str, seconds: float) -> tuple[str, ...]:
        per_s = 1000 * seconds / profile.media_s
        return name, f"{seconds:.3f}", f"{seconds / profile.wall_s:.1%}", f"{per_s:.1f}"

    yield "## Where the time goes"
    yield (
        f"`{profile.name}` in a warm process on one core in one thread, as each of two workers "
        f"does it, with clocks round each stage; median of {profile.runs} runs. One thread does "
        f"all, so the stages add up. It was on its core for {profile.busy:.0%} of the time. It "
        f"finds {profile.utterances} utterances, and {profile.faces} times a face in a picture."
    )
    rows = [row(f"{name}: {STAGE_TEXTS[name]}", seconds) for name, seconds in stages]
    rows += [row("other", profile.other_s), row("wall time", profile.wall_s)]
    yield table(("stage", "s", "share", "ms per s of video"), rows)
    yield "Of which, by finer clocks in the same runs:"
    parts = sorted(profile.parts.items(), key=lambda item: -item[1])
    yield table(
        ("part (stage)", "s", "share", "ms per s of video"),
        [row(f"{name} ({STAGE_OF[name]})", seconds) for name, seconds in parts],
    )


def _reruns(measured: Measured) -> Iterator[str]:
    reruns = measured.reruns
    yield "## Nothing left to do"
    yield (
        f"A batch of {reruns.files} files, most of them tiny ({reruns.first.taken.wall_s:.0f} s), "
        "and then the same command again, each time in a fresh process. What it has to do then "
        "depends on the number of files, not on their length."
    )
    yield table(
        ("what", "measured"),
        [
            ("wall, s", shown(tuple(again.wall_s for again in reruns.again))),
            ("CPU, s", shown(tuple(again.cpu_s for again in reruns.again))),
            ("memory, MB", f"{max(again.peak_bytes for again in reruns.again) / 1e6:.0f}"),
        ],
    )
