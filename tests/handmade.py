"""Results made by hand, and by hypothesis, for the tests of everything that shows them."""

from __future__ import annotations

import dataclasses

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from avsent.result.record import (
    Attention,
    ModalityShare,
    ModelInfo,
    Result,
    TimeWeight,
    Track,
    UtteranceResult,
)

# Time limits would make these tests fail on a busy machine.
patient = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])

LABELS = ("negative", "neutral", "positive")
MODEL = ModelInfo("handmade", "ab" * 32, LABELS)
HOSTILE = "a\x1b[31mb\x9b2Jc\x07\r\n[red]d[/red] <i>{\\an8}</i> --> \u202ee & 我很好 \udcff"


def frames(start_s: float, end_s: float, count: int, peak: int) -> tuple[TimeWeight, ...]:
    raw = [4.0 if number == peak else 1.0 for number in range(count)]
    step = (end_s - start_s) / count
    return tuple(TimeWeight(start_s + n * step, w / sum(raw)) for n, w in enumerate(raw))


def make_utterance(index: int, count: int, *, face: bool = True) -> UtteranceResult:
    start_s, end_s = 5.0 * index + 0.42, 5.0 * index + 4.1
    even = (1 / count,) * count
    positive = (0.71, 0.08, 0.3)[index % 3]
    negative = (0.08, 0.71, 0.3)[index % 3]
    return UtteranceResult(
        index=index,
        start_s=start_s,
        end_s=end_s,
        track=1 if face else None,
        sentiment=("positive", "negative", "neutral")[index % 3],
        score=positive - negative,
        probabilities=dict(zip(LABELS, (negative, 1 - positive - negative, positive), strict=True)),
        modalities={
            "audio": ModalityShare(0.41 if face else 1.0, True),
            "face": ModalityShare(0.59 if face else 0.0, face),
        },
        attention=Attention(
            context={"audio": even, "face": even if face else ()},
            face_frames=frames(start_s, end_s, 30, 7) if face else (),
            audio_frames=frames(start_s, end_s, 90, 11),
        ),
        warnings=() if face else ("no face is seen",),
    )


def make_result(count: int = 3, source: str = "talk.mp4", *, text: str | None = None) -> Result:
    """A result whose last utterance has no face, and whose first has the text."""
    utterances = [make_utterance(n, count, face=n != count - 1) for n in range(count)]
    if utterances and text is not None:
        utterances[0] = dataclasses.replace(utterances[0], text=text)
    return Result(
        source=source,
        duration_s=5.0 * count + 1,
        model=MODEL,
        tracks=(Track(1, 0.0, 9.5, 95),) if count else (),
        utterances=tuple(utterances),
        warnings=() if count else ("no speech was found",),
    )


TIMES = st.floats(0, 1e6, allow_nan=False)


@st.composite
def weights(draw: st.DrawFn, minimum: int = 0) -> tuple[float, ...]:
    raw = draw(st.lists(st.floats(1e-6, 1.0), min_size=minimum, max_size=40))
    return tuple(weight / sum(raw) for weight in raw)


@st.composite
def time_weights(draw: st.DrawFn) -> tuple[TimeWeight, ...]:
    return tuple(TimeWeight(draw(TIMES), weight) for weight in draw(weights()))


@st.composite
def utterance_results(draw: st.DrawFn, index: int = 0) -> UtteranceResult:
    start_s = draw(TIMES)
    share = draw(st.floats(0, 1))
    raw = draw(st.tuples(*[st.floats(1e-3, 1)] * 3))
    probabilities = {label: p / sum(raw) for label, p in zip(LABELS, raw, strict=True)}
    return UtteranceResult(
        index=index,
        start_s=start_s,
        end_s=start_s + draw(st.floats(0, 100)),
        track=draw(st.none() | st.integers(0, 9)),
        sentiment=max(probabilities, key=lambda label: probabilities[label]),
        score=probabilities["positive"] - probabilities["negative"],
        probabilities=probabilities,
        modalities={"audio": ModalityShare(share, True), "face": ModalityShare(1 - share, True)},
        attention=Attention(
            {"audio": draw(weights()), "face": draw(weights())},
            draw(time_weights()),
            draw(time_weights()),
        ),
        warnings=tuple(draw(st.lists(st.text(), max_size=2))),
        text=draw(st.none() | st.text()),
        unsure=draw(st.none() | st.text(min_size=1)),
    )


@st.composite
def results(draw: st.DrawFn) -> Result:
    count = draw(st.integers(0, 3))
    return Result(
        source=draw(st.text(min_size=1)),
        duration_s=draw(TIMES),
        model=MODEL,
        tracks=(Track(0, draw(TIMES), draw(TIMES), 3),),
        utterances=tuple(draw(utterance_results(number)) for number in range(count)),
        warnings=tuple(draw(st.lists(st.text(), max_size=2))),
    )
