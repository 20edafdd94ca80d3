"""The result of a prediction: schema ``avsent/1`` (``docs/result.schema.json``) as dataclasses.

All times are presentation times in seconds; every non-empty attention list sums to 1; a
modality that is ineffectual in an utterance has weight 0 and empty attention lists.
``docs/results.md`` explains the columns of the table of utterances (CSV, Parquet, data frames).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from avsent.errors import InputError, UsageError
from avsent.result.colours import colour_of, colour_of_score
from avsent.schema import build
from avsent.text import clock, one_line, score_text, valid_utf8

if TYPE_CHECKING:
    import pandas as pd

T = TypeVar("T")
Cell: TypeAlias = str | int | float | bool | None

SCHEMA = "avsent/1"
MAX_FILE_BYTES = 512 * 1024**2
"""Four hours of talk (it grows with their square). Reading takes some times as much memory."""
REPR_ENDS = 2  # utterances printed at the beginning and at the end where there are many
DECIMALS = 6  # places kept in files: microseconds, and millionths of a weight

# The order of the columns of tables. A batch journal stores rows by position: raise its VERSION
# (batch/journal.py) and change Result.cells() when this order changes.
FIRST_COLUMNS = ("source", "index", "start_s", "end_s", "track", "sentiment", "score")
LAST_COLUMNS = (
    *("audio_weight", "face_weight", "audio_effective", "face_effective"),
    *("face_peak_s", "audio_peak_s", "text", "warnings", "unsure"),
)
_PANDAS_TYPES = {
    **dict.fromkeys(("source", "sentiment", "text", "warnings", "unsure"), "string"),
    "index": "int64",
    "track": "Int64",
    **dict.fromkeys(("audio_effective", "face_effective"), "boolean"),
}
"""Of columns that hold something else than numbers."""


def short_repr(self: Any) -> str:
    """``__repr__`` of a class that tells rich what is worth printing."""
    parts = ", ".join(f"{name}={value!r}" for name, value in self.__rich_repr__())
    return f"{type(self).__name__}({parts})"


@dataclass(frozen=True, slots=True, repr=False)
class More:
    """Stands for items left out: ``… 380 more``."""

    count: int

    def __repr__(self) -> str:
        return f"… {self.count:,} more"


def shortened(items: Sequence[T], ends: int) -> list[T | More]:
    """``items``; of more than ``2 * ends + 1`` the first and last ``ends``, and how many more."""
    left_out = len(items) - 2 * ends
    if left_out <= 1:
        return list(items)
    return [*items[:ends], More(left_out), *items[-ends:]]


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """Which checkpoint decided."""

    name: str
    sha256: str
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Track:
    """One person's face over time: first and last time seen, analysed frames."""

    track: int
    start_s: float
    end_s: float
    frames: int

    def to_dict(self) -> dict[str, Any]:
        """The track as plain JSON-ready types."""
        times = {"start_s": round_time(self.start_s), "end_s": round_time(self.end_s)}
        return {"track": int(self.track), **times, "frames": int(self.frames)}


@dataclass(frozen=True, slots=True)
class ModalityShare:
    """A modality's share in the decision (shares sum to 1), whether it was usable, and whether a
    proxy, made from the other modality, stood in for it."""

    weight: float
    effective: bool
    proxy: bool = False


@dataclass(frozen=True, slots=True)
class TimeWeight:
    """Attention on one moment of the utterance."""

    time_s: float
    weight: float


