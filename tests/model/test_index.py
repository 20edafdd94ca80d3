"""``models/index.json``: up to date, and damage to models or index is found."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import HANG_S, ROOT, SAMPLE, run_avsent
from small_models import CARD, LABELS, MODELS, edit, flip, save

from avsent.errors import CheckpointError, OutputError
from avsent.extraction.extractor import FeatureConfig
from avsent.labels import EMOTIONS
from avsent.model.checkpoint import WEIGHTS_FILE, Calibration, load_checkpoint, save_checkpoint
from avsent.model.folders import CONFIG_FILE, shipped_names
from avsent.model.index import (
    CARD_FILE,
    INDEX_FILE,
    Finding,
    State,
    index_text,
    main,
    make_index,
    read_index,
    verify_checkpoint,
    verify_folder,
    write_index,
)
from avsent.model.networks.config import FusionConfig, TargetConfig, VectorSizes
from avsent.model.networks.fusion import HEADS
from avsent.model.networks.target import TargetModel
from avsent.predictor import Predictor
from avsent.result.record import Result
from avsent.schema import MAX_CONFIG_BYTES


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """avsent with its models as a wheel lays them out, to be damaged."""
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "avsent", tmp_path / "avsent", ignore=ignored)
    shutil.copytree(MODELS, tmp_path / "avsent" / "models")
    return tmp_path


def run_copied(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "avsent", "models", *arguments],
        cwd=folder,  # where -m looks first
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )


def test_a_damaged_byte_of_an_installation(copied: Path) -> None:
    inside = copied / "avsent" / "models"
    fine = run_copied(copied, "verify")
    assert (fine.returncode, fine.stderr) == (0, "")
    flip(inside / "default" / WEIGHTS_FILE)
    done = run_copied(copied, "verify")
    assert done.returncode == 4
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert [line[0] for line in lines] == shipped_names()
    wrong = {name: detail for name, state, detail in lines if state != "fine"}
    assert list(wrong) == ["default"]
    assert wrong["default"].startswith(f"{inside / 'default' / WEIGHTS_FILE}: damaged")
    assert done.stderr == (
        f"avsent: error: 1 of {len(lines)} not fine; restore them, or install avsent again\n"
    )
    asked = run_copied(copied, "info", "default")
    assert (asked.returncode, asked.stdout) == (4, "")
    assert len(asked.stderr.splitlines()) == 1


def test_a_tampered_index_of_an_installation(copied: Path) -> None:
    inside = copied / "avsent" / "models"
    edit(inside, lambda index: index["models"][0].update(sha256="0" * 64))
    for arguments in ((), (read_index(inside).models[0].name,)):
        done = run_copied(copied, "verify", *arguments)
        assert done.returncode == 4
        assert "\tdamaged\tindex.json tells other sha256; " in done.stdout
    (inside / INDEX_FILE).unlink()
    done = run_copied(copied, "verify", "default")
    assert (done.returncode, done.stdout.split("\t")[:2]) == (4, ["default", "unlisted"])
    listed = run_copied(copied, "list")
    assert (listed.returncode, listed.stdout) == (4, "")
    assert len(listed.stderr.splitlines()) == 1
    assert "index.json: cannot be read" in listed.stderr


def test_command_list() -> None:
    done = run_avsent("models", "list")
    assert (done.returncode, done.stderr) == (0, "")
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert [row[0] for row in rows] == shipped_names()
    named = {row[0]: row for row in rows}["default"]
    assert named[1] == "negative, neutral, positive"
    assert named[2].endswith(" MB")
    assert named[3] == load_checkpoint("default").config.licence
    asked = run_avsent("models", "list", "--json")
    assert json.loads(asked.stdout) == json.loads((MODELS / INDEX_FILE).read_text("utf-8"))


def test_command_info(tmp_path: Path) -> None:
    save(tmp_path / "run" / "checkpoint")
    asked = run_avsent("models", "info", tmp_path / "run", "--json")
    about = json.loads(asked.stdout)
    assert (about["name"], about["licence"]) == ("checkpoint", "MIT")
    assert (about["labels"], about["modalities"]) == (list(LABELS), ["face"])
    assert about["card"] == str(tmp_path / "run" / "checkpoint" / CARD_FILE)
    weights = (tmp_path / "run" / "checkpoint" / WEIGHTS_FILE).read_bytes()
    assert about["sha256"] == hashlib.sha256(weights).hexdigest()
    assert about["features"]["audio"]["sample_rate_hz"] == 16000
    assert about["network"]["context"]["first_gru"] == 4
    done = run_avsent("models", "info", "default")
    assert (done.returncode, done.stderr) == (0, "")
    rows = dict(line.split("\t") for line in done.stdout.splitlines())
    assert rows["labels"] == "negative, neutral, positive"
    assert rows["calibration.temperature"] == str(
        load_checkpoint("default").config.calibration.temperature
    )
    assert Path(rows["card"]).is_file()


def test_command_refuses_what_is_unknown() -> None:
    done = run_avsent("models", "info", "no-such")
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr.startswith("avsent: error: unknown checkpoint 'no-such'; shipped: ")
    done = run_avsent("models", "verify", "default", "no-such")
    assert done.returncode == 4
    lines = [line.split("\t")[:2] for line in done.stdout.splitlines()]
    assert lines == [["default", "fine"], ["no-such", "missing"]]
    assert run_avsent("models", "info").returncode == 2


def test_group_alone_prints_its_help() -> None:
    done = run_avsent("models")
    assert done.returncode == 0
    assert all(command in done.stdout for command in ("list", "info", "verify"))


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A folder with two models and its index."""
    folder = tmp_path / "models"
    save(folder / "default")
    save(folder / "other", seed=1, card=None)
    write_index(folder)
    return folder


