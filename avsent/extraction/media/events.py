"""What reading a media file gives: facts, pictures, sound and reports of damage.

All times are presentation times in seconds.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE_HZ = 16_000

Samples = NDArray[np.float32]  # mono sound [N] at ``SAMPLE_RATE_HZ``; full scale is ±1

MAX_FRAME_PIXELS = 8192 * 4608
"""Larger pictures are refused: 8K has 7680x4320. A decoder may hold twenty at once."""

LOWEST_RATE_HZ, HIGHEST_RATE_HZ = 1_000, 768_000
"""A lower rate would make hours of sound from a few kilobytes; no device samples faster."""

MAX_CHANNELS = 64  # the most that FFmpeg resamples

MAX_GAP_S = 600.0  # a stream that alone jumps ahead further than this has a wrong clock

MAX_START_S = 24 * 3600.0
"""A clock that begins later is taken to begin at zero: it shows the date, or nonsense."""

MAX_STATED_S = 30 * 24 * 3600.0
"""A container that states a longer duration is wrong: its duration counts as unknown."""

MAX_SILENCE_S, SILENCE_SHARE = 3600.0, 9.0
"""Most silence put into the holes of a stream of sound: so many seconds, plus so many times the
sound that there is (some codecs leave silence out). A small file must not become days of sound."""

MAX_STEP_BACK_S = 10.0  # a stream that falls back further than this has restarted its clock
PIECE_STEP_BACK_S = 1.0  # the same for packets, whose decoding times never fall


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture as displayed: ``gray`` is uint8 [H, W], contiguous, full range 0 to 255."""

    time_s: float
    gray: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Sound:
    """A stretch of sound from ``start_s`` on."""

    start_s: float
    samples: Samples


@dataclass(frozen=True, slots=True)
class Damage:
    """Something that could not be read, in ``stream`` ("video", "audio" or "container"), from
    about ``time_s`` on (None: unknown, or all of it)."""

    stream: str
    time_s: float | None
    reason: str


def seconds(stamp: int, base: Fraction) -> float:
    """``stamp * base``, rounded once. A product of fractions gives the same, but takes as long as
    everything else that Python does for a packet."""
    return stamp * base.numerator / base.denominator


def impossible_sound(rate_hz: int, channels: int) -> str:
    """Why sound of this rate and number of channels (0: unknown) is impossible; "" if it is not."""
    if rate_hz and not LOWEST_RATE_HZ <= rate_hz <= HIGHEST_RATE_HZ:
        return f"sound of {rate_hz} samples a second"
    return f"sound of {channels} channels" if channels > MAX_CHANNELS else ""


class DamageLog:
    """Reports the failures of one stream: one Damage for each run of failures."""

    def __init__(self, stream: str) -> None:
        self._stream = stream
        self._in_run = False

    def failed(self, time_s: float | None, reason: str) -> list[Damage]:
        """The Damage to report for this failure; none while a run of failures lasts."""
        if self._in_run:
            return []
        self._in_run = True
        return [Damage(self._stream, time_s, reason)]

    def recovered(self) -> None:
        """Something decoded: the next failure begins a new run."""
        self._in_run = False


class JoinedPieces:
    """Puts the pieces of a file that was joined byte by byte one behind the other: the clock of
    each starts again. All streams move together, so that picture and sound stay in step."""

    def __init__(self) -> None:
        # The latest shift, and the one before: packets of the old piece may come late, and a single
        # wrong time is no new piece.
        self._shifts_s = (0.0, 0.0)
        self._last_s: dict[Any, float] = {}  # decoding time of each stream's last packet

    def move(self, packet: Any, end_s: float) -> bool:
        """Move the times of ``packet``; whether a piece begins with it, put at ``end_s``."""
        if packet.dts is None or packet.is_discard:
            return False
        raw_s = seconds(packet.dts, packet.time_base)
        last_s = self._last_s.get(packet.stream, raw_s + self._shifts_s[0])
        near = (s for s in self._shifts_s if abs(raw_s + s - last_s) <= PIECE_STEP_BACK_S)
        shift_s = next(near, self._shifts_s[0])
        begins = raw_s + shift_s < last_s - PIECE_STEP_BACK_S
        if begins:
            shift_s = end_s - raw_s
            self._shifts_s = (shift_s, self._shifts_s[0])
        self._last_s[packet.stream] = raw_s + shift_s
        if shift_s:
            ticks = round(shift_s / packet.time_base)
            packet.dts += ticks
            packet.pts = None if packet.pts is None else packet.pts + ticks
        return begins


class StreamClock:
    """Maps the raw times of one stream to presentation times and removes wrong jumps of its clock.

    ``origin_s`` is subtracted from every raw time. A jump too far back, or too far ahead while
    the other stream does not jump too, is removed for good: the stream goes on where it was.
    """

    def __init__(self, origin_s: float) -> None:
        self._offset_s = -origin_s

    def time_s(self, raw_s: float) -> float:
        """The presentation time of ``raw_s``, without the wrong jumps so far."""
        return raw_s + self._offset_s

    def begin(self, time_s: float) -> float:
        """The first time of the stream; an absurd one becomes 0, and later times shift with it."""
        if time_s <= MAX_START_S:
            return time_s
        self.shift(-time_s)
        return 0.0

    def shift(self, by_s: float) -> None:
        """Move all later times by so much."""
        self._offset_s += by_s

    def jumped(self, time_s: float, expected_s: float, other_s: float | None) -> bool:
        """Whether ``time_s`` is absurd where ``expected_s`` was due; if so, shift later times so
        that this one falls on ``expected_s``. ``other_s``: position of the other stream, None if
        there is none; a jump to there is a true hole in this stream."""
        ahead_s = time_s - expected_s
        together = other_s is not None and abs(time_s - other_s) <= MAX_STEP_BACK_S
        if ahead_s < -MAX_STEP_BACK_S or (ahead_s > MAX_GAP_S and not together):
            self.shift(-ahead_s)
            return True
        return False
