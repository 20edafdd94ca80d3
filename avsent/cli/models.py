"""``avsent models``: the included models, the facts about one, and whether they are intact."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import typer

from avsent.cli import options, outcome
from avsent.errors import CheckpointError

app = typer.Typer(rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def models(context: typer.Context, debug: bool = options.DEBUG) -> None:
    """List the included models, describe one, or verify them.

    Other commands take a model by its name here, or by the path of a checkpoint folder.
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command("list", short_help="List the included models.")
def list_(as_json: bool = options.JSON, debug: bool = options.DEBUG) -> None:
    """List the included models: labels, size of the weights, licence.

    The sizes are without Whisper's encoder, a file of 41 MB that they share. The list is
    tab-separated if standard output is no terminal.
    """
    from avsent.model.index import index_text, read_index

    index = read_index()
    rows = [
        [entry.name, ", ".join(entry.labels), f"{entry.bytes / 1e6:.1f} MB", entry.licence]
        for entry in index.models
    ]
    with outcome.printing():
        if as_json:
            print(index_text(index), end="")
        else:
            outcome.print_table(rows, ["name", "labels", "size", "licence"])


@app.command("info", short_help="Describe one model.")
def info(
    model: str = options.argument(
        "NAME|PATH", "An included model, a checkpoint folder, or a run's folder."
    ),
    as_json: bool = options.JSON,
    debug: bool = options.DEBUG,
) -> None:
    """Describe one model: labels, modalities, parameters, data, licence, hash, calibration,
    features, and where its model card is.

    Only the JSON holds the sizes of its layers.
    """
    from avsent.model.index import describe

    about = describe(model)
    with outcome.printing():
        if as_json:
            print(json.dumps(about, indent=2, ensure_ascii=False))
        else:
            del about["network"]
            outcome.print_table(_flat(about))


@app.command("verify", short_help="Hash and load models.")
def verify(
    models: list[str] | None = options.argument(
        "NAME|PATH",
        "Included models, checkpoint folders or runs' folders. Default: all included models.",
        None,
    ),
    debug: bool = options.DEBUG,
) -> None:
    """Hash and load models, and print for each whether it is fine, damaged, missing or unlisted.

    Compares the weights with the model's config.json, those of included models also with
    index.json. Exits with code 4 if any model is not fine.
    """
    from avsent.model.index import State, verify_checkpoint, verify_folder

    found = [verify_checkpoint(model) for model in models] if models else verify_folder()
    with outcome.printing():
        rows = [[finding.name, finding.state, finding.detail] for finding in found]
        outcome.print_table(rows, ["name", "state", "what"])
    wrong = sum(finding.state is not State.fine for finding in found)
    if wrong or not found:
        count = f"{wrong} of {len(found)} not fine" if found else "no models are included"
        outcome.say("error", f"{count}; restore them, or install avsent again")
        raise typer.Exit(CheckpointError.exit_code)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Dotted names, and values as people read them."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list | tuple):
            yield prefix + name, ", ".join(map(str, value)) or "none"
        elif isinstance(value, int) and not isinstance(value, bool):
            yield prefix + name, f"{value:,}"
        else:
            yield prefix + name, "none" if value in (None, "") else str(value)
