"""What the pixel network sees: pictures of FER2013, crops made like them, and changed copies."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from conftest import SHARED
from hypothesis import given, settings
from hypothesis import strategies as st

from avsent.errors import DatasetError
from avsent.extraction.features.face import (
    MIN_DEVIATION,
    PICTURE_EVERY,
    PICTURE_PX,
    pictures_of,
    standardised,
)
from avsent.model.networks.config import PixelConfig
from avsent.model.networks.encoders import PixelNetwork
from recipes import pixels
from recipes.corpora import SPLITS, FerImages, read_fer2013_images
from recipes.pixels import augmented_pictures

FER2013 = SHARED / "data" / "fer2013"
needs_fer2013 = pytest.mark.skipif(not FER2013.is_dir(), reason="no ../shared/data/fer2013")

TINY = PixelConfig(members=3, stem=4, channels=(5, 6), classes=7)

pytestmark = pytest.mark.usefixtures("one_thread")


# --- FER2013 -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def fer() -> dict[str, FerImages]:
    return {split: read_fer2013_images(FER2013, split) for split in SPLITS}


@needs_fer2013
def test_fer2013_without_what_occurs_twice(fer: dict[str, FerImages]) -> None:
    counts = {"train": 28_006, "valid": 3_589, "test": 3_589}
    assert {split: len(found.images) for split, found in fer.items()} == counts
    for split, found in fer.items():
        assert found.images.shape == (counts[split], 48, 48)
        assert found.images.dtype == np.uint8
        assert found.labels.shape == found.numbers.shape == (counts[split],)
        assert set(found.labels.tolist()) == set(range(len(found.classes)))
    seen = {split: {image.tobytes() for image in found.images} for split, found in fer.items()}
    assert not seen["train"] & (seen["valid"] | seen["test"])


@needs_fer2013
def test_fer2013_labels_stay_with_their_pictures(fer: dict[str, FerImages]) -> None:
    with np.load(FER2013 / "fer2013.npz") as data:
        for split, found in fer.items():
            np.testing.assert_array_equal(found.labels, data[f"{split}_label"][found.numbers])
            blob, offset = data[f"{split}_jpeg"], data[f"{split}_offset"]
            for row in (0, len(found.numbers) // 2, -1):
                number = found.numbers[row]
                image = cv2.imdecode(blob[offset[number] : offset[number + 1]], 0)
                np.testing.assert_array_equal(found.images[row], image)


def write_fer(folder: Path, splits: dict[str, tuple[list[int], list[int]]]) -> None:
    """A file like FER2013's: of each split, the brightness and the class of each picture."""
    arrays: dict[str, np.ndarray] = {"classes": np.array(["angry", "happy"])}
    for split, (levels, labels) in splits.items():
        # Stored without loss; how is read from the picture itself.
        files = [cv2.imencode(".png", np.full((48, 48), level, np.uint8))[1] for level in levels]
        arrays[f"{split}_jpeg"] = np.concatenate(files)
        arrays[f"{split}_offset"] = np.cumsum([0, *map(len, files)])
        arrays[f"{split}_label"] = np.array(labels, dtype=np.uint8)
    np.savez(folder / "fer2013.npz", **arrays)


def test_only_train_loses_what_occurs_elsewhere(tmp_path: Path) -> None:
    train, valid, test = [10, 20, 30, 40, 10], [20, 50], [40, 50, 60]
    write_fer(
        tmp_path,
        {"train": (train, [0, 1, 0, 1, 1]), "valid": (valid, [0, 1]), "test": (test, [1, 0, 1])},
    )
    found = {split: read_fer2013_images(tmp_path, split) for split in SPLITS}
    levels = {split: one.images[:, 0, 0].tolist() for split, one in found.items()}
    assert levels == {"train": [10, 30, 10], "valid": valid, "test": test}
    assert found["train"].labels.tolist() == [0, 0, 1]
    assert found["train"].numbers.tolist() == [0, 2, 4]
    assert found["test"].numbers.tolist() == [0, 1, 2]
    assert found["valid"].classes == ("angry", "happy")


