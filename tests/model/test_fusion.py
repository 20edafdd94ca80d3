"""Fusion heads against slow references in numpy; what padding and missing parts may not change."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from avsent.cli.train import Fusion
from avsent.labels import MODALITIES
from avsent.model.networks.attention import segment_masks
from avsent.model.networks.config import (
    AudioEncoderConfig,
    ContextConfig,
    ExpertsConfig,
    FaceEncoderConfig,
    FusionConfig,
    TargetConfig,
    VectorSizes,
)
from avsent.model.networks.encoders import TIME_STRIDE, AudioEncoder, FaceEncoder
from avsent.model.networks.fusion import (
    HEADS,
    MULT_HEADS,
    PAIRS_ONLY,
    Embedded,
    class_losses,
    decision_logits,
    make_head,
    multiplicative_loss,
)
from avsent.model.networks.target import TargetModel, Utterances

D, CLASSES, SEGMENTS = 6, 3, 3
SMALL_CONTEXT = ContextConfig(first_gru=4, dense=5, second_gru=3, classifier=16, dropout=0.0)
Array = NDArray[np.float64]


pytestmark = pytest.mark.usefixtures("one_thread")


def random(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def head_of(name: str, modalities: tuple[str, ...] = MODALITIES, **options: object) -> nn.Module:
    torch.manual_seed(3)
    options = {"factors": 2, "outputs": 4, "segments": SEGMENTS, "rank": 3, **options}
    fusion = FusionConfig(name=name, **options)
    config = TargetConfig(modalities=modalities, context=SMALL_CONTEXT, fusion=fusion)
    assert (config.embedding_size, config.outputs) == (D, CLASSES)
    return make_head(config).double().eval()


def embedded_of(presence: list[list[tuple[bool, bool]]]) -> Embedded:
    """Random embeddings of padded videos, zero where missing; as many segments as S."""
    longest = max(map(len, presence))
    values, present, segments = {}, {}, {}
    for number, modality in enumerate(MODALITIES):
        there = torch.zeros(len(presence), longest, dtype=torch.bool)
        for b, video in enumerate(presence):
            for u, pair in enumerate(video):
                there[b, u] = pair[number]
        cut = random(*there.shape, SEGMENTS, D, seed=number) * there[..., None, None]
        values[modality], present[modality], segments[modality] = cut.mean(2), there, cut
    return Embedded(values, present, segments)


SOME_MISSING = [[(True, True), (True, False), (False, True), (False, False)], [(True, True)]]

# --- slow references -----------------------------------------------------------------------------


def layer(linear: nn.Module, items: Array) -> Array:
    weight = linear.get_parameter("weight").detach().numpy()
    out = np.array([sum(w * x for w, x in zip(row, items, strict=True)) for row in weight])
    return out if linear.bias is None else out + linear.bias.detach().numpy()


def classify(sequential: nn.Module, items: Array) -> Array:
    return layer(sequential.get_submodule("3"), np.maximum(layer(sequential[0], items), 0))


def slow_softmax(scores: Array) -> Array:
    weight = np.exp(scores - scores.max())
    return weight / weight.sum()


def slow_tfn(head: nn.Module, a: Array, v: Array, has: tuple[bool, bool]) -> Array:
    return np.array([x * y for x in [*a, 1.0] for y in [*v, 1.0]])


def slow_fbp(head: nn.Module, a: Array, v: Array, has: tuple[bool, bool]) -> Array:
    first = layer(head.projections["audio"], a) if has[0] else np.ones(8)
    second = layer(head.projections["face"], v) if has[1] else np.ones(8)
    if not any(has):
        return np.zeros(4)
    z = [sum(first[w * 2 + i] * second[w * 2 + i] for i in range(2)) for w in range(4)]
    if not head.normalise:
        return np.array(z)
    root = [x / math.sqrt(abs(x) + 1e-8) for x in z]
    return np.array([x / math.sqrt(sum(y * y for y in root) + 1e-8) for x in root])


def slow_concat(head: nn.Module, a: Array, v: Array, has: tuple[bool, bool]) -> Array:
    return np.array([*a, *v])


def slow_lmf(head: nn.Module, a: Array, v: Array, has: tuple[bool, bool]) -> Array:
    h = head.bias.detach().numpy().copy()
    first, second = layer(head.factors["audio"], a), layer(head.factors["face"], v)
    for r, weight in enumerate(head.weights.tolist()):
        for k in range(len(h)):
            h[k] += weight * first[r * len(h) + k] * second[r * len(h) + k]
    return h


def slow_lstm(lstm: nn.Module, steps: list[Array]) -> Array:
    """The last state; the rows of the weights are those of the gates i, f, g, o."""
    weight = {name: value.detach().numpy() for name, value in lstm.named_parameters()}
    size = weight["weight_hh_l0"].shape[1]
    state, cell = np.zeros(size), np.zeros(size)
    for step in steps:
        gates = weight["bias_ih_l0"] + weight["bias_hh_l0"]
        gates = gates + weight["weight_ih_l0"] @ step + weight["weight_hh_l0"] @ state
        i, f, g, o = gates.reshape(4, size)
        cell = cell / (1 + np.exp(-f)) + np.tanh(g) / (1 + np.exp(-i))
        state = np.tanh(cell) / (1 + np.exp(-o))
    return state


def slow_norm(norm: nn.Module, items: Array) -> Array:
    centred = items - items.mean()
    unit = centred / math.sqrt((centred**2).mean() + 1e-5)
    return unit * norm.weight.detach().numpy() + norm.bias.detach().numpy()


def slow_layer(one: nn.Module, items: list[Array], source: list[Array], there: bool) -> list[Array]:
    """A pre-norm layer of a Transformer, one query and one head at a time."""
    width = D // MULT_HEADS
    others = [slow_norm(one.attention_norm, y) for y in source]
    result = []
    for x in items:
        query = layer(one.query, slow_norm(one.attention_norm, x))
        heads = []
        for part in (slice(h * width, (h + 1) * width) for h in range(MULT_HEADS)):
            scores = [query[part] @ layer(one.key, y)[part] / math.sqrt(width) for y in others]
            values = [layer(one.value, y)[part] for y in others]
            weights = slow_softmax(np.array(scores))
            heads += list(sum(w * value for w, value in zip(weights, values, strict=True)))
        x = x + layer(one.out, np.array(heads)) if there else x
        hidden = np.maximum(layer(one.first, slow_norm(one.dense_norm, x)), 0)
        result.append(x + layer(one.second, hidden))
    return result


def placed(steps: list[Array]) -> list[Array]:
    """Steps times √D plus sine and cosine of their place, in turn."""
    waves = (math.sin, math.cos)
    return [
        np.array([waves[d % 2](s / 10_000 ** ((d - d % 2) / D)) for d in range(D)])
        + math.sqrt(D) * step
        for s, step in enumerate(steps)
    ]


def slow_mult(head: nn.Module, a: list[Array], v: list[Array], has: tuple[bool, bool]) -> Array:
    fused: list[float] = []
    pairs = (("audio", a, v, has), ("face", v, a, has[::-1]))
    for name, own, other, (has_own, has_other) in pairs:
        items, source = placed(own), placed(other)
        for one in head.across[name]:
            items = slow_layer(one, items, source, has_other)
        for one in head.within[name]:
            items = slow_layer(one, items, items, there=True)
        fused += list(slow_norm(head.norms[name], items[-1]) * has_own)
    return np.array(fused)


SLOW = {"tfn": slow_tfn, "fbp": slow_fbp, "concat": slow_concat, "lmf": slow_lmf}


def expected(head: nn.Module, name: str, embedded: Embedded, b: int, u: int) -> Array:
    """Logits [C] of one utterance."""
    pair = [embedded.values[m][b, u].numpy() for m in MODALITIES]
    has = tuple(bool(embedded.present[m][b, u]) for m in MODALITIES)
    steps = [list(embedded.segments[m][b, u].numpy()) for m in MODALITIES]
    if name == "cnn-lstm":
        both = [np.concatenate(pieces) for pieces in zip(*steps, strict=True)]
        return classify(head.classifier, slow_lstm(head.lstm, both))
    if name == "mult":
        return classify(head.classifier, slow_mult(head, *steps, has))
    if name == "avef":
        mean = np.zeros(SMALL_CONTEXT.classifier)
        for s in range(SEGMENTS):
            both = np.array([x for m in MODALITIES for x in embedded.segments[m][b, u, s].tolist()])
            mean += np.maximum(layer(head.segment, both), 0) / SEGMENTS
        return classify(head.classifier, mean)
    if name == "multiplicative":
        votes = [
            slow_softmax(classify(head.classifiers[m], x))
            for m, x, there in zip(MODALITIES, pair, has, strict=True)
            if there
        ]
        if head.original:
            return -slow_losses(votes, head.beta, head.original)
        exponent = head.beta if len(votes) > 1 else 0
        logits = [p.max() ** exponent * np.log(p) for p in votes]
        return np.sum([np.zeros(CLASSES), *logits], axis=0)
    return classify(head.classifier, SLOW[name](head, *pair, has))


def slow_losses(p: list[Array], beta: float, original: bool) -> Array:
    """``c`` [C] of the probabilities of the modalities that are there."""
    c = np.zeros(CLASSES)
    for i in range(len(p)):
        for y in range(CLASSES):
            base = p[i][y]
            if original:
                base = math.prod(1 - p[j][y] for j in range(len(p)) if j != i)
            weight = base ** (beta / (len(p) - 1)) if len(p) > 1 else 1.0
            c[y] -= weight * math.log(p[i][y])
    return c


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("concat", {}),
        ("tfn", {}),
        ("fbp", {"normalise": True}),
        ("fbp", {"normalise": False}),
        ("multiplicative", {"beta": 0.7}),
        ("multiplicative", {"beta": 2.0, "original": True}),
        ("avef", {}),
        ("cnn-lstm", {}),
        ("lmf", {"rank": 1}),
        ("lmf", {}),
        ("mult", {}),
    ],
)
def test_heads_against_loops(name: str, options: dict[str, object]) -> None:
    head, embedded = head_of(name, **options), embedded_of(SOME_MISSING)
    logits = head(embedded).logits.detach()
    for b, video in enumerate(SOME_MISSING):
        for u in range(len(video)):
            found = expected(head, name, embedded, b, u)
            assert logits[b, u].tolist() == pytest.approx(found.tolist(), abs=1e-9)
    assert len({tuple(row.tolist()) for row in logits[0]}) == 4


@pytest.mark.parametrize("name", ["tfn", "fbp", "avef", "cnn-lstm", "lmf", "mult"])
def test_fusion_is_not_concatenation(name: str) -> None:
    """Each couples the two: what one modality adds depends on the other."""
    head, embedded = head_of(name), embedded_of([[(True, True)] * 4])
    for tensors in (embedded.values, embedded.segments):
        for modality, order in (("audio", [0, 1, 0, 1]), ("face", [0, 1, 1, 0])):
            tensors[modality] = tensors[modality][:, order]
    fused = head.fuse(embedded)[0][0].detach()
    assert ((fused[0] + fused[1]) - (fused[2] + fused[3])).abs().max() > 1e-3


def test_normalised_bilinear_pooling_is_the_signed_root_of_length_1() -> None:
    plain, normal = head_of("fbp", normalise=False), head_of("fbp", normalise=True)
    normal.load_state_dict(plain.state_dict())
    embedded = embedded_of([[(True, True)] * 4])
    with torch.inference_mode():
        z, found = plain.fuse(embedded)[0], normal.fuse(embedded)[0]
    root = z.sign() * z.abs().sqrt()
    torch.testing.assert_close(found, root / root.norm(dim=-1, keepdim=True), atol=1e-4, rtol=0)


def one_missing(missing: str) -> Embedded:
    """Four utterances that all lack this modality."""
    return embedded_of([[(missing != "audio", missing != "face")] * 4])


@pytest.mark.parametrize("missing", MODALITIES)
@torch.inference_mode()
def test_low_rank_fusion_without_a_modality_is_a_dense_layer_on_the_other(missing: str) -> None:
    (kept,) = set(MODALITIES) - {missing}
    head, embedded = head_of("lmf", rank=2), one_missing(missing)
    columns = head.factors[missing].bias.view(2, -1)
    rows, bias = head.factors[kept].weight.view(2, -1, D), head.factors[kept].bias.view(2, -1)
    gains = head.weights[:, None] * columns
    dense = torch.einsum("rh,rhd->hd", gains, rows)
    whole = embedded.values[kept] @ dense.T + (gains * bias).sum(0) + head.bias
    torch.testing.assert_close(head.fuse(embedded)[0], whole, atol=1e-12, rtol=0)
    assert (whole[0, 0] - whole[0, 1]).abs().max() > 0.01


@torch.inference_mode()
def test_rank_of_the_products() -> None:
    """With rank r, what couples the two in an output has r singular values above 0."""
    there = torch.ones(1, 1, dtype=torch.bool)
    zero, unit = torch.zeros(D, dtype=torch.float64), torch.eye(D, dtype=torch.float64)
    for rank in (1, 2, 3):
        head = head_of("lmf", rank=rank)

        def fused(a: Tensor, v: Tensor, head: nn.Module = head) -> float:
            values = {"audio": a[None, None], "face": v[None, None]}
            return float(head.fuse(Embedded(values, {"audio": there, "face": there}))[0][0, 0, 0])

        coupled = [
            [fused(a, v) - fused(a, zero) - fused(zero, v) + fused(zero, zero) for v in unit]
            for a in unit
        ]
        values = torch.linalg.svdvals(torch.tensor(coupled, dtype=torch.float64))
        assert int((values > 1e-9).sum()) == rank


@pytest.mark.parametrize("missing", MODALITIES)
@torch.inference_mode()
def test_the_transformer_does_not_attend_to_what_is_missing(missing: str) -> None:
    head, embedded = head_of("mult"), one_missing(missing)
    fused = head.fuse(embedded)[0]
    noise = random(1, 4, SEGMENTS, D, seed=9)
    filled = {**embedded.segments, missing: noise}
    assert torch.equal(head.fuse(Embedded(embedded.values, embedded.present, filled))[0], fused)
    halves = dict(zip(MODALITIES, fused.split(D, dim=-1), strict=True))
    assert halves.pop(missing).eq(0).all()
    (kept,) = halves.values()
    assert len({tuple(row.tolist()) for row in kept[0]}) == 4
    present = {**embedded.present, missing: torch.ones(1, 4, dtype=torch.bool)}
    attended = head.fuse(Embedded(embedded.values, present, filled))[0]
    (other,) = (p for m, p in zip(MODALITIES, attended.split(D, -1), strict=True) if m != missing)
    assert (other - kept).abs().max() > 0.01


@pytest.mark.parametrize("name", ["cnn-lstm", "mult"])
@torch.inference_mode()
def test_the_order_of_the_segments_matters(name: str) -> None:
    """Unlike in a mean, also where the last segment stays the last."""
    head, embedded = head_of(name), embedded_of([[(True, True)] * 2])
    turned = {m: t[:, :, [1, 0, 2]] for m, t in embedded.segments.items()}
    found = head(Embedded(embedded.values, embedded.present, turned)).logits
    assert (found - head(embedded).logits).abs().max() > 1e-4


# --- what no head may do -------------------------------------------------------------------------

presences = st.lists(
    st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=5),
    min_size=1,
    max_size=3,
)


@pytest.mark.parametrize("name", HEADS)
@settings(max_examples=15, deadline=None)
@given(presence=presences)
@torch.inference_mode()
def test_padding_changes_nothing_and_context_sums_to_one(
    name: str, presence: list[list[tuple[bool, bool]]]
) -> None:
    head, embedded = head_of(name), embedded_of(presence)
    decision = head(embedded)
    assert torch.isfinite(decision.logits).all()
    for modality, weight in decision.context.items():
        there = embedded.present[modality]
        torch.testing.assert_close(weight.sum(-1), there.to(weight.dtype))
        assert weight.masked_select(~there[:, None, :].expand_as(weight)).eq(0).all()
    for b, video in enumerate(presence):
        part = (slice(b, b + 1), slice(len(video)))
        alone = head(
            Embedded(
                *(
                    {m: t[part] for m, t in tensors.items()}
                    for tensors in (embedded.values, embedded.present, embedded.segments)
                )
            )
        )
        torch.testing.assert_close(decision.logits[part], alone.logits, atol=1e-9, rtol=0)


@pytest.mark.parametrize("name", [name for name in HEADS if name != "hmtl"])
@torch.inference_mode()
def test_other_utterances_change_nothing_without_attention(name: str) -> None:
    head, embedded = head_of(name), embedded_of([[(True, True)] * 4])
    logits = head(embedded).logits
    for tensors in (embedded.values, embedded.segments):
        for tensor in tensors.values():
            tensor[0, 3] *= 2.0
    changed = head(embedded).logits
    assert torch.equal(logits[0, :3], changed[0, :3])
    assert not torch.equal(logits[0, 3], changed[0, 3])


@pytest.mark.parametrize("original", [False, True])
@pytest.mark.parametrize("name", HEADS)
def test_gradients_are_finite_without_any_modality(name: str, original: bool) -> None:
    for presence in (SOME_MISSING, [[(False, False)] * 2]):
        head, embedded = head_of(name, original=original), embedded_of(presence)
        leaves = [
            t.requires_grad_() for t in (*embedded.values.values(), *embedded.segments.values())
        ]
        head(embedded).logits.square().sum().backward()
        gradients = [t.grad for t in (*leaves, *head.parameters()) if t.grad is not None]
        assert gradients
        assert all(torch.isfinite(gradient).all() for gradient in gradients)


def test_one_modality_and_heads_for_pairs() -> None:
    embedded = embedded_of([[(True, True), (False, True)]])
    for name in HEADS:
        if name in PAIRS_ONLY:
            with pytest.raises(ValueError, match="needs two modalities"):
                head_of(name, ("audio",))
        else:
            assert head_of(name, ("audio",))(embedded).logits.shape == (1, 2, CLASSES)


def test_invalid_heads_are_refused() -> None:
    assert set(HEADS) == set(Fusion)
    ready = VectorSizes(face=5)
    for options, message in (
        ({"name": "none"}, "no fusion 'none'; there are hmtl, concat"),
        ({"name": "multiplicative", "real": True}, "needs classes"),
        ({"name": "multiplicative", "beta": -1.0}, "beta of 0 or more"),
        ({"name": "fbp", "factors": 0}, "one factor"),
        ({"name": "lmf", "rank": 0}, "rank of 1 or more"),
        ({"name": "mult", "vectors": ready}, "mult needs raw sound and faces"),
        ({"name": "cnn-lstm", "vectors": ready}, "cnn-lstm needs raw sound and faces"),
        ({"name": "cnn-lstm", "experts": ExpertsConfig()}, "cnn-lstm needs raw sound and faces"),
    ):
        parts = {k: options.pop(k) for k in ("real", "vectors", "experts") if k in options}
        with pytest.raises(ValueError, match=message):
            make_head(TargetConfig(context=SMALL_CONTEXT, fusion=FusionConfig(**options), **parts))


# --- whole models ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HEADS)
def test_models_alone_and_in_a_padded_batch_and_all_parameters_have_gradients(name: str) -> None:
    torch.manual_seed(5)
    config = TargetConfig(context=SMALL_CONTEXT, fusion=FusionConfig(name=name, segments=SEGMENTS))
    model = TargetModel(config).double().eval()
    audio, _ = model.encoder("audio")(random(6, 64, 40), torch.full((6,), 40))
    face, _ = model.encoder("face")(random(6, 7, 51, 2), torch.ones(6, 7, dtype=torch.bool))
    there = torch.arange(3)[None] < torch.tensor([[3], [2]])
    videos = Utterances(
        {"audio": audio.view(2, 3, -1), "face": face.view(2, 3, -1)},
        {"audio": there, "face": there & (torch.arange(3) != 1)},
        torch.tensor([3, 2]),
    )
    output = model(videos)
    alone = model(
        Utterances(
            {m: t[1:, :2] for m, t in videos.values.items()},
            {m: t[1:, :2] for m, t in videos.present.items()},
            videos.lengths[1:],
        )
    )
    torch.testing.assert_close(output.logits[1:, :2], alone.logits, atol=1e-9, rtol=0)
    output.logits.square().sum().backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.abs().sum() > 0, key


SEGMENTS_AVEF = 3


@settings(max_examples=60, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=25), st.integers(1, 7))
def test_segments_cover_the_valid_steps_and_none_is_empty(mask: list[bool], segments: int) -> None:
    found = segment_masks(torch.tensor([mask]), segments)[0].tolist()
    valid = [step for step, there in enumerate(mask) if there]
    count = len(valid)
    for s, row in enumerate(found):
        first = s * count // segments
        end = max(math.ceil((s + 1) * count / segments), first + 1)
        assert [step for step, inside in enumerate(row) if inside] == valid[first:end]
        assert any(row) == any(mask)
    assert [any(steps) for steps in zip(*found, strict=True)] == mask


def cut_audio(segments: int) -> AudioEncoder:
    torch.manual_seed(1)
    return AudioEncoder(AudioEncoderConfig(), segments).double().eval()


def cut_face(segments: int) -> FaceEncoder:
    torch.manual_seed(1)
    return FaceEncoder(FaceEncoderConfig(), segments).double().eval()


@torch.inference_mode()
def test_audio_in_segments() -> None:
    frames = torch.tensor([90, 9, 17, 64])
    found, weight = cut_audio(4)(random(4, 64, 90), frames)
    assert found.shape == (4, 4 * 64)
    torch.testing.assert_close(weight.sum(1), torch.ones(4, dtype=torch.float64))
    for row, steps in zip(weight, torch.ceil(frames / TIME_STRIDE).int().tolist(), strict=True):
        assert row[:steps].gt(0).all()
        assert row[steps:].eq(0).all()
    # Two steps, four segments: the first two are the first step, the others the second.
    pieces = found[1].view(4, 64)
    assert torch.equal(pieces[0], pieces[1])
    assert torch.equal(pieces[2], pieces[3])
    assert not torch.allclose(pieces[1], pieces[2])


@torch.inference_mode()
def test_a_face_in_segments_is_the_face_of_each_segment() -> None:
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


@pytest.mark.parametrize(
    ("name", "modalities"),
    [("avef", MODALITIES), ("cnn-lstm", MODALITIES), ("cnn-lstm", ("face",)), ("mult", MODALITIES)],
)
@torch.inference_mode()
def test_sound_and_faces_of_any_padding(name: str, modalities: tuple[str, ...]) -> None:
    """From spectrograms and landmarks of different lengths, alone and beside longer ones."""
    torch.manual_seed(5)
    fusion = FusionConfig(name=name, segments=8)
    config = TargetConfig(modalities=modalities, context=SMALL_CONTEXT, fusion=fusion)
    model = TargetModel(config).double().eval()
    sounds, faces = random(3, 64, 150), random(3, 20, 51, 2, seed=1)
    frames, pictures = torch.tensor([150, 9, 70]), torch.tensor([1, 20, 6])
    there = torch.ones(1, 1, dtype=torch.bool)

    def logits(rows: list[int], most: int, longest: int) -> Tensor:
        mask = torch.arange(longest)[None] < pictures[rows, None]
        values = {
            "audio": lambda: model.encoder("audio")(sounds[rows, :, :most], frames[rows])[0],
            "face": lambda: model.encoder("face")(faces[rows, :longest], mask)[0],
        }
        found = {m: values[m]()[:, None] for m in modalities}
        present = {m: there.expand(len(rows), 1) for m in modalities}
        return model(Utterances(found, present, torch.ones(len(rows), dtype=torch.long))).logits

    together = logits([0, 1, 2], 150, 20)
    for row in range(3):
        alone = logits([row], int(frames[row]), int(pictures[row]))
        torch.testing.assert_close(together[row : row + 1], alone, atol=1e-9, rtol=0)
    assert (together[0] - together[1]).abs().max() > 1e-4


def avef_model(segments: int = SEGMENTS_AVEF, vectors: VectorSizes | None = None) -> TargetModel:
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
        for n, m in enumerate(MODALITIES)
    }
    return Utterances(values, {"audio": there, "face": face}, torch.tensor(lengths))


@torch.inference_mode()
def test_avef_with_one_segment_is_its_head_on_whole_utterances() -> None:
    model = avef_model(1)
    videos = videos_for(model, [4, 2])
    values = {
        m: model.embedding(m)(videos.values[m], videos.present[m], videos.lengths)
        for m in MODALITIES
    }
    segments = {m: v[:, :, None] for m, v in values.items()}
    expected_logits = model.head(Embedded(values, videos.present, segments)).logits
    assert torch.equal(model(videos).logits, expected_logits)


@torch.inference_mode()
def test_avef_embeds_segments_in_the_order_of_time() -> None:
    model = avef_model()
    videos = videos_for(model, [4, 2])
    embedded = model.embed(videos)
    size = model.config.input_size("audio")
    assert embedded.segments["audio"].shape == (2, 4, SEGMENTS_AVEF, 6)
    for b, length in enumerate([4, 2]):
        pieces = [
            videos.values["face"][b, u, s * size : (s + 1) * size]
            for u in range(length)
            for s in range(SEGMENTS_AVEF)
        ]
        there = [
            bool(videos.present["face"][b, u]) for u in range(length) for _ in range(SEGMENTS_AVEF)
        ]
        alone = model.embedding("face")(
            torch.stack(pieces)[None], torch.tensor([there]), torch.tensor([len(pieces)])
        )[0]
        found = embedded.segments["face"][b, :length].flatten(0, 1)
        torch.testing.assert_close(found, alone)
        mean = alone.view(length, SEGMENTS_AVEF, -1).mean(1)
        torch.testing.assert_close(embedded.values["face"][b, :length], mean)
    assert embedded.values["face"][0, 1].eq(0).all()
    assert embedded.values["face"][1, 2:].eq(0).all()


@torch.inference_mode()
def test_avef_with_ready_made_vectors() -> None:
    both = avef_model(vectors=VectorSizes(audio=7, face=9))
    assert [both.config.representation_size(m) for m in MODALITIES] == [7, 9]
    assert both.embed(videos_for(both, [3])).segments["face"].shape == (1, 3, 1, 6)
    one = avef_model(vectors=VectorSizes(audio=7))
    assert [one.config.representation_size(m) for m in MODALITIES] == [7, SEGMENTS_AVEF * 64]
    embedded = one.embed(videos_for(one, [3]))
    repeated = embedded.values["audio"][:, :, None].expand(-1, -1, SEGMENTS_AVEF, -1)
    assert torch.equal(embedded.segments["audio"], repeated)
    assert embedded.segments["face"].shape == (1, 3, SEGMENTS_AVEF, 6)
    with pytest.raises(ValueError, match="one segment or more"):
        avef_model(0)


BOTH = {"audio": torch.tensor([[True]]), "face": torch.tensor([[True]])}


def votes_of(*probabilities: list[float]) -> dict[str, Tensor]:
    """Votes [1, 1, C] whose softmax is as given."""
    rows = [torch.tensor(p, dtype=torch.float64).log()[None, None] for p in probabilities]
    return dict(zip(("audio", "face", "text"), rows, strict=False))


def test_losses_by_hand() -> None:
    votes = votes_of([0.5, 0.25, 0.25], [0.8, 0.1, 0.1])
    c = class_losses(votes, BOTH, beta=1.0, original=True)[0, 0].tolist()
    assert c[0] == pytest.approx(-(0.2 * math.log(0.5) + 0.5 * math.log(0.8)))
    assert c[1] == pytest.approx(-(0.9 * math.log(0.25) + 0.75 * math.log(0.1)))
    c = class_losses(votes, BOTH, beta=1.0, original=False)[0, 0].tolist()
    assert c[0] == pytest.approx(-(0.5 * math.log(0.5) + 0.8 * math.log(0.8)))
    c = class_losses(votes, BOTH, beta=2.0, original=False)[0, 0].tolist()
    assert c[0] == pytest.approx(-(0.25 * math.log(0.5) + 0.64 * math.log(0.8)))
    # β = 0: every weight is 1, the sum of both cross-entropies.
    for original in (False, True):
        c = class_losses(votes, BOTH, beta=0.0, original=original)[0, 0].tolist()
        assert c[0] == pytest.approx(-math.log(0.5 * 0.8))


def test_three_modalities_by_hand() -> None:
    """β/(M−1) with M = 3 is a square root at β = 1, the product runs over the two others."""
    votes = votes_of([0.5, 0.5], [0.8, 0.2], [0.9, 0.1])
    present = {name: torch.tensor([[True]]) for name in votes}
    original = class_losses(votes, present, 1.0, original=True)[0, 0, 0]
    weights = [math.sqrt(w) for w in (0.2 * 0.1, 0.5 * 0.1, 0.5 * 0.2)]
    by_hand = -sum(w * math.log(p) for w, p in zip(weights, (0.5, 0.8, 0.9), strict=True))
    assert float(original) == pytest.approx(by_hand)
    present["text"] = torch.tensor([[False]])  # M = 2
    two = class_losses(votes, present, 1.0, original=True)[0, 0, 0]
    assert float(two) == pytest.approx(-(0.2 * math.log(0.5) + 0.5 * math.log(0.8)))


@pytest.mark.parametrize("original", [False, True])
def test_one_modality_is_its_own_softmax_and_none_is_undecided(original: bool) -> None:
    votes = {"audio": random(1, 3, 4), "face": random(1, 3, 4, seed=1)}
    present = {
        "audio": torch.tensor([[True, False, False]]),
        "face": torch.tensor([[False, True, False]]),
    }
    logits = decision_logits(votes, present, 1.5, original)[0]
    torch.testing.assert_close(logits, -class_losses(votes, present, 1.5, original)[0])
    torch.testing.assert_close(logits[0].softmax(-1), votes["audio"][0, 0].softmax(-1))
    torch.testing.assert_close(logits[1].softmax(-1), votes["face"][0, 1].softmax(-1))
    assert logits[2].eq(0).all()


def test_why_the_smallest_loss_of_m3er_is_not_the_decision() -> None:
    votes = votes_of([0.9, 0.099, 0.001], [0.9, 0.099, 0.001])
    assert class_losses(votes, BOTH, 1.0, original=False)[0, 0].argmin().item() == 2
    assert class_losses(votes, BOTH, 1.0, original=True)[0, 0].argmin().item() == 0
    found = decision_logits(votes, BOTH, 1.0, original=False)[0, 0].tolist()
    assert found == pytest.approx([1.8 * math.log(p) for p in (0.9, 0.099, 0.001)])


chances = st.lists(st.floats(0.001, 1), min_size=4, max_size=4)


@settings(max_examples=60, deadline=None)
@given(chances, chances, st.sampled_from([0.0, 0.5, 1.0, 3.0]), st.booleans())
def test_a_class_that_both_prefer_is_decided(
    first: list[float], second: list[float], beta: float, original: bool
) -> None:
    rows = [[x / sum(row) for x in (*row, 1.1)] for row in (first, second)]
    votes = votes_of(*rows)
    assert decision_logits(votes, BOTH, beta, original)[0, 0].argmax().item() == 4


def test_the_more_certain_modality_wins() -> None:
    votes = votes_of([0.6, 0.3, 0.1], [0.02, 0.96, 0.02])
    for original in (False, True):
        decided = decision_logits(votes, BOTH, 1.0, original)[0, 0].argmax().item()
        assert decided == 1


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.5, 1.0, 3.0]), st.booleans(), st.booleans())
def test_order_of_modalities_and_classes_does_not_matter(
    seed: int, beta: float, original: bool, missing: bool
) -> None:
    votes = {"audio": random(2, 3, 4, seed=seed), "face": random(2, 3, 4, seed=seed + 1)}
    there = torch.ones(2, 3, dtype=torch.bool)
    present = {"audio": there, "face": there & (not missing)}
    c = class_losses(votes, present, beta, original)
    turned = class_losses(dict(reversed(votes.items())), present, beta, original)
    torch.testing.assert_close(c, turned, atol=1e-12, rtol=0)
    order = [2, 0, 3, 1]
    moved = class_losses({m: v[..., order] for m, v in votes.items()}, present, beta, original)
    torch.testing.assert_close(moved, c[..., order], atol=1e-12, rtol=0)
    assert c.ge(0).all()


@pytest.mark.parametrize("original", [False, True])
@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
def test_the_gradient_holds_the_weight_constant(beta: float, original: bool) -> None:
    votes = {"audio": random(1, 1, 3), "face": random(1, 1, 3, seed=1)}
    truth, step = torch.tensor([[2]]), 1e-6
    leaf = votes["audio"].clone().requires_grad_()
    loss = multiplicative_loss({**votes, "audio": leaf}, BOTH, truth, beta=beta, original=original)
    loss.backward()
    assert leaf.grad is not None
    probabilities = {m: float(v.softmax(-1)[0, 0, 2]) for m, v in votes.items()}
    base = 1 - probabilities["face"] if original else probabilities["audio"]
    for index in range(3):
        moved = votes["audio"].clone()
        moved[0, 0, index] += step
        change = moved.log_softmax(-1)[0, 0, 2] - votes["audio"].log_softmax(-1)[0, 0, 2]
        held = float(-(base**beta) * change / step)
        assert float(leaf.grad[0, 0, index]) == pytest.approx(held, abs=1e-5)
    # A rising chance of the true class lowers the loss, however small the chance is.
    assert leaf.grad[0, 0, 2] < 0


@pytest.mark.parametrize("original", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [None, [1.0, 0.2, 3.0]])
def test_one_modality_is_cross_entropy(
    original: bool, smoothing: float, weights: list[float] | None
) -> None:
    votes = {"audio": random(2, 4, 3), "face": random(2, 4, 3, seed=1)}
    there = torch.tensor([[True] * 4, [True, True, True, False]])
    present = {"audio": there, "face": torch.zeros_like(there)}
    truth = torch.tensor([[0, 1, 2, -1], [2, 2, 1, 0]])
    by_class = None if weights is None else torch.tensor(weights, dtype=torch.float64)
    found = multiplicative_loss(
        votes,
        present,
        truth,
        beta=1.0,
        original=original,
        class_weights=by_class,
        label_smoothing=smoothing,
    )
    used = there & (truth >= 0)
    expected = functional.cross_entropy(
        votes["audio"][used], truth[used], weight=by_class, label_smoothing=smoothing
    )
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("original", [False, True])
def test_mean_over_labelled_utterances_with_a_modality(original: bool) -> None:
    votes = {"audio": random(1, 4, 3), "face": random(1, 4, 3, seed=1)}
    present = {
        "audio": torch.tensor([[True, True, False, False]]),
        "face": torch.tensor([[True, False, True, False]]),
    }
    truth = torch.tensor([[1, -1, 0, 2]])
    c = class_losses(votes, present, 1.0, original)
    found = multiplicative_loss(votes, present, truth, beta=1.0, original=original)
    torch.testing.assert_close(found, (c[0, 0, 1] + c[0, 2, 0]) / 2)


@pytest.mark.parametrize("original", [False, True])
def test_no_labels_give_zero_loss_and_votes_of_any_size_are_finite(original: bool) -> None:
    leaf = random(1, 2, 3).requires_grad_()
    votes, there = {"audio": leaf, "face": leaf * 2}, torch.tensor([[True, True]])
    nothing = multiplicative_loss(
        votes, {"audio": there, "face": there}, torch.full((1, 2), -1), beta=1.0, original=original
    )
    nothing.backward()
    assert nothing.item() == 0
    assert leaf.grad is not None
    assert leaf.grad.eq(0).all()
    sure = torch.tensor([[[800.0, 0.0, -800.0], [0.0, -800.0, 800.0]]], requires_grad=True)
    for beta in (0.0, 0.5, 1.0):
        loss = multiplicative_loss(
            {"audio": sure, "face": sure.flip(-1)},
            {"audio": there, "face": there},
            torch.tensor([[0, 1]]),
            beta=beta,
            original=original,
        )
        (gradient,) = torch.autograd.grad(loss, sure)
        assert torch.isfinite(loss)
        assert torch.isfinite(gradient).all()