@dataclass(frozen=True, slots=True)
class Attention:
    """Where the model looked.

    ``context[modality][j]`` is how much utterance ``j`` of the video contributed to this one.
    """

    context: dict[str, tuple[float, ...]]
    face_frames: tuple[TimeWeight, ...] = ()
    audio_frames: tuple[TimeWeight, ...] = ()

    def __repr__(self) -> str:
        context = ", ".join(f"{name}: {len(weights)}" for name, weights in self.context.items())
        return (
            f"Attention(context={{{context}}}, face_frames={len(self.face_frames)}, "
            f"audio_frames={len(self.audio_frames)})"
        )

    def to_dict(self) -> dict[str, Any]:
        """The attention as plain JSON-ready types."""
        return {
            "context": {name: round_shares(weights) for name, weights in self.context.items()},
            "face_frames": _plain_frames(self.face_frames),
            "audio_frames": _plain_frames(self.audio_frames),
        }


@dataclass(frozen=True, slots=True, repr=False)
class UtteranceResult:
    """The decision on one utterance. ``score`` = P(positive) − P(negative), in −1..1.

    ``unsure``: why not to rely on the decision, in a few words; None if it is sure.
    """

    index: int
    start_s: float
    end_s: float
    track: int | None
    sentiment: str
    score: float
    probabilities: dict[str, float]
    modalities: dict[str, ModalityShare]
    attention: Attention
    warnings: tuple[str, ...] = ()
    text: str | None = None
    unsure: str | None = None

    __repr__ = short_repr

    @property
    def marked_label(self) -> str:
        """The sentiment, with a question mark behind it where the decision is unsure."""
        return f"{self.sentiment}?" if self.unsure else self.sentiment

    def __rich_repr__(self) -> Iterator[tuple[str, object]]:
        """The decision without its probabilities, shares and attention."""
        yield "index", self.index
        yield "start_s", round_time(self.start_s)
        yield "end_s", round_time(self.end_s)
        yield "track", self.track
        yield "sentiment", self.sentiment
        yield "score", round(float(self.score), 3)
        if self.unsure:
            yield "unsure", self.unsure
        if self.text is not None:
            yield "text", self.text
        if self.warnings:
            yield "warnings", list(self.warnings)

    def to_dict(self) -> dict[str, Any]:
        """The utterance as plain JSON-ready types; "text" and "proxy" only where there was one."""
        shares = round_shares(share.weight for share in self.modalities.values())
        probabilities = round_shares(self.probabilities.values())
        plain: dict[str, Any] = {
            "index": int(self.index),
            "start_s": round_time(self.start_s),
            "end_s": round_time(self.end_s),
            "track": None if self.track is None else int(self.track),
            "sentiment": self.sentiment,
            "score": round(float(self.score), DECIMALS),
            "probabilities": dict(zip(self.probabilities, probabilities, strict=True)),
            "unsure": self.unsure,
            "modalities": {
                name: {"weight": weight, "effective": bool(share.effective)}
                | ({"proxy": True} if share.proxy else {})
                for (name, share), weight in zip(self.modalities.items(), shares, strict=True)
            },
            "attention": self.attention.to_dict(),
            "warnings": list(self.warnings),
        }
        return plain if self.text is None else {**plain, "text": self.text}


