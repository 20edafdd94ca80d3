"""Pictures of one stream: which to keep, which need no decoding, and their presentation times."""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Iterator
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from avsent.extraction.media.events import Damage, DamageLog, Frame, StreamClock, seconds

SAMPLER_TOLERANCE_S = 0.0005
_DEFAULT_INTERVAL_S = 0.04
# A container states its start in microseconds: so little below zero is a matter of rounding.
_ZERO_TOLERANCE_S = 0.0005
_MAX_FRAME_DURATION_S = 60.0
_REORDER_FRAMES = 3
_LOOK_AHEAD_PACKETS = 32
_START_PACKETS = 32
_SKIPPABLE_CODECS = frozenset({"h264", "hevc"})
_SKIPPABLE_FORMATS = frozenset({"mov", "matroska"})


class FrameSampler:
    """Thins presentation times out to a mean rate: pure, one instance for each video.

    The times due lie on the grid ``k / rate_hz`` from zero; the first frame at or after each is
    taken. Two frames taken are never closer than half a period, and a source slower than the
    rate is kept whole.
    """

    def __init__(self, rate_hz: float) -> None:
        """Raises ValueError unless ``rate_hz`` is a positive, finite number."""
        if not (math.isfinite(rate_hz) and rate_hz > 0):
            raise ValueError(f"the analysis rate must be a positive number of Hz, not {rate_hz}")
        self._rate_hz = rate_hz
        self._tolerance_s = min(SAMPLER_TOLERANCE_S, 0.1 / rate_hz)
        self._due_s = -math.inf

    def take(self, time_s: float) -> bool:
        """Whether to keep the frame at ``time_s``; call with increasing times."""
        if not time_s >= self._due_s - self._tolerance_s:
            return False
        grid_s = (math.floor((time_s + self._tolerance_s) * self._rate_hz) + 1) / self._rate_hz
        self._due_s = max(grid_s, time_s + 0.5 / self._rate_hz)
        return True


class SkipPlanner:
    """Tells ahead of decoding which packets hold a picture that will be kept.

    Packets come in decoding order; they wait here until no later packet can be presented before
    them, so that a sampler can go over them in the order of presentation. Its word is only used
    to spare the decoder pictures that nothing refers to (skip_frame NONREF); the frames that
    come out are sampled again. So the outcome is that of decoding everything: measured bit for
    bit on our clips, with and without threads. At 10 Hz more than a quarter of the pictures of
    25 fps H.264 with B-frames are spared: 10 % of all CPU time of reading at 360p, up to 35 % of
    bare decoding at 1080p. Streams without B-frames gain nothing.

    As soon as anything is irregular it stands down for good, and everything is decoded.
    """

    def __init__(self, rate_hz: float, *, enabled: bool) -> None:
        self._sampler = FrameSampler(rate_hz)
        self._enabled = enabled
        self._waiting: deque[tuple[Any, int | None]] = deque()
        self._undecided: list[int] = []
        self._wanted: set[int] = set()
        self._last_dts: int | None = None
        self._seen = 0

    def stand_down(self) -> None:
        """Want every packet from now on."""
        self._enabled = False

    def push(self, packet: Any, clock: StreamClock) -> Iterator[tuple[Any, bool]]:
        """Take in a packet; give those that are decided, each with whether it is wanted."""
        pts, dts = packet.pts, packet.dts
        regular = (
            pts is not None
            and dts is not None
            and pts >= dts
            and (self._last_dts is None or dts > self._last_dts)
            and len(self._waiting) < _LOOK_AHEAD_PACKETS
            and not packet.is_corrupt
        )
        if not self._enabled or not regular:
            self._enabled = False
            yield from self.finish()
            yield packet, True
            return
        self._last_dts = dts
        self._seen += 1
        if packet.is_discard:
            self._waiting.append((packet, None))  # decoded for reference, never presented
        else:
            self._waiting.append((packet, pts))
            heapq.heappush(self._undecided, pts)
        # Later packets have a greater dts, and so a greater pts, than this dts.
        while self._undecided and self._undecided[0] <= dts:
            earliest = heapq.heappop(self._undecided)
            time_s = clock.time_s(seconds(earliest, packet.time_base))
            # At the start decoders may withhold pictures, and the two samplers must agree first.
            if time_s > -_ZERO_TOLERANCE_S and (
                self._sampler.take(time_s) or self._seen <= _START_PACKETS
            ):
                self._wanted.add(earliest)
        while self._waiting:
            head, head_pts = self._waiting[0]
            if head_pts is not None and head_pts > dts:
                break
            self._waiting.popleft()
            yield head, head_pts in self._wanted
            self._wanted.discard(head_pts if head_pts is not None else -1)

    def finish(self) -> Iterator[tuple[Any, bool]]:
        """The packets still waiting, all wanted."""
        while self._waiting:
            yield self._waiting.popleft()[0], True
        self._undecided.clear()
        self._wanted.clear()


