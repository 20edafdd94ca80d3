"""Which face of several an utterance is judged by."""

from __future__ import annotations

from enum import StrEnum


class FaceChoice(StrEnum):
    """``--face``: the most likely speaker, the largest face, or one record for every face."""

    speaking = "speaking"
    largest = "largest"
    all = "all"
