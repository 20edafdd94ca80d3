"""Experts in the place of encoders: what they say, and what is missing."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from small_models import (
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

from avsent.errors import CheckpointError
from avsent.extraction.extractor import FeatureConfig, UtteranceFeatures
from avsent.extraction.features.face import FaceFeatures, pictures_of
from avsent.extraction.features.voice import (
    FLOOR_DB,
    SIZE,
    AudioConfig,
    AudioFeatures,
    normalised_log,
)
from avsent.extraction.utterances.segmentation import Segment
from avsent.labels import EMOTIONS, POLARITY_LABELS
from avsent.model.checkpoint import (
    MAX_LAYER_SIZE,
    MAX_MEMBERS,
    Calibration,
    load_checkpoint,
    save_checkpoint,
)
from avsent.model.decision import Decider
from avsent.model.encoding import Encoder
from avsent.model.folders import CONFIG_FILE
from avsent.model.networks.config import ContextConfig, TargetConfig, VoteConfig
from avsent.model.networks.encoders import FaceExtras, MovementEncoder, VectorEncoder
from avsent.model.networks.experts import (
    LEAST_LOG,
    AudioExperts,
    ExpertVotes,
    FaceExperts,
    with_polarity,
)
from avsent.model.networks.target import TargetModel, Utterances
from avsent.training import augmentation, dataset
from avsent.training.data.corpus import Sample
from avsent.training.dataset import encoded, make_videos
from recipes.fusion import FER_COUNTS, FER_EMOTIONS, vote_streams

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
def test_a_member_returns_probabilities() -> None:
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
def test_an_ensemble_is_the_mean_of_log_probabilities() -> None:
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
    looked = [member.still_posteriors(faces, mask)[0] for member in eyes.members]
    watched = [member.movement_posteriors(faces, mask, extras.neutral) for member in eyes.members]
    torch.testing.assert_close(shown[:, STILL], (looked[0] + looked[1]) / 2)
    torch.testing.assert_close(shown[:, MOVING], (watched[0] + watched[1]) / 2)


@torch.inference_mode()
def test_log_probabilities_are_clipped() -> None:
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
    assert extras.pixels is not None
    extras.pixels[:, ::2, 4] = 30.0
    shown, _ = eyes.posteriors(faces, mask, extras)
    assert shown[0, MOVING][8:].tolist() == pytest.approx([LEAST_LOG, 0, LEAST_LOG], abs=1e-6)
    assert shown[0, PIXELS][7:].tolist() == pytest.approx([LEAST_LOG, 0, LEAST_LOG], abs=1e-6)


@torch.inference_mode()
def test_a_missing_stream_is_the_training_mean() -> None:
    eyes = face_experts()
    faces, mask, extras = seen()
    whole = eyes.posteriors(faces, mask, extras)[0]
    scaled = eyes(faces, mask, extras)[0]
    assert not whole.isnan().any()
    for kept, columns in (
        (FaceExtras(pixels=extras.pixels), [MOVING]),
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
def test_unknown_prosody_is_the_training_mean() -> None:
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
def test_an_unknown_statistic_counts_as_the_mean() -> None:
    (member,) = audio_experts(1).prosody
    missing, mean = spoken(2), spoken(2)
    missing[0, 5], mean[0, 5] = torch.nan, member.scale.mean[5]
    assert torch.equal(member(missing), member(mean))
    assert (member(missing)[0] - member(spoken(2))[0]).abs().max() > 1e-3
    assert torch.equal(member(missing)[1], member(spoken(2))[1])


@torch.inference_mode()
def test_a_stream_missing_in_one_utterance_of_a_batch() -> None:
    eyes = face_experts()
    faces, mask, extras = seen()
    whole = eyes.posteriors(faces, mask, extras)[0]
    assert extras.neutral is not None
    assert extras.pixels is not None
    extras.neutral[0], extras.pixels[1] = torch.nan, torch.nan
    found = eyes.posteriors(faces, mask, extras)[0]
    gone = torch.zeros(3, FACE, dtype=torch.bool)
    gone[0, MOVING], gone[1, PIXELS] = True, True
    assert torch.equal(found.isnan(), gone)
    torch.testing.assert_close(found[~gone], whole[~gone])


@torch.inference_mode()
def test_other_utterances_of_a_batch_change_nothing() -> None:
    faces, mask, extras = seen()
    assert extras.neutral is not None
    assert extras.pixels is not None
    eyes = face_experts()
    together, attention = eyes.posteriors(faces, mask, extras)
    for row, length in enumerate((6, 3, 1)):
        one = slice(row, row + 1)
        own = FaceExtras(extras.neutral[one], extras.pixels[one, :length])
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
def test_pixel_posteriors_are_weighted_by_the_attention_of_the_landmarks() -> None:
    eyes = face_experts()
    faces, mask, extras = seen()
    assert extras.pixels is not None
    found, attention = eyes.posteriors(faces, mask, extras)
    for row, frames in enumerate(((0, 2, 4), (0, 2), (0,))):
        share = [float(attention[row, frame]) for frame in frames]
        looks = sum(
            s * extras.pixels[row, frame] for s, frame in zip(share, frames, strict=True)
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
def test_only_experts_classify_pixels() -> None:
    pictures = random(3, 48, 48)
    votes = with_statistics(TargetModel(MODEL)).classify_pixels(pictures)
    assert votes is not None
    assert votes.shape == (3, 7)
    assert TargetModel(TargetConfig(context=CONTEXT)).eval().classify_pixels(pictures) is None


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
    votes = ExpertVotes((VoteConfig("audio", (2, 0), prior),), 2)
    votes.weight.copy_(torch.tensor([0.5]))
    votes.bias.copy_(torch.tensor([10.0, 20.0]))
    scale = scale_of([-1.0, 7.0, -3.0], [2.0, 7.0, 4.0])
    there = {"audio": torch.tensor([[present]])}
    logits = votes({"audio": torch.tensor([[values]])}, there, {"audio": scale})
    assert logits.shape == (1, 1, 2)
    found: list[float] = logits[0, 0].tolist()
    return found


def test_log_probabilities_are_added_unstandardised() -> None:
    # 1.5 · 4 − 3 = 3 and 0.5 · 2 − 1 = 0.
    assert said([0.5, 9.0, 1.5]) == [10 + 0.5 * 3, 20.0]
    # The mean of one label alone is no sign that the stream is missing.
    assert said([0.0, 9.0, 1.5]) == [10 + 0.5 * 3, 20 - 0.5 * 1]


def test_the_prior_of_the_training_data_is_subtracted() -> None:
    assert said([0.5, 9.0, 1.5], PRIOR) == [10 + 0.5 * (3 + 1.5), 20 + 0.5 * (0 - 0.5)]
    assert said([0.0, 9.0, 1.5], PRIOR) == [10 + 0.5 * (3 + 1.5), 20 + 0.5 * (-1 - 0.5)]


@pytest.mark.parametrize("prior", [(), PRIOR])
def test_a_missing_stream_has_no_vote(prior: tuple[float, ...]) -> None:
    assert said([0.0, 9.0, 0.0], prior) == [10.0, 20.0]
    assert said([0.5, 9.0, 1.5], prior, present=False) == [10.0, 20.0]


@torch.inference_mode()
@pytest.mark.parametrize("prior", [(), PRIOR])
def test_a_stream_never_known_in_training_has_no_vote(prior: tuple[float, ...]) -> None:
    scale = VectorEncoder(2)
    scale.fit(torch.full((5, 2), torch.nan))
    votes = ExpertVotes((VoteConfig("face", (0, 1), prior),), 2)
    values = {"face": scale(torch.tensor([[3.0, -2.0]]))[None]}
    logits = votes(values, {"face": torch.tensor([[True]])}, {"face": scale})
    assert logits.tolist() == [[[0.0, 0.0]]]


def test_columns_have_to_fit_the_labels() -> None:
    for stream in (VoteConfig("audio", (0, 1)), VoteConfig("audio", (0, 1, 2), PRIOR)):
        with pytest.raises(ValueError, match="one column per label"):
            ExpertVotes((stream,), 3)


@torch.inference_mode()
def test_initial_votes_are_the_sum_of_log_probabilities() -> None:
    """Through standardising and back: of a stream that is not cut off nothing is lost."""
    raw = random(6, VOICE, seed=3) - 2.0
    scale = VectorEncoder(VOICE)
    scale.fit(raw)
    votes = ExpertVotes((VoteConfig("audio", (8, 9, 10)), VoteConfig("audio", (19, 20, 21))), 3)
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


@torch.inference_mode()
def everything(model: TargetModel) -> Tensor:
    looks = torch.cat([random(3, 3, 7).log_softmax(dim=-1), torch.full((3, 3, 7), torch.nan)], 1)
    extras = FaceExtras(some_faces(3, 1, seed=5)[:, 0], looks)
    face, _ = model.encoder("face")(some_faces(3, 6), torch.ones(3, 6, dtype=torch.bool), extras)
    prosody = random(3, EXPERTS.prosody, seed=8)
    prosody[1] = torch.nan
    audio, _ = model.encoder("audio")(random(3, 64, 40), torch.tensor([40, 30, 40]), prosody)
    there = torch.ones(1, 3, dtype=torch.bool)
    values = {"audio": audio[None], "face": face[None]}
    logits = model(Utterances(values, {"audio": there, "face": there}, torch.tensor([3]))).logits
    return torch.cat([logits.flatten(), model.classify_pixels(random(2, 48, 48)).flatten()])


def save(folder: Path) -> TargetModel:
    torch.manual_seed(7)
    model = with_statistics(TargetModel(MODEL))
    about: dict[str, Any] = {"features": FeatureConfig(), "calibration": Calibration()}
    save_checkpoint(folder, model, name="experts", licence="MIT", **about)
    return model


def test_a_checkpoint_of_experts(tmp_path: Path) -> None:
    model = save(tmp_path)
    loaded = load_checkpoint(tmp_path)
    assert loaded.config.model == MODEL
    assert torch.equal(everything(loaded.model), everything(model))


WRONG: list[tuple[str, object, str]] = [
    *(("pixel_polarity", entries, "one entry per class") for entries in ([], [0] * 6, [0] * 8)),
    *(("pixel_polarity", [0] * 6 + [entry], "polarity that is none") for entry in (-2, 3)),
    ("pixels.classes", 8, "one entry per class"),
    *(
        (name, count, "a number of members is not within")
        for name in ("audio_members", "face_members", "pixels.members")
        for count in (0, -1, MAX_MEMBERS + 1, 10**12)
    ),
    *(
        (name, size, "a layer size is not within")
        for name in ("emotions", "still.attention", "movement.representation", "pixels.stem")
        for size in (0, -3, MAX_LAYER_SIZE + 1, 10**12)
    ),
    *(
        ("prosody", size, "network and features differ in prosody")
        for size in (0, -3, SIZE - 1, SIZE + 1, MAX_LAYER_SIZE, 10**12)
    ),
    ("audio.channels", [8, 8, 10**9], "a layer size is not within"),
    ("audio.channels", [8, 8], "the number of layers"),
    ("still.hidden", [8] * 17, "the number of layers"),
    ("movement.channels", [8] * 17, "the number of layers"),
    ("pixels.channels", [8] * 6, "the number of layers"),
    ("pixels.dropout", 1.0, "a dropout is not within"),
    ("audio.mel_bands", 32, "differ in mel bands"),
    ("still.points", 68, "differ in landmark points"),
    ("movement.points", 50, "differ in landmark points"),
    ("movement.colour", 1, "unknown key"),
]


@pytest.mark.parametrize(("name", "value", "why"), WRONG)
def test_a_configuration_that_cannot_be(tmp_path: Path, name: str, value: object, why: str) -> None:
    save(tmp_path)
    path = tmp_path / CONFIG_FILE
    config = json.loads(path.read_text(encoding="utf-8"))
    part = config["model"]["experts"]
    *parents, last = name.split(".")
    for parent in parents:
        part = part[parent]
    assert (last in part) == (why != "unknown key")
    part[last] = value
    path.write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(CheckpointError, match=why) as caught:
        load_checkpoint(tmp_path)
    assert caught.value.exit_code == 4
    assert str(caught.value).startswith(f"{path}: damaged, ")


def test_the_prior_of_a_vote_has_a_number_for_each_label(tmp_path: Path) -> None:
    save(tmp_path)
    path = tmp_path / CONFIG_FILE
    config = json.loads(path.read_text(encoding="utf-8"))
    config["model"]["votes"][0]["log_prior"] = [0.0, -1.0]
    path.write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(CheckpointError, match="damaged, the prior of a vote"):
        load_checkpoint(tmp_path)


FRAMES = (5, 8, 0, 1, 4)
TRACKS = (1, 1, None, 2, 3)


def features() -> list[UtteranceFeatures]:
    """Voices and faces of several lengths; one has no face, one no voice, one no crops, and of
    one voice no prosody is known."""
    rng, found = np.random.default_rng(0), []
    for index, (frames, track) in enumerate(zip(FRAMES, TRACKS, strict=True)):
        power = rng.gamma(1.0, 1.0, (64, 40)).astype(np.float32)
        face = None
        if frames:
            blots = rng.integers(0, 256, (frames, 3, 3)).astype(np.uint8)
            pictures = pictures_of(blots.repeat(32, axis=1).repeat(32, axis=2))
            landmarks = some_faces(1, frames, seed=index)[0].numpy()
            shown = pictures if index != 1 else None
            face = FaceFeatures(np.arange(frames) / 10, landmarks, shown)
        spoken = random(EXPERTS.prosody, seed=index).numpy() if index != 2 else None
        audio = AudioFeatures(np.arange(40) / 100, power, spoken) if index != 3 else None
        found.append(UtteranceFeatures(Segment(float(index), index + 0.8), track, audio, face))
    return found


NEUTRALS = {track: some_faces(1, 1, seed=90 + track)[0, 0].numpy() for track in (1, 2)}
"""That of track 3 is not known."""


def sample_of(index: int, utterance: UtteranceFeatures) -> Sample:
    audio, face = utterance.audio, utterance.face
    pictures = None if face is None else face.pictures
    return Sample(
        key=str(index),
        video="one",
        audio=None if audio is None else audio.power,
        face=None if face is None else face.landmarks,
        neutral=NEUTRALS.get(utterance.track or 0),
        pictures=None if pictures is None else pictures.astype(np.float32),
        prosody=None if audio is None else audio.prosody,
    )


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    model = with_statistics(
        TargetModel(
            TargetConfig(experts=EXPERTS, votes=vote_streams(POLARITY_LABELS), context=CONTEXT)
        )
    )
    with torch.no_grad():  # pictures and frames that clearly differ
        for member in model.encoder("face").pixels.members:
            for weights in member.blocks.parameters():
                weights *= 3
            member.out.weight *= 0.01
        for member in model.encoder("face").members:
            member.still.attention.score.weight *= 100
    about: dict[str, Any] = {"features": FeatureConfig(), "calibration": Calibration()}
    save_checkpoint(tmp_path, model, name="x", licence="MIT", **about)
    return tmp_path


@torch.inference_mode()
def test_a_corpus_is_encoded_as_at_prediction(checkpoint: Path) -> None:
    loaded, utterances = load_checkpoint(checkpoint), features()
    decider = Decider(loaded, torch.device("cpu"))
    found_there = decider.encode_faces(decider.encode(utterances), NEUTRALS)
    samples = [sample_of(index, one) for index, one in enumerate(utterances)]
    videos = make_videos(samples, {}, {})
    corpus = encoded(loaded.model, videos, [0], torch.device("cpu"))
    for name, lacks in (("audio", 3), ("face", 2)):
        assert corpus.present[name][0].tolist() == [index != lacks for index in range(5)]
        for index, one in enumerate(found_there):
            found = one.of(name)
            assert (found is None) == (index == lacks)
            if found is not None:
                torch.testing.assert_close(
                    found, corpus.values[name][0, index], atol=1e-5, rtol=1e-5
                )
    # What nothing is known of says nothing: the neutral of track 3, the pixels of the second, the
    # prosody of the third.
    for name, stream, without in (
        ("face", MOVING, {4}),
        ("face", PIXELS, {1}),
        ("audio", SPOKEN, {2}),
    ):
        there, values = corpus.present[name][0], corpus.values[name][0]
        assert {row for row in range(5) if there[row] and not values[row, stream].any()} == without


@torch.inference_mode()
def test_a_corpus_of_which_no_prosody_is_known(checkpoint: Path) -> None:
    """As from a feature file that was written before there was any."""
    model, device = load_checkpoint(checkpoint).model, torch.device("cpu")
    samples = [sample_of(index, one) for index, one in enumerate(features())]
    old = [dataclasses.replace(sample, prosody=None) for sample in samples]
    with_it, without = (
        encoded(model, make_videos(some, {}, {}), [0], device).values["audio"][0]
        for some in (samples, old)
    )
    assert not without[:, SPOKEN].any()
    assert with_it[[0, 1, 4], SPOKEN].any(dim=1).all()
    torch.testing.assert_close(without[:, HEARD], with_it[:, HEARD])


@torch.inference_mode()
def test_the_prosody_of_an_augmented_voice_is_unknown(checkpoint: Path) -> None:
    model, device = load_checkpoint(checkpoint).model, torch.device("cpu")
    videos = make_videos([sample_of(i, one) for i, one in enumerate(features())], {}, {})
    plain = encoded(model, videos, [0], device).values["audio"][0]
    changed = encoded(model, videos, [0], device, np.random.default_rng(0)).values["audio"][0]
    assert not changed[:, SPOKEN].any()
    assert (changed[:, HEARD] - plain[:, HEARD]).abs().amax(dim=1)[[0, 1, 2, 4]].min() > 1e-3


@torch.inference_mode()
@pytest.mark.parametrize("augmented", [False, True])
def test_the_spectrogram_of_each_voice_is_made_once(
    checkpoint: Path, monkeypatch: pytest.MonkeyPatch, augmented: bool
) -> None:
    model, device = load_checkpoint(checkpoint).model, torch.device("cpu")
    videos = make_videos([sample_of(i, one) for i, one in enumerate(features())], {}, {})
    powers: list[NDArray[Any]] = []

    def counted(power: NDArray[Any], floor_db: float) -> NDArray[np.float32]:
        powers.append(power)
        return normalised_log(power, floor_db)

    for module in (augmentation, dataset):
        monkeypatch.setattr(module, "normalised_log", counted)
    encoded(model, videos, [0], device, np.random.default_rng(0) if augmented else None)
    assert len(powers) == int(videos.present["audio"].sum()) == 4


@torch.inference_mode()
def test_the_floor_of_the_spectrogram_is_that_of_the_features(checkpoint: Path) -> None:
    """In training, with and without augmentation, as in prediction."""
    model, device = load_checkpoint(checkpoint).model, torch.device("cpu")
    samples = [sample_of(i, one) for i, one in enumerate(features())]
    low = FeatureConfig(audio=AudioConfig(floor_db=15.0))
    usual, other = (make_videos(samples, {}, {}, features=one) for one in (None, low))
    assert (usual.floor_db, other.floor_db) == (FLOOR_DB, 15.0)
    for seed in (None, 0):
        heard = []
        for videos in (usual, other):
            rng = None if seed is None else np.random.default_rng(seed)
            heard.append(encoded(model, videos, [0], device, rng).values["audio"][0])
        assert (heard[0] - heard[1]).abs().max() > 1e-3
    expected = Encoder(model, device, 15.0).encode(features())
    found = encoded(model, other, [0], device).values["audio"][0]
    for one, row in zip(expected, found, strict=True):
        if one.audio is not None:
            torch.testing.assert_close(row, one.audio, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_the_decision_comes_with_its_reasons(checkpoint: Path) -> None:
    loaded = load_checkpoint(checkpoint)
    decider = Decider(loaded, torch.device("cpu"))
    utterances = decider.encode(features())
    results = list(decider.decide(decider.encode_faces(utterances, NEUTRALS)))
    others = list(decider.decide(decider.encode_faces(utterances)))
    assert len(results) == 5
    for index, (result, other) in enumerate(zip(results, others, strict=True)):
        assert sum(result.probabilities.values()) == pytest.approx(1)
        shares = result.modalities
        assert sum(share.weight for share in shares.values()) == pytest.approx(1)
        assert [shares[name].effective for name in ("audio", "face")] == [index != 3, index != 2]
        assert len(result.attention.face_frames) == FRAMES[index]
        # Neutral or not, the still faces get the same attention.
        assert result.attention.face_frames == other.attention.face_frames
    assert results[0].probabilities != others[0].probabilities