def states(found: list[Finding]) -> dict[str, State]:
    assert all("\n" not in finding.detail for finding in found)
    assert len({finding.name for finding in found}) == len(found)
    return {finding.name: finding.state for finding in found}


# --- the index ------------------------------------------------------------------------------------


def test_the_shipped_index_is_fresh() -> None:
    text = (MODELS / INDEX_FILE).read_text(encoding="utf-8")
    assert text == index_text(make_index(MODELS)), "run: python -m avsent.model.index models"
    index = read_index(MODELS)
    assert [entry.name for entry in index.models] == shipped_names()
    assert index.default == "default"
    assert all(entry.licence and entry.data for entry in index.models)


def test_what_the_index_says(models: Path) -> None:
    index = json.loads((models / INDEX_FILE).read_text(encoding="utf-8"))
    assert (index["format"], index["default"]) == ("avsent-models/1", "default")
    first, second = index["models"]
    weights = (models / "default" / WEIGHTS_FILE).read_bytes()
    model = load_checkpoint(models / "default").model
    assert first == {
        "name": "default",
        "labels": list(LABELS),
        "bytes": len(weights),
        "sha256": hashlib.sha256(weights).hexdigest(),
        "licence": "MIT",
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "data": ["Corpus A", "talks"],
    }
    assert (second["name"], second["data"]) == ("other", [])
    assert second["sha256"] != first["sha256"]
    assert read_index(models) == make_index(models)


def test_a_folder_without_the_default(tmp_path: Path) -> None:
    save(tmp_path / "mine")
    assert write_index(tmp_path).default is None
    assert read_index(tmp_path).default is None


def test_no_index_of_nothing_or_of_damage(models: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "nowhere"):
        with pytest.raises(CheckpointError, match="holds no checkpoint folders"):
            write_index(folder)
    before = (models / INDEX_FILE).read_bytes()
    flip(models / "other" / WEIGHTS_FILE)
    with pytest.raises(CheckpointError, match="damaged"):
        write_index(models)
    assert (models / INDEX_FILE).read_bytes() == before
    assert not (tmp_path / "empty" / INDEX_FILE).exists()


def test_an_index_that_cannot_be_written(models: Path) -> None:
    (models / INDEX_FILE).unlink()
    (models / INDEX_FILE).mkdir()
    with pytest.raises(OutputError):
        write_index(models)


