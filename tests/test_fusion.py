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

from avsent.networks.config import (
    ContextConfig,
    FusionConfig,
    TargetConfig,
)
from avsent.networks.fusion.base import Embedded, HeadSizes
from avsent.networks.fusion.choice import HEADS, PAIRS_ONLY, make_head
from avsent.networks.target import TargetModel, Utterances

D, CLASSES, SEGMENTS = 5, 3, 3
SMALL_CONTEXT = ContextConfig(first_gru=4, dense=5, second_gru=3, classifier=16, dropout=0.0)
PAIR = ("audio", "face")
Array = NDArray[np.float64]


pytestmark = pytest.mark.usefixtures("one_thread")


def random(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def head_of(name: str, modalities: tuple[str, ...] = PAIR, **options: object) -> nn.Module:
    torch.manual_seed(3)
    fusion = FusionConfig(name=name, factors=2, outputs=4, segments=SEGMENTS, **options)
    return make_head(HeadSizes(modalities, D, CLASSES, SMALL_CONTEXT, fusion)).double().eval()


def embedded_of(presence: list[list[tuple[bool, bool]]]) -> Embedded:
    """Random embeddings of padded videos, zero where missing; as many segments as S."""
    longest = max(map(len, presence))
    values, present, segments = {}, {}, {}
    for number, modality in enumerate(PAIR):
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


SLOW = {"tfn": slow_tfn, "fbp": slow_fbp, "concat": slow_concat}


def expected(head: nn.Module, name: str, embedded: Embedded, b: int, u: int) -> Array:
    """Logits [C] of one utterance."""
    pair = [embedded.values[m][b, u].numpy() for m in PAIR]
    has = tuple(bool(embedded.present[m][b, u]) for m in PAIR)
    if name == "avef":
        mean = np.zeros(SMALL_CONTEXT.classifier)
        for s in range(SEGMENTS):
            both = np.array([x for m in PAIR for x in embedded.segments[m][b, u, s].tolist()])
            mean += np.maximum(layer(head.segment, both), 0) / SEGMENTS
        return classify(head.classifier, mean)
    if name == "multiplicative":
        votes = [
            slow_softmax(classify(head.classifiers[m], x))
            for m, x, there in zip(PAIR, pair, has, strict=True)
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


@pytest.mark.parametrize("name", ["tfn", "fbp", "avef"])
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
def test_other_utterances_have_no_say_without_attention(name: str) -> None:
    head, embedded = head_of(name), embedded_of([[(True, True)] * 4])
    logits = head(embedded).logits
    for tensors in (embedded.values, embedded.segments):
        for tensor in tensors.values():
            tensor[0, 3] += 1.0
    changed = head(embedded).logits
    assert torch.equal(logits[0, :3], changed[0, :3])
    assert not torch.equal(logits[0, 3], changed[0, 3])


@pytest.mark.parametrize("original", [False, True])
@pytest.mark.parametrize("name", HEADS)
def test_gradients_are_finite_where_nothing_is_there(name: str, original: bool) -> None:
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


def test_what_makes_no_head() -> None:
    def sizes(outputs: int = 3, **options: object) -> HeadSizes:
        return HeadSizes(PAIR, D, outputs, SMALL_CONTEXT, FusionConfig(**options))

    assert tuple(HEADS) == ("hmtl", "concat", "tfn", "fbp", "multiplicative", "avef")
    for options, message in (
        ({"name": "none"}, "no fusion 'none'; there are hmtl, concat"),
        ({"name": "multiplicative", "outputs": 1}, "needs classes"),
        ({"name": "multiplicative", "beta": -1.0}, "beta of 0 or more"),
        ({"name": "fbp", "factors": 0}, "one factor"),
    ):
        outputs = options.pop("outputs", 3)
        with pytest.raises(ValueError, match=message):
            make_head(sizes(outputs, **options))


# --- whole models ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HEADS)
def test_models_alone_and_in_a_padded_batch_and_all_of_them_learns(name: str) -> None:
    torch.manual_seed(5)
    config = TargetConfig(context=SMALL_CONTEXT, fusion=FusionConfig(name=name, segments=SEGMENTS))
    model = TargetModel(config).double().eval()
    audio, _ = model.encode_audio(random(6, 64, 40), torch.full((6,), 40))
    face, _ = model.encode_face(random(6, 7, 51, 2), torch.ones(6, 7, dtype=torch.bool))
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
