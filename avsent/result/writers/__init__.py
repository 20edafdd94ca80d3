"""The formats by name, and by the extension of a file."""

from __future__ import annotations

from enum import StrEnum
from pathlib import PurePath

from avsent.result.writers.base import Writer
from avsent.result.writers.csv import CsvWriter
from avsent.result.writers.elan_praat import EafWriter, TextGridWriter
from avsent.result.writers.json import JsonLinesWriter, JsonWriter
from avsent.result.writers.subtitles import SrtWriter, VttWriter


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
            from avsent.result.writers.terminal import TableWriter

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


__all__ = ["Format", "Writer", "make_writer"]
