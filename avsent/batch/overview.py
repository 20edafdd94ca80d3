"""``avsent report OUT``: a page about a whole batch, and one for each of its files."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

from avsent.batch.journal import Journal, State
from avsent.batch.lock import is_held
from avsent.batch.overview_columns import Links, columns_of
from avsent.batch.overview_data import Overview, read_overview, stored_if_done
from avsent.batch.overview_head import head_of
from avsent.batch.overview_pages import Pages
from avsent.files import atomic_text
from avsent.progress import Progress, ProgressHook, ignore_progress
from avsent.result.writers import Format, make_writer
from avsent.text import one_line
from avsent.views.report.html import json_block, page

FILE_NAME = "index.html"
_SCRIPTS = tuple(
    f"overview-{part}.js" for part in ("data", "grid", "charts", "strip", "tables", "page")
)
_FORMATS = {format.value: format for format in Format}
_BEST_FIRST = (Format.json, Format.jsonl)
"""Of the formats a result may be in, what the overview rather links to."""


def write_overview(
    out: Path,
    target: Path | None = None,
    *,
    pages: bool = True,
    pictures: bool = False,
    on_progress: ProgressHook = ignore_progress,
) -> Path:
    """Write the overview of the batch in ``out``, which may be at work, and give its path.

    Parameters
    ----------
    target
        By default ``index.html`` in ``out``.
    pages
        Whether to write a page for each file that is done, beside its result, too. There are
        none where ``out`` may only be read, nor before ``--adapt corpus`` has its results.
    pictures
        Whether those show faces and sound, for which each video is gone through again.
    on_progress
        Told of the pages: how many of how many.

    Raises
    ------
    OutputError
        There is no batch in ``out``, its journal is damaged, or a page cannot be written.
    """
    target = out / FILE_NAME if target is None else target
    at_work = is_held(out)
    with Journal(out, write=False) as journal:
        overview = read_overview(journal, at_work=at_work)
        folder = _folder(journal)
        made = Pages(out, folder, pictures=pictures, reserved=[target, out / FILE_NAME])
        # A batch of others, that one may only read, still has its overview elsewhere.
        if pages and not overview.preliminary and os.access(out, os.W_OK):
            _write_pages(made, journal, overview, on_progress)
        written = journal.outputs()
    links = dict(_links(out, target, overview, made, written))
    head = head_of(overview, one_line(os.path.basename(os.path.realpath(out))) or "batch")
    blocks = [json_block("head", head), json_block("data", columns_of(overview, links))]
    with atomic_text(target) as file:
        file.writelines(
            page(
                "overview.html",
                title=f"{head['title']}: sentiment of a batch",
                styles=("base.css", "overview.css", "overview-narrow.css"),
                early=("theme.js",),
                scripts=_SCRIPTS,
                blocks=blocks,
            )
        )
    return target


def _write_pages(
    made: Pages, journal: Journal, overview: Overview, on_progress: ProgressHook
) -> None:
    done = [view.entry for view in overview.of_state(State.done)]
    # A file that has left the folder keeps its result, and so its page.
    gone = [e for e in journal.entries() if not e.present and e.state == State.done]
    made.remove_others(entry.stem for entry in [*done, *gone])
    try:
        for number, entry in enumerate(done):
            on_progress(Progress("pages", entry.name, number, len(done)))
            stored = stored_if_done(journal, entry)
            if stored is not None:
                made.write(entry, stored)
        on_progress(Progress("pages", "", len(done), len(done)))
    finally:
        made.keep()


def _links(
    out: Path,
    target: Path,
    overview: Overview,
    made: Pages,
    written: Mapping[tuple[str, str], int],
) -> Iterator[tuple[str, Links]]:
    """Addresses of what there is of each file."""
    start = os.path.dirname(os.path.realpath(target))
    formats: dict[str, list[Format]] = {}
    for name, format in written:
        if format in _FORMATS:
            formats.setdefault(name, []).append(_FORMATS[format])
    endings = {format: make_writer(format).extension for format in Format}
    for view in overview.of_state(State.done):
        stem = view.entry.stem
        results = [
            path
            for format in sorted(formats.get(view.entry.name, []), key=_rank)
            if (path := out / f"{stem}.{endings[format]}").is_file()
        ]
        yield (
            view.entry.name,
            Links(
                _address(results[0], start) if results else None,
                _address(made.path(stem), start) if made.has(stem) else None,
            ),
        )


def _rank(format: Format) -> int:
    return _BEST_FIRST.index(format) if format in _BEST_FIRST else len(_BEST_FIRST)


def _address(path: Path, start: str) -> str:
    """A relative address, also of a name that is no UTF-8."""
    relative = os.path.relpath(os.path.realpath(path.parent) + os.sep + path.name, start)
    return quote(os.fsencode(relative.replace(os.sep, "/")))


def _folder(journal: Journal) -> Path | None:
    """Where the media of the batch are; None where they no longer are there."""
    kept = journal.fact("folder")
    folder = Path(kept) if isinstance(kept, str) else None
    return folder if folder is not None and folder.is_dir() else None