def test_a_damaged_picture_is_an_error(tmp_path: Path) -> None:
    write_fer(tmp_path, dict.fromkeys(SPLITS, ([10, 20, 30], [1, 0, 1])))
    with np.load(tmp_path / "fer2013.npz") as data:
        arrays = dict(data)
    first, second = arrays["test_offset"][1:3]
    arrays["test_jpeg"][first:second] = 0
    np.savez(tmp_path / "fer2013.npz", **arrays)
    with pytest.raises(DatasetError, match=r"cannot be decoded; restore fer2013\.npz"):
        read_fer2013_images(tmp_path, "test")


def test_a_fer2013_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"fer2013\.npz: FER2013 is not there; give the folder"):
        read_fer2013_images(tmp_path, "train")
    one = ([1], [0])
    write_fer(tmp_path, dict.fromkeys(SPLITS, one))
    with pytest.raises(DatasetError, match="no split named dev; there are train, valid, test"):
        read_fer2013_images(tmp_path, "dev")


# --- pictures ------------------------------------------------------------------------------------


def some_crops(count: int, side: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, side, side), dtype=np.uint8)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 7), st.sampled_from([12, 48, 96, 131]), st.integers(0, 99))
def test_pictures_of_any_crops(count: int, side: int, seed: int) -> None:
    crops = some_crops(count, side, seed)
    before = crops.copy()
    found = pictures_of(crops)
    assert found.shape == (-(-count // PICTURE_EVERY), PICTURE_PX, PICTURE_PX)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(crops, before)
    first_again = pictures_of(crops[:1])  # which pictures stand beside it does not matter
    np.testing.assert_array_equal(found[:1], first_again)
    seen = standardised(found)
    np.testing.assert_allclose(seen.mean(axis=(1, 2)), 0, atol=1e-4)
    np.testing.assert_allclose(seen.std(axis=(1, 2)), 1, atol=1e-4)


def test_the_frames_that_the_pixel_network_processes() -> None:
    crops = np.stack([np.full((96, 96), 10 * t, np.uint8) for t in range(5)])
    assert pictures_of(crops)[:, 0, 0].tolist() == list(range(0, 50, 10 * PICTURE_EVERY))
    small = some_crops(1, PICTURE_PX)
    np.testing.assert_array_equal(pictures_of(small), small)


def test_large_crops_are_averaged_not_sampled() -> None:
    crop = some_crops(1, 96)
    fourths = crop.reshape(1, 48, 2, 48, 2).mean(axis=(2, 4))
    np.testing.assert_allclose(pictures_of(crop), fourths, atol=0.51)


def test_light_and_contrast_do_not_matter() -> None:
    grey = some_crops(3, 48) // 3
    np.testing.assert_allclose(standardised(grey), standardised(grey * 2 + 40), atol=1e-4)


def test_standardising_leaves_what_it_was_given() -> None:
    grey = some_crops(2, 48).astype(np.float32)
    before = grey.copy()
    standardised(grey)
    np.testing.assert_array_equal(grey, before)


def test_uniform_pictures_are_not_amplified_to_noise() -> None:
    black = np.zeros((1, 48, 48), dtype=np.uint8)
    assert (standardised(black) == 0).all()
    noisy = black + (some_crops(1, 48) % 2)
    assert np.abs(standardised(noisy)).max() <= 1 / MIN_DEVIATION


# --- the network ---------------------------------------------------------------------------------


def a_network(config: PixelConfig) -> PixelNetwork:
    torch.manual_seed(0)
    return PixelNetwork(config).eval()


@torch.inference_mode()
def test_members_are_averaged_and_their_features_concatenated() -> None:
    network, seen = a_network(TINY), torch.from_numpy(standardised(some_crops(5, 48)))
    features, votes = network(seen)
    assert features.shape == (5, 3 * 6)
    assert votes.shape == (5, 7)
    own = [member(seen) for member in network.members]
    for index, (alone, _) in enumerate(own):
        torch.testing.assert_close(features[:, 6 * index : 6 * (index + 1)], alone)
    together = sum(logits.log_softmax(dim=-1) for _, logits in own) / 3
    torch.testing.assert_close(votes, together)
    assert not torch.allclose(own[0][1], own[1][1])  # each begins elsewhere


@torch.inference_mode()
def test_a_picture_gets_the_same_output_alone_and_at_any_size() -> None:
    network = a_network(TINY)
    for side in (36, 48):
        seen = torch.from_numpy(standardised(some_crops(4, side)))
        features, votes = network(seen)
        for row in range(4):
            alone = network(seen[row : row + 1])
            torch.testing.assert_close(alone[0], features[row : row + 1])
            torch.testing.assert_close(alone[1], votes[row : row + 1])


def test_every_weight_learns() -> None:
    network = a_network(TINY).train()
    features, votes = network(torch.from_numpy(standardised(some_crops(6, 48))))
    (votes.square().sum() + features.sum()).backward()
    still = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert not still


# --- changed copies ------------------------------------------------------------------------------


def some_grey(count: int, seed: int = 0) -> torch.Tensor:
    """Smooth pictures, brighter at their top left."""
    noise = np.random.default_rng(seed).uniform(0, 255, (count, 6, 6)).astype(np.float32)
    large = np.stack([cv2.resize(one, (48, 48), interpolation=cv2.INTER_LINEAR) for one in noise])
    large[:, :16, :16] = 255
    return torch.from_numpy(large)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 6), st.sampled_from([36, 48]), st.integers(0, 10**6))
