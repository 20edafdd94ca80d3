"""Views written for tests and read back: annotated videos, and overviews of handmade batches."""

from __future__ import annotations

import dataclasses
import json
import random
import re
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from batching import CONFIG, journal_of, results
from handmade import make_result, make_utterance
from media_files import MS, RATE_HZ, sound_frames, tone

from avsent.batch.journal import Journal
from avsent.batch.outputs import Outputs
from avsent.batch.overview import write_overview
from avsent.extraction.media.events import SAMPLE_RATE_HZ, Frame, Sound
from avsent.extraction.media.reader import MediaReader
from avsent.result.record import Result
from avsent.result.writers import Format

# Annotated videos

TimedPicture = tuple[float, np.ndarray]


def result_with(*spans: tuple[float, float, int | None, str], duration_s: float = 10.0) -> Result:
    """A result with utterances: start, end, track, sentiment."""
    score = {"negative": -0.7, "neutral": 0.02, "positive": 0.63}
    utterances = tuple(
        dataclasses.replace(
            make_utterance(n, len(spans)),
            start_s=start_s,
            end_s=end_s,
            track=track,
            sentiment=label,
            score=score[label],
        )
        for n, (start_s, end_s, track, label) in enumerate(spans)
    )
    return dataclasses.replace(make_result(0), utterances=utterances, duration_s=duration_s)


def pictures(path: Path) -> list[TimedPicture]:
    """Time and RGB of every picture that decodes, in the order of their times, not turned."""
    found: list[TimedPicture] = []
    with av.open(str(path)) as media:
        stream = media.streams.video[0]
        for packet in media.demux(stream):
            try:
                for frame in packet.decode():
                    base = frame.time_base or stream.time_base
                    assert frame.pts is not None
                    assert base is not None
                    found.append((float(frame.pts * base), frame.to_ndarray(format="rgb24")))
            except av.FFmpegError:
                continue
    return sorted(found, key=lambda picture: picture[0])


def times(path: Path) -> list[float]:
    """Presentation times of all pictures."""
    return [time_s for time_s, _ in pictures(path)]


def sound_packets(path: Path) -> list[tuple[float, bytes]]:
    """Time and bytes of every packet of sound."""
    with av.open(str(path)) as media:
        stream = media.streams.audio[0]
        assert stream.time_base is not None
        return [
            (float((p.pts or 0) * stream.time_base), bytes(p))
            for p in media.demux(stream)
            if p.size
        ]


def onset_s(path: Path) -> float:
    """When the sound of ``path`` gets loud."""
    with av.open(str(path)) as media:
        for frame in media.decode(audio=0):
            loud = np.flatnonzero(np.abs(frame.to_ndarray()).max(axis=0) > 0.25)
            if len(loud):
                assert frame.time is not None
                return float(frame.time + loud[0] / frame.sample_rate)
    raise AssertionError("never loud")


def analysed(path: Path) -> tuple[list[float], float]:
    """Times of all pictures, and when the sound gets loud, as the analysis has them."""
    found: list[float] = []
    loud_s: list[float] = []
    with MediaReader(path, analysis_rate_hz=1000) as reader:
        for event in reader:
            if isinstance(event, Frame):
                found.append(event.time_s)
            elif isinstance(event, Sound):
                loud = np.flatnonzero(np.abs(event.samples) > 0.25)
                loud_s += [event.start_s + n / SAMPLE_RATE_HZ for n in loud[:1]]
    return found, loud_s[0]


