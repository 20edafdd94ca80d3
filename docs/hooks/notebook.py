"""Adds ``docs/notebook.ipynb`` to the site as a page, with the saved outputs of its cells."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

NOTEBOOK = Path(__file__).resolve().parents[1] / "notebook.ipynb"
HEAD = '<p><a href="notebook.ipynb" download>Download this notebook</a></p>'


def on_files(files: Any, config: Any) -> Any:
    """Add the page and its pictures."""
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    pictures: list[bytes] = []
    parts = list(parts_of(notebook, pictures))
    parts.insert(1, HEAD)
    files.append(File.generated(config, "notebook.md", content="\n\n".join(parts) + "\n"))
    for number, picture in enumerate(pictures, 1):
        files.append(File.generated(config, picture_name(number), content=picture))
    return files


def picture_name(number: int) -> str:
    return f"images/notebook-{number}.png"


def parts_of(notebook: dict[str, Any], pictures: list[bytes]) -> Iterator[str]:
    """Cells and their outputs as Markdown; their pictures are appended to ``pictures``."""
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            yield source
        elif cell["cell_type"] == "code":
            yield fenced(source, "python")
            for output in cell["outputs"]:
                yield output_as_markdown(output, pictures)


def output_as_markdown(output: dict[str, Any], pictures: list[bytes]) -> str:
    data = output.get("data", {})
    if "image/png" in data:
        pictures.append(base64.b64decode("".join(data["image/png"])))
        return f"![What the cell draws]({picture_name(len(pictures))})"
    if "text/html" in data:
        return f'<div class="shown">\n{"".join(data["text/html"]).strip()}\n</div>'
    return fenced("".join(data.get("text/plain", output.get("text", ""))), "text")


def fenced(text: str, language: str) -> str:
    fence = "````" if "```" in text else "```"
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"
