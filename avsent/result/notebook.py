"""A result as a small HTML table for notebooks; it loads nothing from outside."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from avsent.result.colours import colour_of, colour_of_score
from avsent.result.utterance import More, UtteranceResult, shortened
from avsent.text import clock, one_line, score_text

ENDS = 10
"""Utterances shown at the beginning and at the end where there are many."""
BAR_EM = 3.0
"""Length of the bar of a score of 1."""

# Styles are on each element, as notebooks and GitHub drop style sheets; where they drop rules, too,
# a plain table is left. Only the chips set colours: pages may be dark.
_CELL = "text-align:left;vertical-align:top;padding:.2em .6em"
_NUMBER = "text-align:right;vertical-align:top;padding:.2em .6em;white-space:nowrap"
_CHIP = "color:#fff;background:{};border-radius:.3em;padding:0 .4em;white-space:nowrap"
_SCALE = f"display:inline-block;position:relative;width:{2 * BAR_EM:g}em;height:.7em"
_AXIS = f"position:absolute;left:{BAR_EM:g}em;top:0;height:100%;border-left:1px solid currentColor"
_HEADINGS = (
    *(("#", _NUMBER), ("time", _NUMBER), ("label", _CELL), ("score", _NUMBER)),
    *(("audio", _NUMBER), ("face", _NUMBER), ("track", _NUMBER), ("text", _CELL)),
)


def html_table(
    source: str,
    duration_s: float,
    model: str,
    utterances: Sequence[UtteranceResult],
    warnings: Sequence[str],
) -> str:
    """The table; of many utterances the first and last ``ENDS``."""
    count = f"{len(utterances):,} utterance{'' if len(utterances) == 1 else 's'}"
    facts = f"{clock(duration_s)} · {count} · model {_text(model)}"
    lines = [f"<div><p><strong>{_text(source)}</strong> · {facts}</p>"]
    if utterances:
        spoken = any(utterance.text is not None for utterance in utterances)
        headings = _HEADINGS if spoken else _HEADINGS[:-1]
        cells = "".join(f'<th scope="col" style="{how}">{name}</th>' for name, how in headings)
        # In pages without a document type, tables do not inherit the colour.
        lines.append(f'<table style="color:inherit"><thead><tr>{cells}</tr></thead><tbody>')
        for one in shortened(utterances, ENDS):
            if isinstance(one, More):
                lines.append(f'<tr><td colspan="{len(headings)}" style="{_CELL}">{one!r}</td></tr>')
            else:
                lines.append(_row(one, spoken))
        lines.append("</tbody></table>")
    else:
        lines.append("<p>No utterances found.</p>")
    lines += [f"<p>⚠ {_text(warning)}</p>" for warning in warnings]
    return "\n".join([*lines, "</div>"])


def _row(one: UtteranceResult, spoken: bool) -> str:
    chip = _CHIP.format(colour_of(one.sentiment))
    notes = "".join(f"<br>⚠ {_text(warning)}" for warning in one.warnings)
    cells = [
        f'<td style="{_NUMBER}">{one.index}</td>',
        f'<td style="{_NUMBER}">{clock(one.start_s)}–{clock(one.end_s)}</td>',
        f'<td style="{_CELL}"><span style="{chip}">{_text(one.sentiment)}</span>{notes}</td>',
        f'<td style="{_NUMBER}">{_bar(one.score)} {score_text(one.score)}</td>',
        f'<td style="{_NUMBER}">{_share(one, "audio")}</td>',
        f'<td style="{_NUMBER}">{_share(one, "face")}</td>',
        f'<td style="{_NUMBER}">{"–" if one.track is None else one.track}</td>',
    ]
    if spoken:
        cells.append(f'<td style="{_CELL}">{_text(one.text or "")}</td>')
    return f"<tr>{''.join(cells)}</tr>"


def _bar(score: float) -> str:
    """The score as a bar from the middle: to the left below zero, else to the right."""
    length = min(1.0, abs(score)) * BAR_EM
    left = BAR_EM - length if score < 0 else BAR_EM
    bar = f"position:absolute;left:{left:.2f}em;width:{length:.2f}em;top:0;height:100%"
    colour = f"background:{colour_of_score(score)}"
    return (
        f'<span aria-hidden="true" style="{_SCALE}"><span style="{bar};{colour}"></span>'
        f'<span style="{_AXIS}"></span></span>'
    )


def _share(one: UtteranceResult, modality: str) -> str:
    share = one.modalities.get(modality)
    return "–" if share is None or not share.effective else f"{round(100 * share.weight)}%"


def _text(text: str) -> str:
    """Text from outside in one line, escaped."""
    # Isolated, so that words written from right to left do not reorder their neighbours.
    return f"<bdi>{escape(one_line(text))}</bdi>"
