"""The pixel network: training, and resuming it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from small_models import (
    NOBODY,
    QUICK,
    bright_halves,
    cut_off_after,
    stills_of,
    weights,
)

from avsent.extraction.features.face import standardised
from avsent.model.networks.encoders import PixelNetwork
from recipes import pixels
from recipes.pixels import CHUNK, PixelTraining, judge_pictures, train_pixels
from recipes.stills import FERPLUS, Stills

pytestmark = pytest.mark.usefixtures("one_thread")


def trained_on(images: Stills, seed: int, settings: PixelTraining = QUICK) -> PixelNetwork:
    return train_pixels(images, NOBODY, seed, settings)


# --- what it learns from -------------------------------------------------------------------------


def test_strangers_labels_are_smoothed_and_found_faces_aligned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As one person gave them; FER+'s are votes of ten."""
    taught: list[pixels._Material] = []

    def watched(
        network: PixelNetwork, optimiser: object, material: pixels._Material, *_: object
    ) -> float:
        taught.append(material)
        return 0.0

    monkeypatch.setattr(pixels, "_one_epoch", watched)
    voted, strangers = bright_halves(15), bright_halves(5, seed=1)
    settings = dataclasses.replace(QUICK, smoothing=0.4)
    train_pixels(voted, strangers, 0, settings)
    targets = taught[0].targets
    np.testing.assert_array_equal(targets[:15], voted.votes)
    np.testing.assert_allclose(targets[15:], 0.6 * strangers.votes + 0.4 / len(FERPLUS))
    stills = bright_halves(16)
    dark = np.zeros_like(stills.grey)
    found = np.arange(16) < 8
    mixed = stills_of(stills.grey, stills.majority, aligned=dark, found=found)
    train_pixels(mixed, bright_halves(9), 0, settings)
    rows, generator = torch.arange(16), torch.Generator().manual_seed(0)
    seen = [taught[-1].drawn(rows, share, generator).numpy() for share in (0.0, 1.0)]
    np.testing.assert_array_equal(seen[0], stills.grey)
    np.testing.assert_array_equal(seen[1][8:], stills.grey[8:])
    assert not seen[1][:8].any()


# --- it goes on ----------------------------------------------------------------------------------


def test_a_state_of_other_pictures_starts_anew(tmp_path: Path) -> None:
    state = tmp_path / "state.safetensors"
    train_pixels(bright_halves(60, seed=1), NOBODY, 7, QUICK, state)  # with the same labels
    heard: list[str] = []
    train_pixels(bright_halves(60), NOBODY, 7, QUICK, state, heard.append)
    assert len(heard) == QUICK.epochs


@pytest.fixture(scope="module")
def whole() -> dict[str, bytes]:
    """The weights of an uninterrupted training with seed 7."""
    torch.set_num_threads(1)
    return weights(trained_on(bright_halves(60), 7))


# --- it learns -----------------------------------------------------------------------------------


def test_the_pixel_network_learns() -> None:
    settings = dataclasses.replace(QUICK, epochs=16, small_epochs=6, strong_epochs=12)
    unseen = bright_halves(200, seed=1)
    heard: list[str] = []
    network = train_pixels(bright_halves(60), NOBODY, 0, settings, say=heard.append)
    votes = judge_pictures(network, unseen.grey)
    assert (votes.argmax(axis=1) == unseen.majority).mean() > 0.95
    assert [line.split(": ")[0] for line in heard] == [
        f"pixels, seed 0, epoch {epoch} of 16" for epoch in range(1, 17)
    ]
    losses = [float(line.rpartition(" ")[2]) for line in heard]
    assert min(losses[12:16]) < losses[0]


def test_the_network_stays_as_it_was_trained() -> None:
    network = trained_on(bright_halves(60), 7)
    assert not network.training
    images = bright_halves(CHUNK + 3, seed=2).grey
    votes = judge_pictures(network, images)
    with torch.inference_mode():
        expected = network(torch.from_numpy(standardised(images)))
    np.testing.assert_allclose(votes, expected.numpy(), atol=1e-5)
    np.testing.assert_allclose(np.exp(votes).sum(axis=1), 1, atol=1e-5)


def test_fewer_pictures_than_a_batch_teach_nothing() -> None:
    with pytest.raises(ValueError, match="19 pictures are less than a batch"):
        train_pixels(bright_halves(10), bright_halves(9), 0, QUICK)
    one_epoch = dataclasses.replace(QUICK, epochs=1)
    assert not train_pixels(bright_halves(10), bright_halves(10), 0, one_epoch).training


# --- it goes on ----------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_weights(whole: dict[str, bytes]) -> None:
    torch.rand(3)  # what was drawn before does not count
    assert weights(trained_on(bright_halves(60), 7)) == whole
    assert weights(trained_on(bright_halves(60), 8)) != whole


@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_an_interrupted_training_ends_with_the_same_weights(
    epoch: int, whole: dict[str, bytes], tmp_path: Path
) -> None:
    state = tmp_path / "not" / "yet" / "there" / "state.safetensors"
    cut_off_after(epoch, state)
    assert [file.name for file in state.parent.iterdir()] == [state.name]
    heard: list[str] = []
    member = train_pixels(bright_halves(60), NOBODY, 7, QUICK, state, heard.append)
    assert weights(member) == whole
    assert len(heard) == QUICK.epochs - epoch  # what was done is not done again


def test_a_finished_training_is_only_read(whole: dict[str, bytes], tmp_path: Path) -> None:
    state = tmp_path / "state.safetensors"
    train_pixels(bright_halves(60), NOBODY, 7, QUICK, state)
    before = state.read_bytes()
    heard: list[str] = []
    assert weights(train_pixels(bright_halves(60), NOBODY, 7, QUICK, state, heard.append)) == whole
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
    assert weights(train_pixels(bright_halves(60), NOBODY, 7, QUICK, state, heard.append)) == whole
    assert len(heard) == QUICK.epochs
    # And the file serves again.
    assert weights(train_pixels(bright_halves(60), NOBODY, 7, QUICK, state)) == whole


@pytest.mark.parametrize("other", ["settings", "labels"])
def test_a_state_of_another_training_starts_anew(
    other: str, whole: dict[str, bytes], tmp_path: Path
) -> None:
    state = tmp_path / "state.safetensors"
    images, settings = bright_halves(60), QUICK
    if other == "settings":
        settings = dataclasses.replace(QUICK, learning_rate=0.05)
    else:
        images = dataclasses.replace(images, votes=images.votes[::-1].copy())
    cut_off_after(2, state, settings, images)
    assert weights(train_pixels(bright_halves(60), NOBODY, 7, QUICK, state)) == whole


def test_a_state_of_another_seed_starts_anew(whole: dict[str, bytes], tmp_path: Path) -> None:
    state = tmp_path / "state.safetensors"
    train_pixels(bright_halves(60), NOBODY, 8, QUICK, state)
    assert weights(train_pixels(bright_halves(60), NOBODY, 7, QUICK, state)) == whole
