"""Context attention as a block of text: which utterance contributed to which."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.style import Style
from rich.text import Text

from avsent.results import UtteranceResult

CELL = 4
MODALITIES = ("audio", "face")


def attention_lines(utterances: Sequence[UtteranceResult], width: int, none: str) -> Iterable[Text]:
    """One block per modality: a row per utterance, a column per utterance it drew from.

    Parameters
    ----------
    width
        Columns of the terminal; what does not fit is cut, and the block says so.
    none
        What stands for a modality that is ineffectual in an utterance.
    """
    label = max(len(str(utterance.index)) for utterance in utterances)
    shown = min(len(utterances), max(1, (width - label) // CELL))
    for modality in MODALITIES:
        title = f"Context attention, {modality}: % that each utterance (across) gave to each (down)"
        yield Text()
        yield Text(title[:width])
        numbers = "".join(f"{utterance.index:>{CELL}}" for utterance in utterances[:shown])
        yield Text(" " * label + numbers, style=Style(dim=True))
        for utterance in utterances:
            weights = utterance.attention.context.get(modality, ())
            line = Text(f"{utterance.index:>{label}}", style=Style(dim=True))
            line = Text.assemble(line, *(_cell(weight) for weight in weights[:shown]))
            yield line if weights else line.append(f"{none:>{CELL}}", style=Style(dim=True))
        if shown < len(utterances):
            yield Text(
                f"Cut to the first {shown} of {len(utterances)} columns; JSON has them all.",
                style=Style(color="yellow"),
            )


def _cell(weight: float) -> Text:
    percent = round(100 * weight)
    style = Style(bold=True) if percent >= 50 else Style(dim=percent == 0)
    return Text(f"{percent:>{CELL}}", style=style)
