"""Members of the shipped models: they learn, are the same again, and are kept by what made them."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from small_experts import (
    EXPERTS,
    HEARD,
    MOVING,
    SPOKEN,
    STILL,
    made_clips,
    made_stills,
    some_experts,
)
from torch import nn

from avsent.data.ravdess import RavdessClip
from avsent.labels import EMOTIONS
from avsent.networks.config import PixelConfig
from avsent.networks.experts import AudioMember, FaceMember
from avsent.training.shipped import posteriors
from avsent.training.shipped.corpora import NO_LABEL, emotion_of, of_actors, polarity_of
from avsent.training.shipped.members import (
    MemberTraining,
    balanced,
    loss,
    train_audio_member,
    train_face_member,
)
from avsent.training.shipped.pools import know_strangers
from avsent.training.shipped.posteriors import cross_fitted, of_clips, of_stills, together
from avsent.training.shipped.prosody_member import prosody_versions, train_prosody_member
from avsent.training.shipped.workshop import Task, Workshop, members

pytestmark = pytest.mark.usefixtures("one_thread")

SHORT = MemberTraining(epochs=1, batch=8)


def same(one: nn.Module, other: nn.Module) -> bool:
    others = other.state_dict()
    return all(torch.equal(tensor, others[key]) for key, tensor in one.state_dict().items())


def recalls(votes: np.ndarray, truth: np.ndarray) -> list[float]:
    decided = votes.argmax(axis=1)
    return [float((decided[truth == label] == label).mean()) for label in np.unique(truth)]


def silenced(clip: RavdessClip) -> RavdessClip:
    """As it is read where nothing is heard."""
    speech = np.zeros(6400, dtype=np.int16)
    return dataclasses.replace(clip, mel_power=None, prosody=None, speech=speech)


# --- members -------------------------------------------------------------------------------------


def test_a_member_that_hears_learns() -> None:
    plan = MemberTraining(epochs=30, batch=16, learning_rate=1e-2)
    member = train_audio_member(EXPERTS, made_clips(64, 0), 0, plan)
    assert not member.training
    unmet = made_clips(24, 1)
    experts = dataclasses.replace(some_experts(0), audio=(member,))
    votes = of_clips(EXPERTS, experts, unmet).audio
    assert min(recalls(votes[:, :8], emotion_of(unmet))) > 0.8
    known = polarity_of(unmet) != NO_LABEL
    assert min(recalls(votes[known, 8:11], polarity_of(unmet)[known])) > 0.8


def test_a_member_that_sees_learns_from_frames_and_movement() -> None:
    plan = MemberTraining(epochs=30, batch=16, learning_rate=1e-2)
    clips, unmet = made_clips(64, 0), made_clips(24, 1)
    member = train_face_member(EXPERTS, clips, made_stills(clips), 0, plan)
    assert not member.training
    experts = dataclasses.replace(some_experts(0), face=(member,))
    votes = of_clips(EXPERTS, experts, unmet).face
    stills = of_stills(EXPERTS, experts, made_stills(unmet)).face
    truth, known = emotion_of(unmet), polarity_of(unmet) != NO_LABEL
    for emotions, polarities in (
        (votes[:, :8], votes[:, 8:11]),  # still
        (votes[:, 11:19], votes[:, 19:22]),  # moving
        (stills[:, :8], stills[:, 8:11]),
    ):
        assert min(recalls(emotions, truth)) > 0.8
        assert min(recalls(polarities[known], polarity_of(unmet)[known])) > 0.8


def test_the_seed_decides_the_weights() -> None:
    clips = made_clips(16, 0)
    stills = made_stills(clips)
    first, again, other = (train_audio_member(EXPERTS, clips, seed, SHORT) for seed in (3, 3, 4))
    assert same(first, again)
    assert not same(first, other)
    looks = [train_face_member(EXPERTS, clips, stills, seed, SHORT) for seed in (3, 3, 4)]
    assert same(looks[0], looks[1])
    assert not same(looks[0], looks[2])


def test_clips_without_the_modality_do_not_teach() -> None:
    clips = made_clips(16, 0)
    deaf = [silenced(clip) for clip in made_clips(4, 5)]
    blind = [dataclasses.replace(clip, face=None) for clip in made_clips(4, 5)]
    assert same(
        train_audio_member(EXPERTS, clips, 0, SHORT),
        train_audio_member(EXPERTS, deaf + clips, 0, SHORT),
    )
    stills = made_stills(clips)
    assert same(
        train_face_member(EXPERTS, clips, stills, 0, SHORT),
        train_face_member(EXPERTS, blind + clips, stills, 0, SHORT),
    )


def test_the_loss_leaves_out_polarities_that_there_are_not() -> None:
    plain = dataclasses.replace(SHORT, label_smoothing=0.0, polarity=0.5)
    votes = torch.full((2, 11), -2.0)
    votes[0, 3], votes[1, 7], votes[0, 8], votes[1, 9] = 4.0, 1.0, 3.0, 9.0

    def minus_log(values: list[float], place: int) -> float:
        return float(np.log(np.exp(values).sum()) - values[place])

    emotion = (minus_log(votes[0, :8].tolist(), 3) + minus_log(votes[1, :8].tolist(), 7)) / 2
    found = loss(votes, np.array([3, 7]), np.array([0, NO_LABEL]), plain)
    expected = emotion + 0.5 * minus_log(votes[0, 8:].tolist(), 0)
    assert float(found) == pytest.approx(expected, rel=1e-5)
    found = loss(votes, np.array([3, 7]), np.array([NO_LABEL, NO_LABEL]), plain)
    assert float(found) == pytest.approx(emotion, rel=1e-5)


def test_every_class_is_drawn_as_often() -> None:
    labels = np.array([5] * 90 + [2] * 8 + [7] * 2)
    drawn = list(balanced(labels, 30, 100, np.random.default_rng(0)))
    assert [len(rows) for rows in drawn] == [100] * 30
    counts = np.bincount(labels[np.concatenate(drawn)], minlength=8)
    assert counts[[5, 2, 7]].min() > 900
    assert set(np.concatenate(drawn).tolist()) == set(range(100))


# --- strangers -----------------------------------------------------------------------------------


def test_every_group_is_judged_by_those_who_have_not_met_it() -> None:
    clips = made_clips(16, 0, actors=4)
    experts, groups = [some_experts(0), some_experts(9)], ((1, 3), (2, 4))
    known = know_strangers(EXPERTS, experts, groups, clips, seed=0, copies=2)
    order = of_actors(clips, (1, 3)) + of_actors(clips, (2, 4))
    assert known.speakers == tuple(f"actor {clip.actor}" for clip in order)
    assert [EXPERTS.emotions, *known.emotion] == [8, *(EMOTIONS.index(c.emotion) for c in order)]
    assert known.polarity.tolist() == [-1 if c.polarity is None else c.polarity for c in order]
    plain, *copies = known.versions
    for rows, expert in ((slice(0, 8), experts[0]), (slice(8, 16), experts[1])):
        expected = of_clips(EXPERTS, expert, order[rows])
        np.testing.assert_array_equal(plain.audio[rows], expected.audio)
        np.testing.assert_array_equal(plain.face[rows], expected.face)
    other = of_clips(EXPERTS, experts[1], order[:8]).audio
    assert len(copies) == 2
    for stream in (HEARD, SPOKEN):
        assert np.abs(other[:, stream] - plain.audio[:8, stream]).max() > 0.1
        versions = [version.audio[:, stream] for version in known.versions]
        for one, again in itertools.combinations(versions, 2):
            assert not np.isclose(one, again).all(axis=1).any()


def test_of_whom_nothing_is_heard_or_seen() -> None:
    clips = made_clips(3, 0)
    clips[0] = silenced(clips[0])
    clips[1] = dataclasses.replace(clips[1], face=None)
    for rng in (None, np.random.default_rng(0)):
        found = of_clips(EXPERTS, some_experts(0), clips, rng)
        assert np.isnan(found.audio).all(axis=1).tolist() == [True, False, False]
        assert not np.isnan(found.audio[1:]).any()
        assert np.isnan(found.face).all(axis=1).tolist() == [False, True, False]
        assert np.isnan(found.face[2]).nonzero()[0].tolist() == list(range(22, 32))  # no pictures
    stills = of_stills(EXPERTS, some_experts(0), made_stills(made_clips(5, 0)))
    assert np.isnan(stills.audio).all()
    assert (np.isnan(stills.face) == (np.arange(32) // 11 == 1)).all()  # no movement


def test_of_whom_only_something_is_known() -> None:
    clips, experts = made_clips(2, 0), some_experts(0)
    plain, face = of_clips(EXPERTS, experts, clips), clips[0].face
    assert face is not None
    clips[0] = dataclasses.replace(clips[0], face=dataclasses.replace(face, neutral=None))
    clips[1] = dataclasses.replace(clips[1], prosody=None)
    found = of_clips(EXPERTS, experts, clips)
    np.testing.assert_array_equal(found.face[0, STILL], plain.face[0, STILL])
    assert np.isnan(found.face[0, MOVING]).all()
    assert not np.isnan(plain.face[0, MOVING]).any()
    np.testing.assert_array_equal(found.face[1], plain.face[1])
    np.testing.assert_array_equal(found.audio[1, HEARD], plain.audio[1, HEARD])
    assert np.isnan(found.audio[1, SPOKEN]).all()
    np.testing.assert_array_equal(found.audio[0], plain.audio[0])
    # Of another camera, too; its microphone hears all of the sound.
    changed = of_clips(EXPERTS, experts, clips, np.random.default_rng(3))
    assert np.isnan(changed.face[0, MOVING]).all()
    assert np.abs(changed.face[0, STILL] - plain.face[0, STILL]).max() > 1e-4
    assert not np.isnan(changed.audio).any()


def test_without_its_sound_a_clip_is_heard_as_it_is() -> None:
    clips = [dataclasses.replace(clip, speech=None) for clip in made_clips(2, 0)]
    found = of_clips(EXPERTS, some_experts(0), clips, np.random.default_rng(0))
    np.testing.assert_array_equal(found.audio, of_clips(EXPERTS, some_experts(0), clips).audio)


def test_together_they_say_the_mean() -> None:
    clips, (one, other) = made_clips(4, 0), (some_experts(0), some_experts(9))
    found = of_clips(EXPERTS, together([one, other]), clips)
    apart = [of_clips(EXPERTS, experts, clips) for experts in (one, other)]
    np.testing.assert_allclose(found.audio, (apart[0].audio + apart[1].audio) / 2, atol=1e-5)
    np.testing.assert_allclose(found.face, (apart[0].face + apart[1].face) / 2, atol=1e-5)


# --- the workshop --------------------------------------------------------------------------------


def test_a_member_is_kept_by_what_decides_it(tmp_path: Path) -> None:
    task = Task("audio", (1, 2, 3), 0, EXPERTS)
    sizes = dataclasses.replace(EXPERTS.audio, representation=9)
    others = [
        dataclasses.replace(task, kind="face"),
        dataclasses.replace(task, actors=(1, 2)),
        dataclasses.replace(task, seed=1),
        dataclasses.replace(task, config=dataclasses.replace(EXPERTS, audio=sizes)),
        dataclasses.replace(task, config=dataclasses.replace(EXPERTS, emotions=7)),
        dataclasses.replace(task, audio=SHORT),
    ]
    assert len({one.file(tmp_path) for one in (task, *others)}) == 7
    counts = dataclasses.replace(EXPERTS, audio_members=9, face_members=8)
    pixels = dataclasses.replace(EXPERTS, pixels=PixelConfig(), pixel_polarity=(0,) * 7)
    for alike in (
        dataclasses.replace(task, actors=(3, 1, 2)),
        dataclasses.replace(task, config=counts),
        dataclasses.replace(task, config=pixels),
        dataclasses.replace(task, config=dataclasses.replace(EXPERTS, prosody=7)),
        dataclasses.replace(task, face=SHORT),
    ):
        assert alike.file(tmp_path) == task.file(tmp_path)
    assert task.file(tmp_path).is_relative_to(tmp_path)


def test_what_was_made_is_not_made_again_and_meets_the_right_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = made_clips(20, 0, actors=5)
    monkeypatch.setattr(posteriors, "load_clips", lambda data, cache: clips)
    groups, shop = ((1, 2), (3,), (4,)), Workshop(tmp_path / "no data", tmp_path)
    kept = {}
    for number, teachers in enumerate(((3, 4), (1, 2, 4), (1, 2, 3))):
        for kind, made in (("audio", AudioMember), ("face", FaceMember)):
            torch.manual_seed(len(kept))
            kept[kind, number] = made(EXPERTS)
            file = Task(kind, teachers, 100 * 7 + number, EXPERTS).file(tmp_path)
            file.parent.mkdir(exist_ok=True)
            save_file(kept[kind, number].state_dict(), file)
    pixels = some_experts(0).pixels
    found = cross_fitted(EXPERTS, groups, pixels, 7, shop)
    for number, experts in enumerate(found):
        assert experts.pixels is pixels
        for kind, (member,) in (("audio", experts.audio), ("face", experts.face)):
            assert same(member, kept[kind, number])
            assert not member.training
        # The prosody is judged by who met the same people; nobody met actor 5.
        met = of_actors(clips, ((3, 4), (1, 2, 4), (1, 2, 3))[number])
        (judge,) = experts.prosody
        assert same(judge, train_prosody_member(EXPERTS, met, prosody_versions(met)))
        assert not judge.training
    assert len(list(tmp_path.glob("prosody-*.npz"))) == 1
    task = Task("face", (3, 4), 700, EXPERTS)
    one, again = members([task, task], shop)
    assert same(one, again)
