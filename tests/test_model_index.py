"""``models/index.json``: the catalogue is never stale, and what is damaged is found."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_models import CARD, LABELS, MODELS, edit, flip, save

from avsent.checkpoint_folders import CONFIG_FILE, shipped_names
from avsent.checkpoints import MAX_CONFIG_BYTES, WEIGHTS_FILE, load_checkpoint
from avsent.errors import CheckpointError, OutputError
from avsent.model_index import (
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
    assert text == index_text(make_index(MODELS)), "run: python -m avsent.model_index models"
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
