"""Whole runs, as `avsent train` makes them: the folder, kills and going on."""

from __future__ import annotations

import csv
import dataclasses
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
import small_models
import torch
from conftest import HANG_S, SAMPLE, hear_ctrl_c, run_avsent
from safetensors import safe_open
from small_runs import (
    CPU,
    POLARITIES,
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
from torch import Tensor

from avsent.cli.app import main
from avsent.errors import InputError, OutputError, UsageError
from avsent.extraction.extractor import FeatureConfig
from avsent.extraction.features.face import FaceConfig
from avsent.labels import MODALITIES, LabelSet
from avsent.model.checkpoint import load_checkpoint
from avsent.model.folders import RUN_FORMAT
from avsent.model.networks.config import FusionConfig
from avsent.training import dataset
from avsent.training import run as run_module
from avsent.training.data.corpus import Corpus
from avsent.training.data.feature_files import write_features
from avsent.training.dataset import make_videos
from avsent.training.evaluation import outputs_of, pooled
from avsent.training.run import Hooks
from avsent.training.splits import make_seed_data, make_task
from avsent.training.start import Start, open_start

pytestmark = pytest.mark.usefixtures("one_thread")


# --- options of the networks ---


@pytest.mark.parametrize(
    ("raw", "options", "fusion", "shapes", "scale"),
    [
        (
            False,
            "--fusion fbp --fbp-factors 2 --fbp-outputs 6",
            FusionConfig("fbp", factors=2, outputs=6),
            {"head.projections.face.weight": [12, 48], "head.classifier.0.weight": [50, 6]},
            0.5,
        ),
        (
            False,
            "--fusion lmf --rank 3",
            FusionConfig("lmf", rank=3),
            {"head.factors.face.weight": [150, 48], "head.weights": [3]},
            0.5,
        ),
        (
            True,
            "--fusion avef --segments 2 --attention-scale .2",
            FusionConfig("avef", segments=2),
            {"head.segment.weight": [50, 96]},
            0.2,
        ),
        (
            True,
            "--fusion cnn-lstm --target face",
            FusionConfig("cnn-lstm", segments=8),
            {"head.lstm.weight_ih_l0": [200, 48]},
            0.5,
        ),
        (
            True,
            "--fusion mult --segments 3 --attention-scale 0",
            FusionConfig("mult", segments=3),
            {"head.across.face.1.query.weight": [48, 48]},
            0.0,
        ),
    ],
)
def test_options_of_the_networks_are_in_the_checkpoint(
    raw: bool,
    options: str,
    fusion: FusionConfig,
    shapes: dict[str, list[int]],
    scale: float,
    tmp_path: Path,
) -> None:
    data, out = feature_file(tmp_path / "data.npz", raw=raw, speakers=4), tmp_path / "out"
    arguments = ["train", str(data), "-o", str(out), "--epochs", "1", "--quiet", *options.split()]
    assert main(arguments) == 0
    loaded = load_checkpoint(out / "checkpoint")
    config, state = loaded.config.model, loaded.model.state_dict()
    assert config.fusion == fusion
    assert {name: [*state[name].shape] for name in shapes} == shapes
    assert (config.audio.scale, config.face.scale) == (scale, scale)
    if raw:
        assert loaded.model.encoder("face").attention.scale == scale
        assert config.representation_size("face") == 64 * fusion.segments


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
    for words in (
        "text of the same utterances taught it",
        "95% interval",
        "tells embeddings",
        "made up",
        "without transfer",
        "majority",
        "seed",
    ):
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
    for fresh in (True, False):
        with pytest.raises(OutputError, match="holds other files"):
            run_small(tmp_path / "out" / "checkpoint", fresh=fresh)
    assert files(tmp_path / "out") == before


def test_a_damaged_config(tmp_path: Path) -> None:
    first = run_small(tmp_path / "out")
    (tmp_path / "out/config.json").write_text("{")
    with pytest.raises(
        InputError, match=r"config.json: damaged, Expecting .*; restore it, .*--fresh"
    ):
        run_small(tmp_path / "out")
    config = {"format": RUN_FORMAT, "settings": {}, "seeds": [0], "versions": {"torch": "2"}}
    for lacking in ("settings", "data"):
        (tmp_path / "out/config.json").write_text(json.dumps(config))
        with pytest.raises(InputError, match=f"damaged, it lacks {lacking}; restore it, or"):
            run_small(tmp_path / "out")
        config["settings"] = {"target": "x"}
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


# --- starting from a checkpoint ---

EMOTIONS = ("angry", "calm", "sad")


def start_of(folder: Path, labels: tuple[str, ...] = POLARITIES, **options: Any) -> Start:
    """A small model of raw voices and faces, to start from."""
    if not folder.exists():
        small_models.save(folder, modalities=MODALITIES, labels=labels)
    return open_start(folder, **options)


def few_clips(classes: tuple[str, ...] = POLARITIES, **options: Any) -> Corpus:
    """20 raw clips of 8 speakers, without parts."""
    return small_corpus(classes=classes, raw=True, given=False, **options)


def run_from(folder: Path, start: Start, corpus: Corpus | None = None, **options: Any) -> Any:
    settings = start.settings(options.pop("settings", small_settings()))
    return run_small(folder, corpus or few_clips(), settings, start=start, **options)


def part_of(checkpoint: Path, name: str) -> dict[str, Tensor]:
    """Weights of the parts of a model whose names hold ``name``."""
    state = load_checkpoint(checkpoint).model.state_dict()
    return {key: value for key, value in state.items() if name in key.split(".")[0]}


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(v, other[k]) for k, v in one.items())


