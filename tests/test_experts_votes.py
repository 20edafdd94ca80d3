"""Votes of experts: what each stream adds to the decision, and when it says nothing."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from small_experts import EXPERTS, FACE, MOVING, PIXELS, SPOKEN, VOICE, random, with_statistics
from torch import Tensor

from avsent.labels import EMOTIONS, POLARITY_LABELS
from avsent.networks.config import ContextConfig, TargetConfig, VoteConfig
from avsent.networks.target import TargetModel, Utterances
from avsent.networks.vector_encoder import VectorEncoder
from avsent.networks.votes import Votes
from avsent.training.shipped.fusing import FER_COUNTS, FER_EMOTIONS, vote_streams

pytestmark = pytest.mark.usefixtures("one_thread")

CONTEXT = ContextConfig(first_gru=4, dense=5, second_gru=3, classifier=4)
MODEL = TargetConfig(experts=EXPERTS, votes=vote_streams(POLARITY_LABELS), context=CONTEXT)

# --- by hand -------------------------------------------------------------------------------------


def scale_of(mean: list[float], deviation: list[float]) -> VectorEncoder:
    scale = VectorEncoder(len(mean))
    scale.mean.copy_(torch.tensor(mean))
    scale.deviation.copy_(torch.tensor(deviation))
    return scale


PRIOR = (-1.5, 0.5)
"""Log probabilities of the two labels where an expert learnt."""


@torch.inference_mode()
def said(
    values: list[float], prior: tuple[float, ...] = (), *, present: bool = True
) -> list[float]:
    """By one stream of two labels, its columns the last and the first of three."""
    votes = Votes((VoteConfig("audio", (2, 0), prior),), 2)
    votes.weight.copy_(torch.tensor([0.5]))
    votes.bias.copy_(torch.tensor([10.0, 20.0]))
    scale = scale_of([-1.0, 7.0, -3.0], [2.0, 7.0, 4.0])
    there = {"audio": torch.tensor([[present]])}
    logits = votes({"audio": torch.tensor([[values]])}, there, {"audio": scale})
    assert logits.shape == (1, 1, 2)
    found: list[float] = logits[0, 0].tolist()
    return found


def test_what_an_expert_said_is_added_as_it_said_it() -> None:
    # 1.5 · 4 − 3 = 3 and 0.5 · 2 − 1 = 0.
    assert said([0.5, 9.0, 1.5]) == [10 + 0.5 * 3, 20.0]
    # The mean of one label alone is no sign that the stream is missing.
    assert said([0.0, 9.0, 1.5]) == [10 + 0.5 * 3, 20 - 0.5 * 1]


def test_what_was_common_where_it_learnt_is_taken_away() -> None:
    assert said([0.5, 9.0, 1.5], PRIOR) == [10 + 0.5 * (3 + 1.5), 20 + 0.5 * (0 - 0.5)]
    assert said([0.0, 9.0, 1.5], PRIOR) == [10 + 0.5 * (3 + 1.5), 20 + 0.5 * (-1 - 0.5)]


@pytest.mark.parametrize("prior", [(), PRIOR])
def test_what_is_missing_says_nothing(prior: tuple[float, ...]) -> None:
    assert said([0.0, 9.0, 0.0], prior) == [10.0, 20.0]
    assert said([0.5, 9.0, 1.5], prior, present=False) == [10.0, 20.0]


@torch.inference_mode()
@pytest.mark.parametrize("prior", [(), PRIOR])
def test_what_was_never_known_in_training_says_nothing(prior: tuple[float, ...]) -> None:
    scale = VectorEncoder(2)
    scale.fit(torch.full((5, 2), torch.nan))
    votes = Votes((VoteConfig("face", (0, 1), prior),), 2)
    values = {"face": scale(torch.tensor([[3.0, -2.0]]))[None]}
    logits = votes(values, {"face": torch.tensor([[True]])}, {"face": scale})
    assert logits.tolist() == [[[0.0, 0.0]]]


def test_columns_have_to_fit_the_labels() -> None:
    for stream in (VoteConfig("audio", (0, 1)), VoteConfig("audio", (0, 1, 2), PRIOR)):
        with pytest.raises(ValueError, match="one column per label"):
            Votes((stream,), 3)


@torch.inference_mode()
def test_as_they_come_votes_are_the_sum_of_what_the_experts_said() -> None:
    """Through standardising and back: of a stream that is not cut off nothing is lost."""
    raw = random(6, VOICE, seed=3) - 2.0
    scale = VectorEncoder(VOICE)
    scale.fit(raw)
    votes = Votes((VoteConfig("audio", (8, 9, 10)), VoteConfig("audio", (19, 20, 21))), 3)
    there = torch.ones(1, 6, dtype=torch.bool)
    logits = votes({"audio": scale(raw)[None]}, {"audio": there}, {"audio": scale})
    torch.testing.assert_close(logits[0], raw[:, 8:11] + raw[:, 19:22])


# --- in a model ----------------------------------------------------------------------------------


def video() -> Utterances:
    """Of five: the second has no movement, the third no prosody, the fifth no picture."""
    present = {
        "audio": torch.tensor([[True, False, True, False, True]]),
        "face": torch.tensor([[True, True, False, False, True]]),
    }
    values = {"audio": random(1, 5, VOICE, seed=8), "face": random(1, 5, FACE, seed=9)}
    values["face"][0, 1, MOVING] = 0.0
    values["audio"][0, 2, SPOKEN] = 0.0
    values["face"][0, 4, PIXELS] = 0.0
    return Utterances(values, present, torch.tensor([5]))


@torch.inference_mode()
def test_votes_are_added_where_there_is_a_stream() -> None:
    torch.manual_seed(6)
    model = with_statistics(TargetModel(MODEL))
    assert model.votes is not None
    # The fusion network begins without a word of its own.
    assert not model(video()).logits[0, 3].any()
    torch.nn.init.normal_(model.head.classifier[-1].weight)
    torch.nn.init.normal_(model.votes.weight)
    torch.nn.init.normal_(model.votes.bias)
    model.encoder("face").scale.deviation[30] = torch.inf  # never known
    plain = TargetModel(dataclasses.replace(MODEL, votes=()))
    state = {k: v for k, v in model.state_dict().items() if not k.startswith("votes.")}
    plain.load_state_dict(state)
    added = (model(video()).logits - plain.eval()(video()).logits)[0]

    def values(modality: str, first: int, shares: list[float]) -> Tensor:
        columns = slice(first, first + 3)
        scale = model.encoder(modality).scale
        deviation = scale.deviation[columns]
        given = video().values[modality][0, :, columns] * deviation.where(deviation < 1e9, 0)
        return given + scale.mean[columns] - torch.tensor(shares).log()

    acted, equal = [4 / 7, 2 / 7, 1 / 7], [1.0, 1.0, 1.0]
    both = [(4 / 7 + 4 / 6) / 2, (2 / 7 + 1 / 6) / 2, (1 / 7 + 1 / 6) / 2]
    pictured = [13036 / 25110, 4917 / 25110, 7157 / 25110]
    ways = [
        (values("audio", 8, acted), (0, 2, 4)),
        (values("audio", 19, equal), (0, 4)),
        (values("face", 8, both), (0, 1, 4)),
        (values("face", 19, acted), (0, 4)),
        (values("face", 29, pictured), (0, 1)),
    ]
    expected = model.votes.bias.expand(5, 3).clone()
    for weight, (votes, speaking) in zip(model.votes.weight, ways, strict=True):
        for row in speaking:
            expected[row] += weight * votes[row]
    torch.testing.assert_close(added, expected)


def test_what_experts_vote_on() -> None:
    voice, spoken, still, moving, pixels = streams = vote_streams(EMOTIONS)
    assert voice.columns == still.columns == tuple(range(8))
    assert spoken.columns == moving.columns == tuple(range(11, 19))
    # FER2013: angry, disgust, fear, happy, neutral, sad, surprise; it knows no calm.
    assert [column - 22 for column in pixels.columns] == [4, 4, 3, 5, 0, 2, 1, 6]
    own, again = (8, 9, 10), (19, 20, 21)
    polarity = vote_streams(POLARITY_LABELS)
    assert [v.columns for v in polarity] == [own, again, own, again, (29, 30, 31)]
    for found in (streams, polarity):
        assert [v.modality for v in found] == ["audio", "audio", "face", "face", "face"]
    # Emotions were equally common where they were acted; FER2013 is mostly happy.
    assert [v.log_prior for v in streams[:4]] == [()] * 4
    counts = dict(zip(FER_EMOTIONS, FER_COUNTS, strict=True)) | {"calm": FER_COUNTS[4]}
    shares = [math.exp(value) for value in pixels.log_prior]
    assert shares == pytest.approx([counts[name] / 28_006 for name in EMOTIONS])
