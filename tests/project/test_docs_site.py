"""The site of the documentation: it builds without a warning, and loads nothing from elsewhere."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from conftest import HANG_S, ROOT


class Page(HTMLParser):
    """What a page loads, and where it links to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.names: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {name: value for name, value in attributes if value}
        self.names |= {given[key] for key in ("id", "name") if key in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif "src" in given:
            self.loads.append(given["src"])
        elif tag == "link" and given.get("rel") not in {"canonical", "prev", "next"}:
            self.loads.append(given["href"])


def script(path: str) -> ModuleType:
    """A module of ``docs/``, which is no package."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / "docs" / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site."""
    for needed in ("mkdocs", "material", "mkdocstrings"):
        if importlib.util.find_spec(needed) is None:
            pytest.skip(f"{needed} is not installed: pip install -e '.[docs]'")
    folder = tmp_path_factory.mktemp("site") / "site"
    run = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        timeout=HANG_S,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stderr == ""
    return folder


@pytest.fixture(scope="module")
def built(site: Path) -> dict[Path, Page]:
    return {path: Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}


def test_every_page_is_there(site: Path, built: dict[Path, Page]) -> None:
    names = {str(path.relative_to(site)) for path in built}
    written = {f"{path.stem}.html" for path in (ROOT / "docs").glob("*.md")}
    assert names >= written | {"notebook.html", "changelog.html", "cards/default.html"}
    assert (site / "result.schema.json").is_file()
    assert not list(site.rglob("*.py"))


def test_nothing_is_loaded_from_elsewhere(site: Path, built: dict[Path, Page]) -> None:
    for path, page in built.items():
        assert page.loads
        for load in page.loads:
            assert not re.match(r"(?:\w+:)?//", load), path
    for style in site.rglob("*.css"):
        text = style.read_text(encoding="utf-8")
        assert not re.search(r"url\(['\"]?(?:https?:)?//|@import", text), style


def test_every_link_leads_somewhere(site: Path, built: dict[Path, Page]) -> None:
    count = 0
    for path, page in built.items():
        if path.name == "404.html":  # its links begin at the root of a server
            continue
        for link in page.links:
            target, _, anchor = link.partition("#")
            if re.match(r"\w+:", link):
                continue
            there = path if not target else (path.parent / target).resolve()
            there = there / "index.html" if there.is_dir() else there
            assert there.is_file(), f"{path.relative_to(site)}: {link}"
            if anchor and there in built:
                assert anchor in built[there].names, f"{path.relative_to(site)}: {link}"
            count += 1
    assert count > 500


def test_search_knows_the_pages(site: Path) -> None:
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    said = " ".join(entry["text"] for entry in index["docs"])
    assert "comes across" in said
    assert "PredictOptions" in " ".join(entry["title"] for entry in index["docs"])


def test_no_page_shows_what_is_meant_for_machines(built: dict[Path, Page], site: Path) -> None:
    text = (site / "api.html").read_text(encoding="utf-8")
    assert ":meth:" not in text
    assert "``" not in text
    for path in built:
        assert f"{ROOT}/" not in path.read_text(encoding="utf-8")


def test_links_are_those_of_the_site() -> None:
    pytest.importorskip("mkdocs", reason="pip install -e '.[docs]'")
    from mkdocs.exceptions import PluginError

    outside = script("hooks/outside.py")
    there = {"results.md", "cards/default.md", "notebook.md", "benchmarks/README.md"}

    def linked(text: str, place: str = "docs/a.md", uri: str = "a.md") -> str:
        made: str = outside.linked(text, place, uri, there)
        return made

    assert linked("[x](../models/default/CARD.md#data)") == "[x](cards/default.md#data)"
    assert (
        linked("[x](notebook.ipynb) [y](benchmarks)")
        == "[x](notebook.md) [y](benchmarks/README.md)"
    )
    assert linked("[x](docs/results.md)", "CHANGELOG.md", "changelog.md") == "[x](results.md)"
    kept = "[x](#here) [y](https://example.org/a.md)\n```\n[z](gone.md)\n```\n"
    assert linked(kept) == kept
    with pytest.raises(PluginError, match=r"gone\.md"):
        linked("[x](gone.md)")
    with pytest.raises(PluginError, match="Makefile"):
        linked("[x](../Makefile)")


def test_schema_page_is_fresh() -> None:
    page = (ROOT / "docs" / "schema.md").read_text(encoding="utf-8")
    assert page == script("make_schema.py").page(), "run: make docs"


def test_schema_page_has_every_field() -> None:
    page = (ROOT / "docs" / "schema.md").read_text(encoding="utf-8")
    text = (ROOT / "docs" / "result.schema.json").read_text(encoding="utf-8")

    def fields(plain: object) -> set[str]:
        found: set[str] = set()
        if isinstance(plain, dict):
            if isinstance(plain.get("properties"), dict):
                found |= set(plain["properties"])
            for value in plain.values():
                found |= fields(value)
        return found

    names = fields(json.loads(text))
    assert len(names) > 20
    for name in names:
        assert f"| `{name}`" in page


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
