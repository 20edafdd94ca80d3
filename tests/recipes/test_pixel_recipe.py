"""Pixel networks: training, distillation from teachers, resuming."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from small_models import QUICK, TINY, bright_halves, cut_off_after, weights, with_statistics

from avsent.extraction.features.face import standardised
from avsent.model.networks.encoders import PixelMember
from recipes.pixels import CHUNK, judge_pictures, make_network, teacher_probabilities, train_member

LONGER = dataclasses.replace(QUICK, epochs=16, small_epochs=6)

pytestmark = pytest.mark.usefixtures("one_thread")


def sure_of(labels: NDArray[np.int64], share: float = 1.0) -> NDArray[np.float32]:
    """Probabilities [N, 2] of that certainty."""
    told = np.eye(2)[labels]
    return np.asarray(share * told + (1 - share) * (1 - told), dtype=np.float32)


def right(member: PixelMember) -> float:
    unseen = bright_halves(200, seed=1)
    votes = judge_pictures(make_network([member], TINY), unseen.images)[1]
    return float((votes.argmax(axis=1) == unseen.labels).mean())


# --- the pupil -----------------------------------------------------------------------------------


def test_the_share_of_the_teachers_in_a_target() -> None:
    """Teachers that contradict all labels."""
    images = bright_halves(60)
    wrong = sure_of(1 - images.labels)
    for taught, expected in ((1.0, 0.0), (0.0, 1.0)):
        settings = dataclasses.replace(LONGER, taught=taught)
        pupil = train_member(images, 0, settings, teachers=wrong)
        assert abs(right(pupil) - expected) < 0.05


def test_a_pupil_learns_the_certainty_of_its_teachers() -> None:
    images, settings = bright_halves(60), dataclasses.replace(LONGER, label_smoothing=0.0, mixed=0)
    unsure, sure = (
        train_member(images, 0, settings, teachers=sure_of(images.labels, share))
        for share in (0.5, 1.0)
    )

    def certainty(member: PixelMember) -> float:
        votes = judge_pictures(make_network([member], TINY), images.images)[1]
        return float(np.exp(votes.max(axis=1)).mean())

    # With six tenths of the target from those who only guess: .6 · .5 + .4 · 1.
    assert certainty(unsure) == pytest.approx(0.7, abs=0.1)
    assert certainty(sure) > 0.9


def test_teachers_that_agree_with_the_labels_change_nothing() -> None:
    images = bright_halves(60)
    pupil = train_member(images, 7, QUICK, teachers=sure_of(images.labels))
    alone = train_member(images, 7, QUICK)
    for name, value in pupil.state_dict().items():
        torch.testing.assert_close(value, alone.state_dict()[name], atol=1e-3, rtol=1e-3)


# --- what teachers say ---------------------------------------------------------------------------


def some_teachers(count: int) -> list[PixelMember]:
    torch.manual_seed(4)
    return [with_statistics(PixelMember(TINY), seed) for seed in range(count)]


@torch.inference_mode()
def test_teacher_probabilities_are_means_over_teachers_and_mirror_images() -> None:
    teachers = some_teachers(3)
    for teacher in teachers:
        teacher.out.weight.mul_(20.0)
    images = np.random.default_rng(0).integers(0, 256, (CHUNK + 2, 48, 48)).astype(np.uint8)
    images[:, :, :20] //= 3  # left and right differ
    before = images.copy()
    said = teacher_probabilities(teachers, TINY, images)
    np.testing.assert_array_equal(images, before)
    assert said.shape == (CHUNK + 2, 2)
    assert said.dtype == np.float32
    np.testing.assert_allclose(said.sum(axis=1), 1, atol=1e-6)
    assert np.ptp(said[:, 0]) > 0.01
    views = [torch.from_numpy(standardised(one)) for one in (images, images[:, :, ::-1].copy())]
    logs = [t(view)[1].log_softmax(dim=-1).numpy() for t in teachers for view in views]
    assert np.abs(logs[0] - logs[1]).max() > 0.01
    mean = np.exp(sum(logs) / 6)
    np.testing.assert_allclose(said, mean / mean.sum(axis=1, keepdims=True), atol=1e-5)
    mirrored = teacher_probabilities(teachers, TINY, np.ascontiguousarray(images[:, :, ::-1]))
    np.testing.assert_allclose(mirrored, said, atol=1e-6)


@torch.inference_mode()
def test_one_teacher_and_a_config_of_several() -> None:
    """The config's number of members is that of another network."""
    (teacher,) = some_teachers(1)
    images = bright_halves(4).images
    many = dataclasses.replace(TINY, members=5)
    np.testing.assert_array_equal(
        teacher_probabilities([teacher], many, images),
        teacher_probabilities([teacher], TINY, images),
    )


# --- it goes on ----------------------------------------------------------------------------------


@pytest.mark.parametrize("before", ["none", "others"])
def test_a_state_of_a_training_with_other_teachers_starts_anew(before: str, tmp_path: Path) -> None:
    state, images = tmp_path / "state.safetensors", bright_halves(60)
    teachers = sure_of(images.labels, 0.8)
    whole = weights(train_member(images, 7, QUICK, teachers=teachers))
    if before == "none":
        cut_off_after(2, state)
    else:
        train_member(images, 7, QUICK, state, teachers=sure_of(images.labels, 0.7))
    heard: list[str] = []
    found = train_member(images, 7, QUICK, state, heard.append, teachers)
    assert len(heard) == QUICK.epochs
    assert weights(found) == whole
    # And those of the same teachers go on.
    heard.clear()
    assert weights(train_member(images, 7, QUICK, state, heard.append, teachers)) == whole
    assert not heard


