"""Media files: one pass over the container gives pictures and sound with presentation times.

::

    with MediaReader("talk.mp4") as reader:
        for event in prefetch(reader):
            match event:
                case Frame(): ...    # about 10 a second, grey, upright
                case Sound(): ...    # 16 kHz mono, each chunk begins where the last one ended
                case Damage(): ...   # what could not be read; the rest still comes

Nothing grows with the length of the file. ``_media_open`` opens, ``_media_frames`` and
``_media_sound`` work on one stream each.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import av
import av.logging

from avsent.extraction.media.audio import SoundTrack
from avsent.extraction.media.container import nothing_decodes, open_media
from avsent.extraction.media.events import (
    DEFAULT_ANALYSIS_RATE_HZ,
    MAX_FRAME_PIXELS,
    SAMPLE_RATE_HZ,
    Damage,
    DamageLog,
    Frame,
    MediaInfo,
    Sound,
)
from avsent.extraction.media.video import FrameSampler, PictureTrack

__all__ = [
    "DEFAULT_ANALYSIS_RATE_HZ",
    "MAX_FRAME_PIXELS",
    "SAMPLE_RATE_HZ",
    "Damage",
    "Frame",
    "FrameSampler",
    "MediaInfo",
    "MediaReader",
    "Sound",
    "prefetch",
]

# FFmpeg says nothing on stderr. None, not PANIC: any level makes the decoder's threads call back
# into Python for each message. Set once, while importing, because it holds for the process.
av.logging.set_level(None)

_MAX_READ_FAILURES = 8
# How much earlier than stated a file may end before it counts as cut off.
_CUT_OFF_S = 1.0
_CUT_OFF_SHARE = 0.02
# What waits in `prefetch` at most: pictures of more than 4K would fill the memory.
_MAX_WAITING_BYTES = 256 * 1024**2

T = TypeVar("T")


class MediaReader:
    """Reads one file once: a context manager, and an iterable of Frame, Sound and Damage.

    Pictures and sound come interleaved about as the file holds them; the times of frames
    increase strictly, chunks of sound join without a hole. Not thread-safe, but the thread that
    iterates may be another than the one that made it.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        analysis_rate_hz: float = DEFAULT_ANALYSIS_RATE_HZ,
        threads: int | None = None,
    ) -> None:
        """Open ``path``; ``threads``: of the decoder, by default as many as help.

        Raises MediaError, or ValueError for a rate that is not positive.
        """
        FrameSampler(analysis_rate_hz)  # checks the rate before the file is touched
        self._media = open_media(Path(path), threads)
        self.info: MediaInfo = self._media.info
        self._started = False
        self._picture: PictureTrack | None = None
        self._sound: SoundTrack | None = None
        if self._media.video is not None:
            self._picture = PictureTrack(
                self._media.video, self.info.format, self._media.origin_s, analysis_rate_hz
            )
        if self._media.audio is not None:
            self._sound = SoundTrack(self._media.audio, self._media.origin_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; may be called again."""
        self._media.container.close()

    @property
    def position_s(self) -> float:
        """How far reading has got, in seconds of presentation."""
        positions = [t.position_s for t in (self._picture, self._sound) if t is not None]
        return max([p for p in positions if p is not None], default=0.0)

    @property
    def end_s(self) -> float:
        """Latest end of a picture or of sound so far; after iteration, the true duration."""
        ends = [
            self._picture.end_s if self._picture is not None else None,
            self._sound.position_s if self._sound is not None else None,
        ]
        return max([e for e in ends if e is not None], default=0.0)

    def __iter__(self) -> Iterator[Frame | Sound | Damage]:
        """The one pass. Raises RuntimeError when asked twice, and MediaError at its end if
        nothing at all could be decoded."""
        if self._started:
            raise RuntimeError("a MediaReader reads its file once; make a new one")
        self._started = True
        return self._events()

    def _events(self) -> Iterator[Frame | Sound | Damage]:
        yield from self._media.damage
        anything = False
        for event in self._streams():
            anything = anything or not isinstance(event, Damage)
            yield event
        if not anything:
            raise nothing_decodes(self.info)

    def _streams(self) -> Iterator[Frame | Sound | Damage]:
        log = DamageLog("container")
        for packet in self._packets(log):
            if isinstance(packet, Damage):
                yield packet
            elif self._picture is not None and packet.stream is self._media.video:
                other_s = self._sound.position_s if self._sound is not None else None
                yield from self._picture.feed(packet, other_s)
            elif self._sound is not None:
                other_s = self._picture.position_s if self._picture is not None else None
                yield from self._sound.feed(packet, other_s)
        if self._picture is not None:
            yield from self._picture.finish()
        if self._sound is not None:
            yield from self._sound.finish()
        stated_s = self._media.stated_end_s
        if stated_s is not None:
            short_s = stated_s - self.end_s
            if short_s > max(_CUT_OFF_S, _CUT_OFF_SHARE * stated_s):
                reason = f"the file breaks off {short_s:.1f} s before its stated end"
                yield from log.failed(self.end_s, reason)

    def _packets(self, log: DamageLog) -> Iterator[Any]:
        """Packets of the chosen streams, and Damage where the container cannot be read."""
        streams = [s for s in (self._media.video, self._media.audio) if s is not None]
        failures = 0
        while failures < _MAX_READ_FAILURES:
            try:
                for packet in self._media.container.demux(streams):
                    # An empty packet would tell the decoder that the stream ends here.
                    if packet.size:
                        failures = 0
                        log.recovered()
                        yield packet
            except (av.FFmpegError, OSError):
                # Some containers go on after a bad stretch; others fail again, a few times.
                failures += 1
                yield from log.failed(self.position_s, "the container is damaged here")
            else:
                return


def prefetch(events: Iterable[T], size: int = 24) -> Generator[T, None, None]:
    """Run ``events`` in a thread of its own, up to ``size`` events or 256 MB of pictures ahead of
    the consumer.

    Decoding so runs beside the work on what was decoded. An error in ``events`` is raised here,
    after the events before it. When the consumer stops early, the thread ends before the
    generator is closed. Raises ValueError if ``size`` is below 1.
    """
    if size < 1:
        raise ValueError(f"prefetch needs room for at least 1 event, not {size}")
    return _prefetch(events, size)


class _End:
    """The last item in the queue: the events are over, for ``error`` if there is one."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class _Room:
    """Bytes that may wait; one event always may."""

    def __init__(self) -> None:
        self._taken = 0
        self._changed = threading.Condition()

    def take(self, size: int, stop: threading.Event) -> None:
        """Wait until there is room, or ``stop`` is set."""
        if not size:
            return
        with self._changed:
            self._changed.wait_for(
                lambda: stop.is_set() or self._taken + size <= max(size, _MAX_WAITING_BYTES)
            )
            self._taken += size

    def give(self, size: int) -> None:
        """Give back; with 0 wake up who waits."""
        with self._changed:
            self._taken -= size
            self._changed.notify()


def _size_of(event: object) -> int:
    return event.gray.nbytes if isinstance(event, Frame) else 0


def _prefetch(events: Iterable[T], size: int) -> Generator[T, None, None]:
    waiting: queue.Queue[T | _End] = queue.Queue(size)
    stop = threading.Event()
    room = _Room()

    def produce() -> None:
        error: BaseException | None = None
        try:
            source = iter(events)
            try:
                for event in source:
                    if stop.is_set():
                        break
                    room.take(_size_of(event), stop)
                    waiting.put(event)
            finally:
                if isinstance(source, Generator):
                    source.close()
        except BaseException as raised:  # whatever it is belongs to the consumer
            error = raised
        waiting.put(_End(error))

    thread = threading.Thread(target=produce, name="avsent-prefetch", daemon=True)
    thread.start()
    try:
        while not isinstance(item := waiting.get(), _End):
            room.give(_size_of(item))
            yield item
        if item.error is not None:
            raise item.error
    finally:
        stop.set()
        room.give(0)
        while thread.is_alive():  # it may be blocked on a full queue
            with contextlib.suppress(queue.Empty):
                waiting.get(timeout=0.01)
        thread.join()
