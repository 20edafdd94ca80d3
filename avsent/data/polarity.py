"""Emotion names of the corpora to sentiment polarity.

Surprise has no polarity (it may be joy or fright): such items are left out of sentiment.
"""

from __future__ import annotations

NEGATIVE, NEUTRAL, POSITIVE = 0, 1, 2
POLARITY_LABELS = ("negative", "neutral", "positive")

POLARITY_OF_EMOTION: dict[str, int] = {
    "happy": POSITIVE,
    "neutral": NEUTRAL,
    "calm": NEUTRAL,
    "sad": NEGATIVE,
    "angry": NEGATIVE,
    "fear": NEGATIVE,
    "fearful": NEGATIVE,
    "disgust": NEGATIVE,
    "disgusted": NEGATIVE,
    "worried": NEGATIVE,
}
