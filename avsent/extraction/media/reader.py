"""Media files: opened safely, and read in one pass: pictures and sound with presentation times.

::

    with MediaReader("talk.mp4") as reader:
        for event in prefetch(reader):
            match event:
                case Frame(): ...    # about 10 a second, grey, as displayed
                case Sound(): ...    # 16 kHz mono, each chunk begins where the last one ended
                case Damage(): ...   # what could not be read; the rest still comes

Memory does not grow with the length of the file. Only the named file is ever read: FFmpeg's
network protocols, playlists and file-name patterns are shut out.
"""

import os
import threading
from collections import defaultdict, deque
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol, Self, TypeAlias, TypeVar

import av
import av.logging
from av.container import InputContainer

from avsent.errors import MediaError
from avsent.extraction.media import events
from avsent.extraction.media.audio import SoundTrack
from avsent.extraction.media.events import MAX_FRAME_PIXELS, Damage, DamageLog, Frame, Sound
from avsent.extraction.media.tracks import WORDS, MixedSound, choose, tracks_of
from avsent.extraction.media.video import DecodedFrame, FrameSampler, PictureTrack, TimesSampler
from avsent.machine import usable_cores
from avsent.text import printable

# Formats that open other files or devices, or that make a "video" of plain text.
_REFUSED_FORMATS = {
    *("hls", "applehttp", "concat", "dash", "webm_dash_manifest", "imf", "image2", "image2pipe"),
    *("lavfi", "sdp", "rtsp", "rtp", "sap", "vapoursynth", "avisynth", "fbdev", "kmsgrab", "oss"),
    *("alsa", "v4l2", "video4linux2", "x11grab", "pulse", "jack", "tty", "txd", "bin", "xbin"),
    *("adf", "idf", "data", "rawvideo", "ffmetadata"),
}
_PICTURE_BRANDS = {"avif", "heic", "heix", "mif1"}
_PICTURE_SUFFIXES = {
    *(".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"),
    *(".heic", ".avif", ".jxl", ".svg", ".ico", ".ppm", ".pgm"),
}
# The clocks of these formats start anywhere (in MP3, after the encoder's delay), and every player
# counts from the first value.
_FLOATING_CLOCK_FORMATS = {"mpegts", "mpeg", "mp3"}
# A piece of a live stream that starts later counts from its first value, too.
_LATE_START_S = 0.5
_STREAMED_FORMATS = {"matroska", "flv"}
_MOVIE_HEADER_BYTES = 256 * 1024
# Formats of which FFmpeg guesses the duration from the bit rate.
_GUESSED_FORMATS = {
    *("aac", "loas", "ac3", "eac3", "dts", "dtshd", "truehd", "mlp", "amr", "amrnb", "amrwb"),
    *("h264", "hevc", "vvc", "m4v", "mpegvideo", "mjpeg", "vc1", "obu", "dirac", "cavsvideo"),
}
# A clock that starts further below zero is rebased, too; less is codec delay.
_NEGATIVE_START_S = 0.1
_AV_TIME_BASE_HZ = 1_000_000
# With more threads decoding holds more frames but is no faster than face detection.
_MAX_DECODER_THREADS = 4
# Each decoder thread holds pictures of its own: beyond 4K, two take enough memory.
_MANY_PIXELS = 4096 * 2304

Asked: TypeAlias = Mapping[str, Sequence[int]]


@dataclass(frozen=True, slots=True)
class OpenMedia:
    """An open container, its chosen streams, and what was noticed while opening.

    ``audio`` is the first of ``sounds``. ``tracks``: all picture and sound tracks by kind,
    ``chosen``: the numbers of those that are read. ``duration_s``: as the container states it, None
    where it does not or where FFmpeg guesses. ``origin_s``: raw time at which presentation begins.
    ``stated_end_s``: where the container says that the chosen streams end.
    """

    path: Path
    container: InputContainer
    video: av.VideoStream | None
    audio: av.AudioStream | None
    sounds: list[av.AudioStream]
    tracks: dict[str, list[Any]]
    chosen: dict[str, list[int]]
    duration_s: float | None
    origin_s: float
    stated_end_s: float | None
    damage: tuple[Damage, ...]


