"""The overview of a batch in a browser: it sorts, chooses, scrolls, and obeys the keyboard."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from browser import NARROW
from written_views import BAD, batch_of, blocks_of, large_batch, small_batch

from avsent.batch.overview import write_overview

FILES, EACH = 60, 20
Open: TypeAlias = Callable[..., Any]


@pytest.fixture
def opened(open_page: Open) -> Open:
    """Opens a file; gives Playwright's page."""
    return lambda path, **options: open_page(path, **options).page


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_overview(large_batch(tmp_path_factory.mktemp("talks"), FILES, EACH), pages=False)


def cells(page: Any, grid: str, kind: str) -> list[str]:
    """What stands in a column, of the rows in the document from top to bottom."""
    found = page.evaluate(
        """([grid, kind]) => [...document.querySelectorAll(`#${grid} .body .row:not([hidden])`)]
            .sort((a, b) => a.ariaRowIndex - b.ariaRowIndex)
            .map((row) => row.querySelector(`.${kind}`).textContent)""",
        [grid, kind],
    )
    assert isinstance(found, list)
    return found


def scores(page: Any, grid: str = "utterances") -> list[float]:
    """Those that are known."""
    texts = cells(page, grid, "score")
    return [float(text.replace("−", "-")) for text in texts if text != "–"]


def sort(page: Any, grid: str, title: str) -> str:
    """Click on the head of a column; gives the direction."""
    page.click(f"#{grid} .head button:text-is('{title}')")
    head = page.locator(f"#{grid} .head [role=columnheader]", has_text=title)
    return str(head.get_attribute("aria-sort"))


def count(page: Any, grid: str = "utterances") -> str:
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")
    return str(page.inner_text(f"#{grid}-count"))


def test_it_shows_all_files_and_utterances(large: Path, opened: Open) -> None:
    page = opened(large)
    assert page.inner_text("h1") == large.parent.name
    assert count(page) == "1,200"
    assert count(page, "files") == "62"
    assert page.get_attribute("#utterances", "aria-rowcount") == "1201"
    assert cells(page, "utterances", "place")[:21] == [*map(str, range(1, 21)), "1"]
    assert cells(page, "files", "name")[:3] == [
        "notes.mp4",
        "session 00/interview 0000.mp4",
        "session 00/interview 0020.mp4",
    ]
    assert page.locator("#tiles .tile").count() == 6
    assert page.locator("#scores .column").count() == 20


def test_each_column_sorts_both_ways(large: Path, opened: Open) -> None:
    page = opened(large)
    everything = blocks_of(large)["data"]["utterances"]["score"]
    best = sorted((value / 10_000 for value in everything), reverse=True)
    assert sort(page, "utterances", "Score") == "descending"
    shown = scores(page)
    assert shown == [pytest.approx(value, abs=0.0051) for value in best[: len(shown)]]
    assert sort(page, "utterances", "Score") == "ascending"
    assert scores(page) == [pytest.approx(v, abs=0.0051) for v in best[::-1][: len(shown)]]
    assert page.locator("#utterances .head [aria-sort$=ending]").count() == 1

    assert sort(page, "utterances", "Text") == "ascending"
    texts = cells(page, "utterances", "text")
    assert texts == sorted(texts, key=str.casefold)
    assert sort(page, "utterances", "Probability") == "descending"
    sure = [float(text.rstrip("%")) for text in cells(page, "utterances", "probability")]
    assert sure == sorted(sure, reverse=True)

    assert sort(page, "files", "Mean score") == "descending"
    assert scores(page, "files") == sorted(scores(page, "files"), reverse=True)
    # Those without a score are last in either direction.
    assert sort(page, "files", "Mean score") == "ascending"
    assert cells(page, "files", "score")[0] != "–"
    page.focus("#files")
    page.keyboard.press("End")
    assert cells(page, "files", "score")[-2:] == ["–", "–"]
    for title in ("File", "Duration", "Utterances", "Sentiments", "Warnings"):
        assert sort(page, "files", title).endswith("ending")
    for title in ("File", "#", "Start", "Length", "Sentiment", "Warnings"):
        assert sort(page, "utterances", title).endswith("ending")


