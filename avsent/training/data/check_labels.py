"""Whether every utterance of a corpus has a label, and one of the set that is asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from avsent.errors import DatasetError
from avsent.labels import LABEL_COLUMNS, POLARITY_LABELS, LabelSet, label_set
from avsent.text import number, quoted
from avsent.training.data.corpus import Row
from avsent.training.data.problem import EVERY_ROW, Problem


class LabelCheck:
    """Checks one column of labels.

    With ``labels`` "auto" most of them tell whether they are names or numbers: a single mistake
    must not turn a column of numbers into names. Else ``labels`` is as ``label_set`` takes it.
    """

    def __init__(self, rows: Sequence[Row], column: str, labels: str) -> None:
        self._column = column
        there = {name for row in rows for name in row.labels}
        self._there = [name for name in LABEL_COLUMNS if name in there]
        given = [text for row in rows if (text := self._text(row))]
        self._auto = labels.strip().casefold() == "auto"
        self._set: LabelSet | None = None
        self._refused = ""
        try:
            if given:
                self._set = _most_likely(given) if self._auto else label_set(given, labels)
        except DatasetError as error:
            self._refused = str(error)

    @property
    def label_set(self) -> LabelSet | None:
        """The labels; None where there are none, or where they make no set."""
        return self._set

    def overall(self) -> Iterator[Problem]:
        """What is wrong with the column as a whole."""
        if self._column not in self._there:
            others = " and ".join(self._there)
            hint = f"; there is {others}: give --label" if others else ""
            yield Problem(EVERY_ROW, "unlabelled", f"no column {self._column}{hint}")
        elif self._refused:
            yield Problem(EVERY_ROW, "bad_label", f"{self._column}: {self._refused}")

    def problems(self, row: Row) -> Iterator[Problem]:
        """What is wrong with the label of one row."""
        if self._column not in self._there:
            return
        text = self._text(row)
        if not text:
            yield Problem(row.where, "unlabelled", f"{self._column} is empty")
        elif self._set is not None and (mistake := self._mistake(self._set, text)):
            yield Problem(row.where, "bad_label", f"{self._column}: {mistake}")

    def _mistake(self, labels: LabelSet, text: str) -> str:
        if self._auto and labels.real != (number(text) is not None):
            kinds = ("not a number", "are") if labels.real else ("a number", "are not")
            return f"{quoted(text)} is {kinds[0]}, the other labels {kinds[1]}; mend it"
        try:
            labels.encode(text)
        except DatasetError as error:
            return str(error)
        return ""

    def _text(self, row: Row) -> str:
        return row.labels.get(self._column, "").strip()


def _most_likely(given: Sequence[str]) -> LabelSet:
    names = [text for text in given if number(text) is None]
    if 2 * len(names) < len(given):
        return LabelSet(POLARITY_LABELS, real=True)
    return label_set(names)
