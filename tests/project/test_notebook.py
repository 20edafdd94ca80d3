"""The example notebook: its code still runs, and what it shows was made by it."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

NOTEBOOK = ROOT / "docs" / "notebook.ipynb"
PLACES = re.compile(r"(?<![\w.:/-])/(?:home|root|Users|tmp|usr|opt|work|mnt|var)/|[A-Z]:\\\\")


def notebook_cells(kind: str) -> list[dict[str, Any]]:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == kind]


def shown_by(cell: dict[str, Any]) -> dict[str, Any]:
    """What a cell shows, by the kind of its data."""
    data: dict[str, Any] = {}
    for output in cell["outputs"]:
        assert output["output_type"] in {"execute_result", "display_data"}, output
        data |= output["data"]
    return data


def run_cell(source: str, names: dict[str, Any]) -> object:
    """Run it as a notebook does; the value of its last line where that is an expression."""
    body = ast.parse(source).body
    last = body.pop() if isinstance(body[-1], ast.Expr) else None
    exec(compile(ast.Module(body, []), "cell", "exec"), names)
    if last is None:
        return None
    assert isinstance(last, ast.Expr)
    return eval(compile(ast.Expression(last.value), "cell", "eval"), names)


def test_it_was_run_from_its_beginning() -> None:
    cells = notebook_cells("code")
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    for cell in cells:
        shown = shown_by(cell)
        assert shown, cell["source"]
        assert not PLACES.search(json.dumps(shown))
    assert sum("image/png" in shown_by(cell) for cell in cells) == 2


@pytest.mark.usefixtures("one_thread")
def test_its_code_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    import matplotlib.pyplot as plt

    monkeypatch.chdir(NOTEBOOK.parent)
    plt.switch_backend("agg")
    names: dict[str, Any] = {"__name__": "__main__"}
    for cell in notebook_cells("code"):
        value = run_cell("".join(cell["source"]), names)
        shown = shown_by(cell)
        if "image/png" in shown:
            (number,) = plt.get_fignums()
            assert plt.figure(number).axes[0].has_data()
            plt.close("all")
        else:
            # The same kind of thing as when it was run: numbers may differ in their last places.
            assert ("text/html" in shown) == hasattr(value, "_repr_html_")
            assert re.sub(r"[-\d. ]+", " ", repr(value)) == re.sub(
                r"[-\d. ]+", " ", "".join(shown["text/plain"])
            )
    assert names["again"].to_dict() == names["result"].to_dict()


def test_its_links_lead_somewhere() -> None:
    text = "\n".join("".join(cell["source"]) for cell in notebook_cells("markdown"))
    links = re.findall(r"\]\(([^)#]+)", text)
    assert links
    assert all((Path(NOTEBOOK).parent / link).exists() for link in links if "://" not in link)
