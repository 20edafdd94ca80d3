"""The formats by name, and by the extension of a file."""

from __future__ import annotations

from enum import StrEnum
from pathlib import PurePath

from avsent.writers.base import Writer
from avsent.writers.csv_ import CsvWriter
from avsent.writers.eaf import EafWriter
from avsent.writers.json_ import JsonWriter
from avsent.writers.jsonl import JsonLinesWriter
from avsent.writers.subtitles import SrtWriter, VttWriter
from avsent.writers.textgrid import TextGridWriter


class Format(StrEnum):
    """Output formats of ``--format``."""

    table = "table"
    json = "json"
    jsonl = "jsonl"
    csv = "csv"
    srt = "srt"
    vtt = "vtt"
    eaf = "eaf"
    textgrid = "textgrid"

    @property
    def extension(self) -> str:
        """Of the files in this format, without the dot."""
        return {"table": "txt", "textgrid": "TextGrid"}.get(self.value, self.value)


_BY_EXTENSION = {format.extension.lower(): format for format in Format}


def format_of(name: str) -> Format | None:
    """The format that a file name's extension stands for; None where it stands for none."""
    return _BY_EXTENSION.get(PurePath(name).suffix.lower().removeprefix("."))


def make_writer(format: Format, *, several: bool = False, attention: bool = False) -> Writer:
    """The writer of a format.

    Parameters
    ----------
    several
        Whether the output is for several media files (even if only one of them succeeds).
    attention
        Whether the table shows the context attention as well.
    """
    match format:
        case Format.table:
            # Here, because rich is not needed for the others, nor for --help.
            from avsent.writers.table import TableWriter

            return TableWriter(attention=attention)
        case Format.json:
            return JsonWriter(array=several)
        case Format.jsonl:
            return JsonLinesWriter()
        case Format.csv:
            return CsvWriter()
        case Format.srt:
            return SrtWriter()
        case Format.vtt:
            return VttWriter()
        case Format.eaf:
            return EafWriter()
        case Format.textgrid:
            return TextGridWriter()
