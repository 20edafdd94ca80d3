"""Runs on small corpora, and what they leave."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tiny import small_corpus, small_settings

from avsent.data.corpus import Corpus
from avsent.training.run_folder import RunFolder
from avsent.training.runs import Hooks, Request, run
from avsent.training.settings import TrainSettings

CPU = torch.device("cpu")
WEIGHTS = "checkpoint/model.safetensors"
TAUGHT = {"source": "text"}


def begun(
    folder: Path,
    corpus: Corpus | None = None,
    told: TrainSettings | None = None,
    hooks: Hooks | None = None,
    **options: Any,
) -> dict[str, Any]:
    """A run on a small corpus without pictures of its spaces, unless told otherwise."""
    options = {"seeds": (0,), **options}
    request = Request(
        corpus=corpus or small_corpus(),
        settings=told or small_settings(),
        folder=RunFolder(folder),
        device=CPU,
        **options,
    )
    return run(request, hooks)


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]
