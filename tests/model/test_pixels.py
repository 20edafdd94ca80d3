"""What the pixel network sees: stills of two corpora, crops made like them, and changed copies."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
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
from avsent.labels import EMOTIONS
from avsent.model.networks.config import PixelConfig
from avsent.model.networks.encoders import PixelNetwork
from recipes import pixels, stills
from recipes.pixels import augmented_pictures
from recipes.stills import FERPLUS, SPLITS, Stills, joined, load_stills

TINY = PixelConfig(stem=4, channels=(5, 6))

pytestmark = pytest.mark.usefixtures("one_thread")


# --- stills --------------------------------------------------------------------------------------


def files_of(levels: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Uniform pictures of that brightness in one array, and where each begins."""
    # Stored without loss; how is read from the picture itself.
    files = [cv2.imencode(".png", np.full((48, 48), level, np.uint8))[1] for level in levels]
    return np.concatenate(files), np.cumsum([0, *map(len, files)])


def write_ferplus(folder: Path, splits: dict[str, tuple[list[int], list[list[int]]]]) -> None:
    """Files like FER2013's and FER+'s: of each split the brightness of each picture, and its votes
    for the eight classes, for "unknown" and for "no face"."""
    pictures, votes = {}, {}
    for split, (levels, counts) in splits.items():
        pictures[f"{split}_jpeg"], pictures[f"{split}_offset"] = files_of(levels)
        votes[f"{split}_votes"] = np.array(counts, dtype=np.uint8)
    (folder / "fer2013").mkdir()
    np.savez(folder / "fer2013" / "fer2013.npz", **pictures)
    np.savez(folder / "fer2013" / "ferplus_votes.npz", **votes)


def voted(**counts: int) -> list[int]:
    return [counts.get(name, 0) for name in (*FERPLUS, "unknown", "nothing")]


HAPPY, SAD = voted(happiness=10), voted(sadness=7, neutral=3)


@pytest.fixture
def no_faces(monkeypatch: pytest.MonkeyPatch) -> None:
    """dlib would find none in uniform pictures, and takes its time."""

    def found(images: list[np.ndarray]) -> dict[str, np.ndarray]:
        grey, count = np.stack(images), len(images)
        landmarks = np.zeros((count, 51, 2), dtype=np.float32)
        return {
            "grey": grey,
            "found": np.zeros(count, dtype=np.bool_),
            "aligned": grey,
            "landmarks": landmarks,
        }

    monkeypatch.setattr(stills, "_find_faces", found)


def levels_of(found: Stills) -> list[int]:
    levels: list[int] = found.grey[:, 0, 0].tolist()
    return levels


@pytest.mark.usefixtures("no_faces")
def test_ferplus_without_the_unknown_and_what_occurs_again(tmp_path: Path) -> None:
    unknown = voted(happiness=4, unknown=3, nothing=1)  # half of the votes
    nobody = voted(nothing=10)
    write_ferplus(
        tmp_path,
        {
            "train": ([10, 20, 30, 40, 10, 70], [HAPPY, HAPPY, unknown, SAD, SAD, nobody]),
            "valid": ([20, 50], [SAD, HAPPY]),
            "test": ([40, 50, 60], [HAPPY, SAD, voted(happiness=3, fear=1, unknown=1)]),
        },
    )
    found = {split: load_stills(tmp_path, tmp_path, "ferplus", split) for split in SPLITS}
    # 20 and 40 occur in a later split, 30 and 70 are mostly unknown; 10 occurs twice in one.
    assert {split: levels_of(one) for split, one in found.items()} == {
        "train": [10, 10],
        "valid": [20],
        "test": [40, 50, 60],
    }
    np.testing.assert_allclose(found["train"].votes[1], np.array(SAD[:8]) / 10)
    np.testing.assert_allclose(found["test"].votes[2, [1, 6]], [0.75, 0.25])  # of known ones
    assert len(set(found["test"].person.tolist())) == 3
    assert found["valid"].polarity.tolist() == [0]
    # The second time the faces come from the cache.
    again = load_stills(tmp_path, tmp_path, "ferplus", "test")
    np.testing.assert_array_equal(again.grey, found["test"].grey)
    assert len(joined([again, found["train"]])) == 5


