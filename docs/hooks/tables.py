"""Code in the cells of tables: a bar is escaped for GitHub, and would show its escape here."""

from __future__ import annotations

import re
from typing import Any

_CODE = re.compile(r"`[^`\n]+`")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """``markdown`` with the bars of code in tables as they are meant."""
    return "\n".join(
        _CODE.sub(lambda code: code[0].replace(r"\|", "|"), line) if line.startswith("|") else line
        for line in markdown.split("\n")
    )