def test_as_a_program(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (models / INDEX_FILE).read_bytes()
    (models / INDEX_FILE).unlink()
    assert main([str(models)]) == 0
    assert (models / INDEX_FILE).read_bytes() == before
    assert main([str(models / "nowhere")]) == 4
    out, err = capsys.readouterr()
    assert out == "2 listed: default, other\n"
    assert err.startswith(f"error: {models / 'nowhere'}: holds no checkpoint folders")
    assert len(err.splitlines()) == 1


WRONG: list[tuple[Callable[[dict[str, Any]], object], str]] = [
    (lambda index: index.update(format="avsent-models/2"), "its format is 'avsent-models/2'"),
    (lambda index: index.update(colour=1), "damaged, index has the unknown key 'colour'"),
    (lambda index: index["models"][0].pop("sha256"), "lacks the key 'sha256'"),
    (lambda index: index["models"][0].update(bytes="5"), "bytes should be int, not str"),
    (lambda index: index["models"].append(index["models"][0]), "a model is listed twice"),
    (lambda index: index.update(default="gone"), "the default 'gone' is not listed"),
]


@pytest.mark.parametrize(("change", "why"), WRONG)
def test_a_wrong_index(models: Path, change: Callable[[dict[str, Any]], object], why: str) -> None:
    edit(models, change)
    with pytest.raises(CheckpointError) as caught:
        read_index(models)
    assert why in str(caught.value)
    assert str(caught.value).startswith(f"{models / INDEX_FILE}: ")
    found = verify_folder(models)
    assert states(found) == {"index.json": "damaged", "default": "fine", "other": "fine"}


TEXTS = [b"", b"{", b"[]", b"\xff\xfe\x00", b"[" * 50_000, b" " * (MAX_CONFIG_BYTES + 1)]


@pytest.mark.parametrize("text", TEXTS, ids=[repr(text[:12]) for text in TEXTS])
def test_an_index_that_is_none(models: Path, text: bytes) -> None:
    (models / INDEX_FILE).write_bytes(text)
    with pytest.raises(CheckpointError, match=r"index\.json: damaged, "):
        read_index(models)


# --- verifying ------------------------------------------------------------------------------------


def test_all_are_fine(models: Path) -> None:
    assert states(verify_folder(models)) == {"default": "fine", "other": "fine"}


DAMAGE: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "one byte": (lambda m: flip(m / "other" / WEIGHTS_FILE), "damaged", "SHA-256"),
    "no weights": (lambda m: (m / "other" / WEIGHTS_FILE).unlink(), "missing", "no such file"),
    "no folder": (lambda m: shutil.rmtree(m / "other"), "missing", "listed in index.json"),
    "no config": (lambda m: (m / "other" / CONFIG_FILE).unlink(), "missing", "listed in"),
    "config": (lambda m: flip(m / "other" / CONFIG_FILE, 0.0), "damaged", "config.json: damaged"),
    "new weights": (lambda m: save(m / "other", 2, None), "damaged", "tells other sha256"),
    "new card": (lambda m: (m / "other" / CARD_FILE).write_text(CARD), "damaged", "other data"),
    "not listed": (
        lambda m: edit(m, lambda index: index["models"].pop()),
        "unlisted",
        "index.json does not list it",
    ),
    "listed size": (
        lambda m: edit(m, lambda index: index["models"][1].update(bytes=5, licence="none")),
        "damaged",
        "tells other bytes and licence",
    ),
}


@pytest.mark.parametrize(("damage", "state", "why"), DAMAGE.values(), ids=DAMAGE)
def test_one_is_not_fine(
    models: Path, damage: Callable[[Path], object], state: str, why: str
) -> None:
    damage(models)
    found = verify_folder(models)
    assert states(found) == {"default": "fine", "other": state}
    assert why in found[1].detail


def test_an_index_that_is_gone(models: Path) -> None:
    (models / INDEX_FILE).unlink()
    found = verify_folder(models)
    assert states(found) == {"index.json": "missing", "default": "fine", "other": "fine"}


