"""The pages about the command line say what it does."""

from __future__ import annotations

import typer
from conftest import ROOT
from handmade import make_result

from avsent.cli import app
from avsent.cli.reference import reference, walk


def test_reference_is_fresh() -> None:
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert page == reference(), "run: python -m avsent.cli.reference > docs/cli.md"


def test_every_command_and_option_has_help() -> None:
    for name, command in walk(typer.main.get_command(app), "avsent"):
        assert command.help, name
        for parameter in command.params:
            assert parameter.help, f"{name} {parameter.name}"


def test_results_page_names_every_field_and_code() -> None:
    page = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    for name in [*make_result().to_dict(), *make_result().to_dict()["utterances"][0], "text"]:
        assert name in page
    for code in (0, 1, 2, 3, 4, 5, 130, 141):
        assert f"| {code} |" in page
