"""Bytes spoilt: single bits, whole chunks, and the fields that say how long things are."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

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
