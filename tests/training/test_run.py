"""Whole runs, as `avsent train` makes them: the folder, kills and going on."""

from __future__ import annotations

import csv
import itertools
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import HANG_S, SAMPLE, hear_ctrl_c, run_avsent
from small_runs import (
    TEXT_SOURCE,
    WEIGHTS,
    feature_file,
    files,
    lines_of,
    read,
    run_small,
    small_corpus,
    small_settings,
)

from avsent.cli.app import main
from avsent.errors import InputError, OutputError, UsageError
from avsent.training.data.corpus import Corpus
from avsent.training.run import Hooks

pytestmark = pytest.mark.usefixtures("one_thread")


# --- the folder ---


def test_files_of_a_run(tmp_path: Path) -> None:
    said: list[str] = []
    out = tmp_path / "out"
    summary = run_small(
        out,
        settings=small_settings(target=("audio",), transfer=TEXT_SOURCE),
        hooks=Hooks(say=said.append),
        seeds=(3, 4),
        baseline=True,
    )
    assert read(out / "summary.json") == summary
    assert summary["seeds"] == [3, 4]
    best = max((3, 4), key=lambda s: read(out / f"seed-{s}/evaluation.json")["validation_value"])
    assert summary["best_seed"] == best
    for name in ("checkpoint/model.safetensors", "checkpoint/config.json", "plots/losses.png"):
        assert (out / name).read_bytes() == (out / f"seed-{best}" / name).read_bytes()
    assert {path.name for path in (out / "plots").iterdir()} == {
        *("losses.png", "confusion.png", "spaces-audio.png")
    }
    for model in ("target", "no-transfer", "source"):
        figure = summary[model]["test"]["accuracy"]
        values = [
            read(out / f"seed-{seed}/evaluation.json")[model]["test"]["metrics"]["accuracy"]
            for seed in (3, 4)
        ]
        assert figure["values"] == values
        assert figure["mean"] == pytest.approx(np.mean(values))
        assert figure["sd"] == pytest.approx(abs(values[0] - values[1]) / 2**0.5)
    lines = lines_of(out / "seed-3/metrics.jsonl")
    assert [line["stage"] for line in lines] == [
        stage for stage in ("source", "target", "no-transfer") for _ in range(3)
    ]
    assert [line["epoch"] for line in lines] == [1, 2, 3] * 3
    config = read(out / "config.json")
    assert config["data"]["sha256"] == small_corpus().digest()
    assert config["versions"]["torch"] == version("torch")
    card = (out / "checkpoint/CARD.md").read_text()
    for words in ("text taught it", "made up", "without transfer", "majority", "seed"):
        assert words in card
    rows = (out / f"seed-{best}/predictions.csv").read_text().splitlines()
    assert rows[0] == "utterance,video,speaker,truth,negative,positive"
    assert len(rows) == 1 + summary["parts"]["test"]["utterances"]
    assert any("seed 4" in line for line in said)


def test_a_finished_run_does_nothing(tmp_path: Path) -> None:
    first = run_small(tmp_path / "out")
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*")}
    epochs: list[float] = []
    again = run_small(
        tmp_path / "out", hooks=Hooks(on_epoch=lambda s, t, m: epochs.append(m["epoch"]))
    )
    assert again == first
    assert epochs == []
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*")} == before


