"""Pages that need nothing but themselves: template, styles, scripts and data in one file.

Nothing that comes from outside ever becomes markup. Data goes in as JSON in a script element that
no browser runs, and the page's own scripts show it as text. A Content-Security-Policy lets only
these scripts run, by their hashes, and shuts the network out.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from importlib.resources import files
from typing import Any

from avsent.text import one_line

_PLACE = re.compile(r"\{\{(\w+)\}\}")
_ESCAPES = {ord(mark): f"\\u{ord(mark):04x}" for mark in "<>&\u2028\u2029"}
_SURROGATE = re.compile("[\ud800-\udfff]")


def asset(name: str) -> str:
    """The text of a file of ``avsent/report/assets``."""
    return files("avsent.views.report").joinpath("assets", name).read_text(encoding="utf-8")


def json_block(identity: str, plain: Any) -> str:
    """``plain`` as a script element that holds data alone; ``identity`` is ours, not the user's.

    No text in it can end the element or begin another one.
    """
    text = json.dumps(plain, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    text = _SURROGATE.sub(lambda match: f"\\u{ord(match[0]):04x}", text.translate(_ESCAPES))
    return f'<script type="application/json" id="{identity}">{text}</script>\n'


def data_url(kind: str, content: bytes) -> str:
    """``content`` as an URL of its own."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def page(
    template: str,
    *,
    title: str,
    styles: Iterable[str],
    early: Iterable[str],
    scripts: Iterable[str],
    blocks: Iterable[str],
    tail: Iterable[str] = (),
) -> Iterator[str]:
    """The parts of a page, to be written one after the other.

    Parameters
    ----------
    template, styles, early, scripts
        Names of assets; the ``early`` scripts run before anything is shown. Scripts of one kind
        are put together, and see each other's functions.
    title
        Of the window; may hold anything.
    blocks
        What :func:`json_block` gave; taken one by one, so that a large page is never in memory.
    tail
        What comes after the scripts, which so need not wait for it.
    """
    style = "\n".join(map(asset, styles))
    first, rest = _script(early), _script(scripts)
    values: Mapping[str, str] = {
        "policy": html.escape(_policy(style, (first, rest))),
        "title": html.escape(one_line(title)),
        "style": style,
        "early": first,
        "script": rest,
    }
    streams = {"data": blocks, "tail": tail}
    text = asset(template)
    position = 0
    for place in _PLACE.finditer(text):
        yield text[position : place.start()]
        if place[1] in streams:
            yield from streams[place[1]]
        else:
            yield values[place[1]]
        position = place.end()
    yield text[position:]


def _script(names: Iterable[str]) -> str:
    return '(() => {\n"use strict";\n' + "\n".join(map(asset, names)) + "})();"


def _policy(style: str, scripts: Iterable[str]) -> str:
    allowed = " ".join(map(_hash, scripts))
    return (
        f"default-src 'none'; script-src {allowed}; style-src {_hash(style)}; img-src data:; "
        "media-src 'self' file: blob:; base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"
