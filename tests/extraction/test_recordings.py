"""Recordings made again from public bug reports (../shared/cases): each gets its right answer.

What can be made by a test is tested where it belongs, too; corpora and folders of links stand in
the tests of training and batches.
"""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from conftest import SHARED

import avsent
from avsent.result.record import Result

CASES = SHARED / "cases"
pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.skipif(not CASES.is_dir(), reason="the recordings are not here (../shared/cases)"),
]

SAME = {
    "display-matrix-none.mp4": ("display-matrix-hflip.mp4",),
    "display-matrix-vflip-of-upside-down.mp4": ("display-matrix-none.mp4",),
    "sar-square-640x360.mp4": ("sar-4to3-480x360.mp4",),
    "sar-square-smiling-640x360.mp4": ("sar-64to45-smiling-450x360.mp4",),
    "dc-offset-none.wav": ("dc-offset-0.01.wav", "dc-offset-0.05.wav", "quiet-minus-40db.mkv"),
    "six-channels-voice-in-fourth.wav": ("three-channels-voice-in-third.wav",),
    "talk-700-small.mp4": (
        *("stereo-opposite-phase.mp4", "two-tracks-speech-first-music-second.mp4"),
        "two-tracks-music-first-speech-second.mp4",
    ),
}
"""Recordings that are judged as their control: its one utterance, the same label and score."""
SAID = {
    "two-tracks-speech-first-music-second.mp4": "2 sound tracks: judged by 1, not by 2; choose",
    "two-tracks-music-first-speech-second.mp4": "no speech in sound track 1: judged by 2, not by 1",
}


@pytest.fixture(scope="module")
def predictor() -> avsent.Predictor:
    return avsent.load("default", device="cpu")


def spans(result: Result) -> list[tuple[float, float]]:
    return [(utterance.start_s, utterance.end_s) for utterance in result.utterances]


@pytest.mark.parametrize("control", SAME)
def test_judged_as_the_control(predictor: avsent.Predictor, control: str) -> None:
    result = predictor.predict(CASES / control)
    (right,) = result.utterances
    for name in SAME[control]:
        found = predictor.predict(CASES / name)
        assert found.duration_s == pytest.approx(result.duration_s, abs=0.05), name
        assert spans(found) == [pytest.approx((right.start_s, right.end_s), abs=0.1)], name
        assert found.utterances[0].sentiment == right.sentiment, name
        assert found.utterances[0].score == pytest.approx(right.score, abs=0.15), name
        about_sound = [one for one in found.warnings if "track" in one]
        assert len(about_sound) == (name in SAID)
        assert SAID.get(name, "") in "".join(about_sound)


@pytest.mark.parametrize(
    ("name", "table", "length_s", "starts"),
    [
        ("adts-silence-then-speech.aac", None, 16.07, [8.16, 13.25]),
        ("adts-speech-silence-speech.aac", None, 46.09, [0.0, 5.22, 38.12, 43.27]),
        ("adts-speech-silence-speech.aac", "adts-speech-silence-speech.csv", 46.09, [0, 38, 43.2]),
        ("talk-700-small.mp4", "rolling-captions.vtt", 6.6, [0.24, 2.4, 4.64]),
        ("talk-700-small.mp4", "utterances-tabs.csv", 6.6, [0.5]),
        ("talk-700-small.mp4", "utterances-semicolons-decimal-comma.csv", 6.6, [0.5]),
    ],
)
def test_lengths_and_given_utterances(
    predictor: avsent.Predictor, name: str, table: str | None, length_s: float, starts: list[float]
) -> None:
    utterances: Path | None = table and CASES / table  # type: ignore[assignment]
    options = avsent.PredictOptions(utterances=utterances)
    result = predictor.predict(CASES / name, options=options)
    assert result.duration_s == pytest.approx(length_s, abs=0.05)
    assert [one.start_s for one in result.utterances] == pytest.approx(starts, abs=0.1)
    assert result.warnings == ()
    if table == "rolling-captions.vtt":
        said = ["good morning all of you", "we begin at ten sharp", "in room four"]
        assert [one.text for one in result.utterances] == said


def test_a_photo_with_a_voice_is_judged_by_the_voice(
    predictor: avsent.Predictor, tmp_path: Path
) -> None:
    first, second = predictor.predict(CASES / "still-photo-with-voice.mp4").utterances
    with av.open(str(CASES / "still-photo-with-voice.mp4")) as container:
        resampler = av.AudioResampler("flt", "mono", 16_000)
        parts = [p for frame in container.decode(audio=0) for p in resampler.resample(frame)]
    sound = np.concatenate([part.to_ndarray()[0] for part in parts])
    soundfile.write(tmp_path / "voice.wav", sound, 16_000)
    alone = predictor.predict(tmp_path / "voice.wav").utterances
    right = [one.score for one in alone]
    assert [first.score, second.score] == pytest.approx(right, abs=0.05)
    for one in (first, second):
        assert not one.modalities["face"].effective
        assert one.warnings == ("its mouth never moves: the face is not used",)


def test_speakers_in_turn(predictor: avsent.Predictor) -> None:
    """Without a pause they are one utterance (docs/limits.md), which says so."""
    first, second = predictor.predict(CASES / "two-speakers-pause-0.6s.mp4").utterances
    assert first.track != second.track
    assert first.warnings == second.warnings == ()
    (both,) = predictor.predict(CASES / "two-speakers-no-pause.mp4").utterances
    assert [one[:40] for one in both.warnings] == ["two people speak in turn in it, and one "]
