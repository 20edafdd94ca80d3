"""Make samples/demo.mp4 and samples/demo.csv: an animated portrait that says four sentences.

Run from anywhere: python samples/make_demo.py [--out FOLDER]
Needs avsent's dev extra (scikit-image includes the portrait) and espeak-ng.
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from puppet import FRAME_HEIGHT_PX, FRAME_WIDTH_PX, Expression, Pose, Puppet
from speech import RATE_HZ, Prosody, Samples, mouth_openings, say
from warp import Painter

RATE_FPS = 25
LEAD_S = 0.8
GAP_S = 1.0
TAIL_S = 0.8
EXPRESSION_CHANGE_S = 0.6
BLINK_S = 0.24
BLINK_EVERY_S = 3.1
FIRST_BLINK_S = 1.9
X264_CRF = 20
AAC_BITS_PER_S = 80_000
AAC_FRAME_SAMPLES = 1024


@dataclass(frozen=True)
class Line:
    """One utterance: text, prosody and facial expression."""

    sentiment: str
    text: str
    prosody: Prosody
    look: Expression
    opening: float  # Pose.mouth_open at the loudest sound
    liveliness: float  # of the head's movement


HAPPY = Expression(
    smile=1.08,
    outer_brow_rise=0.05,
    inner_brow_rise=0.04,
    squint=0.2,
    cheek_rise=0.03,
    tilt_deg=-2.0,
)
SAD = Expression(
    corner_drop=0.12,
    corner_in=0.03,
    lip_press=0.01,
    inner_brow_rise=0.10,
    outer_brow_rise=-0.06,
    brow_pinch=0.06,
    squint=0.25,
    tilt_deg=3.0,
    head_drop=0.07,
)
LINES = (
    Line(
        "positive",
        "I am so happy to see every one of you here with us today!",
        Prosody(pitch_change_percent=35, pitch_range_percent=190, rate_percent=105, gain_db=1.0),
        HAPPY,
        opening=0.55,
        liveliness=1.5,
    ),
    Line(
        "neutral",
        "The meeting starts at ten in room four on the second floor.",
        Prosody(pitch_range_percent=60, gain_db=-3.0),
        Expression(),
        opening=0.55,
        liveliness=0.6,
    ),
    Line(
        "negative",
        "I am really sad about this terrible news.",
        Prosody(pitch_change_percent=-25, pitch_range_percent=35, rate_percent=72, gain_db=-9.0),
        SAD,
        opening=0.6,
        liveliness=0.7,
    ),
    Line(
        "positive",
        "This is the most wonderful day and I love every minute of it!",
        Prosody(pitch_change_percent=30, pitch_range_percent=200, rate_percent=108, gain_db=1.0),
        HAPPY,
        opening=0.6,
        liveliness=1.7,
    ),
)


@dataclass(frozen=True)
class Utterance:
    """A line with its speech and its start in the video."""

    line: Line
    speech: Samples
    start_s: float

    @property
    def end_s(self) -> float:
        """End of its last sound."""
        return self.start_s + len(self.speech) / RATE_HZ


def schedule() -> tuple[list[Utterance], int]:
    """All lines with speech and start, and the video's length in frames."""
    utterances = []
    at_frame = round(LEAD_S * RATE_FPS)
    for line in LINES:
        spoken = Utterance(line, say(line.text, line.prosody), at_frame / RATE_FPS)
        utterances.append(spoken)
        at_frame = round((spoken.end_s + GAP_S) * RATE_FPS)
    return utterances, at_frame + round((TAIL_S - GAP_S) * RATE_FPS)


def smooth(amount: float) -> float:
    """Ease from 0 to 1 with zero slope at both ends."""
    amount = min(1.0, max(0.0, amount))
    return amount * amount * (3.0 - 2.0 * amount)


def look_at(utterances: list[Utterance], at_s: float) -> tuple[Expression, float]:
    """Expression and liveliness at ``at_s``; both change in the gaps between utterances."""
    look, lively = utterances[0].line.look, utterances[0].line.liveliness
    for before, after in pairwise(utterances):
        middle = (before.end_s + after.start_s) / 2.0
        amount = smooth((at_s - middle) / EXPRESSION_CHANGE_S + 0.5)
        look = look.toward(after.line.look, amount)
        lively += amount * (after.line.liveliness - lively)
    return look, lively


