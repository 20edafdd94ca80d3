"""The fusion of the experts: made-up videos, that it learns, what ships, how it is measured."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from small_experts import (
    EXPERTS,
    FACE,
    VOICE,
    made_clips,
    made_stills,
    some_experts,
)
from small_fusing import SETTINGS, pool_of, row_of, trained

from avsent.data.corpus import Sample
from avsent.features.audio import FLOOR_DB, normalised_log
from avsent.features.pixels import standardised
from avsent.labels import EMOTIONS, POLARITY_LABELS
from avsent.networks.face_encoder import FaceExtras
from avsent.networks.target import TargetModel, Utterances
from avsent.training.shipped.fusing import (
    MOST_UTTERANCES,
    SINGLE_VIDEOS,
    UNIFORM_VIDEOS,
    assembled,
    fuse,
    made_up,
)
from avsent.training.shipped.measuring import judge, logits_of
from avsent.training.shipped.pool import by_speaker, split_pool
from avsent.training.shipped.pools import Known
from avsent.training.shipped.posteriors import of_clips, of_stills

pytestmark = pytest.mark.usefixtures("one_thread")


# --- made-up videos ------------------------------------------------------------------------------


def videos_of(samples: list[Sample]) -> list[list[Sample]]:
    grouped: dict[str, list[Sample]] = {}
    for sample in samples:
        grouped.setdefault(sample.video, []).append(sample)
    return list(grouped.values())


def test_videos_hold_one_speaker_and_true_labels() -> None:
    pool = pool_of(4, 0, versions=3)
    samples = made_up(pool, 400, np.random.default_rng(0), "valid", "clips", 0.4)
    videos = videos_of(samples)
    assert len(videos) == 400
    assert {len(video) for video in videos} == set(range(1, MOST_UTTERANCES + 1))
    assert len({sample.key for sample in samples}) == len(samples)
    assert {sample.split for sample in samples} == {"valid"}
    seen_versions = set()
    for video in videos:
        assert len({sample.speaker for sample in video}) == 1
    for sample in samples:
        vectors = [vector for vector in (sample.audio, sample.face) if vector is not None]
        (row,) = {row_of(vector) for vector in vectors}
        assert sample.labels == {"label": pool.names[pool.labels[row]]}
        assert sample.speaker == f"valid {pool.speakers[row]}"
        if sample.audio is not None:
            version = round(float(sample.audio[1]))
            np.testing.assert_array_equal(sample.audio, pool.versions[version].audio[row])
            seen_versions.add(version)
        if sample.face is not None:
            version = round(float(sample.face[1]))
            np.testing.assert_array_equal(sample.face, pool.versions[version].face[row])
    assert seen_versions == {0, 1, 2}
    counts = [sum(s.labels["label"] == name for s in samples) for name in pool.names]
    assert min(counts) > 0.25 * len(samples)


def test_some_videos_are_of_one_label_and_some_are_mixed() -> None:
    samples = made_up(pool_of(4, 0), 600, np.random.default_rng(0), "train", "clips", 0.0)
    long = [video for video in videos_of(samples) if len(video) >= 5]
    uniform = np.mean([len({sample.labels["label"] for sample in video}) == 1 for video in long])
    assert abs(uniform - UNIFORM_VIDEOS) < 0.08
    single = np.mean([len(video) == 1 for video in videos_of(samples)])
    assert abs(single - SINGLE_VIDEOS) < 0.08
    assert all(sample.audio is not None and sample.face is not None for sample in samples)


@pytest.mark.parametrize("missing", [0.2, 0.6, 1.0])
def test_both_modalities_are_never_lost(missing: float) -> None:
    pool = pool_of(3, 1)
    samples = made_up(pool, 500, np.random.default_rng(1), "train", "clips", missing)
    assert all(sample.audio is not None or sample.face is not None for sample in samples)
    for lost in ("audio", "face"):
        gone = [[getattr(sample, lost) is None for sample in v] for v in videos_of(samples)]
        long = [video for video in gone if len(video) >= 4]
        assert np.mean([all(video) for video in long]) > missing / 4  # throughout a video
        assert (
            any(any(video) and not all(video) for video in long) or missing == 1
        )  # here and there
        assert np.mean([one for video in gone for one in video]) >= missing / 3


def test_who_was_not_heard_is_never_heard() -> None:
    pool = pool_of(1, 1, stills=True)
    samples = made_up(pool, 50, np.random.default_rng(1), "train", "stills", 0.9)
    assert all(sample.audio is None and sample.face is not None for sample in samples)


def test_parts_share_nobody() -> None:
    pool = pool_of(5, 0)
    parts = by_speaker(pool, ("actor 1", "actor 4"))
    assert set(parts["valid"].speakers) == {"actor 1", "actor 4"}
    assert set(parts["train"].speakers) == {"actor 0", "actor 2", "actor 3"}
    for found in (parts, split_pool(pool, 0.3, 0)):
        rows = {name: [row_of(v) for v in part.versions[0].audio] for name, part in found.items()}
        assert sorted(rows["train"] + rows["valid"]) == list(range(len(pool.labels)))
        for name, part in found.items():
            assert part.labels.tolist() == pool.labels[rows[name]].tolist()
            assert part.speakers == tuple(pool.speakers[row] for row in rows[name])
    assert len(split_pool(pool, 0.3, 0)["valid"].labels) == round(0.3 * len(pool.labels))


def test_either_set_of_labels() -> None:
    said = pool_of(1, 0, each=1).versions
    known = Known(said, np.array([0, 7, 3, 2]), np.array([1, -1, 0, 2]), ("actor 1",) * 4)
    assert known.pool(EMOTIONS).labels.tolist() == [0, 7, 3, 2]
    assert known.pool(POLARITY_LABELS).labels.tolist() == [1, -1, 0, 2]
    assert known.pool(EMOTIONS).names == EMOTIONS


# --- it learns -----------------------------------------------------------------------------------


def test_the_fusion_learns() -> None:
    found = trained()
    judged = judge(found.model, pool_of(3, 7), found.calibration.temperature)
    for one in (judged.both, judged.audio, judged.face):
        assert one.count == 3 * 3 * 6
        assert one.balanced_accuracy > 0.85
    assert 0 <= judged.calibration_error < 0.3
    stills = judge(found.model, pool_of(1, 8, stills=True, each=20), 1.0)
    assert stills.both.balanced_accuracy > 0.85
    assert found.model.config.votes
    assert found.progress.best_value > -0.7


def test_the_seed_decides_the_fusion() -> None:
    clips = by_speaker(pool_of(4, 0), ("actor 3",))
    stills = split_pool(pool_of(1, 1, stills=True), 0.4, 0)
    few = dataclasses.replace(
        SETTINGS,
        clip_videos=20,
        still_videos=10,
        validation_videos=10,
        optimiser=dataclasses.replace(SETTINGS.optimiser, epochs=1),
    )
    one, again, other = (fuse(clips, stills, few, seed).model.state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(one[key], again[key]) for key in one)
    assert not all(torch.equal(one[key], other[key]) for key in one)


@torch.inference_mode()
def logits_alone(
    model: TargetModel, audio: torch.Tensor | None, face: torch.Tensor | None
) -> NDArray[np.float64]:
    """Logits [C] of one utterance."""
    values = {
        "audio": torch.zeros(1, 1, VOICE) if audio is None else audio[None],
        "face": torch.zeros(1, 1, FACE) if face is None else face[None],
    }
    present = {
        "audio": torch.tensor([[audio is not None]]),
        "face": torch.tensor([[face is not None]]),
    }
    logits: NDArray[np.float64] = (
        model(Utterances(values, present, torch.tensor([1]))).logits[0, 0].double().numpy()
    )
    return logits


@torch.inference_mode()
def test_what_ships_says_what_the_fusion_said() -> None:
    experts, fused = some_experts(3, members=3), trained().model
    clips = made_clips(6, 2)
    clips[1] = dataclasses.replace(clips[1], mel_power=None, prosody=None)
    clips[2] = dataclasses.replace(clips[2], face=None)
    clips[3] = dataclasses.replace(clips[3], prosody=None)
    face_of = clips[4].face
    assert face_of is not None
    clips[4] = dataclasses.replace(clips[4], face=dataclasses.replace(face_of, neutral=None))
    stills = made_stills(made_clips(5, 3))
    model = assembled(EXPERTS, experts, fused)
    assert not model.training
    assert model.config.experts == dataclasses.replace(EXPERTS, audio_members=3, face_members=3)
    expected = logits_of(fused, of_clips(EXPERTS, experts, clips))
    assert np.ptp(expected, axis=0).max() > 0.1
    for clip, logits in zip(clips, expected, strict=True):
        audio = face = None
        if clip.mel_power is not None:
            heard = torch.from_numpy(normalised_log(clip.mel_power, FLOOR_DB))[None]
            spoken = None if clip.prosody is None else torch.from_numpy(clip.prosody)[None]
            audio, _ = model.encode_audio(heard, torch.tensor([heard.shape[2]]), spoken)
        if clip.face is not None:
            shown = torch.from_numpy(clip.face.landmarks)[None]
            neutral = clip.face.neutral
            extras = FaceExtras(None if neutral is None else torch.from_numpy(neutral)[None])
            face, _ = model.encode_face(shown, torch.ones(1, shown.shape[1]).bool(), extras)
        np.testing.assert_allclose(logits_alone(model, audio, face), logits, atol=1e-4)
    expected = logits_of(fused, of_stills(EXPERTS, experts, stills))
    for row, logits in enumerate(expected):
        looks = model.look_at(torch.from_numpy(standardised(stills.pictures[row : row + 1])))
        assert looks is not None
        face, _ = model.encode_face(
            stills.landmarks[row][None, None],
            torch.ones(1, 1, dtype=torch.bool),
            FaceExtras(looks=looks[:, None]),
        )
        np.testing.assert_allclose(logits_alone(model, None, face), logits, atol=1e-4)
