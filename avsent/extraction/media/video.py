"""Pictures of one video stream: which to keep, which need no decoding, and when they are shown."""

import heapq
import math
from collections import deque
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, TypeAlias

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from avsent.extraction.media import events
from avsent.extraction.media.events import Damage, DamageLog, Frame, StreamClock, seconds

# Containers state their start in microseconds, and results round times to microseconds.
_TOLERANCE_S = 0.0005
_DEFAULT_INTERVAL_S = 0.04
_MAX_FRAME_DURATION_S = 60.0
_REORDER_FRAMES = 3
_LOOK_AHEAD_PACKETS = 32
_START_PACKETS = 32
_SKIPPABLE_CODECS = frozenset({"h264", "hevc"})
_SKIPPABLE_FORMATS = frozenset({"mov", "matroska"})
_SQUARE = 0.02  # pixels so near to square count as square: encoders state 359:360 for rounded sizes
_MOST_ASPECT = 4.0  # wider, or higher, pixels are a mistake
_MOST_SKEW = 2.0  # degrees from a quarter turn that nobody sees
PQ = 16  # HDR's curve, SMPTE ST 2084, as FFmpeg numbers them
_WHITE_NITS = 203  # of white paper in HDR: ITU-R BT.2408
_DEEP_FORMATS = {"gray": "gray16le", "bgr24": "bgr48le", "rgba": "rgba64le"}


@dataclass(frozen=True, slots=True)
class DecodedFrame:
    """One picture as it was decoded; ``aspect``: width of its pixels over their height;
    ``transfer``: FFmpeg's number of the curve from light to levels."""

    time_s: float
    frame: av.VideoFrame
    aspect: float
    transfer: int

    @property
    def size(self) -> tuple[int, int]:
        """Width and height as displayed: in square pixels as large as the longer side, upright."""
        width = round(self.frame.width * max(1, self.aspect))
        height = round(self.frame.height / min(1, self.aspect))
        return (height, width) if _orientation(self.frame)[1] % 2 else (width, height)


Picture: TypeAlias = Frame | DecodedFrame


class FrameSampler:
    """Takes frames at a mean rate.

    The first frame at or after each time ``k / rate_hz`` is taken. Two frames taken are never
    closer than half a period; of a source slower than the rate, every frame is taken.
    """

    def __init__(self, rate_hz: float) -> None:
        """Raises ValueError unless ``rate_hz`` is a positive, finite number."""
        if not (math.isfinite(rate_hz) and rate_hz > 0):
            raise ValueError(f"the analysis rate must be a positive number of Hz, not {rate_hz}")
        self._rate_hz = rate_hz
        self._tolerance_s = min(_TOLERANCE_S, 0.1 / rate_hz)
        self._due_s = -math.inf

    def take(self, time_s: float) -> bool:
        """Whether to keep the frame at ``time_s``; call with increasing times."""
        if not time_s >= self._due_s - self._tolerance_s:
            return False
        grid_s = (math.floor((time_s + self._tolerance_s) * self._rate_hz) + 1) / self._rate_hz
        self._due_s = max(grid_s, time_s + 0.5 / self._rate_hz)
        return True


class TimesSampler:
    """Takes the frames at ``times_s``, to within 0.5 ms; every frame if it is None."""

    def __init__(self, times_s: Sequence[float] | None) -> None:
        self._times_s = None if times_s is None else np.unique(np.asarray(times_s, np.float64))

    def take(self, time_s: float) -> bool:
        """As :meth:`FrameSampler.take`."""
        if self._times_s is None:
            return True
        after = int(np.searchsorted(self._times_s, time_s))
        near = self._times_s[max(0, after - 1) : after + 1]
        return bool(near.size and np.abs(near - time_s).min() <= _TOLERANCE_S)


Sampler: TypeAlias = FrameSampler | TimesSampler


