"""The report of one video: a single page that works offline in any browser.

Template, styles, scripts and data are one file. User data never becomes markup: it is JSON in
script elements that no browser runs, and the page's own scripts show it as text. A
Content-Security-Policy allows only these scripts, by their hashes, and no network.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import mimetypes
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from avsent import __version__
from avsent.errors import InputError
from avsent.files import atomic_text
from avsent.labels import MODALITIES, valence_of
from avsent.progress import ProgressHook, ignore_progress
from avsent.result.colours import colour_of_score, colours_of
from avsent.result.record import Result, TimeWeight, UtteranceResult, lanes
from avsent.text import one_line

if TYPE_CHECKING:
    from avsent.extraction.faces.geometry import Sighting
    from avsent.views.report.pictures import Gathered, UtterancePictures

DURATION_TOLERANCE_S = 1.0  # between media file and result; above, it may be the wrong file
MAX_EMBED_BYTES = 1_000_000_000  # browsers do not open pages much larger than this
_CHUNK_BYTES = 3 * 2**20  # a multiple of 3, so that each chunk is whole base64
_LANE_SLACK_S = 0.01
_PLACEHOLDER = re.compile(r"\{\{(\w+)\}\}")
_ESCAPES = {ord(mark): f"\\u{ord(mark):04x}" for mark in "<>&\u2028\u2029"}
_SURROGATE = re.compile("[\ud800-\udfff]")


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

    ``media``: the video or sound file that the page links to, None for a page without media;
    ``sightings``: boxes of the faces (``Analysis.sightings``), None to detect them again;
    ``pictures``: show faces and spectrograms, which needs another pass over the media file;
    ``embed``: put the media file into the page instead of linking it. Raises MediaError if the
    media file cannot be read, InputError if it is too large to embed, OutputError if the page
    cannot be written.
    """
    gathered, about = None, None
    warnings = list(result.warnings)
    if media is not None:
        if embed and (size := media.stat().st_size) > MAX_EMBED_BYTES:
            raise InputError(
                f"{media} has {size / 1e9:.1f} GB, too much for a page; leave out --embed to "
                "link it"
            )
        if pictures:
            from avsent.views.report.pictures import gather

            gathered = gather(media, result, sightings, on_progress)
            if abs(gathered.end_s - result.duration_s) > DURATION_TOLERANCE_S:
                warnings.append(
                    f"the media file lasts {gathered.end_s:.1f} s, the one that was analysed "
                    f"{result.duration_s:.1f} s: is it the right one?"
                )
        about = {
            "kind": gathered.kind if gathered is not None else media_kind(media),
            "url": None if embed else link(media, target),
            "type": mimetypes.guess_type(media.name)[0] or "",
            "name": media.name,
        }
    name = re.split(r"[\\/]", result.source.rstrip("\\/"))[-1] or result.source
    with atomic_text(target) as file:
        file.writelines(
            page(
                "report",
                title=f"{name}: sentiment",
                blocks=_blocks(_head_of(result, about, warnings), result, gathered),
                tail=embedded(media) if media is not None and embed else (),
            )
        )


# --- Any page ------------------------------------------------------------------------------------


def page(
    name: str, *, title: str, blocks: Iterable[str], tail: Iterable[str] = ()
) -> Iterator[str]:
    """The parts of a page, to be written one after the other.

    ``name``: of the assets ``name.html``, ``name.css`` and ``name.js``; all pages also have
    ``frame.html``, ``base.css`` and ``shared.js``, which runs before anything is shown. ``title``:
    of the window, any text. ``blocks``: from :func:`json_block`; consumed one by one, so that a
    large page is never in memory. ``tail``: elements after the scripts, which do not wait for them.
    """
    style = _asset("base.css") + _asset(f"{name}.css")
    shared = _asset("shared.js")
    script = '(() => {\n"use strict";\n' + _asset(f"{name}.js") + "})();"
    policy = (
        f"default-src 'none'; script-src {_hash(shared)} {_hash(script)}; "
        f"style-src {_hash(style)}; img-src data:; media-src 'self' file: blob:; "
        "base-uri 'none'; form-action 'none'"
    )
    parts: dict[str, Iterable[str]] = {
        "policy": [html.escape(policy)],
        "title": [html.escape(one_line(title))],
        "style": [style],
        "shared": [shared],
        "body": [_asset(f"{name}.html")],
        "script": [script],
        "data": blocks,
        "tail": tail,
    }
    for number, part in enumerate(_PLACEHOLDER.split(_asset("frame.html"))):
        yield from parts[part] if number % 2 else [part]


