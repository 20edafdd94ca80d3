"""JSON lines: one utterance per line, for pipes and for data frames."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TextIO

from avsent.results import Result
from avsent.writers.base import Writer
from avsent.writers.json_ import dump_json


class JsonLinesWriter(Writer):
    """Each utterance as in JSON, with ``source`` in front."""

    extension = "jsonl"

    def write(self, results: Iterable[Result], file: TextIO) -> None:
        """Write the lines of each result as soon as it comes."""
        for result in results:
            for utterance in result.utterances:
                line = {"source": result.source, **utterance.to_dict()}
                file.write(dump_json(line, file) + "\n")
            file.flush()