@pytest.mark.usefixtures("no_faces")
def test_strangers_are_split_by_person(tmp_path: Path) -> None:
    blob, offset = files_of(list(range(60)))
    (tmp_path / "strangers").mkdir()
    np.savez(
        tmp_path / "strangers" / "strangers.npz",
        person=np.arange(60) // 3,
        label=np.arange(60) % 2,
        classes=np.array(["happiness", "anger"]),
        jpeg=blob,
        offset=offset,
    )
    found = {split: load_stills(tmp_path, tmp_path, "strangers", split) for split in SPLITS}
    people = [set(one.person.tolist()) for one in found.values()]
    assert set.union(*people) == set(range(20))
    assert [len(one) for one in people] == [14, 2, 4]  # none is in two of them
    for one in found.values():
        assert one.person.tolist() == [level // 3 for level in levels_of(one)]
        expected = [FERPLUS.index(("happiness", "anger")[level % 2]) for level in levels_of(one)]
        assert one.majority.tolist() == expected
        assert one.votes.sum() == len(one)


def test_shares_of_emotions_and_polarities() -> None:
    votes = np.array(
        [voted(happiness=3, contempt=1), voted(surprise=4), voted(contempt=4), voted(neutral=4)]
    )[:, :8]
    empty = np.zeros((4, 48, 48), dtype=np.uint8)
    landmarks = np.zeros((4, 51, 2), dtype=np.float32)
    some = Stills(empty, votes.astype(np.float32) / 4, np.arange(4), empty > 0, empty, landmarks)
    # Contempt is no emotion of ours, surprise no polarity.
    assert some.emotions[:, EMOTIONS.index("happy")].tolist() == [1, 0, 0, 0]
    assert some.emotions.sum(axis=1).tolist() == [1, 1, 0, 1]
    assert some.polarities.tolist() == [[0.25, 0, 0.75], [0, 0, 0], [1, 0, 0], [0, 1, 0]]
    assert some.polarity.tolist() == [2, -1, 0, 1]


def test_a_damaged_picture_is_an_error(tmp_path: Path) -> None:
    write_ferplus(tmp_path, dict.fromkeys(SPLITS, ([10, 20, 30], [HAPPY, SAD, HAPPY])))
    path = tmp_path / "fer2013" / "fer2013.npz"
    with np.load(path) as data:
        arrays = dict(data)
    first, second = arrays["test_offset"][1:3]
    arrays["test_jpeg"][first:second] = 0
    np.savez(path, **arrays)
    with pytest.raises(DatasetError, match="cannot be decoded; restore the corpus"):
        load_stills(tmp_path, tmp_path, "ferplus", "test")


def test_stills_that_are_not_there(tmp_path: Path) -> None:
    for corpus, name in (("ferplus", "fer2013"), ("strangers", "strangers")):
        with pytest.raises(DatasetError, match=rf"{name}\.npz: not there; give the folder"):
            load_stills(tmp_path, tmp_path, corpus, "train")


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
def test_a_picture_gets_the_same_output_alone_and_at_any_size() -> None:
    network = a_network(TINY)
    for side in (36, 48):
        seen = torch.from_numpy(standardised(some_crops(4, side)))
        votes = network(seen)
        assert votes.shape == (4, len(FERPLUS))
        torch.testing.assert_close(votes.exp().sum(dim=1), torch.ones(4))
        for row in range(4):
            torch.testing.assert_close(network(seen[row : row + 1]), votes[row : row + 1])


def test_every_weight_learns() -> None:
    network = a_network(TINY).train()
    network(torch.from_numpy(standardised(some_crops(6, 48)))).square().sum().backward()
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