class SkipPlanner:
    """Tells before decoding which packets hold a picture that ``sampler`` will take.

    Packets come in decoding order. They wait here until no packet still to come can have an earlier
    presentation time, so that the sampler sees them in presentation order. The decoder then skips
    unwanted pictures that no other picture refers to (skip_frame NONREF). Decoded frames are
    sampled again, so the result is that of decoding everything, bit for bit. This saves up to 35 %
    of the CPU time of decoding 1080p; streams without B-frames gain nothing.

    At the first irregularity the planner disables itself for good, and everything is decoded.
    """

    def __init__(self, sampler: Sampler, *, enabled: bool) -> None:
        self._sampler = sampler
        self.enabled = enabled  # if not, every packet is wanted
        self._waiting: deque[tuple[Any, int | None]] = deque()
        self._undecided: list[int] = []
        self._wanted: set[int] = set()
        self._last_dts: int | None = None
        self._received = 0

    def push(self, packet: Any, clock: StreamClock) -> Iterator[tuple[Any, bool]]:
        """Add a packet; yield the packets decided by it, each with whether it is wanted."""
        pts, dts = packet.pts, packet.dts
        regular = (
            pts is not None
            and dts is not None
            and pts >= dts
            and (self._last_dts is None or dts > self._last_dts)
            and len(self._waiting) < _LOOK_AHEAD_PACKETS
            and not packet.is_corrupt
        )
        if not self.enabled or not regular:
            self.enabled = False
            yield from self.finish()
            yield packet, True
            return
        self._last_dts = dts
        self._received += 1
        if packet.is_discard:
            self._waiting.append((packet, None))  # only decoded as a reference, never shown
        else:
            self._waiting.append((packet, pts))
            heapq.heappush(self._undecided, pts)
        # Packets still to come have a greater dts, and a pts is never below its dts.
        while self._undecided and self._undecided[0] <= dts:
            earliest = heapq.heappop(self._undecided)
            time_s = clock.time_s(seconds(earliest, packet.time_base))
            # Decoders may withhold the first pictures: both samplers must get in step first.
            if time_s > -_TOLERANCE_S and (
                self._sampler.take(time_s) or self._received <= _START_PACKETS
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
        """Yield the packets still waiting, all wanted."""
        while self._waiting:
            yield self._waiting.popleft()[0], True
        self._undecided.clear()
        self._wanted.clear()


class PictureTrack:
    """Decodes the packets of one video stream; yields the frames that ``sampler`` takes.

    They come in presentation order: as Frame, or with ``decoded`` as DecodedFrame.
    """

    def __init__(
        self, stream: Any, format: str, origin_s: float, sampler: Sampler, *, decoded: bool = False
    ) -> None:
        self._stream = stream
        self._clock = StreamClock(origin_s)
        self._log = DamageLog("video")
        self._sampler = sampler
        self._as_decoded = decoded
        skippable = stream.codec_context.name in _SKIPPABLE_CODECS
        skippable = skippable and bool(_SKIPPABLE_FORMATS & set(format.split(",")))
        self._planner = SkipPlanner(copy(sampler), enabled=skippable)
        rate = stream.average_rate
        self._interval_s = 1 / float(rate) if rate else _DEFAULT_INTERVAL_S
        self._last_s = -math.inf  # time of the last frame passed on in order
        self._heap: list[tuple[float, int, DecodedFrame]] = []
        self._decoded = 0
        self._first_aspect: Any = None
        self.warning = ""  # about how the pictures are shown
        self._reformatter = VideoReformatter()
        self.position_s: float | None = None
        """Latest presentation time decoded, None before the first."""
        self.end_s: float | None = None  # latest end of presentation

    def feed(self, packet: Any, other_s: float | None) -> Iterator[Picture | Damage]:
        """Decode one packet; ``other_s`` is the position of the sound, if there is any."""
        for ready, wanted in self._planner.push(packet, self._clock):
            yield from self._decode(ready, wanted, other_s)

    def finish(self) -> Iterator[Picture | Damage]:
        """Yield what planner, decoder and reordering still hold."""
        for ready, wanted in self._planner.finish():
            yield from self._decode(ready, wanted, None)
        yield from self._decode(None, True, None)
        while self._heap:
            yield from self._pass_on()

    def _decode(
        self, packet: Any, wanted: bool, other_s: float | None
    ) -> Iterator[Picture | Damage]:
        if packet is not None and packet.is_corrupt:
            # Not decoded: with frame threads the error would surface later and take good frames
            # with it.
            yield from self._irregular(self._due_s(packet), "bytes of the picture are missing")
            return
        if packet is not None:
            self._stream.codec_context.skip_frame = "DEFAULT" if wanted else "NONREF"
            if not wanted and not packet.is_discard:
                self._extend_to(packet, self._clock.time_s(seconds(packet.pts, packet.time_base)))
        try:
            frames = self._stream.decode(packet)
        except av.EOFError:
            return
        except (av.FFmpegError, ValueError):
            yield from self._irregular(self._due_s(packet), "a stretch of picture does not decode")
            return
        for frame in frames:
            if frame.time_base is None:  # PyAV leaves it out when it drains the decoder
                frame.time_base = self._stream.time_base
            yield from self._add(frame, other_s)

    def _irregular(self, time_s: float | None, reason: str) -> list[Damage]:
        """Stop skipping pictures; return the damage to report."""
        self._planner.enabled = False
        return self._log.failed(time_s, reason)

    def _due_s(self, packet: Any) -> float | None:
        """When the next frame was due. The decoder works ahead of its output, so the packet's
        own time is used only before the first output."""
        if self.position_s is not None:
            return self.position_s + self._interval_s
        if packet is None or packet.pts is None:
            return None
        return self._clock.time_s(seconds(packet.pts, packet.time_base))

    def _add(self, frame: av.VideoFrame, other_s: float | None) -> Iterator[Picture | Damage]:
        if frame.is_corrupt:
            # Kept: the frames after it are built on it and are not marked as corrupt.
            yield from self._irregular(self._due_s(None), "a stretch of picture is damaged")
        else:
            self._log.recovered()
        if frame.interlaced_frame:
            self._planner.enabled = False  # two packets may make one frame
        expected_s = 0.0 if self.position_s is None else self.position_s + self._interval_s
        stamp, base = frame.pts if frame.pts is not None else frame.dts, frame.time_base
        if stamp is None or not base:
            time_s = expected_s
        else:
            time_s = self._clock.time_s(seconds(stamp, base))
            if self.position_s is None and (began_s := self._clock.begin(time_s)) < time_s:
                yield from self._irregular(0.0, "the picture begins at an impossible time")
                time_s = began_s
            elif self.position_s is not None and self._clock.jumped(time_s, expected_s, other_s):
                yield from self._irregular(expected_s, "the clock of the picture jumps")
                time_s = expected_s
        self.position_s = time_s if self.position_s is None else max(self.position_s, time_s)
        if not self._decoded and (skew := _orientation(frame)[2]) > _MOST_SKEW:
            turned = f"the file turns its picture {skew:.0f}° more than it is turned here"
            self.warning = f"{turned}, by whole quarters; if faces lean, turn it with an editor"
        transfer = self._stream.codec_context.color_trc
        picture = DecodedFrame(time_s, frame, self._aspect(frame), transfer)
        self._decoded += 1
        heapq.heappush(self._heap, (time_s, self._decoded, picture))
        if len(self._heap) > _REORDER_FRAMES:
            yield from self._pass_on()

    def _aspect(self, frame: av.VideoFrame) -> float:
        """Width of a pixel over its height. The container's value counts until that of the
        bitstream changes, as when a broadcast goes from 4:3 to 16:9."""
        coded = self._stream.codec_context.sample_aspect_ratio
        if not self._decoded:
            self._first_aspect = coded
        stated = self._stream.sample_aspect_ratio if coded == self._first_aspect else None
        aspect = float(stated or coded or 1)
        most = min(_MOST_ASPECT, events.MAX_FRAME_PIXELS / (frame.width * frame.height))
        return aspect if abs(aspect - 1) > _SQUARE and 1 / most <= aspect <= most else 1.0

    def _pass_on(self) -> Iterator[Picture]:
        """Yield the earliest waiting frame if it comes after the last one and is sampled."""
        time_s, _, picture = heapq.heappop(self._heap)
        if time_s <= -_TOLERANCE_S or time_s <= self._last_s:
            return
        time_s = max(time_s, 0.0)
        self._last_s = time_s
        self._extend_to(picture.frame, time_s)
        if self._sampler.take(time_s):
            if self._as_decoded:
                yield replace(picture, time_s=time_s)
            else:
                yield Frame(time_s, displayed(picture, "gray", self._reformatter))

    def _extend_to(self, item: Any, time_s: float) -> None:
        base = item.time_base
        duration_s = seconds(item.duration or 0, base) if base else 0.0
        if not 0 < duration_s <= _MAX_FRAME_DURATION_S:
            duration_s = self._interval_s
        self.end_s = max(self.end_s or 0.0, time_s + duration_s)


def _orientation(frame: Any) -> tuple[bool, int, float]:
    """How to show ``frame``: whether mirrored, then by how many quarter turns counter-clockwise (as
    np.rot90 counts), and how many degrees these are off."""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return False, 0, 0.0
    a, b, _, c, d, *_ = np.frombuffer(matrix, np.int32).tolist()
    mirrored = a * d < b * c
    if mirrored:
        a, b = -a, -b
    angle = math.degrees(math.atan2(c - b, a + d))
    turns = round(angle / 90)
    return mirrored, turns % 4, abs(angle - 90 * turns)


def displayed(
    picture: DecodedFrame,
    format: str,
    reformatter: VideoReformatter,
    size: tuple[int, int] | None = None,
    **conversion: Any,
) -> NDArray[np.uint8]:
    """``picture`` as players show it: uint8 [height, width] ("gray") or [height, width, channels]
    ("bgr24", "rgba"), of ``size`` (width, height) or its own.

    swscale converts all pixel formats to full range, so that brightness does not depend on how
    the file was encoded. ``reformatter`` keeps swscale's tables from frame to frame: making them
    costs more than converting a small picture.
    """
    mirrored, turns, _ = _orientation(picture.frame)
    width, height = size or picture.size
    if turns % 2:
        width, height = height, width
    if picture.transfer == PQ:
        format = _DEEP_FORMATS[format]
    pixels = reformatter.reformat(picture.frame, width, height, format, **conversion).to_ndarray()
    if picture.transfer == PQ:
        pixels = _levels_of_pq()[pixels]
    if mirrored:
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(np.rot90(pixels, turns), dtype=np.uint8)


@cache
def _levels_of_pq() -> NDArray[np.uint8]:
    """The level of sRGB for each of PQ [65536]; what is brighter than white is cut off."""
    root = np.linspace(0, 1, 65536) ** (32 / 2523)
    light = np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)
    light = np.minimum(light ** (8192 / 1305) * 10_000 / _WHITE_NITS, 1)
    level = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.round(255 * level).astype(np.uint8)
