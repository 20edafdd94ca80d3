"""The media files of a folder, and where the results of each go in a mirrored tree."""

import fnmatch
import hashlib
import heapq
import os
import stat
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from avsent.errors import InputError
from avsent.result.writers import Format
from avsent.text import counted

_VIDEO = """
    360 3g2 3gp asf avi divx dv f4v flv insv lrv m2t m2ts m2v m4v mjpeg mjpg mkv mod mov mp4 mpeg
    mpg mts mxf nut ogm ogv qt rm rmvb tod ts vob webm wmv wtv
"""
_SOUND = """
    aac ac3 aif aiff alac amr ape au caf flac m4a mka mp2 mp3 oga ogg opus ra wav wma wv
"""
MEDIA_EXTENSIONS = frozenset((_VIDEO + _SOUND).split())
"""Extensions of media files, in any case; ``--glob`` replaces them."""
_MOST_ENDINGS = 8  # endings that a message lists, the most frequent first
MAX_NAME_BYTES = 255  # limit for one name, on about every file system
_LATEST_NS = 2**63 - 1
"""The year 2262: what SQLite can hold. A broken clock may have set a later one."""
_OUTPUT_EXTENSIONS = (*(format.extension for format in Format), "html")
"""Of outputs in any format, and of the page that a report has for each file."""
_LONGEST_EXTENSION = max(len(f".{extension}") for extension in _OUTPUT_EXTENSIONS)
_RESERVED = ("utterances", "summary", "index")
"""Stems of files in OUT itself."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One input; ``name``: relative to the folder, with ``/``."""

    name: str
    path: Path
    size: int
    mtime_ns: int


@dataclass(slots=True)
class LeftOut:
    """What a search leaves out: numbers of files of other kinds, by ending, of links that lead out
    of the folder and of links to nothing; folders that cannot be read, with the reason."""

    others: dict[str, int] = field(default_factory=dict)
    links_out: int = 0
    links_broken: int = 0
    unread: list[str] = field(default_factory=list)

    def warnings(self) -> list[str]:
        """All but the files of other kinds, in words."""
        lines = [f"a folder cannot be read and is left out: {folder}" for folder in self.unread]
        for count, fault in (
            (
                self.links_out,
                "out of the folder: give --follow-links, or the folder with the files",
            ),
            (self.links_broken, "to no file: fetch the files, or remove the links"),
        ):
            if count:
                lines.append(f"{count} {'link leads' if count == 1 else 'links lead'} {fault}")
        return lines

    def other_kinds(self) -> list[str]:
        """The files of other kinds in words, in one line or none."""
        if not self.others:
            return []
        common = Counter(self.others).most_common(_MOST_ENDINGS)
        endings = ", ".join(f"{ending or 'no ending'} ({count})" for ending, count in common)
        files = counted(sum(self.others.values()), "other file")
        return [f"{files} left out, by ending: {endings}; see --glob"]


@dataclass(slots=True)
class Found:
    """Contents of a folder: media in order of name, and what is left out."""

    files: tuple[SourceFile, ...] = ()
    left_out: LeftOut = field(default_factory=LeftOut)


def find_media(
    folder: Path, out: Path, globs: Sequence[str] = (), *, follow_links: bool = False
) -> Found:
    """The media files under ``folder``, without those under ``out``.

    ``globs``: patterns for names, or with a ``/`` for whole relative names, instead of the known
    extensions. Names that begin with a dot are left out, as in shells. A link is followed to a file
    inside ``folder``; to other files and to folders only with ``follow_links``, and then each
    folder is searched once, at its own place if that is inside ``folder``. Raises InputError if
    there is no such folder, or it cannot be read.
    """
    # os.path, not Path, which raises OSError for names that no file can have.
    if not os.path.exists(folder):
        raise InputError(f"{folder}: no such folder; check the name")
    if not os.path.isdir(folder):
        raise InputError(f"{folder} is a file; give a folder, or use 'avsent predict'")
    try:
        os.scandir(folder).close()
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror}); ask its owner") from error
    left_out = LeftOut()
    files = _walk(Path(os.path.realpath(folder)), out, globs, follow_links, left_out)
    return Found(tuple(sorted(files, key=lambda file: os.fsencode(file.name))), left_out)


