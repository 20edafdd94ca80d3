"""What the modality check found of an utterance, in words for its result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from avsent.networks.guard import OTHER
from avsent.networks.target import Guarded

NAMES = {"audio": "voice", "face": "face"}


@dataclass(frozen=True, slots=True)
class Trusted:
    """Which modalities an utterance's decision rests on, for which ones ``proxies`` stand in, and
    what its user should know of it."""

    effective: dict[str, bool]
    proxies: tuple[str, ...]
    warnings: tuple[str, ...]


def trust_in(guarded: Guarded, index: int, present: Mapping[str, bool]) -> Trusted:
    """Of utterance ``index`` of the one video in ``guarded``; ``present``: what was there before
    the check, by the modalities that the model uses."""
    proxies = tuple(m for m, made in guarded.proxied.items() if bool(made[0, index]))
    used = guarded.utterances.present
    effective = {m: bool(used[m][0, index]) and m not in proxies for m in present}
    doubts = [
        *_doubts(guarded, index, present, effective),
        *(f"a proxy made from its {NAMES[OTHER[m]]} stands in for its {NAMES[m]}" for m in proxies),
    ]
    return Trusted(effective, proxies, tuple(doubts))


def _doubts(
    guarded: Guarded, index: int, present: Mapping[str, bool], effective: Mapping[str, bool]
) -> list[str]:
    checked = guarded.checked
    if checked is None:
        return []
    strange = [m for m in present if bool(checked.beyond[m][0, index])]
    dropped = [m for m in present if present[m] and not effective[m]]
    if dropped:
        (one,) = dropped
        name, other = NAMES[one], NAMES[OTHER[one]]
        if one in strange:
            return [f"its {name} is unlike all that the model learnt from: the {name} is not used"]
        return [
            f"voice and face contradict each other, and its {name} is the less usual: judged by "
            f"the {other} alone"
        ]
    if strange and len(strange) == sum(present.values()):
        which = " and ".join(NAMES[m] for m in strange)
        return [
            f"its {which} {'are' if len(strange) > 1 else 'is'} unlike all that the model "
            "learnt from: the decision is less sure than it looks"
        ]
    return []