class PictureTrack:
    """Decodes the packets of one video stream into the frames to analyse."""

    def __init__(
        self, stream: Any, format_name: str, origin_s: float, analysis_rate_hz: float
    ) -> None:
        self._stream = stream
        self._clock = StreamClock(origin_s)
        self._log = DamageLog("video")
        self._sampler = FrameSampler(analysis_rate_hz)
        self._planner = SkipPlanner(
            analysis_rate_hz,
            enabled=stream.codec_context.name in _SKIPPABLE_CODECS
            and bool(_SKIPPABLE_FORMATS & set(format_name.split(","))),
        )
        rate = stream.average_rate
        self._interval_s = 1 / float(rate) if rate else _DEFAULT_INTERVAL_S
        self._newest_s: float | None = None  # latest time that came out of the decoder
        self._last_s = -math.inf  # time of the last frame passed in order
        self._heap: list[tuple[float, int, VideoFrame]] = []
        self._decoded = 0
        self._reformatter = VideoReformatter()
        self.end_s: float | None = None
        """Latest end of presentation seen."""

    @property
    def position_s(self) -> float | None:
        """Latest presentation time decoded so far, None before the first."""
        return self._newest_s

    def feed(self, packet: Any, other_s: float | None) -> Iterator[Frame | Damage]:
        """Take in one packet; ``other_s`` is the position of the sound, if there is any."""
        for ready, wanted in self._planner.push(packet, self._clock):
            yield from self._decode(ready, wanted, other_s)

    def finish(self) -> Iterator[Frame | Damage]:
        """What planner, decoder and reordering still hold."""
        for ready, wanted in self._planner.finish():
            yield from self._decode(ready, wanted, None)
        yield from self._decode(None, True, None)
        while self._heap:
            yield from self._pass_on()

    def _decode(self, packet: Any, wanted: bool, other_s: float | None) -> Iterator[Frame | Damage]:
        if packet is not None and packet.is_corrupt:
            # Half a packet is not decoded: with frame threads its error would surface later
            # and take good frames along.
            yield from self._log.failed(self._due_s(packet), "bytes of the picture are missing")
            self._planner.stand_down()
            return
        if packet is not None:
            self._stream.codec_context.skip_frame = "DEFAULT" if wanted else "NONREF"
            if not wanted and not packet.is_discard:
                self._see_end(packet, self._clock.time_s(seconds(packet.pts, packet.time_base)))
        try:
            frames = self._stream.decode(packet)
        except av.EOFError:
            return
        except (av.FFmpegError, ValueError):
            yield from self._log.failed(self._due_s(packet), "a stretch of picture does not decode")
            self._planner.stand_down()
            return
        for frame in frames:
            if frame.time_base is None:  # PyAV leaves it out when it drains the decoder
                frame.time_base = self._stream.time_base
            yield from self._add(frame, other_s)

    def _due_s(self, packet: Any) -> float | None:
        """When the next frame was due. The decoder works ahead of its output, so the time of
        the packet that raised an error is only used before there is any output."""
        if self._newest_s is not None:
            return self._newest_s + self._interval_s
        if packet is None or packet.pts is None:
            return None
        return self._clock.time_s(seconds(packet.pts, packet.time_base))

    def _add(self, frame: VideoFrame, other_s: float | None) -> Iterator[Frame | Damage]:
        if frame.is_corrupt:
            # Kept all the same: the frames after it are built on it and are not marked.
            yield from self._log.failed(self._due_s(None), "a stretch of picture is damaged")
            self._planner.stand_down()
        else:
            self._log.recovered()
        if frame.interlaced_frame:
            self._planner.stand_down()  # two packets may make one frame
        expected_s = 0.0 if self._newest_s is None else self._newest_s + self._interval_s
        stamp, base = frame.pts if frame.pts is not None else frame.dts, frame.time_base
        if stamp is None or not base:
            time_s = expected_s
        else:
            time_s = self._clock.time_s(seconds(stamp, base))
            if self._newest_s is None and (began_s := self._clock.begin(time_s)) < time_s:
                yield from self._log.failed(0.0, "the picture begins at an impossible time")
                self._planner.stand_down()
                time_s = began_s
            elif self._newest_s is not None and self._clock.jumped(time_s, expected_s, other_s):
                yield from self._log.failed(expected_s, "the clock of the picture jumps")
                self._planner.stand_down()
                time_s = expected_s
        self._newest_s = time_s if self._newest_s is None else max(self._newest_s, time_s)
        self._decoded += 1
        heapq.heappush(self._heap, (time_s, self._decoded, frame))
        if len(self._heap) > _REORDER_FRAMES:
            yield from self._pass_on()

    def _pass_on(self) -> Iterator[Frame]:
        """Pass the earliest waiting frame on, unless its time is over or it is not wanted."""
        time_s, _, frame = heapq.heappop(self._heap)
        if time_s <= -_ZERO_TOLERANCE_S or time_s <= self._last_s:
            return
        time_s = max(time_s, 0.0)
        self._last_s = time_s
        self._see_end(frame, time_s)
        if self._sampler.take(time_s):
            yield Frame(time_s, gray_picture(frame, self._reformatter))

    def _see_end(self, item: Any, time_s: float) -> None:
        base = item.time_base
        duration_s = seconds(item.duration or 0, base) if base else 0.0
        if not 0 < duration_s <= _MAX_FRAME_DURATION_S:
            duration_s = self._interval_s
        self.end_s = max(self.end_s or 0.0, time_s + duration_s)


def gray_picture(frame: VideoFrame, reformatter: VideoReformatter) -> npt.NDArray[np.uint8]:
    """``frame`` as full-range luma, uint8 [height, width], contiguous, rotation tag applied.

    One way for all pixel formats (swscale; 1.5 ms at 1080p), so that brightness does not depend
    on how a file was encoded. ``reformatter`` keeps swscale's tables from frame to frame: making
    them anew costs more than converting a small picture.
    """
    gray = reformatter.reformat(frame, format="gray").to_ndarray()
    # Both the tag and rot90 count quarter turns counter-clockwise.
    turned = np.rot90(gray, round(frame.rotation / 90) % 4)
    return np.ascontiguousarray(turned, dtype=np.uint8)
