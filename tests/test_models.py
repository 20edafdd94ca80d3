"""``avsent models``: as installed, of models that are fine and of damaged ones."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, run_avsent
from small_models import LABELS, MODELS, edit, flip, save

from avsent.checkpoint_folders import shipped_names
from avsent.checkpoints import WEIGHTS_FILE, load_checkpoint
from avsent.model_index import CARD_FILE, INDEX_FILE, read_index


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
        timeout=120,
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
