"""Structured text by hypothesis: subtitles, tables, JSON with a few things wrong in it.

Examples come in blocks drawn from one seed, so that each can be drawn again by its number.
"""

from __future__ import annotations

import copy
import json
from functools import lru_cache
from random import Random
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

BLOCK = 20

WORDS = st.one_of(
    st.sampled_from(
        ["", "hello", "-->", "&#" + "9" * 5000 + ";", "<i>", "{\\an8}", "\0", "\x1b[2J"]
    ),
    st.text(max_size=30),
    st.sampled_from(["a" * 200_000, '"' * 3000, "<" * 5000, "\u202e\ud83d", "é" * 300]),
)
NUMBERS = st.one_of(
    st.sampled_from(["0", "1", "0.5", "2.25", "1e308", "-1e308", "1e-320", "nan", "inf", "-inf"]),
    st.sampled_from(["9" * 400, "1e999", "0x10", "1_0", "١٢", "", " 1 ", "+.5", "-0", "1e15"]),
    st.floats().map(repr),
    st.integers().map(str),
)
CLOCKS = st.one_of(
    st.sampled_from(["00:00:00,000", "00:00:00.500", "00:01.000", "99999:59:59,999", "-1:00:00,0"]),
    st.builds(
        "{:02d}:{:02d}:{:02d},{:03d}".format, *[st.integers(-1, 70)] * 3, st.integers(0, 999)
    ),
    NUMBERS,
)
ENDS = st.sampled_from(["\n", "\n", "\r\n", "\r", "\n\n", " \n", ""])

ARROWS = st.sampled_from([" --> ", " --> ", "-->", "->"])


def mostly(right: st.SearchStrategy[str], wrong: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """One in sixteen is wrong; hypothesis itself likes the odd too much."""
    return st.sampled_from(range(16)).flatmap(lambda n: wrong if n == 11 else right)


good = st.integers(0, 3000).map(
    lambda n: (
        f"{n + 1}\n00:{n // 60:02d}:{n % 60:02d}.250 --> 00:{n // 60:02d}:{n % 60:02d},900\nhi\n"
    )
)
bad = st.tuples(NUMBERS, ENDS, CLOCKS, ARROWS, CLOCKS, ENDS, WORDS, ENDS).map("".join)
cues = st.lists(mostly(good, bad), min_size=1, max_size=6).map("\n".join)
srt = cues
vtt = st.tuples(st.sampled_from(["WEBVTT\n\n", "WEBVTT", "", "WEBVTT x\nNOTE\n\n"]), cues).map(
    "".join
)


GOOD = {
    "start_s": "0.25",
    "end_s": "1.5",
    "video": "a.mp4",
    "label": "positive",
    "split": "train",
    "mode": "train",
    "Sentiment": "neutral",
    "Emotion": "joy",
    "Dialogue_ID": "3",
    "Utterance_ID": "7",
}
"""What a cell of a column should be like; in others anything may stand."""


def table(columns: list[str]) -> st.SearchStrategy[str]:
    """CSV with about these columns; about half of the rows are all right."""
    odd = st.one_of(WORDS, NUMBERS, st.sampled_from(["train", "positive", "../a.mp4"]))
    quoted = odd.map(lambda text: '"' + text.replace('"', '""') + '"')
    cells = [mostly(st.just(GOOD.get(column, "x")), odd | quoted) for column in columns]
    right = st.tuples(*cells).map(",".join)
    wrong = st.lists(odd, max_size=len(columns) + 2).map(",".join)
    row = mostly(right, wrong)
    heading = mostly(st.just(",".join(columns)), st.permutations(columns).map(",".join) | row)
    lines = st.tuples(heading, st.lists(row, min_size=1, max_size=5)).map(lambda t: [t[0], *t[1]])
    return st.tuples(lines, ENDS).map(lambda t: (t[1] or "\n").join(t[0]))


utterances = table(["start_s", "end_s", "text"])
manifest = table(["video", "start_s", "end_s", "speaker", "split", "label", "text", "context"])
mmsa = table(["video_id", "clip_id", "text", "label", "mode"])
meld = table(["Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID"])
sentences = table(["text", "label", "dialogue_id"])

VALUES: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from([None, True, False, 0, -1, 1e308, -1e308, 5e-324, 2**63, 10**300, 10**400]),
    st.sampled_from([float("nan"), float("inf"), "", "x" * 100_000, "../../up", "/etc/passwd", []]),
    st.sampled_from([{}, [[[[[]]]]], ["\0", "\n", "\x1b[31m"], "\ud800", 4096, 65536, [1] * 3000]),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.floats(), st.text(max_size=5)),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
        max_leaves=6,
    ),
)
changes = st.lists(st.tuples(st.integers(0, 10**6), st.sampled_from("rrrrdk+"), VALUES), max_size=3)

_KNOWN = {name: value for name, value in globals().items() if isinstance(value, st.SearchStrategy)}


@lru_cache(maxsize=64)
def _block(name: str, number: int) -> list[Any]:
    found: list[Any] = []

    @seed(number)
    @settings(
        max_examples=BLOCK,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(_KNOWN[name])
    def collect(example: Any) -> None:
        found.append(example)

    collect()
    return found


def drawn(name: str, number: int) -> Any:
    """Example ``number`` of the strategy of this module called ``name``."""
    block = _block(name, number // BLOCK)
    return copy.deepcopy(block[number % BLOCK % len(block)])


def encoded(text: str, rng: Random) -> bytes:
    """The text as a file holds it, mostly as UTF-8."""
    coding = rng.choice(("utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1"))
    return text.encode(coding, "surrogatepass" if coding.startswith("utf") else "replace")


def spoilt(plain: Any, number: int, rng: Random) -> bytes:
    """The JSON of ``plain`` with values exchanged, keys removed, lists made longer; or no JSON."""
    plain = copy.deepcopy(plain)
    for where, what, value in drawn("changes", number):
        places = list(_places(plain))
        if not places:
            break
        holder, key = places[where % len(places)]
        if what == "d":
            del holder[key]
        elif what == "k" and isinstance(holder, dict):
            holder[str(value)[:50]] = holder.pop(key)
        elif what == "+" and isinstance(holder[key], list) and holder[key]:
            holder[key] = (holder[key] * 4000)[:4000]
        else:
            holder[key] = value
    text = json.dumps(plain)
    deep = rng.random()
    if deep < 0.04:
        text = "[" * 200_000
    elif deep < 0.08:
        text = '{"schema":' * 5000 + "1" + "}" * 5000
    elif deep < 0.12:
        text = text.replace("0.", "1" * 5000 + ".", 1)
    return text.encode("ascii")


def _places(plain: Any) -> Any:
    """Everything in nested lists and dictionaries, as what holds it and the key."""
    left = [plain]
    while left:
        holder = left.pop()
        keys = list(holder) if isinstance(holder, dict) else range(min(len(holder), 6))
        for key in keys:
            yield holder, key
            if isinstance(holder[key], dict | list):
                left.append(holder[key])
