"""The catalogue of a folder of models: ``index.json``, made from the checkpoints themselves.

It lists the labels of each checkpoint, the size and SHA-256 of its weights, and its licence. After
adding a model to ``models/``, with its weights and card, call :func:`write_index` or run ``python
-m avsent.model.index models``.
"""

import argparse
import json
import re
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

from avsent.errors import AvsentError, CheckpointError
from avsent.files import atomic_text
from avsent.model.checkpoint import WEIGHTS_FILE, Checkpoint, load_checkpoint
from avsent.model.folders import checkpoint_folder, names_in, shipped_folder
from avsent.schema import read_json

FORMAT = "avsent-models/1"
INDEX_FILE = "index.json"
CARD_FILE = "CARD.md"
DEFAULT = "default"  # the model that is taken where none is named

_RESTORE = "restore the folder, or install avsent again"
_ANEW = "install avsent again; whoever changed the model runs python -m avsent.model.index"
_DATA_SECTION = re.compile(r"^## Data\b.*?$(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
_DATA_NAME = re.compile(r"^- (?:\*\*(.+?)\*\*|(.+?): [\d,]+ utterances\b)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Entry:
    """One model. ``bytes`` and ``sha256`` are of its weights; ``data``: names of its corpora."""

    name: str
    labels: tuple[str, ...]
    bytes: int
    sha256: str
    licence: str
    parameters: int
    data: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Index:
    """All models of a folder, by name; ``default`` is None where the folder lacks that one."""

    format: str
    default: str | None
    models: tuple[Entry, ...]


class State(StrEnum):
    """The outcome of a model's verification."""

    fine = "fine"
    damaged = "damaged"
    missing = "missing"
    unlisted = "unlisted"


@dataclass(frozen=True, slots=True)
class Finding:
    """The state of one model; ``detail``: in one line what that means and what to do."""

    name: str
    state: State
    detail: str


def _entry(folder: Path, checkpoint: Checkpoint | None = None) -> Entry:
    """What the index says of the checkpoint in ``folder``, which is loaded where it is not given.
    Raises CheckpointError if it is damaged: a damaged one never gets into an index."""
    # Absolute: a folder "default" here is not the shipped model of that name.
    folder = folder.absolute()
    checkpoint = checkpoint or load_checkpoint(folder)
    config = checkpoint.config
    return Entry(
        name=folder.name,
        labels=config.model.labels,
        bytes=(folder / WEIGHTS_FILE).stat().st_size,
        sha256=config.weights_sha256,
        licence=config.licence,
        # Frozen ones, too: they are in the file and take part.
        parameters=sum(parameter.numel() for parameter in checkpoint.model.parameters()),
        data=_data_names(folder / CARD_FILE),
    )


def make_index(models_folder: Path) -> Index:
    """The index of a folder's checkpoints. Raises CheckpointError for none, or a damaged one."""
    names = names_in(models_folder)
    if not names:
        raise CheckpointError(f"{models_folder}: holds no checkpoint folders; give another folder")
    entries = tuple(_entry(models_folder / name) for name in names)
    return Index(FORMAT, DEFAULT if DEFAULT in names else None, entries)


def index_text(index: Index) -> str:
    """The index as the file holds it."""
    return json.dumps(asdict(index), indent=2, ensure_ascii=False) + "\n"


def write_index(models_folder: Path) -> Index:
    """Write ``index.json`` into ``models_folder``, whole or not at all. Raises what
    :func:`make_index` raises, and OutputError if the file cannot be written."""
    index = make_index(models_folder)
    with atomic_text(models_folder / INDEX_FILE) as file:
        file.write(index_text(index))
    return index


def _data_names(card: Path) -> tuple[str, ...]:
    """Names of the corpora that a card lists in its section on data; none without a card."""
    try:
        text = card.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ()
    section = _DATA_SECTION.search(text)
    found = _DATA_NAME.findall(section[1]) if section else []
    return tuple(bold or plain for bold, plain in found)


def read_index(models_folder: Path | None = None) -> Index:
    """The index of ``models_folder``; by default of the models that come with avsent. Raises
    CheckpointError if there is none, or it is damaged or made for another version."""
    path = (models_folder or shipped_folder()) / INDEX_FILE
    return read_json(path, Index, _check_names, form=FORMAT, remedy=_RESTORE)


def _check_names(index: Index) -> None:
    if any(not 0 <= n < 2**53 for entry in index.models for n in (entry.bytes, entry.parameters)):
        raise ValueError("a size is out of range")
    names = [entry.name for entry in index.models]
    if len(set(names)) != len(names):
        raise ValueError("a model is listed twice")
    if index.default is not None and index.default not in names:
        raise ValueError(f"the default {index.default[:40]!r} is not listed")


def describe(checkpoint: str | Path) -> dict[str, Any]:
    """Everything known of a checkpoint. Raises CheckpointError if it is unknown or damaged."""
    folder = checkpoint_folder(checkpoint).absolute()
    loaded = load_checkpoint(folder)
    config = loaded.config
    card = folder / CARD_FILE
    return {
        **asdict(_entry(folder, loaded)),
        "name": config.name,
        "folder": str(folder),
        "card": str(card) if card.is_file() else None,
        "predicts": "a number" if config.model.real else "a class",
        "modalities": config.model.modalities,
        "fusion": config.model.fusion.name,
        "calibration": asdict(config.calibration),
        "features": asdict(config.features),
        "network": asdict(config.model),
    }


def verify_checkpoint(checkpoint: str | Path) -> Finding:
    """Hash and load one checkpoint; compare one that comes with avsent with the index, too."""
    try:
        folder = checkpoint_folder(checkpoint).absolute()
    except CheckpointError as error:
        return Finding(str(checkpoint), State.missing, str(error))
    index = None
    if folder.resolve().parent == shipped_folder().resolve():
        try:
            index = read_index()
        except CheckpointError as error:
            found = _verify(str(checkpoint), folder)
            unsure = Finding(str(checkpoint), State.unlisted, str(error))
            return unsure if found.state is State.fine else found
    return _verify(str(checkpoint), folder, index)


def verify_folder(models_folder: Path | None = None) -> list[Finding]:
    """Hash and load every model in the folder or in its index, and compare the two.

    By default the models that come with avsent. One finding each; one more for an index that
    cannot be read: then the models are compared with their ``config.json`` alone.
    """
    models = models_folder or shipped_folder()
    there = names_in(models)
    try:
        index = read_index(models)
    except CheckpointError as error:
        state = State.damaged if (models / INDEX_FILE).exists() else State.missing
        first = Finding(INDEX_FILE, state, str(error))
        return [first, *(_verify(name, models / name) for name in there)]
    # Names in the index are untrusted input: only compared, never used as a path.
    gone = [
        Finding(entry.name, State.missing, f"listed in {INDEX_FILE}, but gone; {_RESTORE}")
        for entry in index.models
        if entry.name not in there
    ]
    found = [*(_verify(name, models / name, index) for name in there), *gone]
    return sorted(found, key=lambda finding: finding.name)


def _verify(name: str, folder: Path, index: Index | None = None) -> Finding:
    weights = folder / WEIGHTS_FILE
    if not weights.is_file():
        return Finding(name, State.missing, f"{weights}: no such file; {_RESTORE}")
    try:
        real = _entry(folder)
    except CheckpointError as error:
        return Finding(name, State.damaged, str(error))
    fine = Finding(name, State.fine, f"{real.parameters:,} parameters, SHA-256 {real.sha256[:16]}…")
    if index is None:
        return fine
    listed = next((entry for entry in index.models if entry.name == real.name), None)
    if listed is None:
        return Finding(name, State.unlisted, f"{INDEX_FILE} does not list it; {_ANEW}")
    names = [field.name for field in fields(Entry)]
    differing = [one for one in names if getattr(listed, one) != getattr(real, one)]
    if differing:
        told = " and ".join(differing)
        return Finding(name, State.damaged, f"{INDEX_FILE} tells other {told}; {_ANEW}")
    return fine


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the index of a folder, by default of the models that come with avsent."""
    parser = argparse.ArgumentParser(description="Write index.json into a folder of models.")
    parser.add_argument("folder", type=Path, nargs="?", default=shipped_folder())
    try:
        index = write_index(parser.parse_args(arguments).folder)
    except AvsentError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"{len(index.models)} listed: {', '.join(entry.name for entry in index.models)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