@dataclass(frozen=True, slots=True, repr=False)
class Result:
    """All decisions on one media file.

    ``media_tracks``: numbers of the tracks that were read, by kind, where the file has several.
    A notebook shows it as a table, ``print`` in a few words; :meth:`to_dict` has all of it.
    """

    source: str
    duration_s: float
    model: ModelInfo
    tracks: tuple[Track, ...] = ()
    utterances: tuple[UtteranceResult, ...] = ()
    warnings: tuple[str, ...] = ()
    media_tracks: dict[str, tuple[int, ...]] = field(default_factory=dict)
    schema: str = SCHEMA

    def to_dict(self) -> dict[str, Any]:
        """The result as plain JSON-ready types, keys in the order of the schema."""
        tracks = {kind: list(numbers) for kind, numbers in self.media_tracks.items()}
        return {
            "schema": self.schema,
            "source": self.source,
            "duration_s": round_time(self.duration_s),
            **({"media_tracks": tracks} if tracks else {}),
            "model": {**asdict(self.model), "labels": list(self.model.labels)},
            "tracks": [track.to_dict() for track in self.tracks],
            "utterances": [utterance.to_dict() for utterance in self.utterances],
            "warnings": list(self.warnings),
        }

    @classmethod
    def from_dict(cls, plain: object) -> Result:
        """Read back what :meth:`to_dict` gave; unknown keys are ignored.

        Raises:
            InputError: ``plain`` is no result of schema ``avsent/1``; names the first wrong field.
        """
        schema = plain.get("schema", SCHEMA) if isinstance(plain, dict) else SCHEMA
        if schema != SCHEMA:
            raise InputError(f"result.schema is {schema!r:.50}; this version reads {SCHEMA!r} only")
        try:
            return build(cls, plain, "result", may_lack=("proxy", "text", "media_tracks", "unsure"))
        except ValueError as error:
            raise InputError(str(error)) from error

    @classmethod
    def load(cls, path: str | Path) -> Result:
        """Read the JSON file of one result, such as ``avsent predict talk.mp4 -o talk.json`` wrote;
        it may stand alone in a list.

        Raises:
            InputError: it cannot be read, or is no result of schema ``avsent/1``, naming the first
                wrong field.
        """
        try:
            if Path(path).stat().st_size > MAX_FILE_BYTES:
                raise InputError(f"{path}: far too large for a result; give what avsent wrote")
            plain = json.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            reason = error.strerror or "no such name"
            raise InputError(f"{path}: cannot be read ({reason}); check the path") from error
        except (ValueError, RecursionError) as error:  # a name no file can have is a ValueError
            raise InputError(f"{path}: is not JSON; give what --format json wrote") from error
        if isinstance(plain, list):
            if len(plain) != 1:
                raise InputError(
                    f"{path}: holds the results of {len(plain)} files, not of one; write them to a "
                    "folder (predict -o FOLDER/)"
                )
            plain = plain[0]
        try:
            return cls.from_dict(plain)
        except InputError as error:
            raise InputError(f"{path}: {error}; give what --format json wrote") from error

    def cells(self, labels: Sequence[str] | None = None) -> Iterator[list[Cell]]:
        """One row per utterance, as in CSV but with numbers and truth values as what they are.

        ``labels``: the columns of probabilities, those of this model by default, or those of
        another one; what is unknown is None.
        """
        for utterance in self.utterances:
            # Rounded as in JSON, so that both show the same numbers; without the context, which no
            # column needs and which grows with the square of the video's length.
            attention = replace(utterance.attention, context={})
            plain = replace(utterance, attention=attention).to_dict()
            shares = [plain["modalities"].get(name, {}) for name in ("audio", "face")]
            yield [
                self.source,
                *(plain[name] for name in FIRST_COLUMNS[1:]),
                *(plain["probabilities"].get(label) for label in labels or self.model.labels),
                *(share.get(key) for key in ("weight", "effective") for share in shares),
                *(
                    peak_time((one["time_s"], one["weight"]) for one in plain["attention"][frames])
                    for frames in ("face_frames", "audio_frames")
                ),
                utterance.text,
                "; ".join(utterance.warnings),
                utterance.unsure,
            ]

    def to_dataframe(self) -> pd.DataFrame:
        """One row per utterance as a pandas table, with the columns of CSV (``docs/results.md``).

        Texts, numbers and truth values are what they are; ``track`` and what is true or false are
        of pandas' types that may be unknown. A result without utterances gives an empty table of
        the same columns.

        Raises:
            UsageError: pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise UsageError(
                f"to_dataframe needs pandas ({error}); run pip install 'avsent[pandas]'"
            ) from error
        rows = [[valid_cell(cell) for cell in row] for row in self.cells()]
        columns = {}
        for place, name in enumerate(column_names(self.model.labels)):
            kind = _PANDAS_TYPES.get(name, "float64")
            columns[name] = pd.Series([row[place] for row in rows], dtype=kind)
        return pd.DataFrame(columns)

    __repr__ = short_repr

    def __rich_repr__(self) -> Iterator[tuple[str, object]]:
        """What rich prints: as ``repr``, but in colours and over several lines."""
        yield "source", self.source
        yield "duration_s", round_time(self.duration_s)
        yield "model", self.model.name
        yield "tracks", len(self.tracks)
        yield "utterances", shortened(self.utterances, REPR_ENDS)
        if self.warnings:
            yield "warnings", list(self.warnings)

    def _repr_html_(self) -> str:
        """What a notebook shows: a table of the utterances, which loads nothing from outside."""
        count = f"{len(self.utterances):,} utterance{'' if len(self.utterances) == 1 else 's'}"
        facts = f"{clock(self.duration_s)} · {count} · model {_html_text(self.model.name)}"
        lines = [f"<div><p><strong>{_html_text(self.source)}</strong> · {facts}</p>"]
        if self.utterances:
            spoken = any(utterance.text is not None for utterance in self.utterances)
            columns = _HTML_COLUMNS if spoken else _HTML_COLUMNS[:-1]
            cells = "".join(f'<th scope="col" style="{how}">{name}</th>' for name, how in columns)
            # In pages without a document type, tables do not inherit the colour.
            lines.append(f'<table style="color:inherit"><thead><tr>{cells}</tr></thead><tbody>')
            for one in shortened(self.utterances, HTML_ENDS):
                if isinstance(one, More):
                    cells = f'<td colspan="{len(columns)}" style="{_CELL}">{one!r}</td>'
                else:
                    texts = zip(columns, _html_cells(one), strict=False)
                    cells = "".join(f'<td style="{how}">{text}</td>' for (_, how), text in texts)
                lines.append(f"<tr>{cells}</tr>")
            lines.append("</tbody></table>")
        else:
            lines.append("<p>No utterances found.</p>")
        lines += [f"<p>⚠ {_html_text(warning)}</p>" for warning in self.warnings]
        return "\n".join([*lines, "</div>"])


def column_names(labels: Iterable[str]) -> list[str]:
    """Names of all columns; a column of probabilities for each of a model's ``labels``."""
    return [*FIRST_COLUMNS, *(f"p_{one_line(label)}" for label in labels), *LAST_COLUMNS]


