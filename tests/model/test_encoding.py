"""Encoding in batches, as on a GPU: the representations of one by one, in batches that fit."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from multiprocessing.reduction import ForkingPickler
from typing import TypeAlias

import numpy as np
import pytest
import torch
from conftest import SAMPLE, SHARED

import avsent.model.encoding
from avsent.batch.engines.gpu import BatchSize
from avsent.errors import InputError
from avsent.extraction.extractor import FileFacts, UtteranceFeatures, extract_file
from avsent.model.checkpoint import load_checkpoint, load_config
from avsent.model.decision import Decider
from avsent.model.encoding import EncodedUtterance, of_like_length

pytestmark = pytest.mark.usefixtures("one_thread")

MANY = SHARED / "clips" / "many_utterances.mp4"
Files: TypeAlias = list[tuple[list[UtteranceFeatures], FileFacts]]


@pytest.fixture(scope="module")
def extracted() -> Files:
    """Two real videos where the clips are there, else one; and all that may be missing."""
    files = []
    for path in (SAMPLE, MANY):
        if path.exists():
            found: list[UtteranceFeatures] = []
            facts = extract_file(path, load_config("default").features, found.append)
            files.append((found, facts))
    whole = files[0][0]
    audio, face = whole[0].audio, whole[1].face
    assert audio is not None
    assert face is not None
    files[0][0][1:1] = [
        dataclasses.replace(whole[0], audio=None),
        dataclasses.replace(whole[0], face=None, track=None),
        dataclasses.replace(whole[0], audio=None, face=None, track=None),
        dataclasses.replace(whole[0], audio=dataclasses.replace(audio, prosody=None)),
        dataclasses.replace(whole[1], face=dataclasses.replace(face, pictures=None)),
    ]
    return files


@pytest.fixture(scope="module", params=["default", "emotion"])
def decider(request: pytest.FixtureRequest) -> Decider:
    return Decider(load_checkpoint(request.param), torch.device("cpu"))


def assert_same(
    found: Sequence[EncodedUtterance], alone: Sequence[EncodedUtterance], tolerance: float
) -> None:
    exact = {"atol": tolerance, "rtol": 0.0}
    assert len(found) == len(alone)
    for one, other in zip(found, alone, strict=True):
        for name in ("segment", "track", "warnings", "provisional"):
            assert getattr(one.features, name) == getattr(other.features, name)
        assert (one.audio is None, one.looks is None) == (other.audio is None, other.looks is None)
        if one.audio is not None:
            torch.testing.assert_close(one.audio, other.audio, **exact)
        frames, expected = (
            np.array([(at.time_s, at.weight) for at in item.audio_frames]) for item in (one, other)
        )
        np.testing.assert_allclose(frames, expected, **exact)
        face, expected_face = one.features.face, other.features.face
        assert (face is None) == (expected_face is None)
        if face is not None and expected_face is not None:
            assert (face.times_s == expected_face.times_s).all()
            assert (face.landmarks == expected_face.landmarks).all()
        if one.looks is not None:
            torch.testing.assert_close(one.looks, other.looks, **exact)


def each_alone(decider: Decider, features: Sequence[UtteranceFeatures]) -> list[EncodedUtterance]:
    return [encoded for one in features for encoded in decider.encode([one])]


def test_a_batch_gives_the_same_as_one_by_one(decider: Decider, extracted: Files) -> None:
    everything = [one for found, _ in extracted for one in found]
    lengths = {one.audio.power.shape[1] for one in everything if one.audio is not None}
    assert len(lengths) >= 4  # so there is padding
    alone = each_alone(decider, everything)
    together = decider.encode(everything, together=True)
    assert_same(together, alone, 1e-5)
    first = 0
    for found, facts in extracted:
        own = slice(first, first + len(found))
        first += len(found)
        for one, other in zip(
            decider.encode_faces(together[own], facts.neutrals),
            decider.encode_faces(alone[own], facts.neutrals),
            strict=True,
        ):
            assert (one.face is None) == (other.face is None)
            if one.face is not None:
                torch.testing.assert_close(one.face, other.face, atol=1e-5, rtol=0)


def test_one_by_one_the_others_do_not_change_a_bit(decider: Decider, extracted: Files) -> None:
    some = extracted[0][0]
    alone = each_alone(decider, some)
    assert_same(decider.encode(some), alone, 0.0)  # on a processor that is what it does
    assert_same(decider.encode(some[::-1], together=False)[::-1], alone, 0.0)
    for one, other in zip(some, alone, strict=True):
        assert_same(decider.encode([one], together=True), [other], 0.0)
    assert decider.encode([], together=True) == []


def test_a_large_batch_is_split(
    decider: Decider,
    extracted: Files,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    some = extracted[0][0]
    alone = each_alone(decider, some)
    monkeypatch.setattr(avsent.model.encoding, "MOST_PICTURES", 7)
    monkeypatch.setattr(avsent.model.encoding, "MOST_FRAMES", 600)
    assert_same(decider.encode(some, together=True), alone, 1e-5)


def test_groups_of_similar_length() -> None:
    lengths = [5, 90, 6, 300, 7, 100]
    assert list(of_like_length(lengths, 200)) == [[0, 2, 4], [1, 5], [3]]
    assert list(of_like_length(lengths, 1)) == [[0], [2], [4], [1], [5], [3]]
    assert list(of_like_length([], 10)) == []


def test_spectrogram_pictures_and_landmarks_are_dropped_as_soon_as_they_are_encoded(
    decider: Decider, extracted: Files
) -> None:
    """They would fill the memory in the course of a long video."""
    found, facts = extracted[0]
    encoded = decider.encode(found)
    assert all(one.features.audio is None for one in encoded)
    faces = [one.features.face for one in encoded if one.features.face is not None]
    assert len(faces) == sum(one.face is not None for one in found) > 0
    assert all(face.pictures is None for face in faces)
    for one in decider.encode_faces(encoded, facts.neutrals):
        assert one.features.face is None
        assert one.looks is None


def test_an_utterance_is_the_same_after_it_was_sent_from_another_process(
    decider: Decider, extracted: Files
) -> None:
    some = extracted[0][0]
    sent = [ForkingPickler.loads(ForkingPickler.dumps(one)) for one in some]
    assert_same(decider.encode(sent), each_alone(decider, some), 0.0)


# --- memory --------------------------------------------------------------------------------------


class SmallDevice:
    """The real encoder, on a device with room for ``most`` utterances."""

    def __init__(self, decider: Decider, most: int) -> None:
        self.decider, self.most = decider, most
        self.tried: list[int] = []

    def encode(self, features: Sequence[UtteranceFeatures]) -> list[EncodedUtterance]:
        self.tried.append(len(features))
        if len(features) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.decider.encode(features, together=True)


def test_the_batch_is_halved_until_it_fits_and_stays_so(decider: Decider, extracted: Files) -> None:
    some = extracted[0][0]
    assert len(some) == 9
    device, size = SmallDevice(decider, 2), BatchSize(8)
    alone = each_alone(decider, some)
    assert_same(size.halving(device.encode, some), alone, 1e-5)
    assert size.most == 2
    assert device.tried == [8, 4, 2, 2, 2, 2, 1]
    device.tried.clear()
    assert_same(size.halving(device.encode, some[:5]), alone[:5], 1e-5)
    assert device.tried == [2, 2, 1]  # not tried again
    assert size.halving(device.encode, []) == []


def test_an_utterance_that_does_not_fit_alone(decider: Decider, extracted: Files) -> None:
    some = extracted[0][0][:3]
    size = BatchSize(8)
    with pytest.raises(InputError, match=r"^long\.mp4 at 0\.\d\d s: .*--device cpu$") as caught:
        size.halving(
            SmallDevice(decider, 0).encode,
            some,
            lambda one: f"long.mp4 at {one.segment.start_s:.2f} s",
        )
    assert "\n" not in str(caught.value)
    assert size.most == 1
    # Another one may well fit.
    assert len(size.halving(SmallDevice(decider, 1).encode, some)) == 3


def test_other_errors_are_not_swallowed() -> None:
    def broken(items: Sequence[int]) -> list[int]:
        raise RuntimeError("not about memory")

    with pytest.raises(RuntimeError, match="not about memory"):
        BatchSize(2).halving(broken, [1, 2])
    with pytest.raises(ValueError, match="2 items went in, 1 came out"):
        BatchSize(2).halving(lambda items: items[:1], [1, 2])
    with pytest.raises(ValueError, match="at least one"):
        BatchSize(0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
def test_on_a_gpu_as_on_a_processor(extracted: Files) -> None:
    everything = [one for found, _ in extracted for one in found]
    there = Decider(load_checkpoint("default"), torch.device("cuda"))
    here = Decider(load_checkpoint("default"), torch.device("cpu"))
    for one, other in zip(there.encode(everything), here.encode(everything), strict=True):
        if other.audio is not None:
            assert one.audio is not None
            torch.testing.assert_close(one.audio.cpu(), other.audio, atol=5e-3, rtol=0)


def test_decisions_do_not_depend_on_the_number_of_threads(
    decider: Decider, extracted: Files
) -> None:
    """A batch of several workers has fewer threads than a single prediction."""
    found, facts = extracted[-1]
    encoded = decider.encode_faces(decider.encode(found), facts.neutrals)
    decisions = []
    for threads in (1, 2, 4):
        torch.set_num_threads(threads)
        decisions.append([dataclasses.asdict(one) for one in decider.decide(encoded)])
    assert decisions[0] == decisions[1] == decisions[2]
