"""AVEF's pieces of an utterance: how it is cut, encoded and embedded."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from avsent.networks.attention import piece_masks
from avsent.networks.audio_encoder import TIME_STRIDE, AudioEncoder
from avsent.networks.config import (
    AudioEncoderConfig,
    ContextConfig,
    FaceEncoderConfig,
    FusionConfig,
    TargetConfig,
    VectorSizes,
)
from avsent.networks.face_encoder import FaceEncoder
from avsent.networks.fusion.base import Embedded
from avsent.networks.target import TargetModel, Utterances

SEGMENTS = 3
SMALL_CONTEXT = ContextConfig(first_gru=4, dense=5, second_gru=3, classifier=16, dropout=0.0)
PAIR = ("audio", "face")


pytestmark = pytest.mark.usefixtures("one_thread")


def random(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=25), st.integers(1, 7))
def test_pieces_cover_the_valid_steps_and_none_is_empty(mask: list[bool], pieces: int) -> None:
    found = piece_masks(torch.tensor([mask]), pieces)[0].tolist()
    valid = [step for step, there in enumerate(mask) if there]
    count = len(valid)
    for s, row in enumerate(found):
        first = s * count // pieces
        end = max(math.ceil((s + 1) * count / pieces), first + 1)
        assert [step for step, inside in enumerate(row) if inside] == valid[first:end]
        assert any(row) == any(mask)
    assert [any(steps) for steps in zip(*found, strict=True)] == mask


def cut_audio(pieces: int) -> AudioEncoder:
    torch.manual_seed(1)
    return AudioEncoder(AudioEncoderConfig(), pieces).double().eval()


def cut_face(pieces: int) -> FaceEncoder:
    torch.manual_seed(1)
    return FaceEncoder(FaceEncoderConfig(), pieces).double().eval()


@torch.inference_mode()
def test_audio_in_pieces() -> None:
    frames = torch.tensor([90, 9, 17, 64])
    found, weight = cut_audio(4)(random(4, 64, 90), frames)
    assert found.shape == (4, 4 * 64)
    torch.testing.assert_close(weight.sum(1), torch.ones(4, dtype=torch.float64))
    for row, steps in zip(weight, torch.ceil(frames / TIME_STRIDE).int().tolist(), strict=True):
        assert row[:steps].gt(0).all()
        assert row[steps:].eq(0).all()
    # Two steps, four pieces: the first two pieces are the first step, the others the second.
    pieces = found[1].view(4, 64)
    assert torch.equal(pieces[0], pieces[1])
    assert torch.equal(pieces[2], pieces[3])
    assert not torch.allclose(pieces[1], pieces[2])


@torch.inference_mode()
def test_faces_in_pieces_are_faces_of_each_piece() -> None:
    faces, mask = random(3, 8, 51, 2), torch.arange(8)[None] < torch.tensor([8, 4, 1])[:, None]
    found, weight = cut_face(4)(faces, mask)
    torch.testing.assert_close(weight.sum(1), torch.ones(3, dtype=torch.float64))
    assert weight[~mask].eq(0).all()
    whole, plain_weight = cut_face(1)(faces[2:], mask[2:])
    for s in range(4):
        piece, by_frame = cut_face(1)(faces[:1, 2 * s : 2 * s + 2], mask[:1, :2])
        torch.testing.assert_close(found[0].view(4, 64)[s], piece[0])
        torch.testing.assert_close(weight[0, 2 * s : 2 * s + 2], by_frame[0] / 4)
        torch.testing.assert_close(found[2].view(4, 64)[s], whole[0])  # one frame, four times
    assert torch.equal(weight[2:], plain_weight)


def avef_model(segments: int = SEGMENTS, vectors: VectorSizes | None = None) -> TargetModel:
    torch.manual_seed(4)
    config = TargetConfig(
        context=SMALL_CONTEXT,
        vectors=vectors or VectorSizes(),
        fusion=FusionConfig(name="avef", segments=segments),
    )
    return TargetModel(config).double().eval()


def videos_for(model: TargetModel, lengths: list[int]) -> Utterances:
    there = torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]
    face = there.clone()
    face[0, 1] = False
    values = {
        m: random(*there.shape, model.config.representation_size(m), seed=n)
        for n, m in enumerate(PAIR)
    }
    return Utterances(values, {"audio": there, "face": face}, torch.tensor(lengths))


@torch.inference_mode()
def test_avef_with_one_segment_is_its_head_on_whole_utterances() -> None:
    model = avef_model(1)
    videos = videos_for(model, [4, 2])
    values = {
        m: model.embedding(m)(videos.values[m], videos.present[m], videos.lengths) for m in PAIR
    }
    segments = {m: v[:, :, None] for m, v in values.items()}
    expected_logits = model.head(Embedded(values, videos.present, segments)).logits
    assert torch.equal(model(videos).logits, expected_logits)


@torch.inference_mode()
def test_avef_embeds_pieces_in_the_order_of_time() -> None:
    model = avef_model()
    videos = videos_for(model, [4, 2])
    embedded = model.embed(videos)
    size = model.config.input_size("audio")
    assert embedded.segments["audio"].shape == (2, 4, SEGMENTS, 6)
    for b, length in enumerate([4, 2]):
        pieces = [
            videos.values["face"][b, u, s * size : (s + 1) * size]
            for u in range(length)
            for s in range(SEGMENTS)
        ]
        there = [bool(videos.present["face"][b, u]) for u in range(length) for _ in range(SEGMENTS)]
        alone = model.embedding("face")(
            torch.stack(pieces)[None], torch.tensor([there]), torch.tensor([len(pieces)])
        )[0]
        found = embedded.segments["face"][b, :length].flatten(0, 1)
        torch.testing.assert_close(found, alone)
        mean = alone.view(length, SEGMENTS, -1).mean(1)
        torch.testing.assert_close(embedded.values["face"][b, :length], mean)
    assert embedded.values["face"][0, 1].eq(0).all()
    assert embedded.values["face"][1, 2:].eq(0).all()


@torch.inference_mode()
def test_avef_with_ready_made_vectors() -> None:
    both = avef_model(vectors=VectorSizes(audio=7, face=9))
    assert [both.config.representation_size(m) for m in PAIR] == [7, 9]
    assert both.embed(videos_for(both, [3])).segments["face"].shape == (1, 3, 1, 6)
    one = avef_model(vectors=VectorSizes(audio=7))
    assert [one.config.representation_size(m) for m in PAIR] == [7, SEGMENTS * 64]
    embedded = one.embed(videos_for(one, [3]))
    repeated = embedded.values["audio"][:, :, None].expand(-1, -1, SEGMENTS, -1)
    assert torch.equal(embedded.segments["audio"], repeated)
    assert embedded.segments["face"].shape == (1, 3, SEGMENTS, 6)
    with pytest.raises(ValueError, match="one segment or more"):
        avef_model(0)
