"""Which picture and sound tracks of a file are read, and several sound tracks mixed into one.

Tracks are counted from 1, pictures and sound apart, as players do. Cover art is no picture track.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from av.container import InputContainer
from av.stream import Disposition

from avsent.errors import MediaError
from avsent.extraction.media.audio import Downmix, SoundTrack
from avsent.extraction.media.events import SAMPLE_RATE_HZ, Damage, Samples, Sound
from avsent.text import counted, printable, quoted

WORDS = {"video": "picture", "audio": "sound"}
_STILLS = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
_MAX_LAG = 10 * SAMPLE_RATE_HZ  # as `extractor.MAX_LAG_S`, of which it takes a part


def tracks_of(container: InputContainer, kind: str) -> list[Any]:
    """The tracks of one kind, also those without a decoder."""
    return [s for s in container.streams if s.type == kind and not s.disposition & _STILLS]


def choose(path: Path, tracks: Sequence[Any], kind: str, asked: Sequence[int] | None) -> list[int]:
    """The numbers of the tracks to read, of those that can be decoded: as ``asked``, where an empty
    list stands for all; for None the first that is flagged as default, else the first.

    Raises MediaError if there is no such track.
    """
    if asked and not 0 < max(asked) <= len(tracks):
        has = counted(len(tracks), f"{WORDS[kind]} track") if tracks else f"no {WORDS[kind]} track"
        wanted = f"there is no {WORDS[kind]} track {max(asked)}"
        raise MediaError(f"{printable(path)} has {has}: {wanted}; choose another, or none")
    usable = {n: s for n, s in enumerate(tracks, 1) if s.codec_context is not None}
    if asked is not None:
        return [n for n in usable if not asked or n in asked]
    # Of a track that is announced but empty, FFmpeg knows neither size nor rate.
    size = "width" if kind == "video" else "sample_rate"
    filled = [n for n, s in usable.items() if getattr(s.codec_context, size)] or list(usable)
    return [n for n in filled if tracks[n - 1].disposition & Disposition.default][:1] or filled[:1]


def names(tracks: Sequence[Any], numbers: Iterable[int]) -> str:
    """Numbers of tracks, with title and language where the file tells them."""
    parts = []
    for number in numbers:
        about = [tracks[number - 1].metadata.get(key, "") for key in ("title", "language")]
        told = ", ".join(quoted(text) for text in about if text.strip() and text != "und")
        parts.append(f"{number} ({told})" if told else str(number))
    return ", ".join(parts)


class MixedSound:
    """The mix of several sound tracks, made as that of channels (:class:`Downmix`); as
    :class:`SoundTrack`, for packets of all ``streams``."""

    def __init__(self, streams: Iterable[Any], origin_s: float) -> None:
        self._tracks = {s.index: SoundTrack(s, origin_s) for s in streams}
        self._places = {index: place for place, index in enumerate(self._tracks)}
        # Ends of the tracks, and where what is held begins, in samples from time 0.
        self._ends = dict.fromkeys(self._tracks, 0)
        self._begin: int | None = None
        self._held: Samples = np.zeros((len(self._tracks), 0), np.float32)
        self._mix = Downmix()

    @property
    def position_s(self) -> float | None:
        """End of the sound so far, None before the first sample."""
        return max(self._ends.values()) / SAMPLE_RATE_HZ or None

    def feed(self, packet: Any, other_s: float | None) -> Iterator[Sound | Damage]:
        """Decode one packet; ``other_s`` is the position of the picture, if there is one."""
        index = packet.stream.index
        yield from self._add(index, self._tracks[index].feed(packet, other_s))
        yield from self._give(max(min(self._ends.values()), max(self._ends.values()) - _MAX_LAG))

    def finish(self) -> Iterator[Sound | Damage]:
        """Yield what the tracks still hold."""
        for index, track in self._tracks.items():
            yield from self._add(index, track.finish())
        yield from self._give(max(self._ends.values()))

    def _add(self, index: int, events: Iterable[Sound | Damage]) -> Iterator[Damage]:
        for event in events:
            if isinstance(event, Damage):
                yield event
                continue
            start = round(event.start_s * SAMPLE_RATE_HZ)
            self._begin = start if self._begin is None else self._begin
            samples = event.samples[max(0, self._begin - start) :]
            self._ends[index] = start + event.samples.size
            end = self._ends[index] - self._begin
            self._held = np.pad(self._held, ((0, 0), (0, max(0, end - self._held.shape[1]))))
            self._held[self._places[index], end - samples.size : end] = samples

    def _give(self, end: int) -> Iterator[Sound]:
        while self._begin is not None and self._begin < end:
            count = min(end - self._begin, SAMPLE_RATE_HZ)
            yield Sound(self._begin / SAMPLE_RATE_HZ, self._mix(self._held[:, :count]))
            self._held, self._begin = self._held[:, count:], self._begin + count
