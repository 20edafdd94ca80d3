"""Media files: one pass over the container gives pictures and sound with presentation times.

::

    with MediaReader("talk.mp4") as reader:
        for event in prefetch(reader):
            match event:
                case Frame(): ...    # about 10 a second, grey, upright
                case Sound(): ...    # 16 kHz mono, each chunk begins where the last one ended
                case Damage(): ...   # what could not be read; the rest still comes

Memory does not grow with the length of the file.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

import av
import av.logging

from avsent.extraction.media.audio import SoundTrack
from avsent.extraction.media.container import nothing_decodes, open_media
from avsent.extraction.media.events import Damage, DamageLog, Frame, MediaInfo, Sound
from avsent.extraction.media.video import DecodedFrame, FrameSampler, PictureTrack, TimesSampler

# Silences FFmpeg on stderr, for the whole process. None, not PANIC: with any level the decoder's
# threads call back into Python for each message.
av.logging.set_level(None)

DEFAULT_ANALYSIS_RATE_HZ = 10.0
_MAX_READ_FAILURES = 8
# How much earlier than stated a file may end before it counts as cut off.
_CUT_OFF_S = 1.0
_CUT_OFF_SHARE = 0.02
# Most that waits in `prefetch`: pictures larger than 4K would fill the memory.
_MAX_WAITING_BYTES = 256 * 1024**2

T = TypeVar("T")


class SoundSink(Protocol):
    """Takes the packets of a sound stream; what it yields becomes events of the reader."""

    @property
    def position_s(self) -> float | None: ...

    def feed(self, packet: Any, other_s: float | None) -> Iterable[Sound | Damage]: ...

    def finish(self) -> Iterable[Sound | Damage]: ...


class MediaReader:
    """Reads one file once: a context manager, and an iterable of Frame, Sound and Damage.

    Pictures and sound come interleaved as in the file. Times of frames increase strictly; chunks
    of sound join without a hole. Not thread-safe, but it may be made in one thread and iterated
    in another.
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
        sampler = FrameSampler(analysis_rate_hz)  # checks the rate before the file is touched
        self.media = media = open_media(Path(path), threads)
        self.info: MediaInfo = media.info
        self._started = False
        self._picture: PictureTrack | None = None
        self._sound: SoundSink | None = None
        if media.video is not None:
            self._picture = PictureTrack(media.video, media.info.format, media.origin_s, sampler)
        if media.audio is not None:
            self._sound = SoundTrack(media.audio, media.origin_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; may be called again."""
        self.media.container.close()

    @property
    def position_s(self) -> float:
        """Presentation time reached so far."""
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
        """Start the one pass. Raises RuntimeError at the second call, and MediaError at the end
        if nothing could be decoded."""
        self._start()
        return self._events()

    def in_colour(
        self, times_s: Sequence[float] | None = None, sound: SoundSink | None = None
    ) -> Iterator[DecodedFrame | Sound | Damage]:
        """Start the one pass, with pictures as decoded instead of analysis frames: same times.

        ``times_s``: times of the pictures to yield, to within 0.5 ms; None for all. ``sound``
        takes the packets of sound instead of the reader's decoder. Yields nothing if nothing
        decodes. Raises RuntimeError at the second call.
        """
        self._start()
        self._sound = self._sound if sound is None else sound
        media, self._picture = self.media, None
        if media.video is not None and (times_s is None or len(times_s)):
            # Without the name of a format, decoding skips nothing.
            name = "" if times_s is None else media.info.format
            sampler = TimesSampler(times_s)
            self._picture = PictureTrack(media.video, name, media.origin_s, sampler, decoded=True)
        else:
            self.media = replace(media, video=None)
        return self._streams()

    def _start(self) -> None:
        if self._started:
            raise RuntimeError("a MediaReader reads its file once; make a new one")
        self._started = True

    def _events(self) -> Iterator[Any]:
        yield from self.media.damage
        anything = False
        for event in self._streams():
            anything = anything or not isinstance(event, Damage)
            yield event
        if not anything:
            raise nothing_decodes(self.info)

    def _streams(self) -> Iterator[Any]:
        log = DamageLog("container")
        for packet in self._packets(log):
            if isinstance(packet, Damage):
                yield packet
            elif self._picture is not None and packet.stream is self.media.video:
                other_s = self._sound.position_s if self._sound is not None else None
                yield from self._picture.feed(packet, other_s)
            elif self._sound is not None:
                other_s = self._picture.position_s if self._picture is not None else None
                yield from self._sound.feed(packet, other_s)
        for track in (self._picture, self._sound):
            if track is not None:
                yield from track.finish()
        stated_s = self.media.stated_end_s or 0.0
        short_s = stated_s - self.end_s
        if short_s > max(_CUT_OFF_S, _CUT_OFF_SHARE * stated_s):
            reason = f"the file breaks off {short_s:.1f} s before its stated end"
            yield from log.failed(self.end_s, reason)

    def _packets(self, log: DamageLog) -> Iterator[Any]:
        """Packets of the chosen streams, and Damage where the container cannot be read."""
        streams = [s for s in (self.media.video, self.media.audio) if s is not None]
        failures = 0
        while failures < _MAX_READ_FAILURES:
            try:
                for packet in self.media.container.demux(streams):
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
    the consumer, so that decoding runs beside the analysis.

    An error in ``events`` is raised here, after the events before it. When the consumer stops
    early, the thread ends before the generator is closed. Raises ValueError if ``size`` is below 1.
    """
    if size < 1:
        raise ValueError(f"prefetch needs room for at least 1 event, not {size}")
    return _prefetch(events, size)


def _prefetch(events: Iterable[T], size: int) -> Generator[T, None, None]:
    waiting: deque[T] = deque()
    waiting_bytes = 0
    error: BaseException | None = None
    stopped = ended = False
    changed = threading.Condition()

    def produce() -> None:
        nonlocal waiting_bytes, error, ended
        try:
            source = iter(events)
            with closing(source) if isinstance(source, Generator) else nullcontext():
                for event in source:
                    more = _bytes_of(event)
                    limit = max(more, _MAX_WAITING_BYTES)  # one event may always wait
                    with changed:
                        while not stopped and (
                            len(waiting) >= size or waiting_bytes + more > limit
                        ):
                            changed.wait()
                        if stopped:
                            break
                        waiting.append(event)
                        waiting_bytes += more
                        changed.notify()
        except BaseException as raised:  # whatever it is, it belongs to the consumer
            error = raised
        with changed:
            ended = True
            changed.notify()

    thread = threading.Thread(target=produce, name="avsent-prefetch", daemon=True)
    thread.start()
    try:
        while True:
            with changed:
                changed.wait_for(lambda: waiting or ended)
                if not waiting:
                    break
                event = waiting.popleft()
                waiting_bytes -= _bytes_of(event)
                changed.notify()
            yield event
        if error is not None:
            raise error
    finally:
        with changed:
            stopped = True
            changed.notify()
        thread.join()


def _bytes_of(event: object) -> int:
    return event.gray.nbytes if isinstance(event, Frame) else 0