def _walk(
    root: Path, out: Path, globs: Sequence[str], follow_links: bool, left_out: LeftOut
) -> Iterator[SourceFile]:
    # A heap and no recursion, as folders may be nested deeper than calls can be. Links come last.
    folders = [(False, "", root)]
    seen = {Path(os.path.realpath(out))} - {root}
    while folders:
        _, prefix, folder = heapq.heappop(folders)
        if folder in seen:
            continue
        seen.add(folder)
        try:
            with os.scandir(folder) as entries:
                listed = list(entries)
        except OSError as error:
            left_out.unread.append(f"{prefix or '.'}: {error.strerror}")
            continue
        for entry in listed:
            if entry.name.startswith("."):
                continue
            name, path, is_link = f"{prefix}{entry.name}", folder / entry.name, entry.is_symlink()
            try:
                status = entry.stat()
            except PermissionError as error:  # the folder may be listed, but not entered
                left_out.unread.append(f"{prefix or '.'}: {error.strerror}")
                break
            except OSError:  # a link to nothing, or removed since it was listed
                left_out.links_broken += is_link
                continue
            is_folder = stat.S_ISDIR(status.st_mode)
            if not is_folder and not stat.S_ISREG(status.st_mode):
                continue
            if not is_folder and not _wanted(name, globs):
                ending = PurePosixPath(name).suffix.lower()
                left_out.others[ending] = left_out.others.get(ending, 0) + 1
                continue
            real = Path(os.path.realpath(path)) if is_link else path
            if is_link and not follow_links and not real.is_relative_to(root):
                left_out.links_out += 1
            elif not is_folder:
                mtime_ns = min(status.st_mtime_ns, _LATEST_NS)
                yield SourceFile(name, path, status.st_size, mtime_ns)
            elif follow_links or not is_link:
                heapq.heappush(folders, (is_link, f"{name}/", real))


def _wanted(name: str, globs: Sequence[str]) -> bool:
    if not globs:
        return PurePosixPath(name).suffix[1:].lower() in MEDIA_EXTENSIONS
    last = PurePosixPath(name).name
    return any(fnmatch.fnmatch(name if "/" in glob else last, glob) for glob in globs)


def assign_stems(names: Iterable[str], known: Mapping[str, str]) -> dict[str, str]:
    """The stem of each name's outputs: the whole name, ``sub/talk.mp4``, to which ``.json`` is
    added, so that ``talk.wav`` does not collide with it.

    Names that differ only in case or Unicode form get a number, because some file systems confuse
    them; so does a name whose output would be named like a folder (``talk.mp4`` beside the folder
    ``talk.mp4.json``). Names that are too long are cut. ``known``: stems assigned earlier, which
    stay.
    """
    names, stems = list(names), dict(known)
    taken = {_folded(stem) for stem in [*_RESERVED, *stems.values()]}
    # All folders of the mirrored tree.
    parents = {parent for name in names for parent in PurePosixPath(name).parents}
    folders = {_folded(parent.as_posix()) for parent in parents}
    for name in names:
        if name in stems:
            continue
        number, stem = 1, _fitting(name, "")
        while _folded(stem) in taken or any(
            _folded(f"{stem}.{extension}") in folders for extension in _OUTPUT_EXTENSIONS
        ):
            number += 1
            stem = _fitting(name, f".{number}")
        taken.add(_folded(stem))
        stems[name] = stem
    return stems


def _fitting(name: str, number: str) -> str:
    """``name`` and ``number``, the last part cut if an extension would not fit."""
    folder, slash, last = name.rpartition("/")
    room = MAX_NAME_BYTES - _LONGEST_EXTENSION - len(number)
    raw = os.fsencode(last)
    if len(raw) > room:
        digest = hashlib.sha256(raw).hexdigest()[:8]
        # Cut between characters: half a character is no name on some file systems.
        last = f"{raw[: room - 9].decode('utf-8', 'ignore')}~{digest}"
    return f"{folder}{slash}{last}{number}"


def _folded(name: str) -> str:
    # Once more after folding: \u017f\u0301 becomes s\u0301, which is \u015b.
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
