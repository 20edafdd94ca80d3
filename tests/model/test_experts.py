"""Whisper's encoder, and experts in the place of encoders: what they say, what is missing."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import SAMPLE
from media_files import read, sound_of
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
from torch.nn import functional

from avsent.errors import CheckpointError
from avsent.extraction.extractor import FeatureConfig, UtteranceFeatures
from avsent.extraction.features.face import FaceFeatures, pictures_of
from avsent.extraction.features.voice import (
    FLOOR_DB,
    SIZE,
    AudioConfig,
    AudioFeatures,
    audio_features,
    normalised_log,
)
from avsent.extraction.media.events import SAMPLE_RATE_HZ
from avsent.extraction.utterances.segmentation import Segment
from avsent.model import encoding
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
from avsent.model.networks.config import ContextConfig, TargetConfig, WhisperConfig
from avsent.model.networks.encoders import FaceExtras, MovementEncoder
from avsent.model.networks.experts import (
    LEAST_LOG,
    AudioExperts,
    FaceExperts,
    VoiceMember,
    with_polarity,
)
from avsent.model.networks.target import TargetModel, Utterances
from avsent.model.networks.whisper import STEP_FRAMES, WINDOW_FRAMES, WhisperEncoder
from avsent.training import augmentation
from avsent.training.data.corpus import Sample
from avsent.training.dataset import encoded, make_videos
from recipes.voices import WHISPER_AUDIO, whisper_encoder

pytestmark = pytest.mark.usefixtures("one_thread")

CONTEXT = ContextConfig(first_gru=4, dense=5, second_gru=3, classifier=4)
MODEL = TargetConfig(experts=EXPERTS, context=CONTEXT)


def audio_experts(members: int = 2) -> AudioExperts:
    torch.manual_seed(1)
    return with_statistics(AudioExperts(dataclasses.replace(EXPERTS, audio_members=members)))


def face_experts(members: int = 2) -> FaceExperts:
    torch.manual_seed(2)
    return with_statistics(FaceExperts(dataclasses.replace(EXPERTS, face_members=members)))


def spoken(count: int, seed: int = 10) -> Tensor:
    """Prosody [N, 24]."""
    return random(count, EXPERTS.prosody, seed=seed)


def heard(lengths: tuple[int, ...] = (5, 5, 4), seed: int = 0) -> tuple[Tensor, Tensor]:
    """Whisper's steps of several voices in one batch, with rubbish behind them, and the mask."""
    steps = random(len(lengths), max(lengths), 2, EXPERTS.whisper.size, seed=seed)
    mask = torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]
    steps[~mask] = 100.0
    return steps, mask


def seen(lengths: tuple[int, ...] = (6, 3, 1)) -> tuple[Tensor, Tensor, FaceExtras]:
    """Faces of several lengths in one batch with rubbish behind them; every second frame of them
    was looked at."""
    faces = some_faces(len(lengths), max(lengths), seed=3)
    mask = torch.arange(max(lengths))[None] < torch.tensor(lengths)[:, None]
    faces[~mask] = 100.0
    looks = random(*mask.shape, 8, seed=4).log_softmax(dim=-1)
    looks[:, 1::2] = torch.nan
    looks[~mask] = torch.nan
    return faces, mask, FaceExtras(some_faces(len(lengths), 1, seed=5)[:, 0], looks)


# --- Whisper -------------------------------------------------------------------------------------


def whisper(**changes: int) -> WhisperEncoder:
    torch.manual_seed(3)
    encoder = WhisperEncoder(dataclasses.replace(EXPERTS.whisper, **changes))
    torch.nn.init.normal_(encoder.positions)
    return encoder.eval()


def power_of(frames: int, seed: int = 0) -> Tensor:
    """Mel power [64, T]."""
    return random(64, frames, seed=seed).exp()


