"""A model of experts at prediction and on a corpus: both hear and see the same."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from small_experts import (
    EXPERTS,
    HEARD,
    MOVING,
    PIXELS,
    SPOKEN,
    random,
    some_faces,
    with_statistics,
)

from avsent.checkpoints import Calibration, load_checkpoint, save_checkpoint
from avsent.data.corpus import Sample
from avsent.decision import Decider
from avsent.extraction import UtteranceFeatures
from avsent.features.audio import FLOOR_DB, normalised_log
from avsent.features.config import FeatureConfig
from avsent.features.face import FaceFeatures
from avsent.features.pixels import pictures_of
from avsent.features.voice import AudioFeatures
from avsent.labels import POLARITY_LABELS
from avsent.networks.config import ContextConfig, TargetConfig
from avsent.networks.target import TargetModel
from avsent.training.shipped.fusing import vote_streams
from avsent.training.videos import encoded, make_videos
from avsent.utterances import Segment

pytestmark = pytest.mark.usefixtures("one_thread")

CONTEXT = ContextConfig(first_gru=4, dense=5, second_gru=3, classifier=4)
FRAMES = (5, 8, 0, 1, 4)
TRACKS = (1, 1, None, 2, 3)


def features() -> list[UtteranceFeatures]:
    """Voices and faces of several lengths; one has no face, one no voice, one no crops, and of
    one voice no prosody is known."""
    rng, found = np.random.default_rng(0), []
    for index, (frames, track) in enumerate(zip(FRAMES, TRACKS, strict=True)):
        power = rng.gamma(1.0, 1.0, (64, 40)).astype(np.float32)
        log_mel = normalised_log(power, FLOOR_DB)
        face = None
        if frames:
            blots = rng.integers(0, 256, (frames, 3, 3)).astype(np.uint8)
            crops = blots.repeat(32, axis=1).repeat(32, axis=2)
            landmarks = some_faces(1, frames, seed=index)[0].numpy()
            shown = crops if index != 1 else None
            face = FaceFeatures(np.arange(frames) / 10, landmarks, shown)
        spoken = random(EXPERTS.prosody, seed=index).numpy() if index != 2 else None
        audio = AudioFeatures(np.arange(40) / 100, log_mel, power, spoken) if index != 3 else None
        found.append(UtteranceFeatures(Segment(float(index), index + 0.8), track, audio, face))
    return found


def neutral_of(track: int | None) -> NDArray[np.float32] | None:
    """Nothing is known of track 3."""
    return None if track in (None, 3) else some_faces(1, 1, seed=90 + track)[0, 0].numpy()


def sample_of(index: int, utterance: UtteranceFeatures) -> Sample:
    audio, face = utterance.audio, utterance.face
    crops = None if face is None else face.crops
    return Sample(
        key=str(index),
        video="one",
        audio=None if audio is None else audio.power,
        face=None if face is None else face.landmarks,
        neutral=neutral_of(utterance.track),
        pictures=None if crops is None else pictures_of(crops).astype(np.float32),
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
    represented = decider.represent([decider.encode(one) for one in utterances], neutral_of)
    samples = [sample_of(index, one) for index, one in enumerate(utterances)]
    videos = make_videos(samples, {}, {})
    corpus = encoded(loaded.model, videos, [0], torch.device("cpu"))
    for name, lacks in (("audio", 3), ("face", 2)):
        assert corpus.present[name][0].tolist() == [index != lacks for index in range(5)]
        for index, one in enumerate(represented):
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
def test_of_a_changed_voice_the_prosody_is_not_known(checkpoint: Path) -> None:
    model, device = load_checkpoint(checkpoint).model, torch.device("cpu")
    videos = make_videos([sample_of(i, one) for i, one in enumerate(features())], {}, {})
    plain = encoded(model, videos, [0], device).values["audio"][0]
    changed = encoded(model, videos, [0], device, np.random.default_rng(0)).values["audio"][0]
    assert not changed[:, SPOKEN].any()
    assert (changed[:, HEARD] - plain[:, HEARD]).abs().amax(dim=1)[[0, 1, 2, 4]].min() > 1e-3


@torch.inference_mode()
def test_the_decision_comes_with_its_reasons(checkpoint: Path) -> None:
    loaded = load_checkpoint(checkpoint)
    decider = Decider(loaded, torch.device("cpu"))
    utterances = [decider.encode(one) for one in features()]
    results = list(decider.decide(decider.represent(utterances, neutral_of)))
    others = list(decider.decide(decider.represent(utterances)))
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
