"""Per-utterance sentiment with attention weights from talking-head video.

>>> import avsent
>>> result = avsent.predict("talk.mp4")  # doctest: +SKIP
>>> [(u.start_s, u.sentiment, u.score) for u in result.utterances]  # doctest: +SKIP

To predict many files, load the model once: ``avsent.load().predict_many(paths)``.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from avsent._version import __version__
from avsent.errors import AvsentError

if TYPE_CHECKING:
    from avsent.options import Adapt, FaceChoice, PredictOptions
    from avsent.predictor import Predictor, load, predict
    from avsent.result.record import Result

__all__ = [
    "Adapt",
    "AvsentError",
    "FaceChoice",
    "PredictOptions",
    "Predictor",
    "Result",
    "__version__",
    "load",
    "predict",
]

# Imported on first use: torch takes seconds, and `avsent --help` must not wait for it.
_LAZY = {
    **dict.fromkeys(("Adapt", "FaceChoice", "PredictOptions"), "avsent.options"),
    **dict.fromkeys(("Predictor", "load", "predict"), "avsent.predictor"),
    "Result": "avsent.result.record",
}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