def test_filters_choose_and_the_charts_follow(large: Path, opened: Open) -> None:
    page = opened(large)
    data = blocks_of(large)["data"]
    said = data["utterances"]
    page.fill("#utterances-words", "REALLY")
    wanted = [n for n, text in enumerate(said["text"]) if "really" in text.lower()]
    assert count(page) == f"{len(wanted)} of 1,200"
    assert all("really" in text.lower() for text in cells(page, "utterances", "text"))

    page.select_option("#utterances-label", label="positive")
    label = data["labels"].index("positive")
    wanted = [n for n in wanted if said["label"][n] == label]
    assert count(page) == f"{len(wanted)} of 1,200"
    bars = page.locator("#labels .count").all_inner_texts()
    assert [text.split()[-1] for text in bars] == ["0", "0", str(len(wanted))]

    page.fill("#utterances-low", "0.25")
    wanted = [n for n in wanted if said["score"][n] >= 2500]
    assert count(page) == f"{len(wanted)} of 1,200"
    page.check("#utterances-warned")
    wanted = [n for n in wanted if str(n) in said["remarks"]]
    assert count(page) == f"{len(wanted)} of 1,200"
    page.click("#utterances-all")
    assert count(page) == "1,200"
    assert page.input_value("#utterances-words") == ""
    assert page.is_disabled("#utterances-all")

    page.fill("#files-words", "interview 0007")
    assert count(page, "files") == "1 of 62"
    page.fill("#files-words", "")
    page.select_option("#files-state", "failed")
    assert count(page, "files") == "2 of 62"
    assert cells(page, "files", "name") == ["notes.mp4", "session 03/broken.mp4"]
    assert cells(page, "files", "shares")[0] == "notes.mp4: no media file"


def test_a_click_on_a_file_shows_its_utterances(large: Path, opened: Open) -> None:
    page = opened(large)
    row = page.locator("#files .body .row", has_text="interview 0020.mp4")
    row.click()
    assert count(page) == "20 of 1,200"
    assert set(cells(page, "utterances", "name")) == {"session 00/interview 0020.mp4"}
    assert row.get_attribute("aria-selected") == "true"
    assert page.inner_text("#utterances-file").startswith("session 00/interview 0020.mp4")
    page.click("#utterances-file")
    assert count(page) == "1,200"
    assert page.is_hidden("#utterances-file")


def test_a_click_on_a_chart_chooses(large: Path, opened: Open) -> None:
    page = opened(large)
    column = page.locator("#scores .column").nth(13)
    told = column.get_attribute("title")
    column.click()
    assert count(page) == f"{told.split()[0]} of 1,200"
    assert told.endswith("scores +0.3 to +0.4")
    assert all(0.295 <= score <= 0.405 for score in scores(page))
    column.click()
    assert count(page) == "1,200"

    bar = page.locator("#labels .bar-row", has_text="negative")
    many = bar.locator(".count").inner_text().split()[-1]
    bar.click()
    assert count(page) == f"{many} of 1,200"
    assert set(cells(page, "utterances", "label")) == {"negative"}
    bar.click()

    page.locator("#strip").click(position={"x": 5, "y": 60})
    assert count(page) == "20 of 1,200"
    lowest = min(mean for mean in blocks_of(large)["data"]["files"]["mean"] if mean is not None)
    page.hover("#strip", position={"x": 5, "y": 60})
    assert page.inner_text("#tip").startswith(f"{lowest / 10_000:.2f}".replace("-", "−"))


def test_only_rows_in_view_are_in_the_document(large: Path, opened: Open) -> None:
    page = opened(large)
    for share in (0.1, 0.5, 1.0):
        page.evaluate(
            "(share) => { const grid = document.getElementById('utterances');"
            " grid.scrollTop = share * (grid.scrollHeight - grid.clientHeight); }",
            share,
        )
        page.wait_for_timeout(50)
        rows = page.locator("#utterances .body .row:not([hidden])").count()
        assert 15 < rows < 60
    last = page.locator("#utterances .body .row[aria-rowindex='1201']")
    assert last.is_visible()
    assert last.locator(".place").inner_text() == str(EACH)
    box, grid = last.bounding_box(), page.locator("#utterances").bounding_box()
    assert box["y"] + box["height"] <= grid["y"] + grid["height"] + 1
    assert page.locator("*").count() < 3000


