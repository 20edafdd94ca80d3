"""Experts in the place of encoders: what they say, and what is missing."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from small_experts import (
    EXPERTS,
    FACE,
    HEARD,
    MOVING,
    PIXELS,
    SPOKEN,
    STILL,
    VOICE,
    random,
    some_faces,
    with_statistics,
)
from torch import Tensor

from avsent.labels import POLARITY_LABELS
from avsent.networks.config import ContextConfig, TargetConfig
from avsent.networks.experts import LEAST_LOG, AudioExperts, FaceExperts, with_polarity
from avsent.networks.face_encoder import FaceExtras
from avsent.networks.face_movement import MovementEncoder
from avsent.networks.target import TargetModel
from avsent.training.shipped.fusing import vote_streams

pytestmark = pytest.mark.usefixtures("one_thread")

CONTEXT = ContextConfig(first_gru=4, dense=5, second_gru=3, classifier=4)
MODEL = TargetConfig(experts=EXPERTS, votes=vote_streams(POLARITY_LABELS), context=CONTEXT)


def audio_experts(members: int = 2) -> AudioExperts:
    torch.manual_seed(1)
    return with_statistics(AudioExperts(dataclasses.replace(EXPERTS, audio_members=members)))


def face_experts(members: int = 2) -> FaceExperts:
    torch.manual_seed(2)
    return with_statistics(FaceExperts(dataclasses.replace(EXPERTS, face_members=members)))


def spoken(count: int, seed: int = 10) -> Tensor:
    """Prosody [N, 24]."""
    return random(count, EXPERTS.prosody, seed=seed)


def seen(lengths: tuple[int, ...] = (6, 3, 1)) -> tuple[Tensor, Tensor, FaceExtras]:
    """Faces of several lengths in one batch with rubbish behind them; every second frame of them
    was looked at."""
    faces = some_faces(len(lengths), max(lengths), seed=3)
    mask = torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]
    faces[~mask] = 100.0
    looks = random(*mask.shape, 7, seed=4).log_softmax(dim=-1)
    looks[:, 1::2] = torch.nan
    looks[~mask] = torch.nan
    return faces, mask, FaceExtras(some_faces(len(lengths), 1, seed=5)[:, 0], looks)


# --- what they say -------------------------------------------------------------------------------


@torch.inference_mode()
def test_a_member_gives_probabilities() -> None:
    sound, lengths = random(3, 64, 40), torch.tensor([40, 40, 33])
    heard, weight = audio_experts(1).posteriors(sound, lengths, spoken(3))
    faces, mask, extras = seen()
    shown, attention = face_experts(1).posteriors(faces, mask, extras)
    assert (heard.shape, shown.shape) == ((3, VOICE), (3, FACE))
    for votes in (heard[:, HEARD], heard[:, SPOKEN], shown[:, STILL], shown[:, MOVING]):
        torch.testing.assert_close(votes[:, :8].exp().sum(1), torch.ones(3), atol=1e-5, rtol=0)
        torch.testing.assert_close(votes[:, 8:].exp().sum(1), torch.ones(3), atol=1e-5, rtol=0)
    pictured = shown[:, PIXELS].exp()
    torch.testing.assert_close(pictured[:, :7].sum(1), torch.ones(3))
    torch.testing.assert_close(pictured[:, 7:].sum(1), torch.ones(3))
    assert heard.std(dim=0).min() > 0  # it listens
    for found in (weight, attention):
        torch.testing.assert_close(found.sum(1), torch.ones(3))
    assert (attention[~mask] == 0).all()


@torch.inference_mode()
def test_several_say_the_mean_of_their_logarithms() -> None:
    ears, eyes = audio_experts(), face_experts()
    sound, lengths = random(2, 64, 40), torch.tensor([40, 40])
    heard, weight = ears.posteriors(sound, lengths, spoken(2))
    one, other = (member(sound, lengths) for member in ears.members)
    assert (one[0] - other[0]).abs().max() > 0.1
    torch.testing.assert_close(heard[:, HEARD], (one[0] + other[0]) / 2)
    first, second = (member(spoken(2)) for member in ears.prosody)
    assert (first - second).abs().max() > 0.1
    torch.testing.assert_close(heard[:, SPOKEN], (first + second) / 2)
    torch.testing.assert_close(weight, (one[1] + other[1]) / 2)
    faces, mask, extras = seen()
    shown, _ = eyes.posteriors(faces, mask, extras)
    looked = [member.look(faces, mask)[0] for member in eyes.members]
    watched = [member.watch(faces, mask, extras.neutral) for member in eyes.members]
    torch.testing.assert_close(shown[:, STILL], (looked[0] + looked[1]) / 2)
    torch.testing.assert_close(shown[:, MOVING], (watched[0] + watched[1]) / 2)


@torch.inference_mode()
def test_certainty_has_an_end() -> None:
    ears = audio_experts(1)
    ears.members[0].votes.emotion.bias[3] = 50.0
    ears.prosody[0].votes.polarity.bias[0] = 50.0
    heard, _ = ears.posteriors(random(1, 64, 40), torch.tensor([40]), spoken(1))
    assert heard[0, SPOKEN][8:].tolist() == pytest.approx([0, LEAST_LOG, LEAST_LOG], abs=1e-6)
    assert heard[0, 3] == pytest.approx(0, abs=1e-6)
    assert heard[0, [0, 1, 2, 4, 5, 6, 7]].tolist() == [LEAST_LOG] * 7
    eyes = face_experts(1)
    eyes.members[0].movement_votes.polarity.bias[1] = 50.0
    faces, mask, extras = seen()
    assert extras.looks is not None
    extras.looks[:, ::2, 4] = 30.0
    shown, _ = eyes.posteriors(faces, mask, extras)
    assert shown[0, MOVING][8:].tolist() == pytest.approx([LEAST_LOG, 0, LEAST_LOG], abs=1e-6)
    assert shown[0, PIXELS][7:].tolist() == pytest.approx([LEAST_LOG, 0, LEAST_LOG], abs=1e-6)


@torch.inference_mode()
def test_what_is_not_there_has_the_mean_of_the_training_data() -> None:
    eyes = face_experts()
    faces, mask, extras = seen()
    whole = eyes.posteriors(faces, mask, extras)[0]
    scaled = eyes(faces, mask, extras)[0]
    assert not whole.isnan().any()
    for kept, columns in (
        (FaceExtras(looks=extras.looks), [MOVING]),
        (FaceExtras(neutral=extras.neutral), [PIXELS]),
        (None, [MOVING, PIXELS]),
    ):
        missing = torch.zeros(FACE, dtype=torch.bool)
        for column in columns:
            missing[column] = True
        votes, representation = eyes.posteriors(faces, mask, kept)[0], eyes(faces, mask, kept)[0]
        assert votes[:, missing].isnan().all()
        assert (representation[:, missing] == 0).all()
        assert torch.equal(votes[:, ~missing], whole[:, ~missing])
        assert torch.equal(representation[:, ~missing], scaled[:, ~missing])


@torch.inference_mode()
def test_prosody_that_is_not_known_has_the_mean_of_the_training_data() -> None:
    ears, sound, lengths = audio_experts(), random(3, 64, 40), torch.tensor([40, 40, 33])
    whole, weight = ears.posteriors(sound, lengths, spoken(3))
    scaled = ears(sound, lengths, spoken(3))[0]
    assert not whole.isnan().any()
    torch.testing.assert_close(scaled, ears.scale(whole))
    assert (scaled[:, SPOKEN] != 0).any(dim=0).all()
    some = spoken(3)
    some[1] = torch.nan
    nobody = torch.full((3, EXPERTS.prosody), torch.nan)
    for prosody, unknown in ((some, [1]), (nobody, [0, 1, 2]), (None, [0, 1, 2])):
        gone = torch.zeros(3, VOICE, dtype=torch.bool)
        gone[unknown, SPOKEN] = True
        votes, attention = ears.posteriors(sound, lengths, prosody)
        representation = ears(sound, lengths, prosody)[0]
        assert torch.equal(votes.isnan(), gone)
        assert torch.equal(attention, weight)
        torch.testing.assert_close(votes[~gone], whole[~gone])
        assert (representation[gone] == 0).all()
        torch.testing.assert_close(representation[~gone], scaled[~gone])


@torch.inference_mode()
def test_a_statistic_that_is_not_known_counts_as_the_mean() -> None:
    (member,) = audio_experts(1).prosody
    missing, mean = spoken(2), spoken(2)
    missing[0, 5], mean[0, 5] = torch.nan, member.scale.mean[5]
    assert torch.equal(member(missing), member(mean))
    assert (member(missing)[0] - member(spoken(2))[0]).abs().max() > 1e-3
    assert torch.equal(member(missing)[1], member(spoken(2))[1])


@torch.inference_mode()
def test_what_one_utterance_lacks_others_have() -> None:
    eyes = face_experts()
    faces, mask, extras = seen()
    whole = eyes.posteriors(faces, mask, extras)[0]
    assert extras.neutral is not None
    assert extras.looks is not None
    extras.neutral[0], extras.looks[1] = torch.nan, torch.nan
    found = eyes.posteriors(faces, mask, extras)[0]
    gone = torch.zeros(3, FACE, dtype=torch.bool)
    gone[0, MOVING], gone[1, PIXELS] = True, True
    assert torch.equal(found.isnan(), gone)
    torch.testing.assert_close(found[~gone], whole[~gone])


@torch.inference_mode()
def test_company_in_a_batch_changes_nothing() -> None:
    faces, mask, extras = seen()
    assert extras.neutral is not None
    assert extras.looks is not None
    eyes = face_experts()
    together, attention = eyes.posteriors(faces, mask, extras)
    for row, length in enumerate((6, 3, 1)):
        one = slice(row, row + 1)
        own = FaceExtras(extras.neutral[one], extras.looks[one, :length])
        alone, weight = eyes.posteriors(faces[one, :length], mask[one, :length], own)
        torch.testing.assert_close(alone[0], together[row], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(weight[0], attention[row, :length])
    ears, sound = audio_experts(), random(3, 64, 40, seed=7)
    prosody = spoken(3)
    prosody[0] = torch.nan
    both, _ = ears.posteriors(sound, torch.tensor([40, 40, 40]), prosody)
    alone, _ = ears.posteriors(sound[1:2], torch.tensor([40]), prosody[1:2])
    torch.testing.assert_close(alone[0], both[1], atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_movement_needs_order_but_no_padding() -> None:
    torch.manual_seed(4)
    # Two layers: what the first one makes of padding would reach frames in the second.
    deep = dataclasses.replace(EXPERTS.movement, channels=(12, 8))
    encoder = with_statistics(MovementEncoder(deep))
    faces, mask, extras = seen((7, 2))
    assert extras.neutral is not None
    padded = encoder(faces, mask, extras.neutral)
    for row, length in enumerate((7, 2)):
        one = slice(row, row + 1)
        alone = encoder(faces[one, :length], mask[one, :length], extras.neutral[one])
        torch.testing.assert_close(alone[0], padded[row], atol=1e-5, rtol=1e-5)
    shuffled = encoder(faces[:1, [3, 0, 5, 1, 6, 2, 4]], mask[:1], extras.neutral[:1])
    assert (shuffled[0] - padded[0]).abs().max() > 1e-3
    other = encoder(faces[:1], mask[:1], extras.neutral[1:])
    assert (other[0] - padded[0]).abs().max() > 1e-3


# --- pixels --------------------------------------------------------------------------------------


@torch.inference_mode()
def test_looks_are_weighed_by_the_attention_of_the_landmarks() -> None:
    eyes = face_experts()
    faces, mask, extras = seen()
    assert extras.looks is not None
    found, attention = eyes.posteriors(faces, mask, extras)
    for row, frames in enumerate(((0, 2, 4), (0, 2), (0,))):
        share = [float(attention[row, frame]) for frame in frames]
        looks = sum(
            s * extras.looks[row, frame] for s, frame in zip(share, frames, strict=True)
        ) / sum(share)
        mean = [float(value) for value in looks]
        total = math.log(sum(math.exp(value) for value in mean))
        expected = [value - total for value in mean]
        assert found[row, PIXELS][:7].tolist() == pytest.approx(expected, abs=1e-5)


def test_polarities_of_the_pixels_by_hand() -> None:
    # angry, disgust, fear, happy, neutral, sad, surprise; surprise has no polarity.
    shares = torch.tensor([0.1, 0.05, 0.05, 0.3, 0.2, 0.1, 0.2])
    for unnormalised in (0.0, 2.5):
        found = with_polarity(shares.log() + unnormalised, EXPERTS)
        assert found[:7].exp().tolist() == pytest.approx(shares.tolist())
        assert found[7:].exp().tolist() == pytest.approx([0.3 / 0.8, 0.2 / 0.8, 0.3 / 0.8])


@torch.inference_mode()
def test_only_experts_have_an_eye_for_pictures() -> None:
    pictures = random(3, 48, 48)
    votes = with_statistics(TargetModel(MODEL)).look_at(pictures)
    assert votes is not None
    assert votes.shape == (3, 7)
    assert TargetModel(TargetConfig(context=CONTEXT)).eval().look_at(pictures) is None
