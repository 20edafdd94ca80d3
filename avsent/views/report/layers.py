"""What a timeline shows, as numbers: rows of faces, layers of probabilities and of shares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from avsent.labels import valence_of
from avsent.result.colours import colours_of
from avsent.result.utterance import ModalityShare, UtteranceResult

MAX_LABELS = 9
"""Labels that are told apart; the rest of a model with more is drawn as one."""
MAX_ROWS = 6
"""Faces that have a row of their own, or all but one of them."""
_REST, _REST_NAME = "#d6d3d1", "other labels"
_OF_MODALITY = {"audio": "#3f3b37", "face": "#d9c48f"}

Layer: TypeAlias = tuple[str, str, NDArray[np.float64]]
"""Name, colour, values [N]."""


def rows_of(utterances: Sequence[UtteranceResult]) -> dict[int | None, int]:
    """A row for each face, in the order of tracks; where there are too many, those that say least
    share the last one."""
    said: dict[int | None, float] = {}
    for utterance in utterances:
        lasts = max(0.0, utterance.end_s - utterance.start_s)
        said[utterance.track] = said.get(utterance.track, 0.0) + lasts
    own = sorted(said, key=lambda track: -said[track])
    own = own[: MAX_ROWS - 1] if len(said) > MAX_ROWS else own
    ordered = sorted(own, key=lambda track: (track is None, track))
    return {track: ordered.index(track) if track in own else len(own) for track in said}


def probabilities(labels: Sequence[str], utterances: Sequence[UtteranceResult]) -> list[Layer]:
    """The probabilities on top of each other, negative ones at the bottom."""
    by_label = {
        label: np.array([utterance.probabilities.get(label, 0.0) for utterance in utterances])
        for label in labels
    }
    shown = sorted(by_label, key=lambda label: -by_label[label].mean())[:MAX_LABELS]
    shown = [label for label in by_label if label in shown]
    layers = [
        (label, colour, by_label[label])
        for label, colour in zip(shown, colours_of(shown), strict=True)
    ]
    layers.sort(key=lambda layer: valence_of(layer[0]))
    if len(shown) < len(by_label):
        rest = [by_label[label] for label in by_label if label not in shown]
        layers.append((_REST_NAME, _REST, np.sum(rest, axis=0)))
    return layers


def shares(utterances: Sequence[UtteranceResult]) -> list[Layer]:
    """How much of the decision was the voice's, and how much the face's."""
    names = dict.fromkeys(name for utterance in utterances for name in utterance.modalities)
    nothing = ModalityShare(0.0, False)
    return [
        (
            name,
            _OF_MODALITY.get(name, _REST),
            np.array([u.modalities.get(name, nothing).weight for u in utterances]),
        )
        for name in names
    ]
