"""The mean of several models, each trained without one fold of the training videos."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from experiments import progress
from mosi_course import SCALE, Courses, Lead, auc_of, course, figures_of
from numpy.typing import NDArray

from avsent.training.dataset import Videos, make_videos
from avsent.training.losses import Taught
from avsent.training.seed import Teaching
from avsent.training.source import PairedTeacher, embeddings_of, videos_at
from avsent.training.splits import Material
from avsent.training.trainer import Teacher

SEEDS_APART = 1000
"""Members of different seeds begin with different weights."""


def ensemble(courses: Courses, lead: Lead, seed: int, folds: int, epochs: int) -> dict[str, Any]:
    """Test figures and probabilities of the mean of ``folds`` models after ``epochs`` epochs.

    All 62 training videos are used; what is held out from a member chooses nothing.
    """
    key = courses.mosi.key("ensemble", lead.settings(), seed)
    key |= {"adapt": lead.adapt, "folds": folds, "epochs": epochs}
    return courses.cache.get_or_run(key, lambda: _run(courses, lead, seed, folds, epochs))


def _run(courses: Courses, lead: Lead, seed: int, folds: int, epochs: int) -> dict[str, Any]:
    material = courses.material(lead, seed)
    whole = _whole(material)
    teaching = courses.teaching(lead, material, seed)
    taught = None if teaching is None else _taught(teaching, material, whole)
    rows = np.random.default_rng(seed).permutation(len(whole.samples))
    members = []
    for fold in range(folds):
        held = sorted(rows[fold::folds].tolist())
        kept = sorted(set(range(len(whole.samples))) - set(held))
        part = dataclasses.replace(
            material, train=videos_at(whole, kept), valid=videos_at(whole, held)
        )
        teacher: Teacher | None = None
        if taught is not None:
            teacher = PairedTeacher(Taught(taught.embeddings[kept], taught.there[kept]))
        member = SEEDS_APART * (seed + 1) + fold
        members.append(course(part, lead.settings(), member, teacher, epochs)["test"][-1])
    mean: NDArray[np.float64] = np.mean(members, axis=0)
    result = {
        "test": figures_of(material.test, mean),
        "members": [auc_of(material.test, positive) for positive in members],
        "probabilities": np.round(mean * SCALE).astype(int).tolist(),
    }
    progress(f"seed {seed}  {lead.target}  ensemble of {folds}")
    return result


def _whole(material: Material) -> Videos:
    """Training and validation videos together."""
    texts = {
        sample.key: part.vectors["text"][v, u].numpy()
        for part in (material.train, material.valid)
        for v, video in enumerate(part.samples)
        for u, sample in enumerate(video)
    }
    sizes = {name: material.vectors.of(name) for name in ("audio", "face", "text")}
    samples = (*material.split.train, *material.split.valid)
    return make_videos(samples, material.task.encoded, sizes, texts)


def _taught(teaching: Teaching, material: Material, whole: Videos) -> Taught:
    """Embeddings of ``whole``: those of the training part as they are taught (cross-fitted),
    those of the validation part by the source, which never learnt from it."""
    train = teaching.teacher.for_epoch(0)
    values, there = embeddings_of(teaching.model, material.valid, torch.device("cpu"))
    row_of = {video[0].video: row for row, video in enumerate(whole.samples)}
    embeddings = torch.zeros(*whole.labels.shape, values.shape[-1])
    known = torch.zeros(whole.labels.shape, dtype=torch.bool)
    for part, given, present in (
        (material.train, train.embeddings, train.there),
        (material.valid, values, there),
    ):
        for v, video in enumerate(part.samples):
            row, length = row_of[video[0].video], len(video)
            embeddings[row, :length] = given[v, :length]
            known[row, :length] = present[v, :length]
    return Taught(embeddings, known)
