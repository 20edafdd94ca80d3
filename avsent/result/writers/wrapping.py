"""Line breaking for text of any script."""

import re
import unicodedata
from collections.abc import Callable, Iterator

# Han, kana and the scripts of South-East Asia have no blanks between words: a line may end after
# each of their characters.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u3000-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\uff00-\uff9f\U00020000-\U0003ffff]"
)
# Characters that may not begin a line, and those that may not end one.
_NO_START = frozenset(
    "。，、．！？；：）】」』〉》〕…ーぁぃぅぇぉっゃゅょァィゥェォッャュョ々ะาำๆฯ་།၊။។"
)
_NO_END = frozenset("（【「『〈《〔เแโใไ")
_JOINERS = frozenset("\u200d\u2060")
_SKIN = range(0x1F3FB, 0x1F400)


def columns(text: str) -> int:
    """Width in a fixed-width font: wide characters (Chinese, emoji) count twice, marks nothing."""
    return sum(
        0
        if unicodedata.category(character) in {"Mn", "Me", "Cf"}
        else 1 + (unicodedata.east_asian_width(character) in "WF")
        for character in text
    )


def wrap(
    text: str, width: int, *, measure: Callable[[str], int] = columns, even: bool = True
) -> list[str]:
    """The text in as few lines as it needs, none wider than ``width``.

    Lines end at blanks; in scripts without blanks, and in words longer than a line, between
    characters. Nothing but blanks is lost.
    ``measure``: width of a text, in the unit of ``width``; ``even``: make the lines about equally
    wide, instead of filling one after the other.
    """
    pieces = [
        (piece, measure(piece), " " if number == 0 else "")
        for word in text.split()
        for number, piece in enumerate(_parts(word, width, measure))
    ]
    blank = measure(" ")

    def filled(limit: int) -> list[str]:
        lines: list[str] = []
        used = 0
        for piece, size, before in pieces:
            gap = blank if before else 0
            if lines and used + gap + size <= limit:
                lines[-1] += before + piece
                used += gap + size
            else:
                lines.append(piece)
                used = size
        return lines

    lines = filled(width)
    if len(lines) < 2 or not even:
        return lines
    # The narrowest width that needs no more lines makes them even.
    low, high = max(size for _, size, _ in pieces), width
    while low < high:
        middle = (low + high) // 2
        if len(filled(middle)) <= len(lines):
            high = middle
        else:
            low = middle + 1
    return filled(high)


def _parts(word: str, width: int, measure: Callable[[str], int]) -> Iterator[str]:
    """The pieces of a word between which a line may end, none wider than ``width``."""
    part, size, open_end = "", 0, True  # open_end: the next character belongs to this piece
    for cluster in _clusters(word):
        wide = measure(cluster)
        free = bool(_UNSPACED.match(cluster[0]) or (part and _UNSPACED.match(part[-1])))
        bound = open_end or cluster[0] in _NO_START or not free
        if part and (size + wide > width or not bound):
            yield part
            part, size = "", 0
        part, size = part + cluster, size + wide
        open_end = cluster[-1] in _NO_END
    if part:
        yield part


def _clusters(word: str) -> Iterator[str]:
    """Characters together with their marks; joined emoji as one."""
    cluster = ""
    for character in word:
        extends = (
            unicodedata.category(character)[0] == "M"
            or character in _JOINERS
            or ord(character) in _SKIN
            or (cluster and cluster[-1] == "\u200d")
        )
        if cluster and not extends:
            yield cluster
            cluster = ""
        cluster += character
    if cluster:
        yield cluster
