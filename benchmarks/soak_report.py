"""The report in Markdown, and the drawing; every figure comes out of the measurements."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from experiments import table
from soak_figures import FLAT_SHARE, MB, Course, by_turn, counts_of, course, drift_s

BUSY = 1.5
_SECTIONS = {
    "one": "`avsent predict`, one file",
    "batch": "`avsent batch`, many files",
    "many": "`Predictor.predict_many`",
}


def report(measured: dict[str, Any], date: str, rerun: str, picture: str) -> str:
    """The whole report."""
    courses = {name: course(measured[name]) for name in _SECTIONS}
    parts = [
        f"# Long run, {date}",
        "Made by `make bench-soak`; once more:\n\n```sh\n" + rerun + "\n```",
        table(("what", "value"), [tuple(fact) for fact in measured["one"]["facts"]]),
        *_busy(measured),
        _protocol(measured),
        "## What must hold",
        table(("what", "measured", "holds"), list(_verdicts(measured, courses))),
        "## Memory while video goes by",
        f"![Memory against position]({picture})",
        *_memory(courses, measured),
        "## Descriptors, threads, processes, temporary files",
        *_counts(courses, measured),
        "## One file",
        *_one(measured["one"], courses["one"]),
        "## Many files, a batch",
        *_batch(measured["batch"]),
        "## Many files, one process",
        *_many(measured["many"]),
        "## Pages and annotated videos",
        *_extras(measured["extras"]),
        "## What is kept of a video while it goes by",
        *_kept(measured["kept"]),
    ]
    return "\n\n".join(parts) + "\n"


def draw(measured: dict[str, Any], target: Path) -> None:
    """Memory against hours of video, a line for each run."""
    import matplotlib

    matplotlib.use("agg")
    matplotlib.rcParams["svg.hashsalt"] = "avsent"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 4), layout="constrained")
    for name, text in _SECTIONS.items():
        found = course(measured[name])
        shown = [s for s in found.samples if s.position_s is not None][
            :: max(1, len(found.samples) // 600)
        ]
        axes.plot(
            [(s.position_s or 0) / 3600 for s in shown],
            [found.memory(s) / MB for s in shown],
            label=text.replace("`", ""),
            linewidth=0.8,
        )
    axes.set(xlabel="hours of video", ylabel="MB", ylim=(0, None), xlim=(0, None))
    axes.legend(loc="lower right")
    figure.savefig(target, metadata={"Date": None})
    pyplot.close(figure)


def _busy(measured: dict[str, Any]) -> Iterator[str]:
    loads = {text: measured[name]["load"] for name, text in _SECTIONS.items()}
    if max(loads.values()) > BUSY:
        told = ", ".join(f"{text} {load:.1f}" for text, load in loads.items())
        yield (
            f"**The machine was busy** (mean load: {told}), with other work besides. So the "
            "seconds that these runs took would say nothing about speed, and are left out; memory "
            "and counts do not depend on it."
        )


def _protocol(measured: dict[str, Any]) -> str:
    one, batch, many = (measured[name] for name in _SECTIONS)
    return (
        "Each command ran in a session and with a `TMPDIR` of its own. Once a second `/proc` told "
        "of every process in the session: resident memory (RSS), memory with shared pages divided "
        "among those who share them (PSS), descriptors, threads; and what lay in `TMPDIR`. The "
        "position in the video is that of the command's descriptor of it, or what a batch tells "
        "of its progress. _Steady_: after the first twelfth of the video. One file: a clip at "
        f"640×360, {one['turns']} times in a row ({one['duration_s'] / 3600:.2f} h). Batch: "
        f"{batch['files']} files made of {batch['distinct']} different ones at 640×360 "
        f"({batch['duration_s'] / 3600:.2f} h), {batch['workers']} workers. `predict_many`: "
        f"{many['files']} files, {many['distinct']} different talking heads from 224×224 to "
        f"1920×1080 ({many['duration_s'] / 3600:.2f} h)."
    )


def _verdicts(
    measured: dict[str, Any], courses: dict[str, Course]
) -> Iterator[tuple[str, str, str]]:
    for name, text in _SECTIONS.items():
        found = courses[name]
        share = found.slope / found.thirds[0]
        yield (
            f"{text}: an hour of video adds less than {FLAT_SHARE:.0%} to memory",
            f"{found.slope / MB:+.1f} MB ({share:+.1%})",
            _answer(found.flat),
        )
    for name, text in _SECTIONS.items():
        found = courses[name]
        told = [what for what in ("descriptors", "threads", "processes") if found.grows(what)]
        yield (
            f"{text}: no more descriptors, threads, processes in the last third than in the first",
            ", ".join(told) or "none",
            _answer(not told),
        )
    runs = [*(measured[name] for name in _SECTIONS), *measured["extras"]["runs"]]
    for key, text in (
        ("left", "temporary files and shared memory left behind"),
        ("astray", "files in the output folder that nobody asked for"),
    ):
        names = [name for run in runs for name in run[key]]
        yield f"{text}, all {len(runs)} runs", ", ".join(names) or "none", _answer(not names)
    outlived = [
        f"{run['survivors']} after {run.get('waited_s', 5):g} s" for run in runs if run["survivors"]
    ]
    yield (
        f"processes that outlive their command, all {len(runs)} runs",
        ", ".join(outlived) or "none",
        _answer(not outlived),
    )
    batch = measured["batch"]
    yield (
        "results of the batch that equal those of the single clips",
        f"{batch['equal']} of {batch['files']}",
        _answer(batch["equal"] == batch["files"]),
    )
    yield (
        "utterances of the batch",
        f"{batch['utterances']}, expected {batch['expected_utterances']}",
        _answer(batch["utterances"] == batch["expected_utterances"]),
    )
    one = measured["one"]
    counts = counts_of(by_turn(one["starts"], one["turn_s"], one["turns"]))
    yield (
        "one file: utterances in each turn of the clip differ by 2 at most",
        f"{min(counts)} to {max(counts)}",
        _answer(bool(counts) and max(counts) - min(counts) <= 2),
    )
    drift, share = drift_s(by_turn(one["starts"], one["turn_s"], one["turns"]))
    yield (
        "one file: times do not drift, last third of the turns against the first ones",
        f"{1000 * drift:+.0f} ms (median); {share:.1%} begin within 100 ms of an early one",
        _answer(abs(drift) < 0.02),
    )


def _memory(courses: dict[str, Course], measured: dict[str, Any]) -> Iterator[str]:
    rows = []
    for name, text in _SECTIONS.items():
        found = courses[name]
        total_s = measured[name]["duration_s"]
        held = [found.near(share * total_s) / MB for share in (1 / 12, 1 / 4, 1 / 2, 3 / 4, 0.99)]
        rows.append(
            (
                text,
                *(f"{value:.0f}" for value in held),
                f"{found.slope / MB:+.1f}",
                f"{found.late_slope / MB:+.1f}",
                " → ".join(f"{value / MB:.0f}" for value in found.thirds),
            )
        )
    yield table(
        (
            "memory in MB",
            *(
                "at 1/12",
                "1/4",
                "1/2",
                "3/4",
                "the end of the video",
                "slope, MB per hour",
                "of the second half",
            ),
            "means of the steady thirds",
        ),
        rows,
    )
    yield (
        "RSS for the one process of `predict` and `predict_many`; the PSS of all processes of the "
        "batch together. MB are 10⁶ bytes; the slope is a least-squares line through the steady "
        "samples."
    )


def _counts(courses: dict[str, Course], measured: dict[str, Any]) -> Iterator[str]:
    rows = []
    for name, text in _SECTIONS.items():
        found = courses[name]
        cells = []
        for what in ("descriptors", "threads", "processes", "temporary"):
            least, greatest, late = found.spans(what)
            cells.append(f"{least}–{greatest} ({late})")
        most = max(sample.temporary_bytes for sample in found.samples)
        rows.append((text, *cells, f"{most / MB:.1f}", str(len(found.samples))))
    yield table(
        (
            "steady: least–greatest (greatest in the last third)",
            *("descriptors", "threads", "processes", "temporary files", "most in them, MB"),
            "samples",
        ),
        rows,
    )


def _one(one: dict[str, Any], found: Course) -> Iterator[str]:
    utterances = len(one["starts"])
    turns = by_turn(one["starts"], one["turn_s"], one["turns"])
    counts = ", ".join(f"{n} × {count}" for count, n in sorted(counts_of(turns).items()))
    last = max((s.position_s or 0.0) for s in found.steady)
    after = [s.rss for s in found.samples[-len(found.samples) // 20 :]]
    yield (
        f"{utterances} utterances, {one['tracks']} tracks, {len(one['warnings'])} warnings. "
        f"Utterances per turn, without the first and the last: {counts} turns. The seam of two "
        "turns does not fall on a step of the voice detector, so that turns are not all alike."
    )
    square = 2 * utterances**2
    yield (
        f"**The end.** While reading, memory stays at {found.thirds[2] / MB:.0f} MB (up to "
        f"{last / 3600:.2f} h); when the last utterance is there, all are decided on in the "
        f"context of each other, and memory peaks at {one['peak'] / MB:.0f} MB (highest sample "
        f"{max(after) / MB:.0f} MB). Each utterance says how much each other one contributed to "
        "it, for voice and face: "
        f"{square / 1e6:.1f} million weights, "
        f"{(one['peak'] - found.thirds[2]) / square:.0f} bytes for each at the peak, and "
        f"{one['result_bytes'] / MB:.0f} MB of JSON. That grows with the square of the number of "
        "utterances, and is all that grows with the length of a video; what is kept of an "
        "utterance besides is in the slope above: "
        f"{found.slope / (utterances / (one['duration_s'] / 3600)) / 1000:+.1f} kB for each."
    )


def _batch(batch: dict[str, Any]) -> Iterator[str]:
    yield (
        f"{batch['did']} files done, {batch['failed']} failed; {batch['utterances']} utterances. "
        f"The journal has {batch['journal_bytes'] / 1000:.0f} kB, "
        f"{batch['journal_bytes'] / batch['files'] / 1000:.2f} kB for a file; in its folder lie "
        f"{', '.join(f'`{name}`' for name in batch['journal_names'])}. Each result is held, key by "
        "key, against that of `avsent predict` on the single clip, but for the file's name."
    )


def _many(many: dict[str, Any]) -> Iterator[str]:
    told = {files: (descriptors, threads) for files, descriptors, threads in many["told"]}
    marks = [n for n in (1, 10, 50, 100, 200, 300, many["files"]) if n in told]
    yield table(
        ("after so many files", *(str(n) for n in marks)),
        [
            ("descriptors", *(str(told[n][0]) for n in marks)),
            ("Python's threads", *(str(told[n][1]) for n in marks)),
        ],
    )
    yield (
        "As the process itself tells, between two files. The same file gives the same number of "
        f"utterances each time: {_answer(_repeats(many))}."
    )


def _repeats(many: dict[str, Any]) -> bool:
    counts, period = many["utterances"], many["distinct"]
    return all(one == counts[place % period] for place, one in enumerate(counts))


def _extras(extras: dict[str, Any]) -> Iterator[str]:
    rows = [
        (
            f"`avsent predict`, {run['what']}",
            f"{run['minutes']:.1f}",
            f"{run['peak'] / MB:.0f}",
            ", ".join(f"{name} {size / MB:.1f}" for name, size in sorted(run["bytes"].items())),
        )
        for run in extras["runs"]
    ]
    yield table(("command", "minutes", "peak memory, MB", "files, MB"), rows)


def _kept(kept: dict[str, Any]) -> Iterator[str]:
    span_s = kept["to_s"] - kept["from_s"]
    count = max(1, kept["utterances"])
    yield (
        f"`tracemalloc` at {kept['from_s']:.0f} s and at {kept['to_s']:.0f} s of one prediction: "
        f"{kept['bytes'] / count / 1000:.1f} kB more for each of {kept['utterances']} utterances "
        f"({kept['tracks']} tracks), {kept['bytes'] / span_s * 3600 / MB:.0f} MB for an hour. The "
        "lines that keep most:"
    )
    rows = [
        (f"`{place}:{line}`", f"{size / count / 1000:.1f}", f"{size / span_s * 3600 / MB:.1f}")
        for place, line, size in kept["places"]
    ]
    yield table(("line", "kB for an utterance", "MB for an hour"), rows)


def _answer(holds: bool) -> str:
    return "yes" if holds else "**no**"