def test_changed_copies_are_pictures(count: int, size: int, seed: int) -> None:
    grey = some_grey(count)
    found = augmented_pictures(grey, size, torch.Generator().manual_seed(seed))
    assert found.shape == (count, size, size)
    assert torch.isfinite(found).all()
    assert torch.equal(grey, some_grey(count))
    again = augmented_pictures(grey, size, torch.Generator().manual_seed(seed))
    assert torch.equal(found, again)
    other = augmented_pictures(grey, size, torch.Generator().manual_seed(seed + 1))
    assert not torch.equal(found, other)


@pytest.fixture
def only_mirrored(monkeypatch: pytest.MonkeyPatch) -> None:
    """All other changes are turned off."""
    for name in ("ROTATION_RAD", "SCALE", "SHIFT", "CONTRAST", "NOISE", "BLURRED", "ERASED"):
        monkeypatch.setattr(pixels, name, 0.0)
    monkeypatch.setattr(pixels, "_lit", lambda pictures, *_: pictures / 255.0)


@pytest.mark.usefixtures("only_mirrored")
def test_half_of_them_are_mirrored_whole() -> None:
    grey = some_grey(200)
    plain = torch.from_numpy(standardised(grey.numpy()))
    found = augmented_pictures(grey, 48, torch.Generator().manual_seed(1))
    same = (found - plain).abs().amax((1, 2)) < 0.01
    mirrored = (found - plain.flip(2)).abs().amax((1, 2)) < 0.01
    assert (same ^ mirrored).all()
    assert 70 <= int(mirrored.sum()) <= 130


@pytest.mark.usefixtures("only_mirrored")
def test_some_are_covered_by_a_rectangle(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixels, "ERASED", 0.5)
    found = augmented_pictures(some_grey(300), 48, torch.Generator().manual_seed(2))
    covered = (found == 0).numpy()
    touched = 0
    for one in covered:
        rows, columns = np.flatnonzero(one.any(axis=1)), np.flatnonzero(one.any(axis=0))
        if len(rows) == 0:
            continue
        touched += 1
        assert one[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
        assert max(len(rows), len(columns)) <= np.ceil(48 * pixels.ERASED_SIDE)
    assert 100 <= touched <= 180


@pytest.mark.usefixtures("only_mirrored")
def test_some_lose_their_detail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixels, "BLURRED", 0.5)
    chequered = 255.0 * (torch.arange(48)[:, None] // 2 + torch.arange(48) // 2).remainder(2)
    many = chequered.float().expand(100, 48, 48)
    found = augmented_pictures(many, 48, torch.Generator().manual_seed(3))
    plain = torch.from_numpy(standardised(chequered[None].numpy()))
    off = torch.minimum(
        (found - plain).abs().amax((1, 2)), (found - plain.flip(2)).abs().amax((1, 2))
    )
    assert 30 <= int((off > 0.1).sum()) <= 70


def test_a_changed_copy_stays_the_same_way_up() -> None:
    upper = torch.zeros(100, 48, 48)
    upper[:, :24] = 255.0
    found = augmented_pictures(upper, 48, torch.Generator().manual_seed(4))
    assert (found[:, :16].mean((1, 2)) > found[:, 32:].mean((1, 2))).all()
