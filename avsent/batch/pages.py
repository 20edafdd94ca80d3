"""A page for each finished file of a batch, beside its result.

``OUT/.avsent/pages.json`` has a digest of the input of each page; pages whose input has not changed
are not written again. Without that file, all pages are.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any

from avsent import __version__
from avsent.batch.journal import FOLDER_NAME, Entry, Stored, result_of
from avsent.batch.outputs import concerns_all
from avsent.errors import MediaError, OutputError
from avsent.files import atomic_text, prepare_folder

FILE_NAME = "pages.json"


class Pages:
    """The pages of one batch.

    Parameters
    ----------
    folder
        Of the media of the batch; None if unknown: pages have no media.
    pictures
        Pages show faces and spectrograms, which needs another pass over the media. A page that has
        them keeps them while its result is the same.
    reserved
        Files that no page may replace.
    """

    def __init__(
        self, out: Path, folder: Path | None, *, pictures: bool, reserved: Iterable[Path] = ()
    ) -> None:
        self._out = out
        self._folder = folder
        self._pictures = pictures
        self._reserved = {os.path.realpath(path) for path in reserved}
        self._known = _read(out / FOLDER_NAME / FILE_NAME)
        self._version = _version()

    def path(self, stem: str) -> Path:
        """Path of the page of a file."""
        return self._out / f"{stem}.html"

    def has(self, stem: str) -> bool:
        """Whether the page is there and complete."""
        known = self._known.get(stem)
        return known is not None and known["size"] == _size(self.path(stem))

    def write(self, entry: Entry, stored: Stored) -> None:
        """Write the page of a file unless it is up to date, or cannot be written under its name.

        Raises OutputError if no page can be written, or the result is damaged.
        """
        media = None if self._folder is None else self._folder / entry.name
        media = media if media is not None and media.is_file() else None
        facts = json.dumps([self._version, None if media is None else str(media)])
        digest = hashlib.sha256(facts.encode("ascii") + stored.result).hexdigest()
        known = self._known.get(entry.stem, {"digest": None})
        target = self.path(entry.stem)
        same = self.has(entry.stem) and known["digest"] == digest
        if same and (known["pictures"] or not self._pictures):
            return
        if os.path.realpath(target) in self._reserved:
            return
        self._known.pop(entry.stem, None)
        pictures = self._pictures and media is not None
        try:
            try:
                _write_page(target, stored, media, pictures)
            except MediaError:  # the file has changed since its analysis
                pictures = False
                _write_page(target, stored, media, pictures)
        except OutputError as error:
            if concerns_all(error):
                raise
            return
        self._known[entry.stem] = {"digest": digest, "size": _size(target), "pictures": pictures}

    def remove_others(self, stems: Iterable[str]) -> None:
        """Remove all other pages: they have no result any more."""
        for stem in self._known.keys() - set(stems):
            if self.has(stem):  # unchanged since it was written
                with contextlib.suppress(OSError):
                    self.path(stem).unlink()
            del self._known[stem]

    def save(self) -> None:
        """Write ``pages.json``. Raises OutputError."""
        prepare_folder(self._out / FOLDER_NAME)
        with atomic_text(self._out / FOLDER_NAME / FILE_NAME) as file:
            json.dump(self._known, file)


def _write_page(target: Path, stored: Stored, media: Path | None, pictures: bool) -> None:
    from avsent.views.report.page import write_report

    prepare_folder(target.parent)
    write_report(target, result_of(stored.result), media=media, pictures=pictures)


def _version() -> str:
    """Digest of version and assets: if it changes, all pages are written again."""
    digest = hashlib.sha256(__version__.encode("ascii"))
    for asset in sorted(
        (files("avsent.views.report") / "assets").iterdir(), key=lambda item: item.name
    ):
        if asset.is_file():
            digest.update(asset.read_bytes())
    return digest.hexdigest()


def _read(path: Path) -> dict[str, dict[str, Any]]:
    kinds = {"digest": str, "size": int, "pictures": bool}
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        return {
            str(stem): {key: kind(page[key]) for key, kind in kinds.items()}
            for stem, page in plain.items()
        }
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}  # all pages are written anew


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except (OSError, ValueError):
        return None
