"""What options, labels, texts and parts decide is refused before hours of feature extraction."""

from __future__ import annotations

import csv
import functools
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import small_models
from conftest import SAMPLE
from small_runs import POLARITIES, files

from avsent.cli.app import main
from avsent.labels import MODALITIES
from avsent.training.data import open as opening
from avsent.training.data import text
from avsent.training.data.open import MediaFeatures

PARTS = ("train", "train", "train", "valid", "valid", "test")
TEXTED = ["--source-text", "--text-encoder", "tfidf"]
CORPUS = ["--text-corpus", "texts.csv"]


def rows_of(**changes: Any) -> list[dict[str, str]]:
    """Six videos of six speakers. ``changes``: other cells of the rows, by column; of ``split``
    None, the column is empty."""
    columns: dict[str, Any] = {
        "video": [f"{n}.mp4" for n in range(6)],
        "start_s": ["0"] * 6,
        "end_s": ["2"] * 6,
        "speaker": [f"s{n}" for n in range(6)],
        "split": PARTS,
        "label": ["negative", "positive"] * 3,
        "sentiment": ["-1", "2"] * 3,
        "text": ["bad film", "good film"] * 3,
        **changes,
    }
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def write(path: Path, rows: list[dict[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of real videos, the current one; the analysis of one ends like Ctrl-C."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    folder = tmp_path / "data"
    folder.mkdir()
    for number in range(6):
        (folder / f"{number}.mp4").symlink_to(SAMPLE)
    write(folder / "manifest.csv", rows_of())

    def analysed(*arguments: object) -> MediaFeatures:
        raise KeyboardInterrupt

    monkeypatch.setattr(opening, "_analysed", analysed)
    return folder


def train(*arguments: str) -> int:
    return main(["train", "data", "-o", "out", "--cache", "cache", *arguments])


def refused(code: int, message: str, capsys: pytest.CaptureFixture[str], *arguments: str) -> None:
    assert train(*arguments) == code
    error = next(line for line in capsys.readouterr().err.splitlines() if "error" in line)
    assert message in error
    assert not Path("cache").exists()


@pytest.mark.parametrize("arguments", [[], TEXTED, [*TEXTED, "--cross-fit", "2"], ["--seeds", "2"]])
def test_what_is_not_refused_is_analysed(data: Path, arguments: list[str]) -> None:
    assert train(*arguments) == 130
    assert Path("cache").exists()


LABELLED = ["negative", "positive", "negative"]


@pytest.mark.parametrize(
    ("changes", "arguments", "code", "message"),
    [
        ({}, ["--label", "sentiment", "--fusion", "multiplicative"], 2, "choose --labels 2, 3 or"),
        ({"label": ["", "", "", *LABELLED]}, [], 3, "no training utterance has a label; add some"),
        (
            {"label": [*LABELLED, "", "nan", "positive"]},
            [],
            3,
            "no validation utterance has a label",
        ),
        ({"split": ["train"] * 6, "speaker": ["s"] * 6}, [], 3, "(1) to hold some back"),
        ({"split": ["test"] * 6}, [], 3, "no utterances to train on"),
        ({"text": [""] * 6}, TEXTED, 3, "no transcript to teach with; fill the text column"),
        ({"text": ["?!", "...", "-"] * 2}, TEXTED, 3, "the texts for training hold no words"),
        (
            {"text": [*"abc", "", "", "c"]},
            TEXTED,
            3,
            "no validation utterance has a label and text",
        ),
        (
            {"speaker": ["s", "s", "s", "a", "b", "c"]},
            [*TEXTED, "--cross-fit", "3"],
            3,
            "the training part is of one speaker or video, which cannot be divided",
        ),
        (
            {"speaker": ["s", "s", "s", "a", "b", "c"]},
            ["--source", "face", "--target", "audio", "--cross-fit", "3"],
            3,
            "the training part is of one speaker or video, which cannot be divided",
        ),
        (
            # Without the first speaker there are no labels.
            {"label": ["positive", "", "", "negative", "positive", "negative"]},
            [*TEXTED, "--cross-fit", "2"],
            3,
            "no training utterance has a label and text",
        ),
        ({}, ["--source-text", "--text-encoder", "no/such"], 2, "no sentence-transformers model"),
    ],
)
def test_refusals_of_labels_texts_and_parts(
    changes: dict[str, Any],
    arguments: list[str],
    code: int,
    message: str,
    data: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write(data / "manifest.csv", rows_of(**changes))
    refused(code, message, capsys, *arguments)
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("missing", "arguments", "warned"),
    [
        ({}, [], True),
        ({"label": ["", *LABELLED, "positive", "negative"]}, [], False),
        ({}, ["--no-scale-beta"], False),
        ({}, ["--transfer", "pseudo"], True),
        ({}, ["--transfer", "none"], False),
        # Nobody labelled the one without a transcript.
        (
            {
                "label": ["", *LABELLED, "positive", "negative"],
                "text": ["", *["bad film", "good film"] * 2, "film"],
            },
            [],
            True,
        ),
    ],
)
def test_nothing_to_teach_is_said(
    missing: dict[str, list[str]],
    arguments: list[str],
    warned: bool,
    data: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write(data / "manifest.csv", rows_of(**missing, split=["train", *PARTS[1:]]))
    assert train(*TEXTED, *arguments) == 130
    assert ("every utterance with text has a label" in capsys.readouterr().err) is warned


@pytest.mark.parametrize(
    ("rows", "arguments", "code", "message"),
    [
        ("what,surprised\nwho,surprise\n", CORPUS, 3, "no text has one of the labels negative"),
        ("bad,negative\n", CORPUS, 3, "(1) to hold some back"),
        (
            "bad day,negative\ngood day,positive\n" * 4,
            [*CORPUS, "--text-encoder", "no/such"],
            2,
            "no sentence-transformers model",
        ),
    ],
)
def test_refusals_of_a_text_corpus(
    rows: str,
    arguments: list[str],
    code: int,
    message: str,
    data: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("texts.csv").write_text(f"text,label\n{rows}")
    refused(code, message, capsys, *arguments)
    assert not Path("out").exists()


def test_a_text_encoder_that_is_not_installed(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing() -> None:
        raise ImportError

    monkeypatch.setattr(text, "_import_quietly", missing)
    message = "text models need sentence-transformers; pip install 'avsent[text]', or use tfidf"
    refused(2, message, capsys, "--source-text", "--text-encoder", "a-model")


@pytest.mark.parametrize(
    ("speakers", "arguments", "message"),
    [
        (["s"] * 6, [], "one speaker or video gives no folds; add more, or try --split-by video"),
        # Each fold learns from one of the two.
        (["s", "t"] * 3, [*TEXTED, "--cross-fit", "2"], "of one speaker or video, which cannot be"),
    ],
)
def test_few_clips_from_a_checkpoint(
    speakers: list[str],
    arguments: list[str],
    message: str,
    data: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    small_models.save(Path("start"), modalities=MODALITIES, labels=POLARITIES)
    write(data / "manifest.csv", rows_of(split=[""] * 6, speaker=speakers))
    refused(3, message, capsys, "--init", "start", *arguments)
    write(data / "manifest.csv", rows_of(split=[""] * 6, speaker=["s", "t", "u"] * 2))
    assert train("--init", "start", *arguments) == 130
    assert Path("cache").exists()


def test_the_folder_of_another_run(
    data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run on made-up features, of which the last utterance has none; then it gets other
    options, labels, parts, and fewer epochs than are done."""
    manifest = functools.partial(rows_of, end_s=["2"] * 5 + ["3"])
    write(data / "manifest.csv", manifest())

    def of_nothing(file: Any, *arguments: object) -> MediaFeatures:
        sound = np.ones((64, 20), np.float32)
        voices = tuple(None if segment.end_s == 3 else sound for segment in file.segments)
        none = (None,) * len(voices)
        return MediaFeatures(voices, none, none, none, none, duration_s=3.0)

    options = ["--target", "audio", "--epochs", "2", "--no-check"]
    with monkeypatch.context() as patched:
        patched.setattr(opening, "_analysed", of_nothing)
        assert train(*options) == 0
        assert train(*options) == 0  # a finished run is left as it is
    kept = files(Path("out"))
    shutil.rmtree("cache")
    capsys.readouterr()

    cases: list[tuple[dict[str, Any], list[str], str]] = [
        ({}, ["--dropout", "0.2"], "out holds a run with --dropout 0.4, not 0.2; give another -o"),
        ({}, ["--seeds", "2"], "out holds a run with --seeds 1, not 2"),
        ({}, ["--epochs", "1"], "out holds a run of 2 epochs, more than --epochs 1"),
        ({}, ["--label-range", "-1", "1"], "out holds a run without --label-range, not with"),
        ({"label": ["positive"] * 2 + ["negative"] * 4}, [], "other utterances, speakers, labels"),
        ({"split": [*PARTS[::-1]]}, [], "with other utterances, speakers, labels, texts or parts"),
    ]
    for changes, more, message in cases:
        write(data / "manifest.csv", manifest(**changes))
        refused(2, message, capsys, *options, *more)
        assert files(Path("out")) == kept
    write(data / "manifest.csv", manifest())
    assert train(*options, "--epochs", "3") == 130
    assert Path("cache").exists()
    assert files(Path("out")) == kept
