"""The media files of a folder, and where the results of each go in a mirrored tree."""

import fnmatch
import hashlib
import os
import stat
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from avsent.errors import InputError
from avsent.result.writers import Format

_VIDEO = """
    3g2 3gp asf avi divx dv f4v flv m2ts m2v m4v mjpeg mjpg mkv mov mp4 mpeg mpg mts mxf nut ogm ogv
    qt rm rmvb ts vob webm wmv wtv
"""
_SOUND = """
    aac ac3 aif aiff alac amr ape au caf flac m4a mka mp2 mp3 oga ogg opus ra wav wma wv
"""
MEDIA_EXTENSIONS = frozenset((_VIDEO + _SOUND).split())
"""Extensions of media files, in any case; ``--glob`` replaces them."""
MAX_NAME_BYTES = 255
"""Limit for one name, on about every file system."""
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
class Found:
    """Contents of a folder: media in order of name; numbers of files of other kinds, and of links
    that lead out of it; folders that cannot be read, with the reason."""

    files: tuple[SourceFile, ...] = ()
    others: int = 0
    links_out: int = 0
    unread: tuple[str, ...] = ()


def find_media(folder: Path, out: Path, globs: Sequence[str] = ()) -> Found:
    """The media files under ``folder``, without those under ``out``.

    ``globs``: patterns for names, or with a ``/`` for whole relative names, instead of the known
    extensions. Names that begin with a dot are left out, as in shells. A link is followed to a
    file inside ``folder``; never to a folder, which is found at its own place.

    Raises:
        InputError: there is no such folder, or it cannot be read.
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
    found = Found()
    files = list(_walk(Path(os.path.realpath(folder)), Path(os.path.realpath(out)), found))
    media = [file for file in files if _wanted(file.name, globs)]
    found.files = tuple(sorted(media, key=lambda file: os.fsencode(file.name)))
    found.others = len(files) - len(media)
    return found


def _walk(root: Path, out: Path, found: Found) -> Iterator[SourceFile]:
    # No recursion: folders may be nested deeper than calls can be.
    folders = [(root, "")]
    while folders:
        folder, prefix = folders.pop()
        try:
            with os.scandir(folder) as entries:
                listed = list(entries)
        except OSError as error:
            found.unread += (f"{prefix or '.'}: {error.strerror}",)
            continue
        for entry in listed:
            if entry.name.startswith("."):
                continue
            path = folder / entry.name
            if not entry.is_dir(follow_symlinks=False):
                file = _file(entry, f"{prefix}{entry.name}", path, root, found)
                if file is not None:
                    yield file
            elif path != out:
                folders.append((path, f"{prefix}{entry.name}/"))


def _file(
    entry: os.DirEntry[str], name: str, path: Path, root: Path, found: Found
) -> SourceFile | None:
    """The file of a folder's entry; None if it is no file, or a link that is not followed."""
    if entry.is_symlink():
        real = os.path.realpath(path)
        if os.path.isdir(real):
            return None
        if not Path(real).is_relative_to(root):
            found.links_out += 1
            return None
    try:
        status = entry.stat()
    except OSError:
        return None  # a link to nothing, or removed since it was listed
    if not stat.S_ISREG(status.st_mode):
        return None
    return SourceFile(name, path, status.st_size, min(status.st_mtime_ns, _LATEST_NS))


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
