"""How a page finds its video: by a link beside it, or carried inside it."""

from __future__ import annotations

import base64
import mimetypes
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from avsent.errors import InputError

MAX_EMBED_BYTES = 1_000_000_000
"""Browsers do not open pages much larger than this."""
_CHUNK_BYTES = 3 * 2**20
"""A multiple of 3, so that each chunk is whole base64; small enough for any browser's texts."""


def link(media: Path, target: Path) -> str:
    """URL of ``media`` as seen from the page ``target``: relative, so that both can be moved
    together; every character that could mean something in an URL is percent-encoded."""
    try:
        relative = os.path.relpath(media, target.parent)
    except ValueError:  # on another drive
        return media.absolute().as_uri()
    if os.sep != "/":
        relative = relative.replace(os.sep, "/")
    return quote(os.fsencode(relative))


def kind_of(media: Path) -> str:
    """``audio`` or ``video``, as far as the name tells."""
    guessed = mimetypes.guess_type(media.name)[0] or ""
    return "audio" if guessed.startswith("audio/") else "video"


def media_head(media: Path, kind: str, url: str | None) -> dict[str, Any]:
    """What the page is told of its media; ``url`` None: it is in the page."""
    return {
        "kind": kind,
        "url": url,
        "type": mimetypes.guess_type(media.name)[0] or "",
        "name": media.name,
    }


def check_embeddable(media: Path) -> None:
    """Raises InputError where the file is too large to be put into a page."""
    size = media.stat().st_size
    if size > MAX_EMBED_BYTES:
        raise InputError(
            f"{media} has {size / 1e9:.1f} GB, too much for a page; leave out --embed to link it"
        )


def embedded(media: Path) -> Iterator[str]:
    """The file as script elements that hold base64 alone, a few megabytes each.

    Not as a ``data:`` URL: browsers cannot seek in those, and some take no long ones.
    """
    with media.open("rb") as file:
        while content := file.read(_CHUNK_BYTES):
            text = base64.b64encode(content).decode("ascii")
            yield f'<script type="text/plain" class="media">{text}</script>\n'