def test_few_clips_from_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The encoders stay equal to the bit, each utterance is encoded once in all seeds and folds,
    none is held back, and each has a prediction by a model that did not learn its speaker."""
    encoded: list[str] = []
    encode = dataset._encode

    def counted(model: Any, modality: str, samples: Any, *arguments: Any) -> Tensor:
        encoded.extend(f"{modality} {sample.key}" for sample in samples)
        return encode(model, modality, samples, *arguments)

    monkeypatch.setattr(dataset, "_encode", counted)
    start, out = start_of(tmp_path / "start"), tmp_path / "out"
    summary = run_from(out, start, seeds=(0, 1))
    keys = {f"{m} {s.key}" for m in MODALITIES for s in few_clips().samples}
    assert len(encoded) == len(set(encoded)) == len(keys) == 40
    assert set(encoded) == keys

    for modality in MODALITIES:
        encoder = f"{modality}_encoder"
        assert equal(part_of(out, encoder), part_of(tmp_path / "start", encoder))
    for part in ("audio_embedding", "head"):
        assert not equal(part_of(out, part), part_of(tmp_path / "start", part))
    config = read(out / "config.json")["init"]
    assert (config["name"], config["sha256"]) == ("start", start.config.weights_sha256)
    assert (summary["folds"], list(summary["target"])) == (5, ["valid"])
    with (out / "seed-0/predictions.csv").open() as file:
        assert sorted(row["utterance"] for row in csv.DictReader(file)) == sorted(
            sample.key for sample in few_clips().samples
        )
    parts = read(out / "checkpoint/parts.json")
    assert (len(parts["train"]), parts["valid"], parts["test"]) == (20, [], [])
    card = (out / "checkpoint/CARD.md").read_text()
    for words in ("started from start", "holds for this model: MIT", "Out-of-fold figures: 5"):
        assert words in card
    assert load_checkpoint(out).config.licence == "made up; MIT"


def test_no_fold_learns_from_its_speakers(tmp_path: Path) -> None:
    settings = start_of(tmp_path / "start").settings(small_settings())
    corpus = few_clips()
    data = make_seed_data(make_task(corpus, "label", "auto"), settings, 0, words=True, started=True)
    held_out = []
    for fold in data.folds:
        learnt, apart = ({s.speaker for s in fold.split[part]} for part in ("train", "test"))
        assert not learnt & apart
        assert len(learnt | apart) == 8
        held_out += [sample.key for sample in fold.split["test"]]
    assert sorted(held_out) == sorted(sample.key for sample in corpus.samples)


def test_same_labels_keep_the_last_layer(tmp_path: Path) -> None:
    """A pull without end leaves the checkpoint as it is; other labels begin at even odds."""
    start = start_of(tmp_path / "start", pull=1e9)
    run_from(tmp_path / "same", start, settings=small_settings(learning_rate=1e-6))
    ours, theirs = load_checkpoint(tmp_path / "same").model, start.model
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value, rtol=0, atol=1e-4)

    for labels in (LabelSet(EMOTIONS), LabelSet(POLARITIES[::-1]), LabelSet(POLARITIES, real=True)):
        model = start.make_model(labels, check=True).eval()
        videos = make_videos(few_clips().samples, {}, {})
        assert not outputs_of(model, videos, CPU).any()
        own = start.model.get_submodule("audio_embedding").state_dict()
        assert equal(model.get_submodule("audio_embedding").state_dict(), own)
    kept = start.make_model(LabelSet(POLARITIES), check=True)
    assert equal(kept.state_dict(), start.model.state_dict())


def test_worse_epochs_are_not_kept(tmp_path: Path) -> None:
    """With a validation part the start itself is one of the epochs to choose from."""
    corpus = small_corpus(classes=POLARITIES, raw=True)
    start = start_of(tmp_path / "start", pull=0.0)
    wild = small_settings(learning_rate=30.0, select="loss", epochs=2)
    run_from(tmp_path / "out", start, corpus, settings=wild)
    assert read(tmp_path / "out/seed-0/evaluation.json")["best_epoch"] == 0
    assert equal(part_of(tmp_path / "out", ""), part_of(tmp_path / "start", ""))


def test_tuned_encoders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only weights that learn in the checkpoint move; the better on held-out data is kept."""
    start = start_of(tmp_path / "start", tune_epochs=2)
    start.model.get_submodule("face_encoder").requires_grad_(False)
    tuned: list[bool] = [True, False]
    monkeypatch.setattr(run_module, "pooled", lambda *a: (float(tuned.pop(0)), *pooled(*a)[1:]))
    run_from(tmp_path / "out", start, settings=small_settings(learning_rate=0.01))
    assert read(tmp_path / "out/seed-0/evaluation.json")["tuned_epochs"] == 2
    face, audio = (part_of(tmp_path / "start", f"{m}_encoder") for m in ("face", "audio"))
    assert equal(part_of(tmp_path / "out", "face_encoder"), face)
    moved = part_of(tmp_path / "out", "audio_encoder")
    for name, value in audio.items():
        statistic = "running" in name or "num_batches" in name
        assert torch.equal(moved[name], value) == statistic, name

    tuned += [False, True]
    run_from(tmp_path / "worse", start)
    assert read(tmp_path / "worse/seed-0/evaluation.json")["tuned_epochs"] == 0
    assert equal(part_of(tmp_path / "worse", "audio_encoder"), audio)


