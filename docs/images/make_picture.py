"""Make ``predict.svg`` for the README: the real table of ``avsent predict samples/demo.mp4``."""

from __future__ import annotations

import io
import os
import re
from pathlib import Path

from rich.console import Console
from rich.text import Text

import avsent
from avsent.result.writers.terminal import TableWriter

HERE = Path(__file__).resolve().parent
SAMPLE = "samples/demo.mp4"
WIDTH = 92


def main() -> None:
    os.environ["FORCE_COLOR"] = "1"
    os.chdir(HERE.parents[1])
    table = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    TableWriter(width=WIDTH).write([avsent.predict(SAMPLE)], table)
    table.seek(0)
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    console.print(Text(f"$ avsent predict {SAMPLE}\n"))
    console.print(Text.from_ansi(table.read()), soft_wrap=True)
    svg = console.export_svg(title="avsent")
    # The picture must load nothing from the network: any monospaced font will do.
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    (HERE / "predict.svg").write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    main()
