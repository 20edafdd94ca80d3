"""Lines of subtitles: words of any script in lines of a width that players show."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

# Han, kana and the scripts of South-East Asia put no blanks between words: a line may end after
# each of their characters.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\u3000-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\uff00-\uff9f\U00020000-\U0003ffff]"
)
# What belongs to the character before it, or to the one after it.
_NO_START = frozenset(
    "。，、．！？；：）】」』〉》〕…ーぁぃぅぇぉっゃゅょァィゥェォッャュョ々ะาำๆฯ་།၊။។"
)
_NO_END = frozenset("（【「『〈《〔เแโใไ")
_JOINERS = frozenset("\u200d\u2060")
_SKIN = range(0x1F3FB, 0x1F400)


def columns(text: str) -> int:
    """How wide the text is: wide characters (Chinese, emoji) count twice, marks nothing."""
    return sum(map(_columns, text))


def wrap(text: str, width: int) -> list[str]:
    """The text in as few lines of at most ``width`` columns as it needs, of about the same width.

    Lines end at blanks; those of scripts without blanks, and words that are longer than a line,
    between characters. Nothing but blanks is lost.
    """
    pieces = list(_pieces(text, width))
    lines = _filled(pieces, width)
    if len(lines) < 2:
        return lines
    # The narrowest width that needs no more lines makes them even.
    low, high = max(columns(piece) for piece, _ in pieces), width
    while low < high:
        middle = (low + high) // 2
        if len(_filled(pieces, middle)) <= len(lines):
            high = middle
        else:
            low = middle + 1
    return _filled(pieces, high)


def _filled(pieces: list[tuple[str, bool]], width: int) -> list[str]:
    """Each line takes what it can hold."""
    lines: list[str] = []
    used = 0
    for piece, spaced in pieces:
        size = columns(piece)
        if lines and used + spaced + size <= width:
            lines[-1] += " " * spaced + piece
            used += spaced + size
        else:
            lines.append(piece)
            used = size
    return lines


def _pieces(text: str, width: int) -> Iterator[tuple[str, bool]]:
    """What is not parted, and whether a blank stands before it."""
    for word in text.split():
        spaced = True
        for piece in _parts(word, width):
            yield piece, spaced
            spaced = False


def _parts(word: str, width: int) -> Iterator[str]:
    # ``open_end``: what comes next belongs to what is there.
    part, size, open_end = "", 0, True
    for cluster in _clusters(word):
        wide = columns(cluster)
        free = bool(_UNSPACED.match(cluster[0]))
        before = bool(part) and bool(_UNSPACED.match(part[-1]))
        bound = open_end or cluster[0] in _NO_START or not (free or before)
        if part and (size + wide > width or not bound):
            yield part
            part, size = "", 0
        part, size = part + cluster, size + wide
        open_end = cluster[-1] in _NO_END
    if part:
        yield part


def _clusters(word: str) -> Iterator[str]:
    """Characters with the marks on them, and joined emoji, as one."""
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


def _columns(character: str) -> int:
    if unicodedata.category(character) in {"Mn", "Me", "Cf"}:
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