def open_media(path: Path, threads: int | None = None, asked: Asked | None = None) -> OpenMedia:
    """Open ``path`` and choose its tracks.

    ``threads``: of the decoder, by default as many as help. ``asked``: numbers of the tracks by
    kind, see :func:`avsent.extraction.media.tracks.choose`. Raises MediaError, one line, if the
    file is missing, a folder, unreadable, empty, not media, a still picture, a playlist, too large
    in pixels, or has no such track, or none that can be decoded.
    """
    _check_file(path)
    container = _open_container(path)
    try:
        return _choose(path, container, threads, asked or {})
    except BaseException:
        container.close()
        raise


def _check_file(path: Path) -> None:
    name = printable(path)
    try:
        if path.is_dir():
            raise MediaError(f"{name} is a folder; give the media files in it")
        if not path.exists():
            raise MediaError(f"{name} does not exist; check the path")
        if not path.is_file():
            raise MediaError(f"{name} is not a regular file; save it to disk first")
        with path.open("rb") as file:
            if not file.read(1):
                raise MediaError(f"{name} is empty (0 bytes); fetch or record it again")
    except PermissionError as error:
        raise MediaError(f"{name} may not be read; check its permissions") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "the name is not valid"
        raise MediaError(f"{name} cannot be opened ({reason}); check the path") from error


@cache
def _this_file_only() -> dict[str, str]:
    """Options of FFmpeg under which a file opens no other one."""
    formats = {part for name in av.formats_available for part in name.split(",")}
    allowed = ",".join(sorted(formats - _REFUSED_FORMATS))
    return {"protocol_whitelist": "file", "format_whitelist": allowed}


def _open_container(path: Path) -> InputContainer:
    # `file:` and an absolute path keep FFmpeg from reading the name as a protocol or an option.
    url = "file:" + os.path.abspath(path)
    # FFmpeg decodes some pictures while opening. Four times the allowed size, so that the message
    # can name the size of pictures that are a little too large.
    options = {**_this_file_only(), "max_pixels": str(4 * MAX_FRAME_PIXELS)}
    try:
        container = av.open(url, options=options, metadata_errors="replace")
    except (av.FFmpegError, OSError, ValueError) as error:
        if path.suffix.lower() in _PICTURE_SUFFIXES:
            raise _still_picture(path) from error
        raise MediaError(
            f"{printable(path)} is not a media file that avsent reads, or it is damaged from "
            "the start; check that it plays, or convert it to mp4"
        ) from error
    # The whitelist refuses playlists already, but old FFmpegs spell some names differently.
    if _REFUSED_FORMATS & set(container.format.name.split(",")):
        container.close()
        raise MediaError(f"{printable(path)} only refers to other files; give the video itself")
    brand = container.metadata.get("major_brand", "").strip()
    if container.format.name.endswith("_pipe") or brand in _PICTURE_BRANDS:
        container.close()
        raise _still_picture(path)
    return container


def _still_picture(path: Path) -> MediaError:
    name = printable(path)
    return MediaError(f"{name} is a still picture, not a video; give a video or sound file")


