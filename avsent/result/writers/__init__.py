"""The output formats by name, and by the extension of a file."""

from enum import StrEnum
from pathlib import PurePath

from avsent.result.writers.data import CsvWriter, JsonLinesWriter, JsonWriter, Writer
from avsent.result.writers.elan_praat import EafWriter, TextGridWriter
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
_WITHOUT_OPTIONS: dict[str, type[Writer]] = {
    kind.extension.lower(): kind
    for kind in (JsonLinesWriter, CsvWriter, SrtWriter, VttWriter, EafWriter, TextGridWriter)
}


def format_of(name: str) -> Format | None:
    """The format that a file name's extension stands for; None where it stands for none."""
    return _BY_EXTENSION.get(PurePath(name).suffix.lower().removeprefix("."))


def make_writer(format: Format, *, several: bool = False, attention: bool = False) -> Writer:
    """The writer of a format.

    ``several``: whether the output is for several media files (even if only one of them succeeds);
    ``attention``: whether the table shows the context attention as well.
    """
    if format is Format.table:
        from avsent.result.writers.terminal import TableWriter  # imports rich

        return TableWriter(attention=attention)
    return JsonWriter(array=several) if format is Format.json else _WITHOUT_OPTIONS[format]()
