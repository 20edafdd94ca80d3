"""``avsent models``: which models came along, what is known of one, and whether they are whole."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, TextIO

import typer

from avsent.cli.options import DebugOption
from avsent.cli.outcome import printing, say
from avsent.errors import CheckpointError

NOT_IN_TABLE = ("network",)
"""Sizes of layers: JSON has them."""

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]

app = typer.Typer(rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def models(context: typer.Context, debug: DebugOption = False) -> None:
    """List the models that came along, tell all about one, or verify them.

    Other commands take a model by its name here, or by the path of a checkpoint folder.
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command("list", short_help="List the models that came along.")
def list_(as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """List the models that came along: what they tell apart, size of the weights, licence.

    Tabs stand between the columns where standard output is no terminal.
    """
    from avsent.model.index import index_text, read_index

    index = read_index()
    rows = [
        [entry.name, ", ".join(entry.labels), _size(entry.bytes), entry.licence]
        for entry in index.models
    ]
    with printing():
        if as_json:
            print(index_text(index), end="")
        else:
            _print_rows(["name", "labels", "size", "licence"], rows, sys.stdout)


@app.command("info", short_help="Tell all that is known of one model.")
def info(
    model: Annotated[
        str,
        typer.Argument(
            metavar="NAME|PATH",
            help="A model that came along, or a checkpoint folder, or the folder of a run.",
            show_default=False,
        ),
    ],
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Tell all that is known of one model: labels, modalities, parameters, data, licence, hash,
    calibration, features, and where its card is.

    The sizes of its layers are in the JSON alone.
    """
    from avsent.model.index import describe

    about = describe(model)
    shown = {key: value for key, value in about.items() if key not in NOT_IN_TABLE}
    with printing():
        if as_json:
            print(json.dumps(about, indent=2, ensure_ascii=False))
        else:
            _print_rows([], [list(row) for row in _flat(shown)], sys.stdout)


@app.command("verify", short_help="Hash and load models.")
def verify(
    models: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME|PATH",
            help="Models that came along, checkpoint folders or folders of runs; without any, all "
            "that came along.",
            show_default=False,
        ),
    ] = None,
    debug: DebugOption = False,
) -> None:
    """Hash and load models, and print for each whether it is fine, damaged, missing or unlisted.

    The weights are held against the model's config.json, those that came along also against
    index.json. Ends with code 4 where one is not fine.
    """
    from avsent.model.index import State, verify_checkpoint, verify_folder

    found = [verify_checkpoint(model) for model in models] if models else verify_folder()
    with printing():
        rows = [[finding.name, finding.state, finding.detail] for finding in found]
        _print_rows(["name", "state", "what"], rows, sys.stdout)
    wrong = sum(finding.state is not State.fine for finding in found)
    if wrong or not found:
        count = f"{wrong} of {len(found)} not fine" if found else "no models came along"
        say("error", f"{count}; restore them, or install avsent again")
        raise typer.Exit(CheckpointError.exit_code)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Names with dots, and values as people read them."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list | tuple):
            yield prefix + name, ", ".join(map(str, value)) or "none"
        elif isinstance(value, int) and not isinstance(value, bool):
            yield prefix + name, f"{value:,}"
        else:
            yield prefix + name, "none" if value in (None, "") else str(value)


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB"


def _print_rows(head: Sequence[str], rows: Sequence[Sequence[str]], file: TextIO) -> None:
    """A table on a terminal, without a heading two columns; elsewhere the rows, with tabs."""
    from avsent.text import one_line

    if not file.isatty():
        for row in rows:
            print("\t".join(map(one_line, row)), file=file)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(
        box=None,
        pad_edge=False,
        padding=(0, 2, 0, 0),
        header_style="dim",
        show_header=bool(head),
    )
    for title in head or ("", ""):
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*(Text(one_line(cell)) for cell in row))
    Console(file=file, markup=False, emoji=False, highlight=False).print(table)