def _choose(path: Path, container: InputContainer, threads: int | None, asked: Asked) -> OpenMedia:
    tracks = {kind: tracks_of(container, kind) for kind in WORDS}
    chosen = {kind: choose(path, tracks[kind], kind, asked.get(kind)) for kind in WORDS}
    unknown = [kind for kind in WORDS if any(s.codec_context is None for s in tracks[kind])]
    video = tracks["video"][chosen["video"][0] - 1] if chosen["video"] else None
    sounds = [tracks["audio"][number - 1] for number in chosen["audio"]]
    contexts = [s.codec_context for s in sounds]
    faults = [events.impossible_sound(c.sample_rate or 0, c.channels or 0) for c in contexts]
    sounds = [s for s, fault in zip(sounds, faults, strict=True) if not fault]
    notes = [Damage("audio", None, fault) for fault in faults if fault]
    if notes and video is None and not sounds:
        raise MediaError(f"{printable(path)} has {notes[0].reason}; convert it to 16000 Hz mono")
    if video is None and not sounds:
        why = (
            "has picture or sound in a format that cannot be decoded; convert it to mp4"
            if unknown
            else "holds neither picture nor sound; give a video or sound file"
        )
        raise MediaError(f"{printable(path)} {why}")
    if video is None and "video" in unknown:
        notes.append(Damage("video", None, "no decoder for the format of the picture"))
    if not sounds and "audio" in unknown:
        notes.append(Damage("audio", None, "no decoder for the format of the sound"))

    if video is not None:
        _prepare_video(path, video, threads)
    timed = [s for s in (video, *sounds[:1]) if s is not None and s.duration and s.time_base]
    names = set(container.format.name.split(","))
    start_s = (container.start_time or 0) / _AV_TIME_BASE_HZ
    late = start_s > _LATE_START_S and _continues_a_stream(path, names)
    floating = late or bool(_FLOATING_CLOCK_FORMATS & names)
    floating = floating or not -_NEGATIVE_START_S <= start_s <= events.MAX_START_S
    # Matroska and FLV state no durations of streams, so these are guesses, too. A header of MP3
    # that states the duration also states a delay.
    guessed = late or bool(names & _GUESSED_FORMATS or (names & _STREAMED_FORMATS and timed))
    guessed = guessed or ("mp3" in names and not start_s)
    return OpenMedia(
        path=path,
        container=container,
        video=video,
        audio=sounds[0] if sounds else None,
        sounds=sounds,
        tracks=tracks,
        chosen=chosen,
        duration_s=None if guessed else _duration_s(container, timed),
        origin_s=start_s if floating else 0.0,
        stated_end_s=None if guessed else _stated_end_s(container, timed),
        damage=tuple(notes),
    )


def _prepare_video(path: Path, stream: av.VideoStream, threads: int | None) -> None:
    context = stream.codec_context
    if context.width * context.height > MAX_FRAME_PIXELS:
        raise _too_large(path, context.width, context.height)
    # The size may change in mid-stream, so the decoder itself must refuse large pictures, too.
    context.options = {"max_pixels": str(MAX_FRAME_PIXELS)}
    stream.thread_type = "AUTO"
    most = 2 if context.width * context.height > _MANY_PIXELS else _MAX_DECODER_THREADS
    context.thread_count = min(most, threads or usable_cores())


def _too_large(path: Path, width: int, height: int) -> MediaError:
    return MediaError(
        f"{printable(path)} has pictures of {width}x{height} pixels, too large to analyse; "
        "scale it down to at most 8192x4608"
    )


def _nothing_decodes(media: OpenMedia) -> MediaError:
    """The error for a file that opened, but gave neither picture nor sound."""
    width, height = (0, 0) if media.video is None else _stated_size(media.path)
    if width * height > MAX_FRAME_PIXELS:
        return _too_large(media.path, width, height)
    limit = "" if media.video is None else " (pictures may have at most 8192x4608 pixels)"
    return MediaError(
        f"{printable(media.path)} has no picture and no sound that can be decoded{limit}; "
        "check that it plays, or convert it to mp4"
    )


def _stated_size(path: Path) -> tuple[int, int]:
    """Width and height stated by the container, else 0. Opened without a decoder: with one, FFmpeg
    forgets a size that is too large to decode."""
    try:
        options = {**_this_file_only(), "codec_whitelist": "none"}
        with av.open("file:" + os.path.abspath(path), options=options) as file:
            (video, *_) = file.streams.video
            return video.codec_context.width, video.codec_context.height
    except (av.FFmpegError, OSError, ValueError, AttributeError):
        return 0, 0


def _continues_a_stream(path: Path, names: set[str]) -> bool:
    """Whether the clock of a piece of a live stream goes on from the piece before. (In MP4 without
    fragments a late start is an edit: players show nothing until then.)"""
    with path.open("rb") as file:
        return bool(names & _STREAMED_FORMATS) or b"mvex" in file.read(_MOVIE_HEADER_BYTES)