def test_half_written_files_of_a_killed_run_are_removed(tmp_path: Path) -> None:
    run_small(tmp_path / "out")
    before = files(tmp_path / "out")
    for folder in ("out", "out/seed-0"):
        (tmp_path / folder / ".avsent-0123.tmp").write_bytes(b"half")
    run_small(tmp_path / "out")
    assert files(tmp_path / "out") == before


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"settings": small_settings(epochs=4)}, r"settings.optimiser.epochs 3, not 4"),
        (
            {"settings": small_settings(fusion="concat")},
            r"settings.fusion.name 'hmtl', not 'concat'",
        ),
        ({"seeds": (0, 1)}, r"seeds \[0\], not \[0, 1\]"),
        ({"corpus": small_corpus(seed=1)}, r"data.sha256 '"),
    ],
)
def test_another_run_in_the_same_folder(options: dict[str, Any], name: str, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run_small(tmp_path / "out", hooks=Hooks(on_epoch=_stopper(1)))
    before = files(tmp_path / "out")
    with pytest.raises(UsageError, match=f"holds a run with {name}.*--fresh"):
        run_small(tmp_path / "out", **options)
    assert files(tmp_path / "out") == before


def _stopper(after: int) -> Callable[..., None]:
    """Ctrl-C after so many epochs."""
    epochs = itertools.count(1)

    def stop(*arguments: object) -> None:
        if next(epochs) == after:
            raise KeyboardInterrupt

    return stop


def test_fresh_starts_the_run_again(tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_small(out)
    run_small(out, settings=small_settings(epochs=1), fresh=True, seeds=(2,))
    assert read(out / "config.json")["settings"]["optimiser"]["epochs"] == 1
    assert not (out / "seed-0").exists()
    assert read(out / "summary.json")["seeds"] == [2]


@pytest.mark.parametrize("fresh", [False, True])
def test_a_folder_of_other_things_is_left_alone(fresh: bool, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_text("mine")
    with pytest.raises(OutputError, match="holds other files; give a new folder with -o"):
        run_small(tmp_path, fresh=fresh)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match="holds other files"):
        run_small(tmp_path / "file", fresh=fresh)
    assert sorted(files(tmp_path)) == ["file", "photo.jpg"]


def test_a_checkpoint_is_no_run(tmp_path: Path) -> None:
    """It has a config.json, too, and must not be emptied by --fresh."""
    run_small(tmp_path / "out")
    before = files(tmp_path / "out")
    with pytest.raises(OutputError, match="holds other files"):
        run_small(tmp_path / "out" / "checkpoint", fresh=True)
    with pytest.raises(UsageError, match="format 'avsent-checkpoint/1'"):
        run_small(tmp_path / "out" / "checkpoint")
    assert files(tmp_path / "out") == before


def test_a_damaged_config(tmp_path: Path) -> None:
    first = run_small(tmp_path / "out")
    (tmp_path / "out/config.json").write_text("{")
    with pytest.raises(
        InputError, match=r"config.json: damaged, Expecting .*; restore it, .*--fresh"
    ):
        run_small(tmp_path / "out")
    assert run_small(tmp_path / "out", fresh=True)["target"] == first["target"]


def test_bad_data_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        run_small(tmp_path / "out", settings=small_settings(labels="7"), corpus=_other_labels())
    assert not (tmp_path / "out").exists()


def _other_labels() -> Corpus:
    return small_corpus(classes=("tired", "awake"))


# --- breaking off ---


def test_ctrl_c_again_and_again(tmp_path: Path) -> None:
    """After the second epoch of the source, the first and the last of the target."""
    settings = small_settings(target=("face",), transfer=TEXT_SOURCE)
    whole = run_small(tmp_path / "whole", settings=settings)
    for stop in (2, 4, 6):
        with pytest.raises(KeyboardInterrupt):
            run_small(tmp_path / "broken", settings=settings, hooks=Hooks(on_epoch=_stopper(stop)))
        assert not (tmp_path / "broken/checkpoint").exists()
    assert run_small(tmp_path / "broken", settings=settings) == whole
    assert (tmp_path / "broken" / WEIGHTS).read_bytes() == (
        tmp_path / "whole" / WEIGHTS
    ).read_bytes()


def test_kill_and_sigint_of_the_installed_command(tmp_path: Path) -> None:
    """Killed while the source learns, then interrupted while the target does."""
    data = feature_file(tmp_path / "tiny.npz", speakers=4, gaps=True)
    options = ["--source-text", "--target", "audio", "--epochs", "40", "--dropout", "0.2"]

    def command(out: str) -> list[str]:
        return ["train", str(data), *options, "-o", str(tmp_path / out), "--quiet"]

    def broken(stage: str, signal_number: int) -> int:
        process = subprocess.Popen(
            [str(Path(sys.executable).with_name("avsent")), *command("broken")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            preexec_fn=hear_ctrl_c,
        )
        _wait_for(tmp_path / "broken/seed-0/metrics.jsonl", stage, lambda: process.poll() is None)
        process.send_signal(signal_number)
        process.communicate(timeout=HANG_S)
        return process.returncode

    assert broken("source", signal.SIGKILL) == -signal.SIGKILL
    assert broken("target", signal.SIGTERM) == 130
    seed = tmp_path / "broken/seed-0"
    epochs = lines_of(seed / "metrics.jsonl")
    assert 40 < len(epochs) < 80
    assert not (seed / "evaluation.json").exists()
    for out in ("broken", "whole"):
        assert main(command(out)) == 0
    for name in (WEIGHTS, "checkpoint/config.json"):
        found = (tmp_path / "broken" / name).read_bytes()
        assert found.replace(b'"broken"', b'"whole"') == (tmp_path / "whole" / name).read_bytes()
    assert read(tmp_path / "broken/summary.json") == read(tmp_path / "whole/summary.json")


def _wait_for(metrics: Path, stage: str, alive: Callable[[], bool]) -> None:
    """Until a few epochs of ``stage`` are written."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and alive():
        if metrics.is_file() and metrics.read_text().count(f'"{stage}"') >= 3:
            return
        time.sleep(0.005)
    raise AssertionError(f"stage {stage} did not get under way")


EPOCHS = 6


@pytest.fixture(scope="module")
def corpus(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest over the labelled clips, with their transcripts; one speaker per file."""
    folder = tmp_path_factory.mktemp("corpus")
    rows = []
    with (clips / "clips.csv").open(encoding="utf-8", newline="") as file:
        for clip in csv.DictReader(file):
            if clip["sentiment"] and not clip["file"].startswith("small_faces"):
                whole = {"start_s": "", "end_s": "", "speaker": clip["file"]}
                text = clip["transcript_en"] or clip["emotion"]
                rows.append({"video": clip["file"], **whole, "text": text, **clip})
    with (clips / "many_utterances.csv").open(encoding="utf-8", newline="") as file:
        for part in csv.DictReader(file):
            rows.append({"video": "many_utterances.mp4", "speaker": "many", **part})
    columns = ["video", "start_s", "end_s", "speaker", "label", "text"]
    with (folder / "manifest.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, columns, extrasaction="ignore")
        table.writeheader()
        for row in rows:
            video = clips.resolve() / row["video"]
            table.writerow({**row, "video": video, "label": row["sentiment"]})
    return folder


def command(corpus: Path, out: Path) -> list[str]:
    """The installed command that trains on ``corpus``."""
    return [
        *(str(Path(sys.executable).with_name("avsent")), "train", str(corpus), "--source-text"),
        *("--text-encoder", "tfidf", "--epochs", str(EPOCHS), "--cross-fit", "2", "--baseline"),
        *("--cache", str(corpus / "cache"), "-o", str(out), "--device", "cpu"),
    ]


def epochs_of(run: Path, stage: str) -> list[dict[str, float]]:
    log = run / "seed-0" / "metrics.jsonl"
    if not log.is_file():
        return []
    lines = log.read_text(encoding="utf-8").splitlines()
    return [line for line in map(json.loads, lines) if line["stage"] == stage]


def finished(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, capture_output=True, text=True, timeout=HANG_S, check=False)


def test_train_kill_resume_predict(corpus: Path, tmp_path: Path) -> None:
    whole = finished(command(corpus, tmp_path / "whole"))
    assert whole.returncode == 0, whole.stderr
    assert "Traceback" not in whole.stderr
    kept = sorted((corpus / "cache" / "features").rglob("*.npz"))
    assert len(kept) == 7  # one for each file of the manifest

    broken = tmp_path / "broken"
    process = subprocess.Popen(command(corpus, broken), stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while len(epochs_of(broken, "target")) < 2:
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline, "no second epoch after 240 s"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (broken / "summary.json").exists()
    assert len(epochs_of(broken, "target")) < EPOCHS

    again = finished(command(corpus, broken))
    assert again.returncode == 0, again.stderr
    assert "taking up" in again.stderr
    assert sorted((corpus / "cache" / "features").rglob("*.npz")) == kept
    weights = Path("checkpoint", "model.safetensors")
    assert (broken / weights).read_bytes() == (tmp_path / "whole" / weights).read_bytes()
    for stage in ("source", "target"):
        first, second = (epochs_of(tmp_path / run, stage) for run in ("whole", "broken"))
        assert len(first) >= EPOCHS
        for a, b in zip(first, second, strict=True):
            assert {**a, "seconds": 0} == {**b, "seconds": 0}

    predicted = run_avsent(
        "predict", SAMPLE, "--checkpoint", broken / "checkpoint", "--format", "json"
    )
    assert predicted.returncode == 0, predicted.stderr
    result = json.loads(predicted.stdout)
    assert result["model"]["labels"] == ["negative", "neutral", "positive"]
    assert len(result["utterances"]) == 4
    for utterance in result["utterances"]:
        assert sum(utterance["probabilities"].values()) == pytest.approx(1)

    judged = run_avsent(
        *("evaluate", broken / "checkpoint", corpus, "--split", "all", "--format", "json"),
        *("--cache", corpus / "cache"),
    )
    assert judged.returncode == 0, judged.stderr
    assert json.loads(judged.stdout)["count"] == 12
    card = (broken / "checkpoint" / "CARD.md").read_text(encoding="utf-8")
    assert "without transfer" in card
    assert "While it was trained text taught it" in card
