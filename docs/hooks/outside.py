"""Adds pages from outside ``docs/`` to the site and converts the links from and to them.

The files link to each other by paths in the repository. This hook converts these links, so that
they work in both places. A link to no page of the site stops the build.
"""

from __future__ import annotations

import re
from collections.abc import Set
from pathlib import Path
from posixpath import dirname, normpath, relpath
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[2]
OUTSIDE = {
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "models/default/CARD.md": "cards/default.md",
    "models/emotion/CARD.md": "cards/emotion.md",
}
"""Path in the repository → page of the site."""
PAGES = {**OUTSIDE, "docs/notebook.ipynb": "notebook.md"}
"""The same, plus the page that ``notebook.py`` makes from the notebook."""

_LINK = re.compile(r"(?<=\]\()(?!\w+:|#)(?P<path>[^)#\s]+)(?P<anchor>#[^)\s]*)?(?=\))")


def on_files(files: Any, config: Any) -> Any:
    """Add the pages from outside ``docs/``."""
    for path, page in OUTSIDE.items():
        content = (ROOT / path).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=content))
    return files


def on_page_markdown(markdown: str, page: Any, files: Any, **_: Any) -> str:
    """Convert the links of a page to links of the site."""
    uri = page.file.src_uri
    place = next((path for path, name in OUTSIDE.items() if name == uri), f"docs/{uri}")
    return linked(markdown, place, uri, set(files.src_uris))


def linked(markdown: str, place: str, uri: str, there: Set[str]) -> str:
    """``markdown`` of the repository file ``place``, with its links converted for the page ``uri``.

    ``there``: all pages and files of the site.

    Raises:
        PluginError: a link leads to no page of the site.
    """

    def of_site(link: re.Match[str]) -> str:
        target = normpath(f"{dirname(place)}/{link['path']}").lstrip("/")
        if (ROOT / target).is_dir():
            target += "/README.md"
        target = PAGES.get(target, target.removeprefix("docs/"))
        if target not in there:
            raise PluginError(f"{place}: the link {link[0]} leads to no page of the site")
        return relpath(target, dirname(uri) or ".") + (link["anchor"] or "")

    # Blocks of code contain no links.
    parts = re.split(r"(?ms)^( *(?:```|~~~).*?^ *(?:```|~~~) *$)", markdown)
    parts[::2] = [_LINK.sub(of_site, part) for part in parts[::2]]
    return "".join(parts)
