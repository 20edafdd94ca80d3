"""A page for each file of a batch that is done, beside its result.

A page whose result did not change is not written again: what each was made from is kept in
``OUT/.avsent/pages.json``, which may be lost without harm.
"""

from __future__ import annotations

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
from avsent.progress import ProgressHook, ignore_progress

FILE_NAME = "pages.json"
ENDING = "html"


class Pages:
    """The pages of the files of one batch.

    Parameters
    ----------
    folder
        Where the batch's media are, None where that is not known: pages show them where they are.
    pictures
        Whether to look for faces and sound in the media again, so that pages can show them. That
        takes long; pages that have their pictures keep them while their result is the same.
    """

    def __init__(
        self, out: Path, folder: Path | None, *, pictures: bool, reserved: Iterable[Path] = ()
    ) -> None:
        self._out = out
        self._folder = folder
        self._pictures = pictures
        self._reserved = {os.path.realpath(path) for path in reserved}
        self._known = _read(out / FOLDER_NAME / FILE_NAME)
        self._made_by = _version()

    def path(self, stem: str) -> Path:
        """Where the page of a file is."""
        return self._out / f"{stem}.{ENDING}"

    def has(self, stem: str) -> bool:
        """Whether the page is there, whole."""
        known = self._known.get(stem)
        return known is not None and known["size"] == _size(self.path(stem))

    def write(
        self, entry: Entry, stored: Stored, on_progress: ProgressHook = ignore_progress
    ) -> bool:
        """Write the page of a file unless it is as it should be; tells whether it wrote it.

        One that cannot be written under its name is left out.

        Raises:
            OutputError: none can be written, or the result is damaged.
        """
        media = self._media(entry)
        digest = self._digest(stored, media)
        known = self._known.get(entry.stem)
        same = self.has(entry.stem) and known is not None and known["digest"] == digest
        if same and known is not None and (known["pictures"] or not self._pictures):
            return False
        target = self.path(entry.stem)
        if os.path.realpath(target) in self._reserved:
            return False
        self._known.pop(entry.stem, None)
        pictures = self._pictures and media is not None
        try:
            try:
                _write_page(target, stored, media, pictures, on_progress)
            except MediaError:  # the file is not what it was when it was analysed
                pictures = False
                _write_page(target, stored, media, pictures, on_progress)
        except OutputError as error:
            if concerns_all(error):
                raise
            return False
        self._known[entry.stem] = {
            "digest": digest,
            "size": _size(target),
            "pictures": pictures,
        }
        return True

    def remove_others(self, stems: Iterable[str]) -> None:
        """Remove the pages of files that have no result any more, all but these."""
        for stem in self._known.keys() - set(stems):
            if self.has(stem):  # as we wrote it
                with contextlib.suppress(OSError):
                    self.path(stem).unlink()
            del self._known[stem]

    def keep(self) -> None:
        """Remember what was written. Raises OutputError."""
        prepare_folder(self._out / FOLDER_NAME)
        with atomic_text(self._out / FOLDER_NAME / FILE_NAME) as file:
            json.dump(self._known, file)

    def _media(self, entry: Entry) -> Path | None:
        path = None if self._folder is None else self._folder / entry.name
        return path if path is not None and path.is_file() else None

    def _digest(self, stored: Stored, media: Path | None) -> str:
        facts = [self._made_by, None if media is None else str(media)]
        digest = hashlib.sha256(json.dumps(facts).encode("ascii"))
        digest.update(stored.result)
        return digest.hexdigest()


def _write_page(
    target: Path, stored: Stored, media: Path | None, pictures: bool, on_progress: ProgressHook
) -> None:
    # Here, because it brings what draws pictures.
    from avsent.views.report.page import write_report

    prepare_folder(target.parent)
    write_report(
        target, result_of(stored.result), media=media, pictures=pictures, on_progress=on_progress
    )


def _version() -> str:
    """A digest of what pages are made with: another one, and all are written again."""
    digest = hashlib.sha256(__version__.encode("ascii"))
    for asset in sorted(
        (files("avsent.views.report") / "assets").iterdir(), key=lambda item: item.name
    ):
        if asset.is_file():
            digest.update(asset.read_bytes())
    return digest.hexdigest()


def _read(path: Path) -> dict[str, dict[str, Any]]:
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        return {
            str(stem): {
                "digest": str(page["digest"]),
                "size": int(page["size"]),
                "pictures": bool(page["pictures"]),
            }
            for stem, page in plain.items()
        }
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}  # all pages are written anew


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except (OSError, ValueError):
        return None
