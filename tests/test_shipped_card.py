"""The card of a shipped model: what ships is chosen on validation, and every table is filled."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
from small_fusing import pool_of, trained

from avsent.labels import EMOTIONS, POLARITY_LABELS
from avsent.training.metrics import scores
from avsent.training.seed import Trained
from avsent.training.shipped.card import CARD_FILE, Report, card_text, write_card
from avsent.training.shipped.pool import Pool
from avsent.training.shipped.pools import Known, Strangers

pytestmark = pytest.mark.usefixtures("one_thread")


def known(pool: Pool) -> Known:
    """With an emotion for each polarity."""
    emotion = np.array([EMOTIONS.index(name) for name in ("surprised", "sad", "neutral", "happy")])
    return Known(pool.versions, emotion[pool.labels + 1], pool.labels, pool.speakers)


def strangers() -> Strangers:
    stills = known(pool_of(1, 3, stills=True, each=20))
    pictures = scores(np.array([0, 0, 1, 2, 2]), np.array([0, 1, 1, 2, 0]), 3)
    return Strangers(known(pool_of(8, 0)), stills, known(pool_of(4, 7)), stills, pictures)


def scored(value: float, seed: int) -> Trained:
    one = trained()
    progress = dataclasses.replace(one.progress, best_value=value)
    return dataclasses.replace(one, progress=progress, seed=seed)


def report(plain: tuple[float, ...], text: tuple[float, ...]) -> Report:
    found = {
        kind: [scored(value, seed) for seed, value in enumerate(values)]
        for kind, values in (("none", plain), ("text", text))
    }
    return Report.of("default", POLARITY_LABELS, found, strangers())


@pytest.mark.parametrize(
    ("plain", "text", "kind", "seed"),
    [
        ((-0.5, -0.4, -0.6), (-0.45, -0.35, -0.6), "text", 1),
        ((-0.5, -0.4, -0.6), (-0.1, -0.9, -0.9), "none", 1),  # one lucky seed is not enough
        ((-0.3, -0.4, -0.6), (-0.5, -0.5, -0.5), "none", 0),
    ],
)
def test_validation_chooses(
    plain: tuple[float, ...], text: tuple[float, ...], kind: str, seed: int
) -> None:
    found = report(plain, text)
    assert (found.kind, found.best.seed) == (kind, seed)
    assert found.best in found.trained[kind]


def test_every_part_of_the_card_is_filled(tmp_path: Path) -> None:
    found = report((-0.5, -0.4), (-0.6, -0.7))
    write_card(tmp_path, found, found.best.model)
    text = (tmp_path / CARD_FILE).read_text(encoding="utf-8")
    assert text == card_text(found, found.best.model)
    assert [path.name for path in tmp_path.iterdir()] == [CARD_FILE]
    for title in ("majority class", "voice and face", "face alone", "voice alone", "women", "men"):
        (line,) = [line for line in text.splitlines() if line.startswith(f"| {title} |")]
        assert re.search(r"\d", line)
    assert "The taught one does not ship" in text
    assert re.search(
        r"^\| no transfer \| 0\.4500 ± 0\.0500 \| [01]\.\d{3} ± 0\.\d{3} \|$", text, re.M
    )
    assert "all 5 images of that part: accuracy 0.600, balanced 0.667" in text
    for title in ("test clips", "FER2013 stills"):
        (line,) = [line for line in text.splitlines() if line.startswith(f"| {title} |")]
        assert re.fullmatch(r"\| [^|]+ \| [01]\.\d\d \|( ([01]\.\d\d|–) \|){2}", line)
    assert "not for commercial use" in text
    assert not re.search(r"[{}]|\bnan\b|\binf\b|None", text)
    for lines in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
        assert len({line.count("|") for line in lines.splitlines()}) == 1, lines
