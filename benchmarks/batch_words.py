"""What bounds a batch, in words made of figures."""

from __future__ import annotations

from collections.abc import Iterator

from batch_figures import REAL_TIME_AIM, Measured, overhead_s, scaling


def bounds(measured: Measured) -> Iterator[str]:
    """A paragraph for each bound."""
    yield _scaling(measured)
    yield _start(measured)
    yield _stages(measured)
    yield _aim(measured)


def _scaling(measured: Measured) -> str:
    found = scaling(measured)
    return (
        f"**Two workers.** Over all turns together two are {found.ratio:.2f} × as fast as one on "
        f"one core: 2 × {found.thrift:.2f} (one worker takes that share of the CPU seconds that "
        "two take for the same files: below 1 it is what they cost each other in caches and "
        "memory, what each of them loads for itself, and a core that is not all ours) × "
        f"{found.filling:.2f} (of their time two cores are busy {found.busy_two:.0%}, the one is "
        f"{found.busy_one:.0%}: the rest is one process starting the others, workers that find "
        "nothing left to do at the end, waiting for files, and other programs). A worker that had "
        f"nothing left waited {measured.median(lambda turn: turn.two.idle_s):.1f} s for the end; "
        "between their files the two waited "
        f"{measured.median(lambda turn: turn.two.between_s):.1f} s in sum."
    )


def _start(measured: Measured) -> str:
    profile = measured.profile
    wall = measured.median(lambda turn: turn.two.taken.wall_s)
    outside = measured.median(lambda turn: overhead_s(turn.two))
    plain_wall = measured.median(lambda turn: turn.plain.taken.wall_s)
    plain_outside = measured.median(lambda turn: overhead_s(turn.plain))
    return (
        f"**The start.** {outside:.1f} of the {wall:.1f} s of {len(measured.clips.files)} short "
        f"clips ({outside / wall:.0%}) and {plain_outside:.1f} of the {plain_wall:.1f} s at "
        f"640×360 ({plain_outside / plain_wall:.0%}) go by before the first file is begun and "
        "after the last one is done. It is the same for any number of files; on one core the "
        f"imports alone take {profile.import_s:.1f} s. In its first file a worker still loads what "
        f"is loaded when first needed: {profile.warm_up_s:.1f} s more than for the same file "
        "later; this counts as work on files above."
    )


def _stages(measured: Measured) -> str:
    profile = measured.profile
    named = ", ".join(f"{name} ({share:.0%})" for name, share in profile.dearest())
    parts = sorted(profile.parts.items(), key=lambda item: -item[1])[:3]
    dearest = ", ".join(f"{name} ({seconds / profile.wall_s:.0%})" for name, seconds in parts)
    return (
        f"**The stages.** The three most expensive are {named}: "
        f"{sum(share for _, share in profile.dearest()):.0%} of the time. Of their parts the most "
        f"expensive are {dearest}."
    )


def _aim(measured: Measured) -> str:
    profile, media_s = measured.profile, measured.plain.media_s
    reached = measured.median(lambda turn: media_s / turn.plain.work_s)
    spent, budget = profile.core_s, 2 / REAL_TIME_AIM
    text = (
        f"**Real time.** Once it is warm, a worker takes {spent:.3f} s of a core for a second of "
        f"video at 640×360, so two cores do {2 / spent:.1f} × real time at most; a batch of two "
        f"workers does {reached:.1f} ×, without the start. {REAL_TIME_AIM:g} × allows "
        f"{budget:.3f} s"
    )
    if spent <= budget:
        return f"{text}: {1 - spent / budget:.0%} of that are left."
    name, share = profile.dearest(1)[0]
    left = (1 - share) * spent
    return (
        f"{text}, {1 - budget / spent:.0%} less than it takes. Without {name}, the most expensive "
        f"stage, {left:.3f} s would be left: "
        + ("within the aim." if left <= budget else "still above it.")
    )
