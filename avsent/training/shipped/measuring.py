"""Figures of a fusion on posteriors of people it has never met."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from avsent.networks.adaptation import MIN_UTTERANCES, about_own_mean
from avsent.networks.config import VoteConfig
from avsent.networks.target import TargetModel, Utterances
from avsent.training.calibrating import softmax
from avsent.training.metrics import Scores, expected_calibration_error, scores
from avsent.training.shipped.pool import Pool
from avsent.training.shipped.posteriors import Posteriors

ADAPT_DRAWS = 20
"""Videos of each size drawn from each speaker where adaptation is measured."""
COMPANY = 4


@dataclass(frozen=True, slots=True)
class Judged:
    """Scores of utterances judged alone: by both modalities and by each; calibration error."""

    both: Scores
    face: Scores
    audio: Scores
    calibration_error: float


@torch.inference_mode()
def logits_of(
    model: TargetModel,
    said: Posteriors,
    videos: Sequence[NDArray[np.int64]] | None = None,
    without: str | None = None,
    adapt: float | None = None,
) -> NDArray[np.float64]:
    """Logits [N, C] of ``model`` (a fusion of vectors) for ``videos`` of rows, one after the other;
    by default every utterance is a video of its own. ``adapt``: the ``prior`` of
    :func:`adapted`, None for not adapted."""
    if videos is None:
        videos = [np.array([row]) for row in range(len(said.audio))]
    lengths = torch.tensor([len(rows) for rows in videos])
    shape = len(videos), int(lengths.max())
    values, present = {}, {}
    for name, vectors in (("audio", said.audio), ("face", said.face)):
        padded = torch.full((*shape, vectors.shape[1]), torch.nan)
        for place, rows in enumerate(videos):
            padded[place, : len(rows)] = torch.from_numpy(vectors[rows])
        present[name] = ~padded.isnan().all(dim=-1) & (torch.tensor(name != without))
        values[name] = model.encoder(name)(padded)
        if adapt is not None:
            values[name] = adapted(values[name], present[name], adapt)
    output = model(Utterances(values, present, lengths))
    inside = torch.arange(shape[1])[None] < lengths[:, None]
    found: NDArray[np.float64] = output.logits[inside].double().numpy()
    return found


def judge(model: TargetModel, pool: Pool, temperature: float, version: int = 0) -> Judged:
    """Every labelled utterance of ``pool``, alone."""
    known = pool.only(np.flatnonzero(pool.labels >= 0))
    said, classes = known.versions[version], len(pool.names)

    def alone(without: str | None) -> NDArray[np.float64]:
        return logits_of(model, said, without=without)

    logits = {without: alone(without) for without in (None, "audio", "face")}
    found = {
        without: scores(known.labels, values.argmax(axis=1), classes)
        for without, values in logits.items()
    }
    error = expected_calibration_error(softmax(logits[None] / temperature), known.labels)
    return Judged(found[None], found["audio"], found["face"], error)


def in_company(model: TargetModel, pool: Pool, seed: int) -> dict[str, Scores]:
    """The same utterances alone, among clips of the same label, and of another one."""
    known = pool.only(np.flatnonzero(pool.labels >= 0))
    rng = np.random.default_rng(seed)
    speakers, classes = np.array(known.speakers), len(pool.names)
    found = {}
    for kind in ("alone", "among their like", "among others"):
        videos = []
        for row in range(len(known.labels)):
            mates = np.zeros(0, dtype=np.int64)
            if kind != "alone":
                like = known.labels == known.labels[row]
                chosen = (speakers == speakers[row]) & (like == (kind == "among their like"))
                chosen[row] = False
                there = np.flatnonzero(chosen)
                mates = rng.choice(there, min(COMPANY, len(there)), replace=False)
            videos.append(np.concatenate([[row], mates]))
        logits = logits_of(model, known.versions[0], videos)
        first = np.cumsum([0, *(len(video) for video in videos[:-1])])
        found[kind] = scores(known.labels, logits[first].argmax(axis=1), classes)
    return found


def adapted_scores(
    model: TargetModel,
    pool: Pool,
    size: int,
    prior: float | None,
    seed: int,
    *,
    alike: bool = False,
) -> Scores:
    """Scores over videos of ``size`` utterances drawn from one speaker, adapted to the speaker with
    ``prior`` (None: not adapted). ``alike``: all utterances of a video have the same label."""
    known = pool.only(np.flatnonzero(pool.labels >= 0))
    rng = np.random.default_rng(seed)
    speakers = np.array(known.speakers)
    videos = []
    for speaker in sorted(set(known.speakers)):
        own = np.flatnonzero(speakers == speaker)
        for _ in range(ADAPT_DRAWS):
            there = own
            if alike:
                there = own[known.labels[own] == rng.choice(np.unique(known.labels[own]))]
            videos.append(rng.choice(there, min(size, len(there)), replace=False))
    logits = logits_of(model, known.versions[0], videos, adapt=prior)
    truth = known.labels[np.concatenate(videos)]
    return scores(truth, logits.argmax(axis=1), len(pool.names))


def adapted(values: torch.Tensor, present: torch.Tensor, prior: float) -> torch.Tensor:
    """Representations ``values`` [B, U, R] about the mean of their own video instead of that of
    the training data: each video is one group."""
    one_group = torch.zeros_like(present, dtype=torch.long)
    return about_own_mean(values, present, one_group, prior, MIN_UTTERANCES)


def without_stream(pool: Pool, modality: str, columns: slice) -> Pool:
    """``pool`` as if a stream of experts (its ``columns`` in ``modality``) did not exist."""
    versions = []
    for said in pool.versions:
        by_modality = {"audio": said.audio.copy(), "face": said.face.copy()}
        by_modality[modality][:, columns] = np.nan
        versions.append(Posteriors(by_modality["audio"], by_modality["face"]))
    return dataclasses.replace(pool, versions=tuple(versions))


def summed(pool: Pool, streams: Sequence[VoteConfig]) -> dict[str, Scores]:
    """What nothing but the sum of the streams' log probabilities decides, nothing learnt: by both
    modalities ("both"), "face" and "audio" alone. Every labelled utterance of ``pool``."""
    known = pool.only(np.flatnonzero(pool.labels >= 0))
    said = {"audio": known.versions[0].audio, "face": known.versions[0].face}
    found = {}
    for title, used in (("both", ("audio", "face")), ("face", ("face",)), ("audio", ("audio",))):
        total = sum(
            np.nan_to_num(said[stream.modality][:, list(stream.columns)])
            for stream in streams
            if stream.modality in used
        )
        found[title] = scores(known.labels, np.asarray(total).argmax(axis=1), len(pool.names))
    return found