def layer_by_hand(state: dict[str, Tensor], hidden: Tensor, heads: int) -> Tensor:
    """One Transformer layer on [T, C], normalised before each part; ``state``: its weights."""
    size = hidden.shape[1]

    def normed(name: str, items: Tensor) -> Tensor:
        apart = items - items.mean(dim=1, keepdim=True)
        scaled = apart / (apart.square().mean(dim=1, keepdim=True) + 1e-5).sqrt()
        return scaled * state[f"{name}.weight"] + state[f"{name}.bias"]

    def linear(name: str, items: Tensor) -> Tensor:
        return items @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    joint = normed("norm1", hidden) @ state["self_attn.in_proj_weight"].T
    query, key, value = (joint + state["self_attn.in_proj_bias"]).split(size, dim=1)
    parts = []
    for head in range(heads):
        own = slice(head * size // heads, (head + 1) * size // heads)
        scores = query[:, own] @ key[:, own].T / math.sqrt(size / heads)
        parts.append(scores.softmax(dim=1) @ value[:, own])
    hidden = hidden + linear("self_attn.out_proj", torch.cat(parts, dim=1))
    wide = linear("linear1", normed("norm2", hidden))
    wide = wide * 0.5 * (1 + torch.erf(wide / math.sqrt(2)))
    return hidden + linear("linear2", wide)


@torch.inference_mode()
def test_whisper_by_hand() -> None:
    encoder = whisper(layers=1, kept=1)
    power = power_of(20)
    logs = power.log10()
    given = ((logs - logs.max()) / 4 + 1.4)[None]
    first = functional.gelu(encoder.conv1(given))
    hidden = functional.gelu(encoder.conv2(first))[0].T + encoder.positions[:10]
    state = {k.removeprefix("layers.0."): v for k, v in encoder.state_dict().items()}
    hidden = layer_by_hand(state, hidden, EXPERTS.whisper.heads)
    expected = torch.stack([hidden[:4].mean(0), hidden[4:8].mean(0), hidden[8:].mean(0)])
    torch.testing.assert_close(encoder(power)[:, 0], expected, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_whisper_keeps_the_upper_layers() -> None:
    many, power = whisper(layers=3, kept=1), power_of(30)
    few = whisper(layers=3, kept=2)
    few.load_state_dict(many.state_dict())
    assert torch.equal(many(power)[:, 1:], few(power))


@torch.inference_mode()
def test_whisper_does_not_hear_the_level_of_a_sound() -> None:
    encoder, power = whisper(), power_of(40)
    for gain in (1e-4, 4.0, 1e3):
        torch.testing.assert_close(encoder(gain * power), encoder(power), atol=1e-4, rtol=1e-4)
    assert encoder(torch.zeros(64, 40)).isfinite().all()


@torch.inference_mode()
@pytest.mark.parametrize("frames", [1, 8, 9, 1000, 1001, 2500])
def test_a_long_sound_is_cut_into_equal_windows(
    frames: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, power = whisper(), power_of(frames)
    assert encoder(power).shape == (math.ceil(frames / STEP_FRAMES), 2, EXPERTS.whisper.size)
    parts: list[int] = []

    def counted(part: Tensor) -> Tensor:
        parts.append(part.shape[1])
        return torch.zeros(-(-part.shape[1] // STEP_FRAMES), 2, 8)

    monkeypatch.setattr(encoder, "_window", counted)
    encoder(power)
    assert sum(parts) == frames
    assert len(parts) == math.ceil(frames / WINDOW_FRAMES)
    assert max(parts) <= WINDOW_FRAMES
    assert max(parts) - min(parts) < STEP_FRAMES * len(parts)
    assert all(part % STEP_FRAMES == 0 for part in parts[:-1])


@torch.inference_mode()
def test_the_encoder_that_comes_with_avsent_on_a_real_voice() -> None:
    config = WhisperConfig()
    encoder = whisper_encoder(config)
    assert len(encoder.state_dict()) == 77
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    _, sound = sound_of(read(SAMPLE)[1])
    voice = audio_features(sound[: 3 * SAMPLE_RATE_HZ], 0.0, WHISPER_AUDIO)
    assert voice is not None
    found = encoder(torch.from_numpy(voice.power))
    assert found.shape == (math.ceil(voice.power.shape[1] / STEP_FRAMES), 4, 512)
    assert found.isfinite().all()
    # It hears something: steps differ.
    assert (found[:-1] - found[1:]).abs().mean() > 0.05


# --- pooling -------------------------------------------------------------------------------------


@torch.inference_mode()
def test_a_voice_is_pooled_by_weighted_mean_and_deviation() -> None:
    """Two layers of two numbers; the attention looks at their mean over the layers."""
    two = dataclasses.replace(EXPERTS.whisper, size=2, heads=1)
    member = VoiceMember(dataclasses.replace(EXPERTS, whisper=two, voice_attention=1))
    member.attention.projection.weight.copy_(torch.tensor([[1.0, 0.0]]))
    member.attention.projection.bias.zero_()
    member.attention.score.weight.fill_(2.0)
    steps = torch.tensor([[[[0.0, 1.0], [0.0, 3.0]], [[2.0, 5.0], [0.0, 7.0]]]])
    found, weight = member.pool(steps, torch.ones(1, 2, dtype=torch.bool))
    share = math.exp(2 * math.tanh(1.0)) / (1 + math.exp(2 * math.tanh(1.0)))
    assert weight[0].tolist() == pytest.approx([1 - share, share])
    spread = math.sqrt(share * (1 - share))
    means = [2 * share, 1 + 4 * share, 0.0, 3 + 4 * share]
    assert found[0].tolist() == pytest.approx(
        [*means, 2 * spread, 4 * spread, 1e-4, 4 * spread], abs=1e-5
    )


@torch.inference_mode()
def test_padding_of_a_voice_changes_nothing() -> None:
    (member,) = audio_experts(1).members
    steps, mask = heard((6, 2))
    together, weights = member.pool(steps, mask)
    assert not weights[~mask].any()
    for row, length in enumerate((6, 2)):
        alone, weight = member.pool(steps[row : row + 1, :length], mask[row : row + 1, :length])
        torch.testing.assert_close(together[row], alone[0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(weights[row, :length], weight[0])


# --- what they say -------------------------------------------------------------------------------


@torch.inference_mode()
def test_a_member_returns_probabilities() -> None:
    told, weight = audio_experts(1).posteriors(*heard(), spoken(3))
    faces, mask, extras = seen()
    shown, attention = face_experts(1).posteriors(faces, mask, extras)
    assert (told.shape, shown.shape) == ((3, VOICE), (3, FACE))
    for votes in (told[:, HEARD], told[:, SPOKEN], shown[:, STILL], shown[:, MOVING]):
        torch.testing.assert_close(votes[:, :8].exp().sum(1), torch.ones(3), atol=1e-5, rtol=0)
        torch.testing.assert_close(votes[:, 8:].exp().sum(1), torch.ones(3), atol=1e-5, rtol=0)
    pictured = shown[:, PIXELS].exp()
    torch.testing.assert_close(pictured[:, :8].sum(1), torch.ones(3))
    torch.testing.assert_close(pictured[:, 8:].sum(1), torch.ones(3))
    assert told.std(dim=0).min() > 0  # it listens
    for found in (weight, attention):
        torch.testing.assert_close(found.sum(1), torch.ones(3))
    assert (attention[~mask] == 0).all()


@torch.inference_mode()
def test_an_ensemble_is_the_mean_of_log_probabilities() -> None:
    ears, eyes = audio_experts(), face_experts()
    steps, mask = heard((5, 3))
    told, weight = ears.posteriors(steps, mask, spoken(2))
    one, other = (member(steps, mask) for member in ears.members)
    assert (one[0] - other[0]).abs().max() > 0.1
    torch.testing.assert_close(told[:, HEARD], (one[0] + other[0]) / 2)
    first, second = (member(spoken(2)) for member in ears.prosody)
    assert (first - second).abs().max() > 0.1
    torch.testing.assert_close(told[:, SPOKEN], (first + second) / 2)
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
    told, _ = ears.posteriors(*heard((4,)), spoken(1))
    assert told[0, SPOKEN][8:].tolist() == pytest.approx([0, LEAST_LOG, LEAST_LOG], abs=1e-6)
    assert told[0, 3] == pytest.approx(0, abs=1e-6)
    assert told[0, [0, 1, 2, 4, 5, 6, 7]].tolist() == [LEAST_LOG] * 7
    eyes = face_experts(1)
    eyes.members[0].movement_votes.polarity.bias[1] = 50.0
    faces, mask, extras = seen()
    assert extras.pixels is not None
    extras.pixels[:, ::2, 0] = 30.0  # neutral
    shown, _ = eyes.posteriors(faces, mask, extras)
    assert shown[0, MOVING][8:].tolist() == pytest.approx([LEAST_LOG, 0, LEAST_LOG], abs=1e-6)
    assert shown[0, PIXELS][8:].tolist() == pytest.approx([LEAST_LOG, 0, LEAST_LOG], abs=1e-6)


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


def steps_of(ears: AudioExperts, sounds: list[Tensor]) -> tuple[Tensor, Tensor]:
    """What Whisper makes of ``sounds``, and the mask."""
    found = [ears.whisper(sound) for sound in sounds]
    mask = torch.arange(max(map(len, found)))[None] < torch.tensor([[len(one)] for one in found])
    return torch.nn.utils.rnn.pad_sequence(found, batch_first=True), mask


@torch.inference_mode()
def test_unknown_prosody_is_the_training_mean() -> None:
    ears, sounds = audio_experts(), [power_of(frames, frames) for frames in (40, 40, 33)]
    whole, weight = ears.posteriors(*steps_of(ears, sounds), spoken(3))
    scaled = ears(sounds, spoken(3))[0]
    assert not whole.isnan().any()
    torch.testing.assert_close(scaled, ears.scale(whole))
    assert (scaled[:, SPOKEN] != 0).any(dim=0).all()
    some = spoken(3)
    some[1] = torch.nan
    nobody = torch.full((3, EXPERTS.prosody), torch.nan)
    for prosody, unknown in ((some, [1]), (nobody, [0, 1, 2]), (None, [0, 1, 2])):
        gone = torch.zeros(3, VOICE, dtype=torch.bool)
        gone[unknown, SPOKEN] = True
        votes, attention = ears.posteriors(*steps_of(ears, sounds), prosody)
        representation = ears(sounds, prosody)[0]
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
    ears, sounds = audio_experts(), [power_of(frames, frames) for frames in (33, 90, 1)]
    prosody = spoken(3)
    prosody[0] = torch.nan
    both, attention = ears(sounds, prosody)
    for row, sound in enumerate(sounds):
        alone, weight = ears([sound], prosody[row : row + 1])
        torch.testing.assert_close(alone[0], both[row], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(weight[0], attention[row, : weight.shape[1]])
        assert not attention[row, weight.shape[1] :].any()


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
        assert found[row, PIXELS][:8].tolist() == pytest.approx(expected, abs=1e-5)


def test_polarities_of_the_pixels_by_hand() -> None:
    # neutral, happy, surprise, sad, angry, disgust, fear, contempt; surprise has no polarity.
    shares = torch.tensor([0.2, 0.3, 0.2, 0.1, 0.05, 0.05, 0.05, 0.05])
    for unnormalised in (0.0, 2.5):
        found = with_polarity(shares.log() + unnormalised, EXPERTS)
        assert found[:8].exp().tolist() == pytest.approx(shares.tolist())
        assert found[8:].exp().tolist() == pytest.approx([0.3 / 0.8, 0.2 / 0.8, 0.3 / 0.8])


@torch.inference_mode()
def test_only_experts_classify_pixels() -> None:
    pictures = random(3, 48, 48)
    votes = with_statistics(TargetModel(MODEL)).classify_pixels(pictures)
    assert votes is not None
    assert votes.shape == (3, 8)
    assert TargetModel(TargetConfig(context=CONTEXT)).eval().classify_pixels(pictures) is None


# --- in a model ----------------------------------------------------------------------------------


@torch.inference_mode()
def everything(model: TargetModel) -> Tensor:
    looks = torch.cat([random(3, 3, 8).log_softmax(dim=-1), torch.full((3, 3, 8), torch.nan)], 1)
    extras = FaceExtras(some_faces(3, 1, seed=5)[:, 0], looks)
    face, _ = model.encoder("face")(some_faces(3, 6), torch.ones(3, 6, dtype=torch.bool), extras)
    prosody = random(3, EXPERTS.prosody, seed=8)
    prosody[1] = torch.nan
    audio, _ = model.encoder("audio")([power_of(frames) for frames in (40, 30, 40)], prosody)
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
    *(("pixel_polarity", entries, "one entry per class") for entries in ([], [0] * 7, [0] * 9)),
    *(("pixel_polarity", [0] * 7 + [entry], "polarity that is none") for entry in (-2, 3)),
    ("pixels.classes", 7, "one entry per class"),
    *(
        (name, count, "a number of members is not within")
        for name in ("audio_members", "face_members")
        for count in (0, -1, MAX_MEMBERS + 1, 10**12)
    ),
    *(
        (name, size, "a layer size is not within")
        for name in ("emotions", "still.attention", "voice_attention", "pixels.stem")
        for size in (0, -3, MAX_LAYER_SIZE + 1, 10**12)
    ),
    *(
        ("prosody", size, "network and features differ in prosody")
        for size in (0, -3, SIZE - 1, SIZE + 1, MAX_LAYER_SIZE, 10**12)
    ),
    *(("whisper.size", size, "a size of Whisper's encoder") for size in (0, 10**12)),
    ("whisper.heads", 3, "sizes of Whisper's encoder do not fit"),
    ("whisper.kept", 4, "sizes of Whisper's encoder do not fit"),
    ("whisper.layers", 33, "sizes of Whisper's encoder do not fit"),
    ("whisper.positions", 499, "too few positions"),
    ("whisper.mel_bands", 80, "differ in mel bands"),
    ("still.hidden", [8] * 17, "the number of layers"),
    ("movement.channels", [8] * 17, "the number of layers"),
    ("pixels.channels", [8] * 6, "the number of layers"),
    ("pixels.dropout", 1.0, "a dropout is not within"),
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
    model = with_statistics(TargetModel(MODEL))
    with torch.no_grad():  # pictures and frames that clearly differ
        pixels = model.encoder("face").pixels
        for weights in pixels.blocks.parameters():
            weights *= 3
        pixels.out.weight *= 0.01
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
def test_voice_experts_hear_every_voice_unchanged(checkpoint: Path) -> None:
    """They have learnt; faces are augmented."""
    model, device = load_checkpoint(checkpoint).model, torch.device("cpu")
    videos = make_videos([sample_of(i, one) for i, one in enumerate(features())], {}, {})
    plain = encoded(model, videos, [0], device).values
    changed = encoded(model, videos, [0], device, np.random.default_rng(0)).values
    assert torch.equal(changed["audio"], plain["audio"])
    assert (changed["face"] - plain["face"]).abs().max() > 1e-3


@torch.inference_mode()
def test_the_decision_is_that_of_the_network(checkpoint: Path) -> None:
    """Nothing is added to its logits from the side: with a classifier of zeros every class is as
    likely, whatever the experts say."""
    loaded = load_checkpoint(checkpoint)
    last = loaded.model.head.get_submodule("classifier")[-1]

    def probabilities() -> list[float]:
        decider = Decider(loaded, torch.device("cpu"))
        there = decider.encode_faces(decider.encode(features()), NEUTRALS)
        return [p for one in decider.decide(there) for p in one.probabilities.values()]

    assert max(abs(p - 1 / 3) for p in probabilities()) > 1e-4
    last.weight.zero_()
    last.bias.zero_()
    assert probabilities() == pytest.approx([1 / 3] * 15, abs=1e-12)


def plain_model() -> TargetModel:
    """Without experts: its encoder hears log-mel spectrograms."""
    torch.manual_seed(0)
    return TargetModel(TargetConfig(context=CONTEXT)).eval()


@torch.inference_mode()
@pytest.mark.parametrize("augmented", [False, True])
def test_the_spectrogram_of_each_voice_is_made_once(
    monkeypatch: pytest.MonkeyPatch, augmented: bool
) -> None:
    model, device = plain_model(), torch.device("cpu")
    videos = make_videos([sample_of(i, one) for i, one in enumerate(features())], {}, {})
    powers: list[NDArray[Any]] = []

    def counted(power: NDArray[Any], floor_db: float) -> NDArray[np.float32]:
        powers.append(power)
        return normalised_log(power, floor_db)

    for module in (augmentation, encoding):
        monkeypatch.setattr(module, "normalised_log", counted)
    encoded(model, videos, [0], device, np.random.default_rng(0) if augmented else None)
    assert len(powers) == int(videos.present["audio"].sum()) == 4


@torch.inference_mode()
def test_the_floor_of_the_spectrogram_is_that_of_the_features() -> None:
    """In training, with and without augmentation, as in prediction."""
    model, device = plain_model(), torch.device("cpu")
    samples = [sample_of(i, one) for i, one in enumerate(features())]
    low = FeatureConfig(audio=AudioConfig(floor_db=15.0))
    usual, other = (make_videos(samples, {}, {}, features=one) for one in (None, low))
    assert (usual.floor_db, other.floor_db) == (FLOOR_DB, 15.0)
    for seed in (None, 0):
        told = []
        for videos in (usual, other):
            rng = None if seed is None else np.random.default_rng(seed)
            told.append(encoded(model, videos, [0], device, rng).values["audio"][0])
        assert (told[0] - told[1]).abs().max() > 1e-3
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


def test_experts_may_hear_other_bands_than_the_encoder_they_stand_for(tmp_path: Path) -> None:
    """As the shipped ones: Whisper's 80."""
    whisper = dataclasses.replace(EXPERTS.whisper, mel_bands=80)
    experts = dataclasses.replace(EXPERTS, whisper=whisper)
    about: dict[str, Any] = {"name": "x", "licence": "MIT", "calibration": Calibration()}
    model = TargetModel(dataclasses.replace(MODEL, experts=experts))
    save_checkpoint(tmp_path, model, features=FeatureConfig(audio=WHISPER_AUDIO), **about)
    assert load_checkpoint(tmp_path).config.model.experts == experts
