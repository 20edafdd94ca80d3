"""Whole runs on labels of all kinds, and with every fusion head."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_runs import WEIGHTS, begun, lines_of
from tiny import POLARITIES, small_corpus, small_settings

from avsent.checkpoints import load_checkpoint
from avsent.labels import SENTIMENT_7
from avsent.networks.fusion.choice import HEADS

pytestmark = pytest.mark.usefixtures("one_thread")


def test_numbers(tmp_path: Path) -> None:
    told = small_settings(label="sentiment", epochs=25, learning_rate=0.02)
    summary = begun(tmp_path / "out", small_corpus(speakers=16), told)
    figure = summary["target"]["test"]["mae"]
    assert figure["mean"] < 0.5 * figure["majority"]  # that of the training part's mean
    checkpoint = load_checkpoint(tmp_path / "out/checkpoint")
    assert checkpoint.config.model.real
    assert checkpoint.config.model.labels == POLARITIES
    assert checkpoint.config.calibration.deviation >= 0.1
    text = (tmp_path / "out/seed-0/predictions.csv").read_text()
    header, *rows = [line.split(",") for line in text.splitlines()]
    assert header[3:] == ["truth", "value", *POLARITIES]
    for row in rows:
        assert sum(map(float, row[5:])) == pytest.approx(1, abs=2e-4)
        assert abs(float(row[3]) - float(row[4])) < 3


@pytest.mark.parametrize(
    ("classes", "column", "kind", "names"),
    [
        (("negative", "positive"), "sentiment", "7", SENTIMENT_7),
        (("negative", "positive"), "sentiment", "3", POLARITIES),
        (("negative", "positive"), "sentiment", "2", ("negative", "positive")),
        (("joy", "anger", "surprise"), "label", "auto", ("happy", "angry", "surprised")),
        (("joy", "anger", "surprise"), "label", "3", POLARITIES),
    ],
)
def test_classes(
    classes: tuple[str, ...], column: str, kind: str, names: tuple[str, ...], tmp_path: Path
) -> None:
    corpus = small_corpus(classes=classes, speakers=12)
    summary = begun(tmp_path / "out", corpus, small_settings(label=column, labels=kind, epochs=1))
    assert load_checkpoint(tmp_path / "out/checkpoint").config.model.labels == names
    found = summary["chosen"]["test"]
    assert len(found["confusion"]) == len(names)
    known = [
        one for one in corpus.samples if one.split == "test" and "surp" not in one.labels[column]
    ]
    left = sum(one.split == "test" for one in corpus.samples) if kind == "auto" else len(known)
    assert found["count"] == left


# Of the heads, only avef sees more of raw data than one representation per utterance.
@pytest.mark.parametrize(
    ("fusion", "raw"), [*((name, False) for name in HEADS), ("hmtl", True), ("avef", True)]
)
def test_every_head_trains_and_comes_back(fusion: str, raw: bool, tmp_path: Path) -> None:
    corpus = small_corpus(classes=POLARITIES, speakers=4 if raw else 8, raw=raw, gaps=not raw)
    begun(tmp_path / "out", corpus, small_settings(fusion=fusion, epochs=2))
    model = load_checkpoint(tmp_path / "out/checkpoint").model
    assert model.config.fusion.name == fusion
    lines = lines_of(tmp_path / "out/seed-0/metrics.jsonl")
    assert len(lines) == 2
    assert lines[1]["classification"] != lines[0]["classification"]
    kept = (tmp_path / "out/seed-0/target.safetensors").stat().st_size
    assert kept > (tmp_path / "out" / WEIGHTS).stat().st_size


@pytest.mark.parametrize("target", [("audio",), ("face",)])
def test_one_modality(target: tuple[str, ...], tmp_path: Path) -> None:
    begun(tmp_path / "out", told=small_settings(target=target, epochs=1))
    assert load_checkpoint(tmp_path / "out/checkpoint").config.model.modalities == target
