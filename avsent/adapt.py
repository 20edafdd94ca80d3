"""Whose mean the utterances of a video are measured from."""

from __future__ import annotations

from enum import StrEnum


class Adapt(StrEnum):
    """``--adapt``: that of the training data, of each track, or of all files given together."""

    none = "none"
    speaker = "speaker"
    corpus = "corpus"
