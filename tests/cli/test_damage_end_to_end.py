"""A real talk whose sound is drowned in noise, through the whole tool."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from avsent.cli.app import main
from avsent.options import PredictOptions
from avsent.predictor import Predictor
from avsent.result.utterance import UtteranceResult

RATE_HZ = 16_000
CLIP = "lrs3_closeup.mp4"

pytestmark = pytest.mark.usefixtures("one_thread")


def drowned(source: Path, target: Path) -> Path:
    """A copy with the same pictures and the sound in white noise of a hundred times its power."""
    with av.open(str(source)) as media, av.open(str(target), "w", format="matroska") as out:
        pictures = out.add_stream_from_template(media.streams.video[0])
        sound: Any = out.add_stream("pcm_s16le", rate=RATE_HZ, layout="mono")
        for packet in media.demux(media.streams.video[0]):
            if packet.dts is not None:
                packet.stream = pictures
                out.mux(packet)
        media.seek(0)
        mono = av.AudioResampler("flt", "mono", RATE_HZ)
        heard = [part for frame in media.decode(audio=0) for part in mono.resample(frame)]
        samples = np.concatenate([part.to_ndarray()[0] for part in heard])
        power = np.sqrt(np.mean(np.square(samples, dtype=np.float64)))
        noisy = samples + 10 * power * np.random.default_rng(0).normal(size=len(samples))
        loud = np.round(noisy * (0.9 / np.abs(noisy).max()) * 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(loud[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE_HZ, 0, Fraction(1, RATE_HZ)
        out.mux(sound.encode(frame))
        out.mux(sound.encode(None))
    return target


@pytest.fixture(scope="module")
def folder(clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the clip, a copy of it that is drowned in noise, and when somebody speaks."""
    place = tmp_path_factory.mktemp("drowned")
    drowned(clips / CLIP, place / "noisy.mkv")
    (place / "spoken.csv").write_text("start_s,end_s\n0.1,2.1\n", encoding="utf-8")
    return place


@pytest.fixture(scope="module")
def heard_and_seen(clips: Path, folder: Path) -> dict[str, UtteranceResult]:
    """The one utterance of the clip and of its drowned copy, both checked."""
    predictor = Predictor.load(device="cpu")
    options = PredictOptions(utterances=folder / "spoken.csv")
    found = {}
    for name, path in (("plain", clips / CLIP), ("noisy", folder / "noisy.mkv")):
        (found[name],) = predictor.predict(path, options=options).utterances
    return found


def test_a_talk_as_it_is_keeps_voice_and_face(heard_and_seen: dict[str, UtteranceResult]) -> None:
    plain = heard_and_seen["plain"]
    assert plain.modalities["audio"].effective
    assert plain.modalities["face"].effective
    assert not plain.warnings


def test_a_drowned_voice_is_not_used_and_the_face_is(
    heard_and_seen: dict[str, UtteranceResult],
) -> None:
    noisy = heard_and_seen["noisy"]
    assert not noisy.modalities["audio"].effective
    assert noisy.modalities["face"].effective
    assert (noisy.modalities["audio"].weight, noisy.modalities["face"].weight) == (0.0, 1.0)
    (warning,) = [text for text in noisy.warnings if "voice is not used" in text]
    assert "drowned in other sound" in warning


def test_no_check_brings_the_drowned_voice_back(
    folder: Path,
    heard_and_seen: dict[str, UtteranceResult],
    capsys: pytest.CaptureFixture[str],
) -> None:
    spoken = folder / "spoken.csv"
    # In this process: another one would load all libraries again, for seconds.
    line = ["predict", folder / "noisy.mkv", "--no-check", "--utterances", spoken, "-f", "json"]
    assert main([str(word) for word in line]) == 0
    (utterance,) = json.loads(capsys.readouterr().out)["utterances"]
    assert utterance["modalities"]["audio"]["effective"]
    assert utterance["modalities"]["face"]["effective"]
    assert utterance["modalities"]["audio"]["weight"] > 0
    assert not any("not used" in text for text in utterance["warnings"])
    assert utterance["probabilities"] != pytest.approx(heard_and_seen["noisy"].probabilities)