def blink_at(at_s: float) -> float:
    """How far the lids are shut (0 to 1): blinks at regular intervals."""
    since = (at_s - FIRST_BLINK_S) % BLINK_EVERY_S
    if at_s < FIRST_BLINK_S or since > BLINK_S:
        return 0.0
    return float(np.sin(np.pi * since / BLINK_S) ** 0.7)


def pose_at(at_s: float, opening: float, lively: float) -> Pose:
    """The pose at ``at_s``: a slow sway of the head, and a nod with the voice."""
    sway = np.sin(2.0 * np.pi * at_s * np.array([0.23, 0.31, 0.17]) + np.array([0.0, 1.0, 2.0]))
    return Pose(
        mouth_open=opening,
        blink=blink_at(at_s),
        shift=(0.020 * lively * sway[0], 0.010 * lively * sway[1] + 0.012 * lively * opening),
        turn=0.035 * lively * sway[2],
        roll_deg=1.1 * lively * sway[1],
    )


def openings(utterances: list[Utterance], frames: int) -> NDArray[np.float64]:
    """Mouth opening at every frame of the video [frames]."""
    mouth = np.zeros(frames)
    for spoken in utterances:
        first = round(spoken.start_s * RATE_FPS)
        count = int(np.ceil(len(spoken.speech) / RATE_HZ * RATE_FPS)) + 1
        mouth[first : first + count] = spoken.line.opening * mouth_openings(
            spoken.speech, count, RATE_FPS
        )
    return mouth


def write_video(path: Path, utterances: list[Utterance], frames: int) -> None:
    """Draw, encode and mux. A single encoder thread makes the file reproducible."""
    painter = Painter(Puppet())
    mouth = openings(utterances, frames)
    sound = np.zeros(round(frames * RATE_HZ / RATE_FPS), dtype=np.float32)
    for spoken in utterances:
        first = round(spoken.start_s * RATE_HZ)
        sound[first : first + len(spoken.speech)] = spoken.speech

    with av.open(str(path), "w", options={"movflags": "+faststart"}) as file:
        picture = file.add_stream("libx264", rate=RATE_FPS)
        picture.width, picture.height = FRAME_WIDTH_PX, FRAME_HEIGHT_PX
        picture.pix_fmt = "yuv420p"
        picture.options = {"crf": str(X264_CRF), "preset": "slow", "threads": "1"}
        voice = file.add_stream("aac", rate=RATE_HZ)
        voice.layout = "mono"
        voice.bit_rate = AAC_BITS_PER_S
        sent = 0
        for number in range(frames):
            at_s = number / RATE_FPS
            look, lively = look_at(utterances, at_s)
            drawn = painter.draw(look, pose_at(at_s, float(mouth[number]), lively))
            frame = av.VideoFrame.from_ndarray(drawn, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, RATE_FPS)
            file.mux(picture.encode(frame))
            while sent < len(sound) and sent / RATE_HZ <= at_s:
                block = sound[sent : sent + AAC_FRAME_SAMPLES]
                heard = av.AudioFrame.from_ndarray(block[None], format="fltp", layout="mono")
                heard.sample_rate, heard.pts = RATE_HZ, sent
                heard.time_base = Fraction(1, RATE_HZ)
                file.mux(voice.encode(heard))
                sent += len(block)
        file.mux(picture.encode(None))
        file.mux(voice.encode(None))


def write_truth(path: Path, utterances: list[Utterance]) -> None:
    """The true boundaries, sentiments and texts."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["start_s", "end_s", "sentiment", "text"])
        for spoken in utterances:
            line = spoken.line
            times = (f"{spoken.start_s:.3f}", f"{spoken.end_s:.3f}")
            rows.writerow([*times, line.sentiment, line.text])


def main() -> None:
    """Make the video and its table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder to fill")
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    utterances, frames = schedule()
    write_video(out / "demo.mp4", utterances, frames)
    write_truth(out / "demo.csv", utterances)
    size_mb = (out / "demo.mp4").stat().st_size / 1e6
    print(f"{out / 'demo.mp4'}: {frames / RATE_FPS:.2f} s, {size_mb:.2f} MB")


if __name__ == "__main__":
    main()