@pytest.mark.parametrize("stop", [2, 14, 21])
def test_a_run_from_a_checkpoint_resumes(stop: int, tmp_path: Path) -> None:
    """Stopped in the first fold, while the last one's encoders learn, and at the end."""
    start = start_of(tmp_path / "start", tune_epochs=1)
    whole = run_from(tmp_path / "whole", start)
    with pytest.raises(KeyboardInterrupt):
        run_from(tmp_path / "broken", start, hooks=Hooks(on_epoch=_stopper(stop)))
    small_models.save(tmp_path / "other", 1, modalities=MODALITIES, labels=POLARITIES)
    with pytest.raises(UsageError, match="holds a run with --init start, not other"):
        run_from(tmp_path / "broken", start_of(tmp_path / "other"))
    assert run_from(tmp_path / "broken", start) == whole
    weights = [(tmp_path / run / WEIGHTS).read_bytes() for run in ("whole", "broken")]
    assert weights[0] == weights[1]
    # The frozen encoders are in no state: they may be large.
    with safe_open(tmp_path / "whole/seed-0/fold1/target.safetensors", "pt") as file:
        assert not any("encoder" in name for name in file.keys())  # noqa: SIM118


def test_more_epochs_from_a_checkpoint(tmp_path: Path) -> None:
    """In all folds; the encoders are tuned anew, as they start from the longer run's model."""
    start = start_of(tmp_path / "start", tune_epochs=1)
    # The learning rate of raw data follows the number of epochs; here it does not.
    longer, shorter = (small_settings(epochs=e, rate_schedule="constant") for e in (4, 2))
    whole = run_from(tmp_path / "whole", start, settings=longer)
    run_from(tmp_path / "out", start, settings=shorter)
    assert run_from(tmp_path / "out", start, settings=longer) == whole
    weights = [(tmp_path / run / WEIGHTS).read_bytes() for run in ("whole", "out")]
    assert weights[0] == weights[1]


def test_text_teaches_a_run_from_a_checkpoint(tmp_path: Path) -> None:
    settings = small_settings(transfer=TEXT_SOURCE, labels="real", label="sentiment")
    start = start_of(tmp_path / "start")
    summary = run_from(tmp_path / "out", start, settings=settings, baseline=True, seeds=(0, 1))
    assert summary["target"]["valid"]["mae"]["values"] != summary["no-transfer"]["valid"]["mae"]
    assert summary["folds"] == 5
    stages = {line["stage"] for line in lines_of(tmp_path / "out/seed-1/metrics.jsonl")}
    assert {"fold5-source", "fold5-target", "source", "target", "no-transfer"} <= stages
    # No part is held back to draw them from.
    assert not (tmp_path / "out/plots/spaces-face.png").exists()