def write_clip(
    path: Path,
    times_ms: Sequence[int],
    *,
    size: tuple[int, int] = (320, 240),
    sound: str | None = None,
    onset_s: float = 0.5,
    picture: str = "mpeg4",
    clock_s: float = 0.0,
    sound_clock_s: float | None = None,
) -> Path:
    """A grey video, with a tone from ``onset_s`` on if there is a codec for ``sound``; its clock
    begins at ``clock_s``, that of the sound too, unless it begins at ``sound_clock_s``."""
    options = {} if sound_clock_s is None else {"avoid_negative_ts": "disabled"}
    with av.open(str(path), "w", options=options) as out:
        video: Any = out.add_stream(picture, rate=25)
        video.width, video.height, video.pix_fmt = *size, "yuv420p"
        video.codec_context.time_base = MS
        audio: Any = None
        if sound is not None:
            audio = out.add_stream(sound, rate=RATE_HZ, layout="mono")
        for time_ms in times_ms:
            frame = av.VideoFrame.from_ndarray(np.full((*size[::-1], 3), 120, np.uint8))
            frame.pts, frame.time_base = time_ms + round(1000 * clock_s), MS
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        if audio is not None:
            seconds = times_ms[-1] / 1000 + 0.04
            resampler = av.AudioResampler(audio.codec.audio_formats[0], "mono", RATE_HZ)
            begin_s = clock_s if sound_clock_s is None else sound_clock_s
            starts_s = [begin_s + i * seconds / 40 for i in range(40)]
            for block in sound_frames(tone(seconds, onset_s), starts_s):
                for ready in resampler.resample(block):
                    ready.time_base = Fraction(1, RATE_HZ)
                    out.mux(audio.encode(ready))
            out.mux(audio.encode(None))
    return path


# Overviews of batches

BAD = '"><script>alert(1)</script>.mp4'
"""Name of a file that failed."""


def batch_of(out: Path, given: dict[str, Result], *failed: str) -> Path:
    """A finished batch with its result files."""
    with journal_of(out, given.values(), *failed) as journal:
        journal.keep_fact("options", CONFIG.options())
        write_results(out, journal, given)
    return out


def write_results(out: Path, journal: Journal, given: dict[str, Result]) -> None:
    outputs = Outputs(out, [Format.json], journal)
    outputs.prepare()
    for name, result in given.items():
        outputs.write(name, name, result)


def small_batch(out: Path) -> Path:
    """Five files with ten utterances, of hostile names and texts, and one that failed."""
    return batch_of(out, results(), BAD)


def large_batch(out: Path, files: int, each: int) -> Path:
    """Many files, with scores as a sentiment model has them; the same every time."""
    chance = random.Random(6)
    given = {}
    for number in range(files):
        name = f"session {number % 20:02d}/interview {number:04d}.mp4"
        mean = chance.gauss(0, 0.3)
        given[name] = _scattered(make_result(each, name), chance, mean)
    return batch_of(out, given, "session 03/broken.mp4", "notes.mp4")


def _scattered(result: Result, chance: random.Random, mean: float) -> Result:
    utterances = []
    for one in result.utterances:
        score = max(-0.98, min(0.98, chance.gauss(mean, 0.4)))
        neutral = (1 - abs(score)) * chance.random() * 0.8
        positive = (1 - neutral + score) / 2
        shares = {"negative": 1 - neutral - positive, "neutral": neutral, "positive": positive}
        length = chance.uniform(1, 4.9)
        words = chance.choices(_WORDS, k=chance.randint(3, 14))
        utterances.append(
            dataclasses.replace(
                one,
                end_s=one.start_s + length,
                score=score,
                sentiment=max(shares, key=shares.__getitem__),
                probabilities=shares,
                text=" ".join(words).capitalize() + ".",
            )
        )
    return dataclasses.replace(result, utterances=tuple(utterances))


_WORDS = ("I", "we", "they", "said", "it", "was", "not", "really", "what", "people", "wanted")


def blocks_of(page: Path) -> dict[str, Any]:
    """The data that a page holds, by the name of the block."""
    found = re.findall(
        r'<script type="application/json" id="(\w+)">(.*?)</script>', page.read_text("utf-8")
    )
    return {name: json.loads(text) for name, text in found}


def overview_of(out: Path, **options: Any) -> dict[str, Any]:
    """The blocks of a batch's overview, without pages of its files."""
    return blocks_of(write_overview(out, pages=False, **options))
