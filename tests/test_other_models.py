"""Checkpoints that tell other things, by other means, than the one that ships: real video."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import SAMPLE

from avsent.checkpoints import Calibration, save_checkpoint
from avsent.errors import CheckpointError
from avsent.features.config import FeatureConfig
from avsent.labels import EMOTIONS
from avsent.networks.config import FusionConfig, TargetConfig, VectorSizes
from avsent.networks.target import TargetModel
from avsent.pipeline import Predictor
from avsent.results import Result

VALENCE = {"happy": 1, "sad": -1, "angry": -1, "fearful": -1, "disgust": -1}


def saved(folder: Path, config: TargetConfig) -> Path:
    torch.manual_seed(3)
    save_checkpoint(
        folder,
        TargetModel(config),
        name="untrained",
        licence="",
        features=FeatureConfig(),
        calibration=Calibration(deviation=0.8),
    )
    return folder


def predicted(folder: Path, config: TargetConfig) -> Result:
    result = Predictor.load(saved(folder, config), device="cpu").predict(SAMPLE)
    assert len(result.utterances) == 4
    return result


def test_emotions_by_voice_alone(tmp_path: Path) -> None:
    result = predicted(tmp_path, TargetConfig(labels=EMOTIONS, modalities=("audio",)))
    for one in result.utterances:
        assert list(one.probabilities) == list(EMOTIONS)
        assert one.sentiment == max(one.probabilities, key=lambda name: one.probabilities[name])
        expected = sum(VALENCE.get(name, 0) * p for name, p in one.probabilities.items())
        assert one.score == pytest.approx(expected)
        assert one.modalities["audio"].weight == 1.0
        assert not one.modalities["face"].effective
        assert one.attention.face_frames == ()
        assert sum(one.attention.context["audio"]) == pytest.approx(1)


def test_numbers_by_the_face_alone(tmp_path: Path) -> None:
    config = TargetConfig(real=True, modalities=("face",), fusion=FusionConfig(name="concat"))
    result = predicted(tmp_path, config)
    for number, one in enumerate(result.utterances):
        assert sum(one.probabilities.values()) == pytest.approx(1)
        # An untrained network says about 0, so neutral: within half a step of it.
        assert 0.3 < one.probabilities["neutral"] < 0.47
        shares = one.probabilities["positive"] - one.probabilities["negative"]
        assert one.score == pytest.approx(shares)
        # Without attention over utterances each one looks at itself.
        assert one.attention.context["face"] == tuple(float(j == number) for j in range(4))


@pytest.mark.parametrize("fusion", ["tfn", "fbp", "multiplicative", "avef"])
def test_other_fusions(fusion: str, tmp_path: Path) -> None:
    result = predicted(tmp_path, TargetConfig(fusion=FusionConfig(name=fusion)))
    for one in result.utterances:
        assert sum(one.probabilities.values()) == pytest.approx(1)
        assert sum(share.weight for share in one.modalities.values()) == pytest.approx(1)
        assert sum(frame.weight for frame in one.attention.audio_frames) == pytest.approx(1)
        assert sum(frame.weight for frame in one.attention.face_frames) == pytest.approx(1)


def test_vectors_are_not_in_any_video(tmp_path: Path) -> None:
    config = TargetConfig(vectors=VectorSizes(audio=73, face=100))
    with pytest.raises(CheckpointError, match=r"ready-made vectors \(audio, face\)"):
        Predictor.load(saved(tmp_path, config))
