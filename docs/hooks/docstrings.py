"""Convert the docstrings' reStructuredText to Markdown for the site.

Used by mkdocstrings (``extensions`` in ``mkdocs.yml``).
"""

from __future__ import annotations

import re
from typing import Any

import griffe

_ROLE = re.compile(r":(?:class|meth|func|mod|attr|data):`~?([\w.]+)`")


class Docstrings(griffe.Extension):
    """Converts roles, literal blocks and double backticks to Markdown."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called by griffe for every module, class, function and attribute."""
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)


def as_markdown(text: str) -> str:
    """``text`` with reStructuredText replaced by Markdown."""
    text = _ROLE.sub(r"`\1`", text)
    text = re.sub(r"(?m)^::\n", "", text)
    # Two errors on one line become two lines.
    text = re.sub(r"(?m)^( +)(\w+Error: [^:]*\.) (?=\w+Error: )", r"\1\2\n\1", text)
    return re.sub(r"``([^`]+)``", r"`\1`", text)