def test_a_state_of_other_pictures_starts_anew(tmp_path: Path) -> None:
    state = tmp_path / "state.safetensors"
    train_member(bright_halves(60, seed=1), 7, QUICK, state)  # with the same labels
    heard: list[str] = []
    train_member(bright_halves(60), 7, QUICK, state, heard.append)
    assert len(heard) == QUICK.epochs


@pytest.fixture(scope="module")
def whole() -> dict[str, bytes]:
    """The weights of an uninterrupted training with seed 7."""
    torch.set_num_threads(1)
    return weights(train_member(bright_halves(60), 7, QUICK))


# --- it learns -----------------------------------------------------------------------------------


def test_the_pixel_network_learns() -> None:
    settings = dataclasses.replace(QUICK, epochs=16, small_epochs=6)
    unseen = bright_halves(200, seed=1)
    heard: list[str] = []
    members = [train_member(bright_halves(60), seed, settings, say=heard.append) for seed in (0, 1)]
    both = dataclasses.replace(TINY, members=2)
    features, votes = judge_pictures(make_network(members, both), unseen.images)
    assert features.shape == (200, 2 * 8)
    assert (votes.argmax(axis=1) == unseen.labels).mean() > 0.95
    assert [line.split(": ")[0] for line in heard[:16]] == [
        f"pixels, seed 0, epoch {epoch} of 16" for epoch in range(1, 17)
    ]
    losses = [float(line.rpartition(" ")[2]) for line in heard]
    assert min(losses[12:16]) < losses[0]
    assert weights(members[0]) != weights(members[1])


def test_the_members_stay_as_they_were_trained() -> None:
    member = train_member(bright_halves(60), 7, QUICK)
    assert not member.training
    images = bright_halves(CHUNK + 3, seed=2).images
    features, votes = judge_pictures(make_network([member], TINY), images)
    with torch.inference_mode():
        alone, logits = member(torch.from_numpy(standardised(images)))
    np.testing.assert_allclose(features, alone.numpy(), atol=1e-5)
    np.testing.assert_allclose(votes, logits.log_softmax(dim=-1).numpy(), atol=1e-5)


def test_fewer_pictures_than_a_batch_teach_nothing() -> None:
    with pytest.raises(ValueError, match="19 pictures are less than a batch"):
        train_member(bright_halves(19), 0, QUICK)
    one_epoch = dataclasses.replace(QUICK, epochs=1)
    assert not train_member(bright_halves(20), 0, one_epoch).training


# --- it goes on ----------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_weights(whole: dict[str, bytes]) -> None:
    torch.rand(3)  # what was drawn before does not count
    assert weights(train_member(bright_halves(60), 7, QUICK)) == whole
    assert weights(train_member(bright_halves(60), 8, QUICK)) != whole


@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_an_interrupted_training_ends_with_the_same_weights(
    epoch: int, whole: dict[str, bytes], tmp_path: Path
) -> None:
    state = tmp_path / "not" / "yet" / "there" / "state.safetensors"
    cut_off_after(epoch, state)
    assert [file.name for file in state.parent.iterdir()] == [state.name]
    heard: list[str] = []
    member = train_member(bright_halves(60), 7, QUICK, state, heard.append)
    assert weights(member) == whole
    assert len(heard) == QUICK.epochs - epoch  # what was done is not done again


def test_a_finished_training_is_only_read(whole: dict[str, bytes], tmp_path: Path) -> None:
    state = tmp_path / "state.safetensors"
    train_member(bright_halves(60), 7, QUICK, state)
    before = state.read_bytes()
    heard: list[str] = []
    assert weights(train_member(bright_halves(60), 7, QUICK, state, heard.append)) == whole
    assert not heard
    assert state.read_bytes() == before


def spoiled(state: Path, how: str) -> None:
    content = state.read_bytes()
    if how == "empty":
        state.write_bytes(b"")
    elif how == "cut":
        state.write_bytes(content[: len(content) // 2])
    elif how == "noise":
        state.write_bytes(np.random.default_rng(0).bytes(len(content)))
    else:
        save_file({"network.out.bias": torch.zeros(2)}, state)


@pytest.mark.parametrize("how", ["empty", "cut", "noise", "of something else"])
def test_a_damaged_state_starts_anew(how: str, whole: dict[str, bytes], tmp_path: Path) -> None:
    state = tmp_path / "state.safetensors"
    cut_off_after(2, state)
    spoiled(state, how)
    heard: list[str] = []
    assert weights(train_member(bright_halves(60), 7, QUICK, state, heard.append)) == whole
    assert len(heard) == QUICK.epochs
    # And the file serves again.
    assert weights(train_member(bright_halves(60), 7, QUICK, state)) == whole


@pytest.mark.parametrize("other", ["settings", "labels"])
def test_a_state_of_another_training_starts_anew(
    other: str, whole: dict[str, bytes], tmp_path: Path
) -> None:
    state = tmp_path / "state.safetensors"
    images, settings = bright_halves(60), QUICK
    if other == "settings":
        settings = dataclasses.replace(QUICK, learning_rate=0.05)
    else:
        images = dataclasses.replace(images, labels=images.labels[::-1].copy())
    cut_off_after(2, state, settings, images)
    assert weights(train_member(bright_halves(60), 7, QUICK, state)) == whole


def test_a_state_of_another_seed_starts_anew(whole: dict[str, bytes], tmp_path: Path) -> None:
    state = tmp_path / "state.safetensors"
    train_member(bright_halves(60), 8, QUICK, state)
    assert weights(train_member(bright_halves(60), 7, QUICK, state)) == whole
