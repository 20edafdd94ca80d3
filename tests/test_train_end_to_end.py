"""From video files to a model that predicts: the installed command on real clips.

This proves the way, not accuracy: a dozen utterances teach nobody anything.
"""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import SAMPLE, run_avsent

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
    return subprocess.run(arguments, capture_output=True, text=True, timeout=500, check=False)


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