def _open_ended(media: OpenMedia) -> bool:
    """Whether a WAV states no length, or 2 GB and more, as one written to a pipe. FFmpeg marks its
    last packet as corrupt."""
    if media.container.format.name != "wav":
        return False
    with media.path.open("rb") as file:
        _, _, after = file.read(_MOVIE_HEADER_BYTES).partition(b"data")
    return not 0 < int.from_bytes(after[:4], "little") < 0x7FFFF000


def _duration_s(container: InputContainer, timed: list[Any]) -> float | None:
    ends = [container.duration / _AV_TIME_BASE_HZ] if container.duration else []
    if not ends or ends[0] < 0:
        ends = [float(stream.duration * stream.time_base) for stream in timed]
    return max(ends) if ends and 0 < max(ends) <= events.MAX_STATED_S else None


def _stated_end_s(container: InputContainer, timed: list[Any]) -> float | None:
    names = set(container.format.name.split(","))
    if not names & {"mov", "matroska", "avi"}:
        return None  # FFmpeg guesses the duration from the size of the file
    ends = [float(((s.start_time or 0) + s.duration) * s.time_base) for s in timed]
    if not ends and container.duration:
        known = all(s.type in ("video", "audio") for s in container.streams)
        ends = [container.duration / _AV_TIME_BASE_HZ] if known else []
    return max(ends) if ends and max(ends) <= events.MAX_STATED_S else None


# Silences FFmpeg on stderr, for the whole process. None, not PANIC: with any level the decoder's
# threads call back into Python for each message.
av.logging.set_level(None)