def peak_time(frames: Iterable[tuple[float, float]]) -> float | None:
    """The time of the largest weight among (time, weight); None without frames."""
    peak = max(frames, key=lambda frame: frame[1], default=None)
    return None if peak is None else peak[0]


def valid_cell(cell: Cell) -> Cell:
    """The cell as pandas and Parquet can keep it: in UTF-8, which a file name need not be."""
    return valid_utf8(cell) if isinstance(cell, str) else cell


def round_time(seconds: float) -> float:
    """Seconds to the microsecond."""
    return round(float(seconds), DECIMALS)


def round_shares(weights: Iterable[float]) -> list[float]:
    """Round weights such that their sum is kept.

    Rounding each alone would let a thousand equal weights drift by a thousand half-digits;
    rounding the running sum and taking differences keeps the total to half a digit.
    """
    unit = 10**DECIMALS
    rounded: list[float] = []
    exact, given = 0.0, 0
    for weight in weights:
        exact += float(weight)
        reached = round(exact * unit)
        steps = reached - given
        if steps not in _SHARES:
            _SHARES[steps] = steps / unit
        rounded.append(_SHARES[steps])
        given = reached
    return rounded


_SHARES: dict[int, float] = {}
"""Every rounded weight once: two hours of talk have twelve million weights with few different
values, and a float object for each takes four times the memory. At most a million entries."""


def _plain_frames(frames: tuple[TimeWeight, ...]) -> list[dict[str, float]]:
    weights = round_shares(frame.weight for frame in frames)
    return [
        {"time_s": round_time(frame.time_s), "weight": weight}
        for frame, weight in zip(frames, weights, strict=True)
    ]


