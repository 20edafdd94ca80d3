"""The report page in a real browser: filters, sorting, the keyboard, and odd results."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from browser import until
from handmade import HOSTILE, make_result
from report_pages import CHOSEN, NOW, OUT, PAUSED, SHOWN, Open, page_of, ready, start_of

# --- filter, sort, keys --------------------------------------------------------------------------


def test_filter(tmp_path: Path, open_page: Open) -> None:
    page = open_page(page_of(tmp_path / "a.html", make_result(9, text="Some words"))).page
    count = page.locator("#count")
    assert count.inner_text() == "9 utterances"
    page.fill("#words", "WORDS")
    assert page.evaluate(SHOWN) == [0]
    assert count.inner_text() == "1 of 9 utterances"
    assert page.evaluate(OUT) == 8
    page.fill("#words", "#4")
    assert page.evaluate(SHOWN) == [3]
    page.fill("#words", "nothing like it")
    assert page.evaluate(SHOWN) == []
    assert page.get_by_text("No utterance matches").is_visible()
    page.get_by_role("button", name="Clear filter").click()
    assert page.evaluate(SHOWN) == list(range(9))
    page.locator("#labels").get_by_role("button", name="negative").click()
    assert page.evaluate(SHOWN) == [1, 4, 7]
    page.locator("#labels").get_by_role("button", name="neutral").click()
    assert page.evaluate(SHOWN) == [1, 2, 4, 5, 7, 8]
    # Arrows go among those shown, from where the chosen one is.
    for key, chosen in (("ArrowRight", 2), ("ArrowRight", 3), ("ArrowRight", 5), ("ArrowLeft", 3)):
        page.keyboard.press(key)
        assert page.locator("#chosen-title").inner_text() == f"Utterance {chosen} of 9"
    page.get_by_label("With warnings").check()
    assert page.evaluate(SHOWN) == [8]
    page.get_by_role("button", name="Clear filter").click()
    page.fill("#lowest", "0.1")
    assert page.evaluate(SHOWN) == [0, 3, 6]
    page.fill("#highest", "0.2")
    assert page.evaluate(SHOWN) == []


def test_sort(tmp_path: Path, open_page: Open) -> None:
    result = make_result(5)
    scores = [0.2, -0.5, 0.9, -0.9, 0.1]
    lengths = [1.0, 4.0, 2.0, 3.0, 2.5]
    utterances = tuple(
        dataclasses.replace(one, score=score, end_s=one.start_s + length)
        for one, score, length in zip(result.utterances, scores, lengths, strict=True)
    )
    result = dataclasses.replace(result, utterances=utterances)
    page = open_page(page_of(tmp_path / "a.html", result)).page
    head = page.get_by_role("columnheader", name="Score")
    page.get_by_role("button", name="Score", exact=True).click()
    assert page.evaluate(SHOWN) == [3, 1, 4, 0, 2]
    assert head.get_attribute("aria-sort") == "ascending"
    page.get_by_role("button", name="Score", exact=True).click()
    assert page.evaluate(SHOWN) == [2, 0, 4, 1, 3]
    assert head.get_attribute("aria-sort") == "descending"
    page.get_by_role("button", name="Length").click()
    assert page.evaluate(SHOWN) == [1, 3, 4, 2, 0]
    assert head.get_attribute("aria-sort") is None
    page.get_by_role("button", name="Confidence").click()
    assert page.evaluate(SHOWN) == [0, 1, 3, 4, 2]
    # j follows the list, the arrow follows time.
    page.keyboard.press("j")
    assert page.evaluate(CHOSEN) == 1
    page.keyboard.press("j")
    assert page.evaluate(CHOSEN) == 3
    page.keyboard.press("ArrowRight")
    assert page.evaluate(CHOSEN) == 4


def test_keys(sample_page: Path, open_page: Open) -> None:
    opened = open_page(sample_page)
    page = ready(opened)
    for key, chosen in (("j", 1), ("ArrowRight", 2), ("k", 1), ("ArrowLeft", 0), ("k", 0)):
        page.keyboard.press(key)
        assert page.evaluate(CHOSEN) == chosen, key
    page.keyboard.press("j")
    page.keyboard.press("Enter")
    until(page, f"!{PAUSED} && {NOW} >= {start_of(opened, 1)[0]}")
    page.keyboard.press("Space")
    until(page, PAUSED)
    at = page.evaluate(NOW)
    page.keyboard.press("Space")  # goes on where it was
    until(page, f"!{PAUSED} && {NOW} > {at}")
    page.keyboard.press("Space")
    page.keyboard.press("/")
    page.keyboard.type("j k?")  # text, no commands
    assert page.input_value("#words") == "j k?"
    assert page.locator("#chosen-title").inner_text() == "Utterance 2 of 4"
    page.keyboard.press("Escape")
    assert page.input_value("#words") == ""
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    assert page.locator("#keys").is_visible()
    page.keyboard.press("Escape")
    assert page.locator("#keys").is_hidden()


def test_keys_in_timeline_and_list_move_the_focus(tmp_path: Path, open_page: Open) -> None:
    page = open_page(page_of(tmp_path / "a.html", make_result(5))).page
    focused = "document.activeElement.getAttribute('aria-label')"
    # Of the blocks one alone takes part in the order of Tab, and of the rows.
    assert page.locator(".block[tabindex='0']").count() == 1
    assert page.locator(".choose[tabindex='0']").count() == 1
    page.locator(".block[tabindex='0']").focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate(focused).startswith("Utterance 2,")
    page.keyboard.press("End")
    assert page.evaluate(focused).startswith("Utterance 5,")
    page.keyboard.press("Home")
    assert page.evaluate(focused).startswith("Utterance 1,")
    page.locator(".choose[tabindex='0']").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    assert page.evaluate(focused).startswith("Utterance 3,")
    assert page.evaluate("document.activeElement.className") == "choose"
    assert page.evaluate(CHOSEN) == 2


def test_zoom_draws_it_wider_and_keeps_the_chosen_in_sight(tmp_path: Path, open_page: Open) -> None:
    page = open_page(page_of(tmp_path / "a.html", make_result(60)), hash="#u50").page
    width = "document.querySelector('.scroller > svg').getBoundingClientRect().width"
    fitting = page.evaluate(width)
    for _ in range(4):
        page.keyboard.press("+")
    assert page.evaluate(width) > 6 * fitting
    inside = """() => { const s = document.querySelector('.scroller').getBoundingClientRect();
      const b = document.querySelector('.block.is-chosen .field-of').getBoundingClientRect();
      return b.left >= s.left - 1 && b.right <= s.right + 1 }"""
    assert page.evaluate(inside)
    page.keyboard.press("ArrowRight")
    assert page.evaluate(inside)
    for _ in range(6):
        page.keyboard.press("-")
    assert page.evaluate(width) == fitting


# --- moving between utterances -------------------------------------------------------------------


def test_links_of_the_context_lead_there(tmp_path: Path, open_page: Open) -> None:
    page = open_page(page_of(tmp_path / "a.html", make_result(20)), hash="#u3").page
    assert page.evaluate(CHOSEN) == 2
    rows = page.locator(".others tbody tr")
    assert rows.count() == 6
    page.get_by_role("button", name="Show all 20").click()
    assert rows.count() == 20
    page.locator(".others a[href='#u15']").click()
    assert page.evaluate(CHOSEN) == 14
    assert page.locator("#chosen-title").inner_text() == "Utterance 15 of 20"
    page.go_back()
    until(page, f"{CHOSEN} !== 14")


# --- odd inputs ----------------------------------------------------------------------------------


def test_no_utterances(tmp_path: Path, open_page: Open) -> None:
    page = open_page(page_of(tmp_path / "a.html", make_result(0))).page
    assert page.get_by_text("No utterances were found in this file").is_visible()
    assert page.locator("#notes").inner_text() == "no speech was found"
    for hidden in ("#timeline", "#filter", "#play", ".utterances"):
        assert page.locator(hidden).is_hidden()
    for key in ("j", "ArrowRight", "Enter", "Space", "+", "/", "Escape"):
        page.keyboard.press(key)


def test_one_utterance_without_face_and_media(tmp_path: Path, open_page: Open) -> None:
    page = open_page(page_of(tmp_path / "a.html", make_result(1))).page
    assert "Made without the media file" in page.locator("#player").inner_text()
    assert page.locator("#detail .note").inner_text() == "no face is seen"
    assert page.locator(".split-words").inner_text().split("\n") == [
        "Voice 100 %",
        "Face not usable",
    ]
    assert page.locator(".crop, .others, .strip.sight").count() == 0
    page.keyboard.press("j")
    assert page.evaluate(CHOSEN) == 0


def test_markup_in_names_and_words_is_text(tmp_path: Path, open_page: Open) -> None:
    evil = "</script><img src=x onerror=alert(1)><script>alert(2)</script>"
    result = make_result(3, f"a 'b' \"c\" {evil[9:40]}", text=evil)
    last = dataclasses.replace(result.utterances[2], warnings=(evil, HOSTILE))
    result = dataclasses.replace(
        result, utterances=(*result.utterances[:2], last), warnings=(evil,)
    )
    opened = open_page(page_of(tmp_path / "'\"<b>.html", result))
    page = opened.page
    assert page.locator("h1").inner_text() == result.source
    assert page.locator("#detail .text").inner_text() == evil
    assert page.locator("#notes").inner_text() == evil
    page.keyboard.press("j")
    page.keyboard.press("j")
    assert page.locator("#detail .note").first.inner_text() == evil
    assert page.locator("img[src=x]").count() == 0


def test_hundreds_of_utterances_come_in_pieces(tmp_path: Path, open_page: Open) -> None:
    path = page_of(tmp_path / "a.html", make_result(700))
    page = open_page(path, hash="#u650").page
    until(page, f"{SHOWN}.length === 700")
    assert page.evaluate(CHOSEN) == 649
    page.get_by_role("button", name="Score", exact=True).click()
    first = page.evaluate(SHOWN)
    assert first[0] == 1
    until(page, f"{SHOWN}.length === 700")
    page.fill("#words", "#700")
    until(page, f"{SHOWN}.length === 1")
    assert page.locator("tr").filter(has_text="no face is seen").count() == 1