def json_block(identity: str, plain: Any) -> str:
    """``plain`` as JSON in a script element of the id ``identity`` (not escaped). No text in
    ``plain`` can end the element or begin another one."""
    text = json.dumps(plain, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    text = _SURROGATE.sub(lambda match: f"\\u{ord(match[0]):04x}", text.translate(_ESCAPES))
    return f'<script type="application/json" id="{identity}">{text}</script>\n'


def _asset(name: str) -> str:
    return files("avsent.views.report").joinpath("assets", name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


# --- The media file ------------------------------------------------------------------------------


def link(media: Path, target: Path) -> str:
    """Percent-encoded URL of ``media`` relative to the page ``target``: both can move together."""
    try:
        relative = os.path.relpath(media, target.parent)
    except ValueError:  # on another drive
        return media.absolute().as_uri()
    return quote(os.fsencode(relative.replace(os.sep, "/")))


def media_kind(media: Path) -> str:
    """``audio`` or ``video``, guessed from the name."""
    guessed = mimetypes.guess_type(media.name)[0] or ""
    return "audio" if guessed.startswith("audio/") else "video"


def embedded(media: Path) -> Iterator[str]:
    """The file as script elements of base64, a few megabytes each; raises InputError.

    Browsers cannot seek in ``data:`` URLs, and some limit their length.
    """
    try:
        with media.open("rb") as file:
            while content := file.read(_CHUNK_BYTES):
                text = base64.b64encode(content).decode("ascii")
                yield f'<script type="text/plain" class="media">{text}</script>\n'
    except OSError as error:
        raise InputError(f"{media} cannot be read any more: {error.strerror}") from error


# --- The data ------------------------------------------------------------------------------------


def _blocks(head: dict[str, Any], result: Result, gathered: Gathered | None) -> Iterator[str]:
    """A head, then a part for each utterance. The page parses a part when its utterance is
    selected, so it opens at once even with many utterances."""
    yield json_block("head", head)
    rows = context_rows(len(result.utterances))
    for place, utterance in enumerate(result.utterances):
        pictures = gathered.pictures[place] if gathered is not None else None
        yield json_block(f"part-{place}", part_of(utterance, pictures, rows))


def context_rows(utterances: int) -> int | None:
    """Number of utterances that each context lists; None for all."""
    return 100 if utterances > 400 else None


def _head_of(
    result: Result, media: dict[str, Any] | None, warnings: Sequence[str]
) -> dict[str, Any]:
    labels = result.model.labels
    colours = dict(zip(labels, colours_of(labels), strict=True))
    # Without positive or negative labels there is no score; use the colour of the label.
    scored = any(map(valence_of, labels))
    utterances = [
        {
            "index": one.index,
            "start": round(one.start_s, 3),
            "end": round(one.end_s, 3),
            "track": one.track,
            "label": one.sentiment,
            "unsure": one.unsure,
            "score": round(one.score, 4),
            "colour": colour_of_score(one.score)
            if scored
            else colours.get(one.sentiment, colour_of_score(0)),
            "p": [round(one.probabilities.get(label, 0.0), 4) for label in labels],
            "shares": {
                name: [round(share.weight, 4), share.effective]
                for name, share in one.modalities.items()
            },
            "text": one.text,
            "warnings": list(one.warnings),
        }
        for one in result.utterances
    ]
    spans = [(one.start_s, one.end_s) for one in result.utterances]
    return {
        "version": __version__,
        "source": result.source,
        "duration": round(result.duration_s, 3),
        "model": {"name": result.model.name, "sha256": result.model.sha256},
        "labels": list(labels),
        "colours": list(colours.values()),
        "tracks": len(result.tracks),
        "warnings": list(warnings),
        "media": media,
        "lanes": lanes(spans, slack=_LANE_SLACK_S),
        "utterances": utterances,
    }


def part_of(
    utterance: UtteranceResult, pictures: UtterancePictures | None, rows: int | None
) -> dict[str, Any]:
    """Data of a selected utterance; ``rows``: maximum length of its context."""
    attention = utterance.attention
    plain: dict[str, Any] = {
        "audio": _frames(attention.audio_frames),
        "face": _frames(attention.face_frames),
        "context": _context(attention.context, rows),
    }
    if pictures is not None:
        plain["faces"] = [
            [round(face.time_s, 4), round(face.weight, 5), _webp_url(face.webp)]
            for face in pictures.faces
        ]
        if (drawn := pictures.spectrogram) is not None:
            plain["spectrogram"] = {
                "url": _webp_url(drawn.webp),
                "start": round(drawn.start_s, 4),
                "end": round(drawn.end_s, 4),
            }
    return plain


def _webp_url(content: bytes) -> str:
    return f"data:image/webp;base64,{base64.b64encode(content).decode('ascii')}"


def _frames(frames: Sequence[TimeWeight]) -> list[list[float]]:
    return [[round(f.time_s, 3) for f in frames], [round(f.weight, 5) for f in frames]]


def _context(context: dict[str, tuple[float, ...]], rows: int | None) -> list[list[int | None]]:
    """Utterance, weight by voice and by face in ten-thousandths (half the size in a long video),
    the largest first. None: the modality has no weights."""
    weights = [context.get(name, ()) for name in MODALITIES]
    count = max(map(len, weights))
    # A result file made elsewhere may have rows of different lengths.
    even = [one + (0.0,) * (count - len(one)) if one else () for one in weights]
    order = sorted(range(count), key=lambda place: (-sum(one[place] for one in even if one), place))
    return [
        [place, *(round(10_000 * one[place]) if one else None for one in even)]
        for place in order[:rows]
    ]