def test_a_listed_name_is_no_path(models: Path, tmp_path: Path) -> None:
    save(tmp_path / "outside")
    edit(models, lambda index: index["models"][1].update(name="../outside"))
    found = states(verify_folder(models))
    assert found == {"../outside": "missing", "default": "fine", "other": "unlisted"}


def test_one_by_name_or_path(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert verify_checkpoint("default").state == "fine"
    assert verify_checkpoint(MODELS / "default").state == "fine"
    assert verify_checkpoint(models / "other").state == "fine"
    save(tmp_path / "run" / "checkpoint")
    assert verify_checkpoint(tmp_path / "run").state == "fine"
    unknown = verify_checkpoint("no-such")
    assert (unknown.name, unknown.state) == ("no-such", "missing")
    assert unknown.detail.startswith("unknown checkpoint 'no-such'; shipped: ")
    # A folder of a shipped model's name is told by its path.
    flip(models / "default" / WEIGHTS_FILE)
    monkeypatch.chdir(models)
    assert verify_checkpoint("./default").state == "damaged"
    assert verify_checkpoint("default").state == "fine"


VALENCE = {"happy": 1, "sad": -1, "angry": -1, "fearful": -1, "disgust": -1}


def saved(folder: Path, config: TargetConfig) -> Path:
    torch.manual_seed(3)
    save_checkpoint(
        folder,
        TargetModel(config),
        name="untrained",
        licence="",
        features=FeatureConfig(),
        calibration=Calibration(deviation=0.8),
    )
    return folder


def predicted(folder: Path, config: TargetConfig) -> Result:
    result = Predictor.load(saved(folder, config), device="cpu").predict(SAMPLE)
    assert len(result.utterances) == 4
    return result


def test_emotions_by_voice_alone(tmp_path: Path) -> None:
    result = predicted(tmp_path, TargetConfig(labels=EMOTIONS, modalities=("audio",)))
    for one in result.utterances:
        assert list(one.probabilities) == list(EMOTIONS)
        assert one.sentiment == max(one.probabilities, key=lambda name: one.probabilities[name])
        expected = sum(VALENCE.get(name, 0) * p for name, p in one.probabilities.items())
        assert one.score == pytest.approx(expected)
        assert one.modalities["audio"].weight == 1.0
        assert not one.modalities["face"].effective
        assert one.attention.face_frames == ()
        assert sum(one.attention.context["audio"]) == pytest.approx(1)


def test_numbers_by_the_face_alone(tmp_path: Path) -> None:
    config = TargetConfig(real=True, modalities=("face",), fusion=FusionConfig(name="concat"))
    result = predicted(tmp_path, config)
    for number, one in enumerate(result.utterances):
        assert sum(one.probabilities.values()) == pytest.approx(1)
        # An untrained network says about 0, so neutral: within half a step of it.
        assert 0.3 < one.probabilities["neutral"] < 0.47
        shares = one.probabilities["positive"] - one.probabilities["negative"]
        assert one.score == pytest.approx(shares)
        # Without attention over utterances each one looks at itself.
        assert one.attention.context["face"] == tuple(float(j == number) for j in range(4))


@pytest.mark.parametrize("fusion", [name for name in HEADS if name not in ("hmtl", "concat")])
def test_other_fusions(fusion: str, tmp_path: Path) -> None:
    result = predicted(tmp_path, TargetConfig(fusion=FusionConfig(name=fusion)))
    for one in result.utterances:
        assert sum(one.probabilities.values()) == pytest.approx(1)
        assert sum(share.weight for share in one.modalities.values()) == pytest.approx(1)
        assert sum(frame.weight for frame in one.attention.audio_frames) == pytest.approx(1)
        assert sum(frame.weight for frame in one.attention.face_frames) == pytest.approx(1)


def test_vectors_are_not_in_any_video(tmp_path: Path) -> None:
    config = TargetConfig(vectors=VectorSizes(audio=73, face=100))
    with pytest.raises(CheckpointError, match=r"ready-made vectors \(audio, face\)"):
        Predictor.load(saved(tmp_path, config))