def test_the_keyboard_alone(large: Path, opened: Open) -> None:
    page = opened(large)
    page.focus("#files")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")

    def active(grid: str) -> Any:
        return page.locator(f"[id='{page.get_attribute(f'#{grid}', 'aria-activedescendant')}']")

    assert active("files").get_attribute("aria-rowindex") == "4"
    assert "interview 0020" in active("files").inner_text()
    page.keyboard.press("Enter")
    assert count(page) == "20 of 1,200"
    page.keyboard.press("ArrowRight")  # to the link in this row
    assert page.evaluate("document.activeElement.textContent") == "result"
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("document.activeElement.id") == "files"
    page.click("#utterances-all")

    page.focus("#utterances")
    page.keyboard.press("End")
    assert active("utterances").get_attribute("aria-rowindex") == "1201"
    page.keyboard.press("PageUp")
    after = int(active("utterances").get_attribute("aria-rowindex"))
    assert 1170 < after < 1195
    page.keyboard.press("ArrowUp")
    assert active("utterances").get_attribute("aria-rowindex") == str(after - 1)
    assert active("utterances").is_visible()
    page.keyboard.press("Home")
    assert active("utterances").get_attribute("aria-rowindex") == "2"
    assert page.evaluate("document.getElementById('utterances').scrollTop") == 0


def test_links_open_the_page_of_an_utterance(tmp_path: Path, opened: Open) -> None:
    page = opened(write_overview(small_batch(tmp_path)))
    row = page.locator("#utterances .body .row", has_text="a.mp4").nth(1)
    place = row.locator(".place").inner_text()
    row.locator("a:visible").click()
    page.wait_for_url("**/a.mp4.html*")
    assert page.url.endswith(f"a.mp4.html#u{place}")


def test_names_and_words_are_shown_as_they_are(tmp_path: Path, open_page: Open) -> None:
    written = write_overview(small_batch(tmp_path), pages=False)
    one = open_page(written)
    page = one.page
    names = cells(page, "files", "name")
    assert BAD in names
    assert "sub/caf\\udce9.mp4" in names
    assert page.locator("script").count() == 4  # two of data, two of ours
    assert [url for url in one.requests if not url.startswith("data:")] == [written.as_uri()]
    page.fill("#utterances-words", "<i>")
    assert count(page) == "1 of 10"
    assert "<i>" in cells(page, "utterances", "text")[0]
    page.fill("#files-words", "SUB/CAF")
    assert count(page, "files") == "1 of 6"
    assert cells(page, "files", "name") == ["sub/caf\\udce9.mp4"]


@pytest.mark.parametrize("failed", [(), ("bad.mp4",)])
def test_an_empty_batch(tmp_path: Path, opened: Open, failed: tuple[str, ...]) -> None:
    page = opened(write_overview(batch_of(tmp_path, {}, *failed), pages=False))
    assert count(page) == "0"
    assert count(page, "files") == str(len(failed))
    page.focus("#utterances")
    page.keyboard.press("End")
    assert sort(page, "utterances", "Score") == "descending"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone(large: Path, opened: Open, scheme: str) -> None:
    page = opened(large, size=NARROW, scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.get_attribute("html", "data-theme") == scheme
    page.select_option("#utterances-sorter select", label="Score")
    page.click("#utterances-sorter button")
    shown = scores(page)
    assert shown == sorted(shown, reverse=True)
    assert page.locator("#utterances .body .row .text:visible").count() > 5


def test_longer_than_an_element_can_be(large: Path, chromium: Any, tmp_path: Path) -> None:
    text = large.read_text("utf-8")
    assert text.count("MAX_HEIGHT = 8e6") == 1
    short = tmp_path / "short.html"
    short.write_text(text.replace("MAX_HEIGHT = 8e6", "MAX_HEIGHT = 3e3"), "utf-8")
    context = chromium.new_context(bypass_csp=True)
    page = context.new_page()
    page.goto(short.as_uri())
    page.focus("#utterances")
    for key, row in (("End", 1201), ("PageUp", None), ("Home", 2)):
        page.keyboard.press(key)
        active = page.locator(
            f"[id='{page.get_attribute('#utterances', 'aria-activedescendant')}']"
        )
        assert row is None or active.get_attribute("aria-rowindex") == str(row)
        box, grid = active.bounding_box(), page.locator("#utterances").bounding_box()
        assert box["y"] >= grid["y"]
        assert box["y"] + box["height"] <= grid["y"] + grid["height"] + 1
    context.close()
