"""Networks: attention against slow references; what padding and missing parts may not change."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_runs import (
    LABELS,
    SIZE,
    STEP_WEIGHTS,
    make_teacher,
    small_corpus,
    small_updates,
    utterances,
)
from small_runs import random as random_encoder_heads
from torch import Tensor
from torch.nn import functional

from avsent.extraction.features.voice import MIN_FRAMES
from avsent.model.networks.attention import (
    EmbeddingNetwork,
    FrameAttention,
    cross_attention,
    masked_softmax,
)
from avsent.model.networks.config import (
    AudioEncoderConfig,
    ContextConfig,
    FaceEncoderConfig,
    FusionConfig,
    TargetConfig,
    VectorSizes,
)
from avsent.model.networks.encoders import TIME_STRIDE, AudioEncoder, FaceEncoder
from avsent.model.networks.fusion import HEADS
from avsent.model.networks.target import TargetModel, Utterances
from avsent.model.networks.transfer import Transfer
from avsent.training.data.corpus import Sample
from avsent.training.dataset import Videos, encoded, make_videos
from avsent.training.losses import ENCODER_SHARE, Updates
from avsent.training.settings import OptimiserSettings, TransferSettings

BANDS = 64
SEES_AHEAD = 21  # frames after its own first one that a cell of the grid sees


pytestmark = pytest.mark.usefixtures("one_thread")


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def with_statistics(model: torch.nn.Module) -> torch.nn.Module:
    """``model`` in evaluation mode, with batch statistics that are not the initial 0 and 1."""
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.copy_(0.3 * random(*buffer.shape, seed=5))
        elif name.endswith("running_var"):
            buffer.copy_(0.5 + random(*buffer.shape, seed=6).abs())
    return model.eval()


def slow_softmax(scores: list[float], mask: list[bool]) -> list[float]:
    weight = [math.exp(s) if there else 0.0 for s, there in zip(scores, mask, strict=True)]
    return [w / sum(weight) for w in weight] if any(mask) else [0.0] * len(mask)


# --- attention -----------------------------------------------------------------------------------

row = st.lists(st.tuples(st.floats(-20, 20), st.booleans()), min_size=1, max_size=8)


@settings(max_examples=60, deadline=None)
@given(row)
def test_masked_softmax_equals_a_loop(entries: list[tuple[float, bool]]) -> None:
    scores, mask = [s for s, _ in entries], [there for _, there in entries]
    weight = masked_softmax(torch.tensor([scores], dtype=torch.float64), torch.tensor([mask]))
    assert weight[0].tolist() == pytest.approx(slow_softmax(scores, mask), abs=1e-9)


def test_masked_softmax_of_huge_scores_and_of_an_empty_row() -> None:
    scores = torch.tensor([[1e30, -1e30, 1e30], [3.0, 4.0, 5.0]], requires_grad=True)
    mask = torch.tensor([[True, True, True], [False, False, False]])
    weight = masked_softmax(scores, mask)
    assert weight.tolist() == [[0.5, 0.0, 0.5], [0.0, 0.0, 0.0]]
    weight.square().sum().backward()
    assert scores.grad is not None
    assert torch.isfinite(scores.grad).all()


def attention_of(scale: float) -> FrameAttention:
    torch.manual_seed(3)
    return FrameAttention(size=5, hidden=4, scale=scale).double()


@pytest.mark.parametrize("scale", [0.0, 0.5, 1.0])
@torch.inference_mode()
def test_frame_attention_equals_a_loop(scale: float) -> None:
    attention, items = attention_of(scale), random(3, 6, 5).double()
    items[1, 4:] *= 100  # padding
    mask = torch.tensor([[True] * 6, [True, False, True, True, False, False], [False] * 6])
    pooled, weight = (each[:, 0] for each in attention(items, mask[:, None]))
    w, b, u = attention.projection.weight, attention.projection.bias, attention.score.weight[0]
    for n in range(3):
        energy = [float(u @ torch.tanh(w @ items[n, k] + b)) for k in range(6)]
        alpha = slow_softmax([scale * e for e in energy], mask[n].tolist())
        assert weight[n].tolist() == pytest.approx(alpha, abs=1e-12)
        expected = [sum(alpha[k] * float(items[n, k, c]) for k in range(6)) for c in range(5)]
        assert pooled[n].tolist() == pytest.approx(expected, abs=1e-12)


def test_scale_zero_is_the_mean_of_valid_frames() -> None:
    items, mask = random(1, 4, 5).double(), torch.tensor([[True, True, False, True]])
    pooled, weight = attention_of(0.0)(items, mask[:, None])
    torch.testing.assert_close(pooled[0, 0], items[0, [0, 1, 3]].mean(0))
    torch.testing.assert_close(weight[0, 0], torch.tensor([1, 1, 0, 1]).double() / 3)
    assert attention_of(1.0)(items, mask[:, None])[1][0, 0, :2].diff().abs() > 0.01


def test_cross_attention_equals_the_loops_of_mmmu_ba() -> None:
    x, y = random(2, 4, 3).double(), random(2, 4, 3, seed=1).double()
    mask = torch.tensor([[True, True, False, True], [False] * 4])
    attended, weight = cross_attention(x, y, mask)
    for b in range(2):
        for i in range(4):
            scores = [sum(float(x[b, i, d] * y[b, j, d]) for d in range(3)) for j in range(4)]
            alpha = slow_softmax(scores, mask[b].tolist())
            assert weight[b, i].tolist() == pytest.approx(alpha, abs=1e-12)
            for d in range(3):
                found = sum(alpha[j] * float(y[b, j, d]) for j in range(4)) * float(x[b, i, d])
                assert float(attended[b, i, d]) == pytest.approx(found, abs=1e-12)


# --- utterance encoders --------------------------------------------------------------------------


def audio_encoder() -> torch.nn.Module:
    torch.manual_seed(1)
    return with_statistics(AudioEncoder(AudioEncoderConfig()))


@settings(max_examples=20, deadline=None)
@given(st.integers(MIN_FRAMES, 150))
def test_audio_encoder_takes_any_length(frames: int) -> None:
    with torch.inference_mode():
        found, weight = audio_encoder()(random(1, BANDS, frames), torch.tensor([frames]))
    assert (found.shape, weight.shape) == ((1, 64), (1, math.ceil(frames / TIME_STRIDE)))
    assert float(weight.sum()) == pytest.approx(1, abs=1e-5)
    assert (weight > 0).all()


@torch.inference_mode()
def test_audio_padding_gets_no_attention_and_changes_nothing() -> None:
    encoder, sound = audio_encoder(), random(1, BANDS, 45)

    def padded(frames: int) -> tuple[Tensor, Tensor]:
        log_mel = torch.zeros(1, BANDS, frames)
        log_mel[:, :, :45] = sound
        return encoder(log_mel, torch.tensor([45]))

    alone, short, long = padded(45), padded(45 + 32), padded(45 + 160)
    assert short[1][:, 6:].eq(0).all() and short[1].shape == (1, 10)  # noqa: PT018
    assert float(short[1].sum()) == pytest.approx(1, abs=1e-5)
    for found in (short, long):
        torch.testing.assert_close(found[0], alone[0], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(found[1][:, :6], alone[1], atol=1e-5, rtol=1e-4)
    with_others = encoder(random(3, BANDS, 70), torch.tensor([45, 70, 17]))
    cut = encoder(random(3, BANDS, 70)[:1, :, :45], torch.tensor([45]))
    torch.testing.assert_close(with_others[0][:1], cut[0], atol=1e-5, rtol=1e-4)


@torch.inference_mode()
def test_audio_cells_far_from_the_end_are_untouched_by_what_follows() -> None:
    blocks, sound = audio_encoder().get_submodule("blocks"), random(1, 1, BANDS, 120)
    whole, cut = blocks(sound), blocks(sound[..., :77])
    cells = [s for s in range(cut.shape[-1]) if s * TIME_STRIDE + SEES_AHEAD < 77]
    assert len(cells) == 7
    torch.testing.assert_close(whole[..., cells], cut[..., cells], atol=1e-5, rtol=1e-4)
    assert (whole[..., 9] - cut[..., 9]).abs().max() > 1e-3


@torch.inference_mode()
def test_face_encoder_alone_and_in_a_padded_batch() -> None:
    encoder = with_statistics(FaceEncoder(FaceEncoderConfig()))
    sequences = [random(t, 51, 2, seed=t) for t in (1, 4, 9)]
    batch, mask = torch.full((3, 9, 51, 2), 7.0), torch.zeros(3, 9, dtype=torch.bool)
    for index, sequence in enumerate(sequences):
        batch[index, : len(sequence)], mask[index, : len(sequence)] = sequence, True
    found, weight = encoder(batch, mask)
    assert weight[~mask].eq(0).all()
    torch.testing.assert_close(weight.sum(1), torch.ones(3))
    for index, sequence in enumerate(sequences):
        ones = torch.ones(1, len(sequence), dtype=torch.bool)
        alone, alone_weight = encoder(sequence[None], ones)
        torch.testing.assert_close(found[index], alone[0], atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(weight[index, : len(sequence)], alone_weight[0])


# --- embedding networks and the target model -----------------------------------------------------


@torch.inference_mode()
def test_embedding_alone_and_in_a_padded_batch() -> None:
    torch.manual_seed(2)
    network = EmbeddingNetwork(64, ContextConfig()).eval()
    items, lengths = random(3, 5, 64), torch.tensor([5, 1, 3])
    present = torch.arange(5)[None] < lengths[:, None]
    present[0, 1] = False
    found = network(items, present, lengths)
    assert found.shape == (3, 5, 2 * ContextConfig().second_gru)
    assert found[~present].eq(0).all()
    assert found[present].abs().sum(-1).gt(0).all()
    for b, length in enumerate(lengths.tolist()):
        alone = network(items[b : b + 1, :length], present[b : b + 1, :length], lengths[b : b + 1])
        torch.testing.assert_close(found[b, :length], alone[0], atol=1e-6, rtol=1e-5)


def target_model() -> TargetModel:
    torch.manual_seed(4)
    return TargetModel(TargetConfig()).eval()


videos_strategy = st.lists(
    st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=12),
    min_size=1,
    max_size=2,
)


def videos_of(presence: list[list[tuple[bool, bool]]]) -> Utterances:
    longest = max(map(len, presence))
    there = torch.zeros(2, len(presence), longest, dtype=torch.bool)
    for b, video in enumerate(presence):
        for u, pair in enumerate(video):
            there[0, b, u], there[1, b, u] = pair
    audio, face = (random(len(presence), longest, 64, seed=s) for s in (1, 2))
    return Utterances(
        {"audio": audio, "face": face},
        {"audio": there[0], "face": there[1]},
        torch.tensor([len(v) for v in presence]),
    )


def part_of(videos: Utterances, part: tuple[slice, slice]) -> Utterances:
    return Utterances(
        {modality: values[part] for modality, values in videos.values.items()},
        {modality: there[part] for modality, there in videos.present.items()},
        videos.lengths[part[0]],
    )


@settings(max_examples=15, deadline=None)
@given(videos_strategy)
@torch.inference_mode()
def test_target_model_with_anything_missing(presence: list[list[tuple[bool, bool]]]) -> None:
    model, videos = target_model(), videos_of(presence)
    output = model(videos)
    assert output.logits.shape == (*videos.present["audio"].shape, 3)
    assert torch.isfinite(output.logits).all()
    for modality, there in videos.present.items():
        weight = output.context[modality]
        torch.testing.assert_close(weight.sum(-1), there.float())
        assert weight.masked_select(~there[:, None, :].expand_as(weight)).eq(0).all()
    for b, video in enumerate(presence):
        part = (slice(b, b + 1), slice(len(video)))
        alone = model(part_of(videos, part))
        torch.testing.assert_close(output.logits[part], alone.logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("modality", ["audio", "face"])
@torch.inference_mode()
def test_a_modality_missing_everywhere_changes_nothing(modality: str) -> None:
    videos = videos_of([[(True, True)] * 5, [(True, True)] * 2])
    other = dataclasses.replace(
        videos, values={**videos.values, modality: 50 * random(2, 5, 64, seed=9)}
    )
    model = target_model()
    assert not torch.equal(model(videos).logits, model(other).logits)
    first, second = model(videos.without(modality)), model(other.without(modality))
    assert torch.equal(first.logits, second.logits)
    assert first.embeddings[modality].eq(0).all()


@torch.inference_mode()
def test_a_modality_missing_in_an_utterance_changes_nothing() -> None:
    model, videos = target_model(), videos_of([[(True, False), (False, True), (True, True)]])
    audio, face = videos.values["audio"].clone(), videos.values["face"].clone()
    audio[0, 1], face[0, 0] = 30.0, -30.0
    other = dataclasses.replace(videos, values={"audio": audio, "face": face})
    assert torch.equal(model(videos).logits, model(other).logits)


@torch.inference_mode()
def test_context_is_the_mean_of_both_attentions_if_both_are_present() -> None:
    presence = [(True, False), (False, True), (True, True), (True, True)]
    output = target_model()(videos_of([presence]))
    there = torch.tensor(presence).T
    for own, other, m in (("audio", "face", 0), ("face", "audio", 1)):
        x, y = output.embeddings[own][0], output.embeddings[other][0]
        for i, has in enumerate(presence):
            alone, across = (slow_softmax((q[i] @ x.T).tolist(), there[m].tolist()) for q in (x, y))
            expected = [(a + b) / 2 for a, b in zip(alone, across, strict=True)]
            row = {(True, True): expected, (True, False): alone, (False, True): [0.0] * 4}
            key = (has[m], has[1 - m])
            assert output.context[own][0, i].tolist() == pytest.approx(row[key], abs=1e-6)


def test_the_model_is_small_and_every_parameter_has_a_gradient() -> None:
    model = target_model()
    assert sum(weight.numel() for weight in model.parameters()) < 5_000_000
    audio, _ = model.encoder("audio")(random(6, BANDS, 40), torch.full((6,), 40))
    face, _ = model.encoder("face")(random(6, 7, 51, 2), torch.ones(6, 7, dtype=torch.bool))
    there = torch.ones(2, 3, dtype=torch.bool)
    videos = Utterances(
        {"audio": audio.view(2, 3, -1), "face": face.view(2, 3, -1)},
        {"audio": there, "face": there},
        torch.tensor([3, 3]),
    )
    model(videos).logits.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name  # noqa: PT018


CPU = torch.device("cpu")


def raw_batch(updates: Updates) -> tuple[Videos, Utterances]:
    corpus = small_corpus(raw=True, speakers=2, gaps=True)
    labels = {s.key: float(n % 3) if n != 1 else None for n, s in enumerate(corpus.samples)}
    videos = make_videos(corpus.samples, labels, {})
    torch.manual_seed(7)  # the encoders have dropout
    return videos, encoded(updates.model, videos, [0, 1], CPU, np.random.default_rng(0))


def test_vectors_need_none() -> None:
    updates = small_updates(1.0)
    assert not list(updates.encoder_heads.parameters())
    assert set(updates.step(utterances(), LABELS)) == {"classification"}


def test_the_loss_by_each_alone_against_a_loop() -> None:
    updates = small_updates(1.0, vectors=VectorSizes())
    videos, batch = raw_batch(updates)
    heads = updates.encoder_heads
    expected = 0.0
    for name, linear in heads.linear.items():
        total = weight = 0.0
        for v, u in np.ndindex(*videos.labels.shape):
            label = float(videos.labels[v, u])
            if np.isnan(label) or not videos.present[name][v, u]:
                continue
            logs = functional.log_softmax(linear(batch.values[name][v, u]), dim=0)
            total -= (STEP_WEIGHTS[int(label)] * logs[int(label)]).item()
            weight += float(STEP_WEIGHTS[int(label)])
        expected += total / weight
    found = heads.loss(batch, videos.labels, STEP_WEIGHTS, 0.0)
    assert found.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("alpha", "learns"), [(1.0, True), (0.0, False)])
def test_they_learn_from_classification_alone(alpha: float, learns: bool) -> None:
    updates = small_updates(alpha, 1.0, 1.0, vectors=VectorSizes())
    videos, batch = raw_batch(updates)
    before = {n: p.detach().clone() for n, p in updates.encoder_heads.named_parameters()}
    assert len(before) == 4  # weight and bias for sound and face
    source = make_teacher(
        random_encoder_heads(*videos.labels.shape, SIZE, seed=3).tanh(), videos.known()
    )
    updates.step(batch, videos.labels, source)
    for name, parameter in updates.encoder_heads.named_parameters():
        assert torch.equal(parameter, before[name]) is not learns


def test_they_add_their_share_to_the_encoders_gradient() -> None:
    updates = small_updates(1.0, vectors=VectorSizes())
    videos, batch = raw_batch(updates)
    encoder = updates.model.encoder("audio")
    weight = encoder.out.weight
    updates.model.zero_grad()
    alone = updates.encoder_heads.loss(batch, videos.labels, STEP_WEIGHTS, 0.0)
    (by_heads,) = torch.autograd.grad(alone, weight, retain_graph=True)
    assert by_heads.abs().sum() > 0
    plain = small_updates(1.0, vectors=VectorSizes())
    plain.encoder_heads.linear = torch.nn.ModuleDict()
    gradients = []
    for one in (plain, small_updates(1.0, vectors=VectorSizes())):
        videos, batch = raw_batch(one)
        one.optimisers["target"].step = lambda: None  # type: ignore[method-assign]
        one.step(batch, videos.labels)
        gradients.append(one.model.encoder("audio").out.weight.grad)
    torch.testing.assert_close(gradients[1], gradients[0] + ENCODER_SHARE * by_heads)


def test_the_model_that_is_saved_knows_nothing_of_them() -> None:
    updates = small_updates(1.0, vectors=VectorSizes())
    assert not [name for name in updates.model.state_dict() if "encoder_heads" in name]


def raw_samples(count: int) -> list[Sample]:
    rng = np.random.default_rng(0)
    return [
        Sample(
            key=f"{index}",
            video=f"video {index % 3}",
            audio=rng.gamma(1.0, 1.0, (64, 40)).astype(np.float32) if index % 4 else None,
            face=rng.normal(0, 0.3, (5, 51, 2)).astype(np.float32),
        )
        for index in range(count)
    ]


@pytest.mark.parametrize("fusion", [name for name in HEADS if name != "concat"])
def test_a_step_in_mixed_precision(fusion: str) -> None:
    samples = raw_samples(12)
    videos = make_videos(samples, {s.key: float(i % 3) for i, s in enumerate(samples)}, {})
    source = torch.tanh(torch.randn(3, 4, 64, generator=torch.Generator().manual_seed(1)))
    source_embeddings = make_teacher(source, torch.ones(3, 4, dtype=torch.bool))
    config = TargetConfig(fusion=FusionConfig(name=fusion))
    cpu = torch.device("cpu")
    losses, moved = {}, {}
    for precision in (torch.float32, torch.bfloat16):
        torch.manual_seed(0)
        model = TargetModel(config)
        weights = TransferSettings(source="text", adversarial=0.03)
        transfer = Transfer(config.modalities, 64, 64, weights.networks)
        updates = Updates(model, transfer, OptimiserSettings(), weights)
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        model.train()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision != torch.float32):
            utterances = encoded(model, videos, [0, 1, 2], cpu)
            losses[precision] = updates.step(utterances, videos.labels, source_embeddings)
        moved[precision] = {
            name for name, p in model.named_parameters() if not torch.equal(p, before[name])
        }
        assert all(torch.isfinite(p).all() for p in model.parameters())
    exact, rough = losses[torch.float32], losses[torch.bfloat16]
    assert exact.keys() == rough.keys()
    assert exact.keys() == {"classification", "decoder", "discriminator", "adversarial"}
    for name, value in exact.items():
        assert np.isfinite(rough[name])
        assert rough[name] == pytest.approx(value, rel=0.25)  # dropout draws differ
    assert moved[torch.bfloat16] == moved[torch.float32]
