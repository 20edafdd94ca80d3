"""Structured text by hypothesis: subtitles, tables, JSON with a few things wrong in it.

Examples come in blocks drawn from one seed, so that each can be drawn again by its number.
"""

from __future__ import annotations

import copy
import io
import json
import sqlite3
import struct
import zipfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

LIMITS = (0, 1, 2, 0x7F, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
"""Where counters of 8, 16 and 32 bits end or change their sign."""
HEAD_BYTES = 4096
"""Headers are near the beginning, or in the last part of an mp4."""
CONTAINERS = frozenset(
    (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"edts", b"udta", b"dinf", b"mvex", b"moof")
)


def mutated(data: bytes, rng: Random, other: bytes = b"") -> bytes:
    """``data`` after one to six changes; ``other``: a file to take parts from."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        if not changed:
            break
        change = rng.choice(_CHANGES)
        change(changed, rng, other)
    return bytes(changed)


def boxes(data: bytes | bytearray, start: int = 0, end: int | None = None) -> list[tuple[int, int]]:
    """Place and size of each box of an ISO file, those within others too; [] for other files."""
    end = len(data) if end is None else end
    found = []
    while start + 8 <= end:
        size = int.from_bytes(data[start : start + 4], "big")
        name = bytes(data[start + 4 : start + 8])
        if size < 8 or start + size > end or not name.isascii():
            break
        found.append((start, size))
        if name in CONTAINERS:
            found += boxes(data, start + 8, start + size)
        elif name == b"stsd":
            found += boxes(data, start + 16, start + size)
        start += size
    return found


def _place(data: bytearray, rng: Random) -> int:
    """Anywhere, but half of the time in a header."""
    size = len(data)
    where = rng.random()
    if where < 0.3:
        return rng.randrange(min(size, HEAD_BYTES))
    if where < 0.5:
        return rng.randrange(max(0, size - HEAD_BYTES), size)
    return rng.randrange(size)


def _stretch(data: bytearray, rng: Random) -> tuple[int, int]:
    start = _place(data, rng)
    return start, min(len(data), start + rng.choice((1, 4, 16, 100, 1000, 20_000)))


def _flip(data: bytearray, rng: Random, other: bytes) -> None:
    for _ in range(rng.choice((1, 4, 32))):
        data[_place(data, rng)] ^= 1 << rng.randrange(8)


def _limit(data: bytearray, rng: Random, other: bytes) -> None:
    width = rng.choice((1, 2, 4, 4, 8))
    place = _place(data, rng)
    value = rng.choice(LIMITS) % 256**width
    data[place : place + width] = value.to_bytes(width, rng.choice(("big", "little")))


def _cut(data: bytearray, rng: Random, other: bytes) -> None:
    del data[rng.randrange(len(data)) :]


def _delete(data: bytearray, rng: Random, other: bytes) -> None:
    start, end = _stretch(data, rng)
    del data[start:end]


def _zero(data: bytearray, rng: Random, other: bytes) -> None:
    start, end = _stretch(data, rng)
    data[start:end] = bytes([rng.choice((0, 255))]) * (end - start)


def _noise(data: bytearray, rng: Random, other: bytes) -> None:
    start, end = _stretch(data, rng)
    data[start:end] = rng.randbytes(end - start)


def _repeat(data: bytearray, rng: Random, other: bytes) -> None:
    start, end = _stretch(data, rng)
    data[start:start] = data[start:end] * rng.choice((1, 3, 20))


def _swap(data: bytearray, rng: Random, other: bytes) -> None:
    (a, b), (c, d) = sorted((_stretch(data, rng), _stretch(data, rng)))
    if b <= c:
        data[a:d] = data[c:d] + data[b:c] + data[a:b]


def _splice(data: bytearray, rng: Random, other: bytes) -> None:
    if other:
        start, end = _stretch(data, rng)
        begin = rng.randrange(len(other))
        data[start:end] = other[begin : begin + end - start]


def _box_size(data: bytearray, rng: Random, other: bytes) -> None:
    if found := boxes(data):
        place, size = rng.choice(found)
        wrong = rng.choice((*LIMITS, size - 1, size + 1, size + 8, 2 * size, size // 2, 8))
        data[place : place + 4] = (max(0, wrong) % 2**32).to_bytes(4, "big")


def _box_field(data: bytearray, rng: Random, other: bytes) -> None:
    """A number in a small box: counts, sizes, rates, matrices, times."""
    small = [(place, size) for place, size in boxes(data) if 8 < size < 20_000]
    if small:
        place, size = rng.choice(small)
        width = rng.choice((2, 4, 4, 4, 8))
        at = place + 8 + rng.randrange(max(1, min(size - 8, 200)))
        data[at : at + width] = (rng.choice(LIMITS) % 256**width).to_bytes(width, "big")


def _box_move(data: bytearray, rng: Random, other: bytes) -> None:
    """A box that is gone, there twice, or at another place."""
    if found := boxes(data):
        place, size = rng.choice(found)
        box = bytes(data[place : place + size])
        if rng.random() < 0.6:
            del data[place : place + size]
        if rng.random() < 0.6:
            to, _ = rng.choice(found)
            data[min(to, len(data)) : min(to, len(data))] = box


_CHANGES: tuple[Callable[[bytearray, Random, bytes], None], ...] = (
    *(_flip, _flip, _limit, _limit, _limit, _cut, _delete, _zero, _noise, _repeat, _swap),
    *(_splice, _box_size, _box_field, _box_field, _box_field, _box_move),
)


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
NAMES = st.sampled_from(["a", "a", "b", "t0", "t1", "t2"])
TIMES = mostly(st.integers(0, 2000).map(str), NUMBERS | CLOCKS)
_note = st.builds(
    '<ANNOTATION><{0}_ANNOTATION ANNOTATION_ID="{1}" ANNOTATION_REF="{2}" TIME_SLOT_REF1="{3}" '
    'TIME_SLOT_REF2="{4}"><ANNOTATION_VALUE>{5}</ANNOTATION_VALUE></{0}_ANNOTATION></ANNOTATION>'.format,
    st.sampled_from(["ALIGNABLE", "REF"]),
    *(NAMES, mostly(st.just("none"), NAMES), st.just("t0"), st.just("t2")),
    mostly(st.just("hi"), WORDS),
)
_tier = st.builds(
    '<TIER TIER_ID="{}">{}</TIER>'.format, NAMES, st.lists(_note, max_size=4).map("".join)
)
eaf = st.builds(
    '<?xml version="1.0" encoding="UTF-8"?>{0}<A><MEDIA_DESCRIPTOR TIME_ORIGIN="{1}"/>'
    '<TIME_SLOT TIME_SLOT_ID="t0" TIME_VALUE="{2}"/><TIME_SLOT TIME_SLOT_ID="t2" '
    'TIME_VALUE="{3}"/>{4}</A>'.format,
    mostly(st.just(""), st.sampled_from(['<!DOCTYPE A [<!ENTITY x "y">]>', "<x", "\0"])),
    mostly(st.just("0"), NUMBERS),
    *(mostly(st.just("200"), TIMES), mostly(st.just("900"), TIMES)),
    st.lists(_tier, max_size=3).map("".join),
)
_interval = st.tuples(
    mostly(st.just("0.2"), TIMES),
    mostly(st.just("9"), TIMES),
    WORDS.map(lambda t: '"' + t.replace('"', '""') + '"'),
)
_grid_tier = st.builds(
    lambda kind, name, rows, count: "\n".join(
        [f'"{kind}"', f'"{name}"', "0", "9", count or str(len(rows)), *map("\n".join, rows)]
    ),
    st.sampled_from(["IntervalTier", "IntervalTier", "IntervalTier", "TextTier", "x"]),
    *(NAMES, st.lists(_interval, max_size=4), mostly(st.just(""), NUMBERS)),
)
textgrid = st.lists(_grid_tier, max_size=3).map(
    lambda tiers: "\n".join(
        ['"ooTextFile"', '"TextGrid"', "0", "9 <exists>", str(len(tiers)), *tiers]
    )
)
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


def spoilt_arrays(data: bytes, number: int, rng: Random) -> bytes:
    """An .npz file with bytes changed, or well-formed with arrays that are not what they were."""
    if rng.random() < 0.4:
        return mutated(data, rng)
    packed = io.BytesIO()
    pressed = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA))
    with (
        zipfile.ZipFile(io.BytesIO(data)) as source,
        zipfile.ZipFile(packed, "w", pressed) as target,
    ):
        names = source.namelist()
        chosen = rng.choice(names)
        for name in names:
            content = source.read(name)
            if name == chosen:
                content = _spoilt_array(content, number, rng)
            target.writestr(name, content)
        if rng.random() < 0.2:
            target.writestr(chosen, content)
    return packed.getvalue()


def _spoilt_array(content: bytes, number: int, rng: Random) -> bytes:
    how = rng.choice(("bytes", "shape", "dtype", "values", "object", "bomb", "json"))
    if how == "bytes":
        return mutated(content, rng)
    array = np.load(io.BytesIO(content))
    if how == "json" and array.dtype == np.uint8:
        array = np.frombuffer(spoilt(json.loads(array.tobytes()), number, rng), np.uint8)
    elif how in ("shape", "dtype"):
        shape = rng.choice(
            ("(1099511627776,)", "(-1,)", "(0, 9223372036854775808)", "()", "(2, 3)")
        )
        dtype = rng.choice(("'<f4'", "'|O'", "'<U100000'", "'|V0'", "[('a', '<f4')]", "'<M8[s]'"))
        text = f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}, }}"
        header = text.encode().ljust(117) + b"\n"
        return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + content[128:]
    elif how == "values" and array.size and array.dtype.kind in "fiu":
        array = array.copy()
        wrong = (np.nan, np.inf, 3e38) if array.dtype.kind == "f" else (0, 2**30, 127)
        array.flat[rng.randrange(array.size)] = rng.choice(wrong)
    elif how == "bomb":
        array = np.zeros(60_000_000 if rng.random() < 0.3 else 1000, array.dtype)
    saved = io.BytesIO()
    np.save(saved, np.array([{}], object) if how == "object" else array, allow_pickle=True)
    return saved.getvalue()


def spoilt_weights(data: bytes, what: str, number: int, rng: Random) -> bytes:
    """Weights with other bytes (``what`` weights), other values, or a header that lies."""
    length = int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8 : 8 + length]), bytearray(data[8 + length :])
    if what == "weights":
        return mutated(data, rng)
    if what == "values":
        values = np.frombuffer(body, np.float32).copy()
        chosen = slice(None) if rng.random() < 0.5 else slice(rng.randrange(values.size), None)
        values[chosen] = rng.choice((np.nan, np.inf, 3e38, -1e30, 1e10, 0.0))
        return data[: 8 + length] + values.tobytes()
    if rng.random() < 0.5:
        text = spoilt(header, number, rng)
    else:
        name = rng.choice([key for key in header if key != "__metadata__"])
        entry: dict[str, Any] = header[name]
        where = rng.choice(("shape", "dtype", "data_offsets"))
        entry[where] = {
            "shape": [rng.choice((2**40, 0, 2**63, 1)), *entry["shape"][1:]],
            "dtype": rng.choice(("F64", "I8", "BOOL", "F8_E4M3", "X")),
            "data_offsets": [0, rng.choice((0, len(body), 2**62))],
        }[where]
        text = json.dumps(header).encode()
    stated = rng.choice((len(text), len(text), len(text), 2**63, 0, 100_000_000))
    return stated.to_bytes(8, "little") + text + bytes(body)


def spoil_journal(path: Path, what: str, rng: Random) -> None:
    """Other values in the journal; with ``what`` schema another structure as well."""
    with sqlite3.connect(path) as db:
        if what == "schema":
            db.executescript(
                rng.choice(
                    (
                        "CREATE TRIGGER t AFTER UPDATE ON files BEGIN DELETE FROM results; END;",
                        "ALTER TABLE files ADD COLUMN more TEXT;",
                        "ALTER TABLE results RENAME TO r; CREATE VIEW results AS WITH RECURSIVE "
                        "c(name, result, rows, representations) AS (SELECT 'a', x'00', '', NULL "
                        "UNION ALL SELECT name, result, rows, representations FROM c) "
                        "SELECT * FROM c;",
                        "DROP TABLE outputs;",
                        "PRAGMA user_version = 7;",
                    )
                )
            )
        for _ in range(rng.choice((1, 1, 3))):
            table, column = rng.choice(
                [("files", name) for name in _COLUMNS]
                + [("results", "result"), ("results", "rows"), ("meta", "value")] * 3
                + [("outputs", "size"), ("outputs", "format"), ("outputs", "name")]
            )
            value = rng.choice(_JOURNAL_VALUES)
            try:
                db.execute("PRAGMA ignore_check_constraints = 1")
                db.execute(f"UPDATE {table} SET {column} = ?", (value,))
            except sqlite3.Error:
                continue
    db.close()


_COLUMNS = (
    *("name", "stem", "stem", "stem", "size", "mtime_ns", "duration_s", "content_sha256", "state"),
    *("config_sha256", "attempts", "seconds", "utterances", "error", "exit_code", "present"),
)
_JOURNAL_VALUES: tuple[Any, ...] = (
    *(None, "", "../../../up", "/tmp/avsent-fuzz-escape", "a\nb", "x" * 300, b"\xff\xfe", b""),
    *(-1, 2**62, 1e308, float("inf"), "text", "[]", "{", "[" * 100_000, '{"adapt": []}', "1e999"),
    *('[["a", 0, "x", 1, 2, "y", 3]]', "[[null]]", "..", "a/../../b", "a\0b", b"x\x9c" + bytes(99)),
)
