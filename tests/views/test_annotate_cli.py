"""``avsent predict VIDEO --annotate FILE``, from end to end."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
from annotated import pictures, sound_packets
from conftest import SAMPLE, run_avsent

from avsent.views.annotate.style import Style


def test_predict_writes_the_annotated_video(tmp_path: Path) -> None:
    target = tmp_path / "annotated.mp4"
    done = run_avsent("predict", SAMPLE, "--format", "json", "--annotate", target)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert os.listdir(tmp_path) == [target.name]
    before, after = pictures(SAMPLE), pictures(target)
    assert [t for t, _ in before] == [t for t, _ in after]
    assert [d for _, d in sound_packets(SAMPLE)] == [d for _, d in sound_packets(target)]

    # Every utterance that has a face shows its colour in the upper half, where the face is.
    height, width = after[0][1].shape[:2]
    style = Style.of(width, height, result["model"]["labels"])
    faces = [u for u in result["utterances"] if u["track"] is not None]
    assert faces
    for utterance in faces:
        middle_s = (utterance["start_s"] + utterance["end_s"]) / 2
        number = min(range(len(after)), key=lambda n: abs(after[n][0] - middle_s))
        plate = np.array(style.colour(utterance["sentiment"]))
        upper = np.s_[: height * 2 // 3]
        changed = np.abs(after[number][1][upper].astype(int) - before[number][1][upper])
        alike = np.abs(after[number][1][upper].astype(int) - plate).max(axis=2) < 30
        assert (alike & (changed.max(axis=2) > 25)).sum() > 100, utterance["index"]


def test_what_has_no_picture_is_refused(clips: Path, tmp_path: Path) -> None:
    target = tmp_path / "annotated.mp4"
    done = run_avsent("predict", clips / "speech_only.wav", "--quiet", "--annotate", target)
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1
    assert "no picture to draw on; leave --annotate out" in done.stderr
    assert os.listdir(tmp_path) == []


def test_an_ending_that_is_no_video_is_refused(tmp_path: Path) -> None:
    done = run_avsent("predict", SAMPLE, "--annotate", tmp_path / "x.gif")
    assert done.returncode == 2
    assert ".mp4 or .mkv" in done.stderr
