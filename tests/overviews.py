"""Overviews of batches made by hand: what a page holds, read back from the file."""

from __future__ import annotations

import dataclasses
import json
import random
import re
from pathlib import Path
from typing import Any

from batching import CONFIG, journal_of, results
from handmade import make_result

from avsent.batch.journal import Journal
from avsent.batch.outputs import Outputs
from avsent.batch.overview import write_overview
from avsent.result.record import Result
from avsent.result.writers import Format

BAD = '"><script>alert(1)</script>.mp4'
"""Of a file that failed."""


def batch_of(out: Path, given: dict[str, Result], *failed: str) -> Path:
    """A batch that is over, with its result files."""
    with journal_of(out, given.values(), *failed) as journal:
        journal.keep_fact("options", CONFIG.options())
        write_results(out, journal, given)
    return out


def write_results(out: Path, journal: Journal, given: dict[str, Result]) -> None:
    outputs = Outputs(out, [Format.json], journal)
    outputs.prepare()
    for name, result in given.items():
        outputs.write(name, name, result)


def small_batch(out: Path) -> Path:
    """Five files with ten utterances, of hostile names and words, and one that failed."""
    return batch_of(out, results(), BAD)


def large_batch(out: Path, files: int, each: int) -> Path:
    """Many files, with scores as a sentiment model has them; the same every time."""
    chance = random.Random(6)
    given = {}
    for number in range(files):
        name = f"session {number % 20:02d}/interview {number:04d}.mp4"
        lean = chance.gauss(0, 0.3)
        given[name] = _scattered(make_result(each, name), chance, lean)
    return batch_of(out, given, "session 03/broken.mp4", "notes.mp4")


def _scattered(result: Result, chance: random.Random, lean: float) -> Result:
    utterances = []
    for one in result.utterances:
        score = max(-0.98, min(0.98, chance.gauss(lean, 0.4)))
        neutral = (1 - abs(score)) * chance.random() * 0.8
        positive = (1 - neutral + score) / 2
        shares = {"negative": 1 - neutral - positive, "neutral": neutral, "positive": positive}
        length = chance.uniform(1, 4.9)
        words = chance.choices(_WORDS, k=chance.randint(3, 14))
        utterances.append(
            dataclasses.replace(
                one,
                end_s=one.start_s + length,
                score=score,
                sentiment=max(shares, key=shares.__getitem__),
                probabilities=shares,
                text=" ".join(words).capitalize() + ".",
            )
        )
    return dataclasses.replace(result, utterances=tuple(utterances))


_WORDS = ("I", "we", "they", "said", "it", "was", "not", "really", "what", "people", "wanted")


def blocks_of(page: Path) -> dict[str, Any]:
    """The data that a page holds, by the name of the block."""
    found = re.findall(
        r'<script type="application/json" id="(\w+)">(.*?)</script>', page.read_text("utf-8")
    )
    return {name: json.loads(text) for name, text in found}


def overview_of(out: Path, **options: Any) -> dict[str, Any]:
    """The blocks of a batch's overview, without pages of its files."""
    return blocks_of(write_overview(out, pages=False, **options))
