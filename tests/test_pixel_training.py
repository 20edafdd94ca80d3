"""The pixel network's training: that it learns, and that one cut off goes on as if it had not."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from small_pixels import QUICK, TINY, bright_halves, cut_off_after, weights

from avsent.features.pixels import standardised
from avsent.training.pixel_training import CHUNK, judge_pictures, make_network, train_member

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def whole() -> dict[str, bytes]:
    """The weights of a training with seed 7 that nothing interrupted."""
    torch.set_num_threads(1)
    return weights(train_member(bright_halves(60), 7, QUICK))


# --- it learns -----------------------------------------------------------------------------------


def test_it_learns_what_is_to_be_seen() -> None:
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
def test_what_was_cut_off_ends_with_the_same_weights(
    epoch: int, whole: dict[str, bytes], tmp_path: Path
) -> None:
    state = tmp_path / "not" / "yet" / "there" / "state.safetensors"
    cut_off_after(epoch, state)
    assert [file.name for file in state.parent.iterdir()] == [state.name]
    heard: list[str] = []
    member = train_member(bright_halves(60), 7, QUICK, state, heard.append)
    assert weights(member) == whole
    assert len(heard) == QUICK.epochs - epoch  # what was done is not done again


def test_what_is_done_is_only_read(whole: dict[str, bytes], tmp_path: Path) -> None:
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
