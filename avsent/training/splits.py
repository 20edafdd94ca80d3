"""Training, validation and test parts: a speaker or a video lies in one of them only."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from avsent.data.corpus import SPLITS, Sample
from avsent.errors import DatasetError
from avsent.training.settings import SplitSettings

DRAWS = 200
"""Random divisions that are tried; the one whose parts are most alike in labels is taken."""
TEST_SEED = 0
"""The test part is drawn once; seeds differ in what they validate on."""


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """The samples of each part, in corpus order."""

    train: tuple[Sample, ...]
    valid: tuple[Sample, ...]
    test: tuple[Sample, ...]

    def part(self, name: str) -> tuple[Sample, ...]:
        """One of "train", "valid", "test"."""
        return {"train": self.train, "valid": self.valid, "test": self.test}[name]


def groups_of(samples: Sequence[Sample], by: str) -> list[str]:
    """For each sample, the group that may not be divided.

    By "video" its video. By "speaker" its speaker, where known, together with all whom a common
    video ties to that speaker: a conversation in two parts would be context across parts.
    """
    if by != "speaker":
        return [sample.video for sample in samples]
    parent: dict[tuple[str, str], tuple[str, str]] = {}

    def root(node: tuple[str, str]) -> tuple[str, str]:
        while (above := parent.setdefault(node, node)) != node:
            parent[node] = parent[above]
            node = above
        return node

    nodes = [("speaker", s.speaker) if s.speaker else ("video", s.video) for s in samples]
    for sample, node in zip(samples, nodes, strict=True):
        first, second = sorted((root(node), root(("video", sample.video))))
        parent[second] = first  # speakers sort first: a group is named by one of them
    return [root(node)[1] for node in nodes]


def split_samples(
    samples: Sequence[Sample],
    classes: NDArray[np.float64],
    settings: SplitSettings,
    seed: int,
) -> Split:
    """The corpus' own parts where it names them; what is missing is drawn by group.

    ``classes`` [N]: class or number of each sample, NaN for none; parts are drawn to be alike in
    them. A test part is always the same, the validation part depends on ``seed``.

    Raises:
        DatasetError: a group lies in two of the corpus' parts, or there are too few groups.
    """
    groups = groups_of(samples, settings.by)
    _check_given(samples, settings.by)
    part_of = {group: sample.split for group, sample in zip(groups, samples, strict=True)}
    # Samples without a part in a corpus that names parts were left out on purpose.
    named = bool(set(part_of.values()) - {""})
    free = [] if named else sorted(set(groups))
    if not named:
        test, free = _draw(free, groups, classes, settings.test, TEST_SEED)
        part_of.update(dict.fromkeys(test, "test"))
        part_of.update(dict.fromkeys(free, "train"))
    if "train" not in part_of.values():
        raise DatasetError("no utterances to train on; fill the split column, or leave it out")
    if "valid" not in part_of.values():
        train = sorted(group for group, part in part_of.items() if part == "train")
        valid, _ = _draw(train, groups, classes, settings.validation, seed)
        part_of.update(dict.fromkeys(valid, "valid"))
    parts: dict[str, list[Sample]] = defaultdict(list)
    for sample, group in zip(samples, groups, strict=True):
        parts[part_of[group]].append(sample)
    if not parts["valid"]:
        raise DatasetError("no utterances to validate on; hold some back")
    return Split(tuple(parts["train"]), tuple(parts["valid"]), tuple(parts["test"]))


def _check_given(samples: Sequence[Sample], by: str) -> None:
    """Raise DatasetError for a part of another name, and for whoever lies in two parts."""
    part_of: dict[tuple[str, str], str] = {}
    for sample in samples:
        if sample.split not in ("", *SPLITS):
            raise DatasetError(
                f"{sample.key}: the split {sample.split!r} is none of {', '.join(SPLITS)}; mend it"
            )
        kinds = [("video", sample.video)]
        if by == "speaker" and sample.speaker:
            kinds.insert(0, ("speaker", sample.speaker))
        for kind, name in kinds:
            before = part_of.setdefault((kind, name), sample.split)
            if before != sample.split:
                hint = ", or accept it with --split-by video" if kind == "speaker" else ""
                raise DatasetError(
                    f"{sample.key}: {kind} {name!r} is in {before or 'no part'} and in "
                    f"{sample.split or 'no part'}; put each {kind} into one part{hint}"
                )


def _draw(
    free: list[str],
    groups: Sequence[str],
    classes: NDArray[np.float64],
    share: float,
    seed: int,
) -> tuple[list[str], list[str]]:
    """``share`` of the ``free`` groups, and the others: as alike in labels as chance offers."""
    if share <= 0:
        return [], free
    wanted = max(1, round(share * len(free)))
    if wanted >= len(free):
        raise DatasetError(
            f"{len(free)} speakers or videos are too few to hold some back; add more, or name the "
            "parts in a split column"
        )
    counts = _counts(free, groups, classes)
    rng = np.random.default_rng(seed)
    best, best_value = None, np.inf
    for _ in range(DRAWS):
        order = rng.permutation(len(free))
        value = _difference(counts[order[:wanted]].sum(axis=0), counts[order[wanted:]].sum(axis=0))
        if value < best_value:
            best, best_value = order, value
    assert best is not None
    taken = sorted(free[index] for index in best[:wanted])
    return taken, sorted(set(free) - set(taken))


def _counts(
    free: list[str], groups: Sequence[str], classes: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Utterances of each class (numbers: rounded) in each group [G, C]."""
    known = ~np.isnan(classes)
    rounded = np.where(known, np.round(classes), 0).astype(int)
    values = np.unique(rounded[known])
    row_of = {group: row for row, group in enumerate(free)}
    counts = np.zeros((len(free), max(1, len(values))))
    for group, label, there in zip(groups, rounded, known, strict=True):
        if there and group in row_of:
            counts[row_of[group], int(np.searchsorted(values, label))] += 1
    return counts


def _difference(taken: NDArray[np.float64], left: NDArray[np.float64]) -> float:
    """How unlike two parts are in labels; large where a class is missing from what is left."""
    shares = [part / max(1.0, part.sum()) for part in (taken, left)]
    return float(np.abs(shares[0] - shares[1]).sum() + 10.0 * np.sum((left == 0) & (taken > 0)))
