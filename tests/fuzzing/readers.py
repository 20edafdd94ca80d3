"""Readers without a command of their own, called as a command would: errors become exit codes."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path

from avsent.cli import outcome
from avsent.errors import AvsentError


def media(path: str) -> None:
    """Read a file to its end."""
    from avsent.extraction.media.reader import MediaReader, prefetch

    with MediaReader(path) as reader:
        for _ in prefetch(reader):
            pass


def boundaries(path: str) -> None:
    """Read utterances."""
    from avsent.extraction.utterances.boundaries import read_boundaries

    read_boundaries(Path(path))


def features(path: str) -> None:
    """Read a feature file."""
    from avsent.training.data.feature_files import read_features

    read_features(Path(path))


def text_corpus(path: str) -> None:
    """Read labelled sentences."""
    from avsent.training.data.text import read_text_corpus

    read_text_corpus(Path(path))


def cache(path: str) -> None:
    """Read kept features; damage is as good as absence."""
    from avsent.training.data.feature_files import CorpusOptions, FeatureCache

    FeatureCache(CorpusOptions(cache=Path(path).parent)).load(Path(path), 3)


def index(folder: str) -> None:
    """Hold a folder of models against its index."""
    from avsent.errors import CheckpointError
    from avsent.model.index import State, verify_folder

    wrong = [found for found in verify_folder(Path(folder)) if found.state is not State.fine]
    if wrong:
        raise CheckpointError(f"{len(wrong)} not fine: {wrong[0].detail}")


def result(path: str) -> None:
    """Read a result, and show it in every format."""
    from avsent.result.record import Result
    from avsent.result.writers import Format, make_writer

    found = Result.load(path)
    for format in Format:
        make_writer(format).write([found], io.StringIO())
    repr(found)
    found._repr_html_()
    found.to_dataframe()


READERS: dict[str, Callable[..., None]] = {
    reader.__name__: reader for reader in (media, boundaries, features, text_corpus, cache)
} | {"index": index, "result": result}


def call(name: str, arguments: Sequence[str]) -> int:
    """Call a reader; its exit code, as the command line would give it."""
    try:
        READERS[name](*arguments)
    except AvsentError as error:
        return outcome.report_error(error, debug=False)
    except Exception as error:
        return outcome.report_error(error, debug=True)
    return 0
