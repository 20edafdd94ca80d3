"""A whole training run: every seed, mean and spread, the best one's checkpoint and pictures."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from avsent.data.corpus import Corpus
from avsent.data.text_corpus import TextItem
from avsent.errors import OutputError, UsageError
from avsent.networks.fusion.choice import PAIRS_ONLY
from avsent.networks.threads import one_torch_thread
from avsent.training.leaving import BASELINE, Leaving, leave
from avsent.training.material import Material, Task, make_material, make_task
from avsent.training.run_card import write_run_card
from avsent.training.run_folder import RunFolder, read_json, told, write_json, write_line
from avsent.training.seed import Where, make_teaching, train_seed
from avsent.training.settings import TrainSettings, for_source
from avsent.training.summary import summarised
from avsent.training.tensorboard import scalars


@dataclass(frozen=True, slots=True)
class Request:
    """A run: corpus, settings, seeds, where to. ``texts``: of --text-corpus, with ``texts_name``;
    ``baseline``: also train each seed without transfer."""

    corpus: Corpus
    settings: TrainSettings
    seeds: tuple[int, ...]
    folder: RunFolder
    device: torch.device
    texts: tuple[TextItem, ...] | None = None
    texts_name: str = ""
    baseline: bool = False
    fresh: bool = False


@dataclass(frozen=True, slots=True)
class Hooks:
    """``say``: a line about what begins; ``on_epoch``: seed, stage, what was measured."""

    say: Callable[[str], None] = lambda line: None
    on_epoch: Callable[[int, str, dict[str, float]], None] = lambda seed, stage, measured: None


def run(request: Request, hooks: Hooks | None = None) -> dict[str, Any]:
    """Train all seeds, or those that are not finished; returns what ``summary.json`` holds.

    Raises:
        DatasetError: the corpus does not suit. UsageError: the settings do not, or the folder
        holds another run. OutputError: the folder cannot be written.
    """
    hooks = hooks or Hooks()
    check_settings(request.settings, texts=request.texts is not None, baseline=request.baseline)
    task = make_task(request.corpus, request.settings.label, request.settings.labels)
    about = {
        "name": request.corpus.name,
        "sha256": request.corpus.digest(),
        "utterances": len(request.corpus.samples),
        "licence": request.corpus.licence,
        "text_corpus": request.texts_name,
        "texts": len(request.texts or ()),
    }
    # Everything that can be wrong with the data is found before the folder is touched.
    materials = {seed: _material(task, request, seed) for seed in request.seeds}
    config = told(request.settings, request.seeds, about, request.baseline)
    if request.folder.begin(config, fresh=request.fresh):
        hooks.say(f"taking up the run in {request.folder.path}")
    for seed in request.seeds:
        if request.folder.evaluation(seed) is None:
            with _threads(materials[seed]):
                _train(request, materials[seed], seed, hooks)
    found = {seed: request.folder.evaluation(seed) for seed in request.seeds}
    summary = summarised({seed: one for seed, one in found.items() if one is not None})
    # The summary is written last: where it is, all the rest is.
    if (
        not (request.folder.path / "summary.json").is_file()
        or not request.folder.checkpoint.exists()
    ):
        _publish(request, task, summary)
    return summary


def check_settings(settings: TrainSettings, *, texts: bool = False, baseline: bool = False) -> None:
    """Raise UsageError for settings that contradict each other; ``texts``: of a text corpus."""
    transfer = settings.transfer
    if transfer.source in settings.target:
        raise UsageError(
            f"{transfer.source} cannot teach itself; choose another --source or --target"
        )
    if settings.fusion.name in PAIRS_ONLY and len(settings.target) != 2:
        raise UsageError(f"--fusion {settings.fusion.name} needs --target audio,face")
    if baseline and transfer.source is None:
        raise UsageError("--baseline compares with transfer; give --source-text or --source")
    if transfer.cross_fit == 1:
        raise UsageError("--cross-fit needs 2 folds or more; 0 is without")
    if texts and transfer.cross_fit:
        raise UsageError("--cross-fit is for texts of the data itself, not for --text-corpus")


def _material(task: Task, request: Request, seed: int) -> Material:
    paired_text = request.settings.transfer.source == "text" and request.texts is None
    material = make_material(task, request.settings, seed, words=paired_text)
    if task.labels.real and request.settings.fusion.name == "multiplicative":
        raise UsageError("--fusion multiplicative needs classes; choose --labels 2, 3 or 7")
    return material


@contextmanager
def _threads(material: Material) -> Iterator[None]:
    """Networks on ready-made vectors are small: a second thread only waits."""
    if material.task.corpus.vectors:
        with one_torch_thread():
            yield
    else:
        yield


def _train(request: Request, material: Material, seed: int, hooks: Hooks) -> None:
    folder = request.folder.seed(seed)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        log = (folder / "metrics.jsonl").open("w", encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror})") from error
    many = len(request.seeds) > 1

    def say(line: str) -> None:
        hooks.say(f"seed {seed}: {line}" if many else line)

    with log, scalars(folder / "tensorboard") as board:

        def on_epoch(stage: str, measured: dict[str, float]) -> None:
            write_line(log, {"stage": stage, **measured})
            board(stage, measured)
            hooks.on_epoch(seed, stage, measured)

        where = Where(request.device, folder, say, on_epoch)
        teaching = None
        if request.settings.transfer.source is not None:
            texts = None if request.texts is None else list(request.texts)
            teaching = make_teaching(material, for_source(request.settings), seed, where, texts)
        trained = train_seed(material, request.settings, seed, where, teaching)
        baseline = None
        if request.baseline:
            say("the same without transfer")
            apart = dataclasses.replace(
                where,
                folder=folder / BASELINE,
                on_epoch=lambda stage, measured: on_epoch(BASELINE, measured),
            )
            (folder / BASELINE).mkdir(exist_ok=True)
            baseline = train_seed(material, request.settings, seed, apart, None)
        leave(
            Leaving(request.folder.path.resolve().name, material, folder),
            trained,
            baseline,
        )


def _publish(request: Request, task: Task, summary: dict[str, Any]) -> None:
    """The best seed's checkpoint, card and pictures, at the top of the folder."""
    best = int(summary["best_seed"])
    folder = request.folder
    try:
        for kept in (folder.checkpoint, folder.plots):
            # Under another name first: there is never half a checkpoint.
            new = kept.with_name(f".{kept.name}.new")
            shutil.rmtree(new, ignore_errors=True)
            shutil.copytree(folder.seed(best) / kept.name, new)
            shutil.rmtree(kept, ignore_errors=True)
            new.rename(kept)
    except OSError as error:
        raise OutputError(f"{folder.path}: cannot be written ({error.strerror})") from error
    config = read_json(folder.path / "config.json")
    write_run_card(folder.checkpoint, config, summary, task.labels)
    write_json(folder.path / "summary.json", summary)
