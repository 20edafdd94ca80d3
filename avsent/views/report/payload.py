"""A result and its pictures as the page wants them: a head, and a part for each utterance.

The page reads a part only when its utterance is looked at, so that it opens at once however many
there are. Numbers are rounded to what can be seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from avsent import __version__
from avsent.labels import valence_of
from avsent.result.colours import colour_of_score, colours_of
from avsent.result.record import Result
from avsent.result.utterance import TimeWeight, UtteranceResult
from avsent.views.report.gather import UtterancePictures
from avsent.views.report.html import data_url

MODALITIES = ("audio", "face")


def head_of(
    result: Result, media: dict[str, Any] | None, warnings: Sequence[str] = ()
) -> dict[str, Any]:
    """What the page needs to know at once. ``media``: see :mod:`avsent.views.report.linking`."""
    labels = result.model.labels
    colours = dict(zip(labels, colours_of(labels), strict=True))
    # Labels that are neither good nor bad have no score: utterances get the colour of their own.
    scored = any(map(valence_of, labels))
    return {
        "version": __version__,
        "source": result.source,
        "duration": round(result.duration_s, 3),
        "model": {"name": result.model.name, "sha256": result.model.sha256},
        "labels": list(labels),
        "colours": list(colours.values()),
        "tracks": len(result.tracks),
        "warnings": [*result.warnings, *warnings],
        "media": media,
        "utterances": [
            _in_brief(
                one,
                labels,
                colour_of_score(one.score)
                if scored
                else colours.get(one.sentiment, colour_of_score(0)),
            )
            for one in result.utterances
        ],
    }


def _in_brief(utterance: UtteranceResult, labels: Sequence[str], colour: str) -> dict[str, Any]:
    return {
        "index": utterance.index,
        "start": round(utterance.start_s, 3),
        "end": round(utterance.end_s, 3),
        "track": utterance.track,
        "label": utterance.sentiment,
        "score": round(utterance.score, 4),
        "colour": colour,
        "p": [round(utterance.probabilities.get(label, 0.0), 4) for label in labels],
        "shares": {
            name: [round(share.weight, 4), share.effective]
            for name, share in utterance.modalities.items()
        },
        "text": utterance.text,
        "warnings": list(utterance.warnings),
    }


def part_of(
    utterance: UtteranceResult, pictures: UtterancePictures | None, row: int | None
) -> dict[str, Any]:
    """What is shown of one utterance when it is chosen. ``row``: see :class:`Sizes`."""
    attention = utterance.attention
    plain: dict[str, Any] = {
        "audio": _frames(attention.audio_frames),
        "face": _frames(attention.face_frames),
        "context": _context(attention.context, row),
    }
    if pictures is None:
        return plain
    plain["faces"] = [
        [round(face.time_s, 4), round(face.weight, 5), data_url("image/webp", face.webp)]
        for face in pictures.faces
    ]
    drawn = pictures.spectrogram
    if drawn is not None:
        plain["spectrogram"] = {
            "url": data_url("image/webp", drawn.webp),
            "start": round(drawn.start_s, 4),
            "end": round(drawn.end_s, 4),
        }
    return plain


def _frames(frames: Sequence[TimeWeight]) -> list[list[float]]:
    return [[round(f.time_s, 3) for f in frames], [round(f.weight, 5) for f in frames]]


def _context(context: dict[str, tuple[float, ...]], row: int | None) -> list[list[int | None]]:
    """Place, weight by the voice and by the face of each utterance, the greatest first. Weights
    are in ten thousandths, which in a long video is half as long to write; None where the
    modality had none."""
    rows = [context.get(name, ()) for name in MODALITIES]
    count = max(map(len, rows))
    # Files made by others may hold rows of unequal length.
    even = [one + (0.0,) * (count - len(one)) if one else () for one in rows]
    order = sorted(range(count), key=lambda place: (-sum(one[place] for one in even if one), place))
    return [
        [place, *(round(10_000 * one[place]) if one else None for one in even)]
        for place in order[:row]
    ]