_MAX_READ_FAILURES = 8
# How much earlier than stated a file may end before it counts as cut off.
_CUT_OFF_S = 1.0
_CUT_OFF_SHARE = 0.02
# A stated duration this close to what was read is kept: containers and codecs round.
_SAME_LENGTH_S = 0.1
_UNREAD_SHARE = 0.1  # of a file behind its last packet: more than an index
_NEW_PIECE = "the clock starts again, as in joined files: what follows is put behind"
# Formats in which the end can be read without all that comes before.
_SEEKABLE_FORMATS = {"mov", "matroska", "avi", "wav", "flac", "ogg"}
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
        analysis_rate_hz: float = 10.0,
        threads: int | None = None,
        asked: Asked | None = None,
    ) -> None:
        """Open ``path``; ``threads`` and ``asked`` as for :func:`open_media`. Raises MediaError, or
        ValueError for a rate that is not positive."""
        sampler = FrameSampler(analysis_rate_hz)  # checks the rate before the file is touched
        self.media = media = open_media(Path(path), threads, asked)
        self._started = False
        # Where the last packet so far ends, and how long those of each stream last together.
        self._packets_s = 0.0
        self._lengths_s: defaultdict[Any, float] = defaultdict(float)
        self._read_bytes = 0  # where in the file the last packet so far ends
        self._picture: PictureTrack | None = None
        self._sound: SoundSink | None = None
        if media.video is not None:
            format = media.container.format.name
            self._picture = PictureTrack(media.video, format, media.origin_s, sampler)
        if len(media.sounds) > 1:
            self._sound = MixedSound(media.sounds, media.origin_s)
        elif media.audio is not None:
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
    def warning(self) -> str:  # about how the pictures are shown
        return self._picture.warning if self._picture is not None else ""

    @property
    def end_s(self) -> float:
        """Latest end of a picture or of sound so far."""
        picture_s = None if self._picture is None else self._picture.end_s
        sound_s = None if self._sound is None else self._sound.position_s
        return max([end_s for end_s in (picture_s, sound_s) if end_s is not None], default=0.0)

    @property
    def duration_s(self) -> float:
        """After iteration: where the last picture or sound ends, as the container states it if both
        agree. What does not decode counts, too, up to the stated end."""
        stated_s = self.media.duration_s or 0.0
        end_s = max(self.end_s, min(max(self._lengths_s.values(), default=0.0), stated_s))
        return stated_s if abs(stated_s - end_s) <= _SAME_LENGTH_S else end_s

    def length_s(self) -> float | None:
        """The duration, None if unknown; instead of iterating. Decodes nothing, and where the
        format allows reads only the end."""
        self._start()
        container, stated_s = self.media.container, self.media.duration_s
        if stated_s and _SEEKABLE_FORMATS & set(container.format.name.split(",")):
            with suppress(av.FFmpegError):
                container.seek(int(max(0.0, stated_s - 1.0) * _AV_TIME_BASE_HZ))
        deque(self._packets(DamageLog("container")), maxlen=0)
        # The sum is longer where the clock starts again, as in pieces that were joined.
        read_s = max(self._packets_s, *self._lengths_s.values(), 0.0)
        agree = stated_s and (not read_s or abs(stated_s - read_s) <= _SAME_LENGTH_S)
        return stated_s if agree else read_s or None

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
            name = "" if times_s is None else media.container.format.name
            sampler = TimesSampler(times_s)
            self._picture = PictureTrack(media.video, name, media.origin_s, sampler, decoded=True)
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
            raise _nothing_decodes(self.media)

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
        names, size = set(self.media.container.format.name.split(",")), self.media.container.size
        if names & _STREAMED_FORMATS and 0 < self._read_bytes < (1 - _UNREAD_SHARE) * size:
            reason = f"the last {1 - self._read_bytes / size:.0%} of the file is not read"
            yield from log.failed(
                self.end_s, f"{reason}, as in joined files; join them with FFmpeg"
            )

    def _packets(self, log: DamageLog) -> Iterator[Any]:
        """Packets of the chosen streams, and Damage where the container cannot be read."""
        streams: list[Any] = [] if self._picture is None else [self.media.video]
        mixed = isinstance(self._sound, MixedSound)
        streams += self.media.sounds if mixed else self.media.sounds[:1]
        pieces, open_ended = events.JoinedPieces(), _open_ended(self.media)
        failures = 0
        while failures < _MAX_READ_FAILURES:
            try:
                for packet in self.media.container.demux(streams):
                    # An empty packet would tell the decoder that the stream ends here.
                    if packet.size:
                        failures = 0
                        log.recovered()
                        so_far_s = max(self._packets_s, self.end_s)
                        if pieces.move(packet, so_far_s + self.media.origin_s):
                            yield from log.failed(so_far_s, _NEW_PIECE)
                        packet.is_corrupt = packet.is_corrupt and not open_ended
                        length_s = events.seconds(packet.duration or 0, packet.time_base)
                        self._lengths_s[packet.stream] += length_s
                        self._read_bytes = max(self._read_bytes, (packet.pos or 0) + packet.size)
                        if packet.pts is not None:
                            start_s = events.seconds(packet.pts, packet.time_base)
                            end_s = start_s + length_s - self.media.origin_s
                            self._packets_s = max(self._packets_s, end_s)
                        yield packet
            except (av.FFmpegError, OSError):
                # Some containers go on after a bad stretch; others fail again, a few times.
                failures += 1
                yield from log.failed(self.position_s, "the container is damaged here")
            else:
                return


def prefetch(source: Iterable[T], size: int = 24) -> Generator[T, None, None]:
    """Run ``source`` in a thread of its own, up to ``size`` events or 256 MB of pictures ahead of
    the consumer, so that decoding runs beside the analysis.

    An error in ``source`` is raised here, after the events before it. When the consumer stops
    early, the thread ends before the generator is closed. Raises ValueError if ``size`` is below 1.
    """
    if size < 1:
        raise ValueError(f"prefetch needs room for at least 1 event, not {size}")
    return _prefetch(source, size)


def _prefetch(source: Iterable[T], size: int) -> Generator[T, None, None]:
    waiting: deque[T] = deque()
    waiting_bytes = 0
    error: BaseException | None = None
    stopped = ended = False
    changed = threading.Condition()

    def produce() -> None:
        nonlocal waiting_bytes, error, ended
        try:
            items = iter(source)
            with closing(items) if isinstance(items, Generator) else nullcontext():
                for event in items:
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