def lanes(
    spans: Sequence[tuple[float, float]], *, slack: float = 0.0, most: int | None = None
) -> list[int]:
    """The lane of each (start, end), counted from 0: spans of one lane do not overlap.

    Each span, in the order of starts, gets the first free lane. ``slack``: an overlap this long is
    ignored; ``most``: lanes, of which spans that find none free share the last.
    """
    chosen = [0] * len(spans)
    ends: list[float] = []
    for place in sorted(range(len(spans)), key=lambda place: spans[place][0]):
        start, end = spans[place]
        lane = next((n for n, until in enumerate(ends) if until <= start + slack), len(ends))
        if most is not None:
            lane = min(lane, most - 1)
        if lane == len(ends):
            ends.append(end)
        ends[lane] = max(ends[lane], end)
        chosen[place] = lane
    return chosen


# --- The table in a notebook ---

HTML_ENDS = 10  # utterances shown at the beginning and at the end where there are many
BAR_EM = 3.0  # length of the bar of a score of 1

# Styles are on each element, as notebooks and GitHub drop style sheets; where they drop rules, too,
# a plain table is left. Only the chips set colours: pages may be dark.
_CELL = "text-align:left;vertical-align:top;padding:.2em .6em"
_NUMBER = "text-align:right;vertical-align:top;padding:.2em .6em;white-space:nowrap"
_CHIP = "color:#fff;background:{};border-radius:.3em;padding:0 .4em;white-space:nowrap"
_SCALE = f"display:inline-block;position:relative;width:{2 * BAR_EM:g}em;height:.7em"
_AXIS = f"position:absolute;left:{BAR_EM:g}em;top:0;height:100%;border-left:1px solid currentColor"
_HTML_COLUMNS = (
    *(("#", _NUMBER), ("time", _NUMBER), ("label", _CELL), ("score", _NUMBER)),
    *(("audio", _NUMBER), ("face", _NUMBER), ("track", _NUMBER), ("text", _CELL)),
)


def _html_cells(one: UtteranceResult) -> list[str]:
    """What each of ``_HTML_COLUMNS`` shows of an utterance."""
    chip = _CHIP.format(colour_of(one.sentiment))
    said = [f"Unsure: {one.unsure}"] if one.unsure else []
    said += [f"⚠ {warning}" for warning in one.warnings]
    notes = "".join(f"<br>{_html_text(note)}" for note in said)
    return [
        str(one.index),
        f"{clock(one.start_s)}–{clock(one.end_s)}",
        f'<span style="{chip}">{_html_text(one.marked_label)}</span>{notes}',
        f"{_html_bar(one.score)} {score_text(one.score)}",
        _html_share(one, "audio"),
        _html_share(one, "face"),
        "–" if one.track is None else str(one.track),
        _html_text(one.text or ""),
    ]


def _html_bar(score: float) -> str:
    """The score as a bar from the middle: to the left below zero, else to the right."""
    length = min(1.0, abs(score)) * BAR_EM
    left = BAR_EM - length if score < 0 else BAR_EM
    bar = f"position:absolute;left:{left:.2f}em;width:{length:.2f}em;top:0;height:100%"
    colour = f"background:{colour_of_score(score)}"
    return (
        f'<span aria-hidden="true" style="{_SCALE}"><span style="{bar};{colour}"></span>'
        f'<span style="{_AXIS}"></span></span>'
    )


def _html_share(one: UtteranceResult, modality: str) -> str:
    share = one.modalities.get(modality)
    return "–" if share is None or not share.effective else f"{round(100 * share.weight)}%"


def _html_text(text: str) -> str:
    """Text from outside in one line, escaped."""
    # Isolated, so that words written from right to left do not reorder their neighbours.
    return f"<bdi>{escape(one_line(text))}</bdi>"
