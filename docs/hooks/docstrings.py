"""Docstrings are written for a reader of the code, in the manner of reStructuredText; the site
wants Markdown. Used by mkdocstrings (``extensions`` in ``mkdocs.yml``)."""

from __future__ import annotations

import re
from typing import Any

import griffe

_ROLE = re.compile(r":(?:class|meth|func|mod|attr|data):`~?([\w.]+)`")


class Docstrings(griffe.Extension):
    """Turns roles, literal blocks and doubled backticks into Markdown."""

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        """See griffe: called once for every module, class, function and attribute."""
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)


def as_markdown(text: str) -> str:
    """``text`` without what Markdown does not know."""
    text = _ROLE.sub(r"`\1`", text)
    text = re.sub(r"(?m)^::\n", "", text)
    # Two errors in one line.
    text = re.sub(r"(?m)^( +)(\w+Error: [^:]*\.) (?=\w+Error: )", r"\1\2\n\1", text)
    return re.sub(r"``([^`]+)``", r"`\1`", text)
