"""The report of one video: a single page that works offline, in any browser, years from now."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from avsent.errors import InputError
from avsent.extraction.faces.types import Sighting
from avsent.files import atomic_text
from avsent.progress import ProgressHook, ignore_progress
from avsent.result.record import Result
from avsent.views.report.gather import Gathered, gather
from avsent.views.report.html import json_block, page
from avsent.views.report.linking import check_embeddable, embedded, kind_of, link, media_head
from avsent.views.report.moments import Sizes, sizes_for
from avsent.views.report.payload import head_of, part_of

OTHER_MEDIA_S = 1.0
"""A file this much longer or shorter than the result says may be another one."""
_STYLES = ("base.css", "timeline.css", "chosen.css", "list.css", "report.css")
_SCRIPTS = (
    "dom.js",
    "player.js",
    "timeline.js",
    "list.js",
    "detail.js",
    "attention.js",
    "report.js",
)


def write_report(
    target: Path,
    result: Result,
    *,
    media: Path | None,
    sightings: Sequence[Sighting] | None = None,
    pictures: bool = True,
    embed: bool = False,
    on_progress: ProgressHook = ignore_progress,
) -> None:
    """Write the page of one video.

    Parameters
    ----------
    media
        The video or sound file, which the page links to; None for a page without pictures.
    sightings
        Where the faces were (``Analysis.sightings``); None to look for them again.
    pictures
        Whether to show faces and spectrograms, for which the media file is gone through again;
        without, it is linked unseen.
    embed
        Whether to put the media file into the page instead of linking it.

    Raises
    ------
    MediaError
        The media file cannot be read.
    InputError
        It is too large to be put into a page.
    OutputError
        The page cannot be written.
    """
    sizes = sizes_for(len(result.utterances))
    gathered = None
    about = None
    warnings: list[str] = []
    if media is not None:
        if embed:
            check_embeddable(media)
        if pictures:
            gathered = gather(media, result, sightings, sizes, on_progress)
            warnings += _doubts(result, gathered)
        kind = gathered.kind if gathered is not None else kind_of(media)
        about = media_head(media, kind, None if embed else link(media, target))
    parts = _parts(head_of(result, about, warnings), result, gathered, sizes)
    with atomic_text(target) as file:
        file.writelines(
            page(
                "report.html",
                title=f"{_name(result.source)}: sentiment",
                styles=_STYLES,
                early=("theme.js",),
                scripts=_SCRIPTS,
                blocks=parts,
                tail=_carried(media) if media is not None and embed else (),
            )
        )


def _name(source: str) -> str:
    """The name at the end of a path of whatever system."""
    return re.split(r"[\\/]", source.rstrip("\\/"))[-1] or source


def _doubts(result: Result, gathered: Gathered) -> list[str]:
    if abs(gathered.end_s - result.duration_s) <= OTHER_MEDIA_S:
        return []
    return [
        f"the media file lasts {gathered.end_s:.1f} s, the one that was analysed "
        f"{result.duration_s:.1f} s: is it the right one?"
    ]


def _parts(
    head: dict[str, Any], result: Result, gathered: Gathered | None, sizes: Sizes
) -> Iterator[str]:
    yield json_block("head", head)
    for place, utterance in enumerate(result.utterances):
        pictures = gathered.pictures[place] if gathered is not None else None
        yield json_block(f"part-{place}", part_of(utterance, pictures, sizes.row))


def _carried(media: Path) -> Iterator[str]:
    try:
        yield from embedded(media)
    except OSError as error:
        raise InputError(f"{media} cannot be read any more: {error.strerror}") from error
