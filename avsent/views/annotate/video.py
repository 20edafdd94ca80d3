"""``--annotate``: the video again, with what was found drawn into its pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import av

from avsent.errors import InputError, MediaError, OutputError
from avsent.extraction.faces.types import Sighting
from avsent.extraction.media.container import OpenMedia, open_media, shown
from avsent.files import atomic_path, check_target
from avsent.progress import Progress, ProgressHook, ignore_progress
from avsent.result.record import Result
from avsent.views.annotate.encoder import PictureSink, open_output
from avsent.views.annotate.overlay import Overlay
from avsent.views.annotate.picture import Look, Picture, PictureFeed
from avsent.views.annotate.plates import ColourSpace, Painter
from avsent.views.annotate.sound import sound_into
from avsent.views.annotate.style import Style

_STEP = "annotate"
_REPORT_EVERY_S = 0.5
_MAX_READ_FAILURES = 8


def annotate(
    source: Path,
    target: Path,
    result: Result,
    sightings: Sequence[Sighting],
    on_progress: ProgressHook = ignore_progress,
) -> None:
    """Write ``source`` to ``target`` (mp4, or Matroska where its name ends in .mkv) with boxes
    of faces, sentiment, words and a timeline drawn in.

    Every picture keeps its presentation time; sound is copied where the container takes it, else
    encoded as AAC. Damaged stretches are left out. ``sightings``: where the faces were, in pixels
    of the upright picture. ``target`` appears whole or not at all.

    Raises:
        InputError: there is no picture to draw on, or the source cannot be read.
        UsageError: the target is the source. OutputError: it cannot be written.
    """
    check_target(target, [source])
    look = _first_look(source)
    try:
        with atomic_path(target) as temporary, closing(_Source(source)) as reading:
            _write(reading, temporary, target, look, result, sightings, on_progress)
    except av.FFmpegError as error:  # all errors of reading are dealt with where they occur
        reason = error.strerror or "the encoder failed"
        raise OutputError(f"cannot write {target}: {reason}") from error


class _Source:
    """The open source, and its packets as far as they can be read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.media: OpenMedia = open_media(path)
        if self.media.video is None:
            self.close()
            raise InputError(
                f"{shown(path)} has no picture to draw on; leave --annotate out, or take --report "
                "to look at sound"
            )
        self.pictures = PictureFeed(self.media.video, self.media.origin_s)

    def close(self) -> None:
        self.media.container.close()

    def packets(self) -> Iterator[Any]:
        """Packets of the chosen streams; a damaged stretch of the container is passed over."""
        streams = [s for s in (self.media.video, self.media.audio) if s is not None]
        failures = 0
        while failures < _MAX_READ_FAILURES:
            try:
                for packet in self.media.container.demux(streams):
                    if packet.size:  # an empty one would tell the decoder that the stream ends
                        failures = 0
                        yield packet
            except (av.FFmpegError, OSError):
                failures += 1
            else:
                return


def _first_look(path: Path) -> Look:
    """What the first picture that decodes says of all; the output must know before it begins."""
    with closing(_Source(path)) as source:
        for packet in source.packets():
            if packet.stream is source.media.video:
                list(source.pictures.feed(packet, None))
                if source.pictures.look is not None:
                    return source.pictures.look
        list(source.pictures.feed(None, None))
        if source.pictures.look is not None:
            return source.pictures.look
    raise MediaError(
        f"{shown(path)} has no picture that can be decoded; check that it plays, or leave "
        "--annotate out"
    )


def _write(
    source: _Source,
    temporary: Path,
    target: Path,
    look: Look,
    result: Result,
    sightings: Sequence[Sighting],
    on_progress: ProgressHook,
) -> None:
    media, pictures = source.media, source.pictures
    duration_s = result.duration_s or media.info.duration_s or 0.0
    style = Style.of(look.width, look.height, result.model.labels)
    space = ColourSpace(look.matrix_name)
    overlay = Overlay(style, space, result, sightings, duration_s)
    reported_s = -_REPORT_EVERY_S
    with open_output(temporary, matroska=target.suffix.lower() == ".mkv") as out:
        sink = PictureSink(out, media.video, look)
        sound = None if media.audio is None else sound_into(out, media.audio, media.origin_s)

        def draw(picture: Picture) -> None:
            nonlocal reported_s
            overlay.draw(Painter(picture.planes, space), picture.time_s, picture.scale)
            sink.write(picture)
            if picture.time_s - reported_s >= _REPORT_EVERY_S:
                reported_s = picture.time_s
                on_progress(Progress(_STEP, str(source.path), reported_s, duration_s or None))

        for packet in source.packets():
            if packet.stream is media.video:
                for picture in pictures.feed(packet, sound.position_s if sound else None):
                    draw(picture)
            elif sound is not None:
                sound.feed(packet, pictures.position_s)
        for picture in pictures.feed(None, None):
            draw(picture)
        sink.finish()
        if sound is not None:
            sound.finish()
    on_progress(Progress(_STEP, str(source.path), duration_s, duration_s or None))
