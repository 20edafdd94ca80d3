"""What all cases of a run begin from, made once: seeds, models, results, a batch."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from avsent.cli.app import main
from avsent.extraction.extractor import FeatureConfig
from avsent.model.checkpoint import Calibration, save_checkpoint
from avsent.model.networks import config as sizes
from avsent.model.networks.target import TargetModel
from avsent.result.record import Result
from avsent.training.data.feature_files import CorpusOptions, FeatureCache, MediaFeatures
from tests.fuzzing.media import bomb_png, bomb_video, media_seeds
from tests.small_runs import SIZES, SMALL, feature_file, small_corpus

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "samples" / "demo.mp4"


@dataclass(frozen=True, slots=True)
class Base:
    """``media``: seeds; ``known``: some of them and the bombs by name; the rest are what commands
    write: checkpoints for videos and for vectors, feature files, a result, a batch's OUT."""

    media: list[Path]
    known: dict[str, Path]
    raw_model: Path
    vector_model: Path
    models: Path
    features: list[Path]
    cache: Path
    result: Path
    result_plain: object
    videos: Path
    batch: Path


LIGHT = ("text corpora", "feature cache", "model indexes", "manifests")
"""Kinds that need neither a prediction nor a batch to begin from."""


def make_base(folder: Path, clips: Path | None, *, light: bool = False) -> Base:
    """Make everything in ``folder``; ``light``: only what the kinds ``LIGHT`` need. As a side
    effect all that prediction needs is loaded."""
    media = media_seeds(clips, SAMPLE, folder / "seeds")
    known = {path.name[: 7 if path.name.startswith("made") else 4]: path for path in media}
    result, videos, out = folder / "result.json", folder / "videos", folder / "batch"
    if not light:
        _predicted(folder, known, result, videos, out)
    plain = json.loads(result.read_text(encoding="utf-8")) if result.exists() else None
    base = Base(
        media=media,
        known=known,
        raw_model=_model(folder / "models" / "raw", vectors=False),
        vector_model=_model(folder / "models" / "vectors", vectors=True),
        models=folder / "models",
        features=[
            feature_file(folder / "vectors.npz", speakers=4),
            feature_file(folder / "raw.npz", raw=True, gaps=True, speakers=4),
        ],
        cache=_cache(folder),
        result=result,
        result_plain=plain,
        videos=videos,
        batch=out,
    )
    if not light:  # children are forked from this process, and so have loaded it already
        for shown in ("warm.html", "warm.svg", "warm.png"):
            run("report" if shown == "warm.html" else "plot", "-q", result, "-o", folder / shown)
        run("evaluate", "-q", base.vector_model, base.features[0], "-o", folder / "warm.json")
        run("report", "-q", out, "-o", folder / "all.html")
    return base


def _predicted(folder: Path, known: dict[str, Path], result: Path, videos: Path, out: Path) -> None:
    """The bombs, a result, and a batch of a good file and a bad one."""
    known["png"] = folder / "bomb.png"
    known["png"].write_bytes(bomb_png())
    known["bomb"] = bomb_video(known["png"].read_bytes(), folder)
    run("predict", "-q", known["demo"], "-o", result)
    Result.load(result)
    videos.mkdir()
    shutil.copyfile(known["demo"], videos / "a.mp4")
    (videos / "b.mp4").write_bytes(b"not media")
    # In a process of its own: what starts workers must not be shared with children.
    command = [sys.executable, "-m", "avsent", "batch", "-q", videos, "-o", out, "--workers", "1"]
    subprocess.run(command, stderr=subprocess.DEVNULL, timeout=600, check=False)


def run(*arguments: str | Path) -> None:
    """The command; RuntimeError where it fails on a good file."""
    code = main([str(argument) for argument in arguments])
    if code:
        raise RuntimeError(f"avsent {' '.join(map(str, arguments))} ended with {code}")


def _model(folder: Path, *, vectors: bool) -> Path:
    torch.manual_seed(0)
    given = sizes.VectorSizes(**SIZES) if vectors else sizes.VectorSizes()
    model = TargetModel(
        sizes.TargetConfig(
            labels=("negative", "positive"),
            vectors=given,
            audio=sizes.AudioEncoderConfig(channels=(4, 4, 8), attention=8, representation=8),
            face=sizes.FaceEncoderConfig(hidden=(16,), attention=8, representation=8),
            context=SMALL,
        )
    )
    save_checkpoint(
        folder,
        model,
        name=folder.name,
        licence="MIT",
        features=FeatureConfig(),
        calibration=Calibration(),
    )
    from avsent.model.index import write_index

    write_index(folder.parent)
    return folder


def _cache(folder: Path) -> Path:
    samples = small_corpus(raw=True, speakers=2).samples[:3]
    nothing = (None,) * len(samples)
    found = MediaFeatures(
        audio=tuple(sample.audio for sample in samples),
        face=tuple(sample.face for sample in samples),
        neutral=nothing,
        pictures=nothing,
        prosody=nothing,
        duration_s=3.0,
    )
    place = folder / "cache.npz"
    FeatureCache(CorpusOptions(cache=folder)).save(place, found)
    return place