def test_what_a_run_cannot_start_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start_of(tmp_path / "start")
    small_models.save(tmp_path / "faces")
    run_small(tmp_path / "vectors")
    vectors = feature_file(tmp_path / "vectors.npz")
    raw = tmp_path / "raw.npz"
    write_features(raw, few_clips())
    other = dataclasses.replace(FeatureConfig(), face=FaceConfig(analysis_rate_hz=5.0))
    write_features(tmp_path / "slow.npz", dataclasses.replace(few_clips(), features=other))
    init = ["--init", str(tmp_path / "start")]
    for data, options, line, code in (
        (vectors, init, "tiny has ready-made vectors, unlike --init start; give the videos", 2),
        (tmp_path / "slow.npz", init, "features made in another way, unlike --init start", 2),
        (raw, [*init, "--target", "face"], "predicts from audio,face; leave --target out", 2),
        (raw, ["--init", str(tmp_path / "faces"), "--target", "audio,face"], "from face;", 2),
        (raw, ["--init", str(tmp_path / "vectors")], "reads ready-made vectors", 2),
        (raw, [*init, "--fusion", "concat"], "brings its own networks; leave --fusion out", 2),
        *(
            (raw, [*init, option, "1"], f"brings its own networks; leave {option} out", 2)
            for option in ("--rank", "--segments", "--fbp-factors", "--attention-scale")
        ),
        (raw, ["--pull", "2"], "--pull needs a model to start from; give --init", 2),
        (raw, ["--init", "nosuch"], "unknown checkpoint 'nosuch'", 4),
    ):
        out = tmp_path / "out"
        assert main(["train", str(data), *options, "-o", str(out), "--quiet"]) == code
        first, *rest = capsys.readouterr().err.splitlines()
        assert line in first
        assert all(text.startswith(("Usage", "Try")) for text in rest)
        assert not out.exists()


EPOCHS = 6


@pytest.fixture(scope="module")
def corpus(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A manifest over the labelled clips, with their transcripts; one speaker per file."""
    folder = tmp_path_factory.mktemp("corpus")
    rows = []
    with (clips / "clips.csv").open(encoding="utf-8", newline="") as file:
        for clip in csv.DictReader(file):
            known = clip["sentiment"] or clip["transcript_en"]  # one has a transcript alone
            if known and not clip["file"].startswith("small_faces"):
                whole = {"start_s": "", "end_s": "", "speaker": clip["file"]}
                text = clip["transcript_en"] or clip["emotion"]
                rows.append({"video": clip["file"], **whole, "text": text, **clip})
    with (clips / "many_utterances.csv").open(encoding="utf-8", newline="") as file:
        for part in csv.DictReader(file):
            rows.append({"video": "many_utterances.mp4", "speaker": "many", **part})
    columns = ["video", "start_s", "end_s", "speaker", "sentiment", "text"]
    with (folder / "manifest.csv").open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, columns, extrasaction="ignore")
        table.writeheader()
        for row in rows:
            video = clips.resolve() / row["video"]
            table.writerow({**row, "video": video})
    return folder


def command(corpus: Path, out: Path) -> list[str]:
    """The installed command that trains on ``corpus``."""
    return [
        *(str(Path(sys.executable).with_name("avsent")), "train", str(corpus), "--source-text"),
        *("--text-encoder", "tfidf", "--epochs", str(EPOCHS), "--cross-fit", "2"),
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
    assert len(kept) == 8  # one for each file of the manifest
    assert "labelled) in" in whole.stderr

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
    assert "While it was trained text of the same utterances taught it" in card


def test_start_from_the_included_model(corpus: Path, tmp_path: Path) -> None:
    """12 labelled utterances of 7 files, the encoders of the included model, and its labels."""
    run = tmp_path / "run"
    trained = run_avsent(
        *("train", corpus, "--init", "default", "--source-text", "--text-encoder", "tfidf"),
        *("--epochs", "2", "--cache", corpus / "cache", "-o", run, "--device", "cpu"),
    )
    assert trained.returncode == 0, trained.stderr
    assert "out-of-fold" in trained.stdout
    assert read(run / "config.json")["settings"]["optimiser"]["learning_rate"] == 3e-3
    for modality in MODALITIES:
        encoder = f"{modality}_encoder"
        assert equal(part_of(run, encoder), part_of(Path("default"), encoder))
    assert load_checkpoint(run).config.trained_on == load_checkpoint("default").config.trained_on

    # Another manifest of the same files: all but one of the utterances, other names and labels.
    other = tmp_path / "other.csv"
    head, *rows = (corpus / "manifest.csv").read_text(encoding="utf-8").splitlines()
    other.write_text("\n".join([f"{head},context", *(f"{row},one" for row in rows[:0:-1])]))
    judged = run_avsent("evaluate", run, other, "--cache", corpus / "cache", "--format", "json")
    assert judged.returncode == 0, judged.stderr
    learnt = "run learnt from 11 of these 11 utterances; its figures here say nothing about"
    assert f"avsent: warning: {learnt}" in judged.stderr
    predicted = run_avsent("predict", SAMPLE, "--checkpoint", run, "--format", "json")
    assert predicted.returncode == 0, predicted.stderr
    assert len(json.loads(predicted.stdout)["utterances"]) == 4
