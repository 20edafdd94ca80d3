"""The report page in a real browser: it opens, reads well, plays, filters, and obeys keys."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from browser import NARROW, WIDE, Opened, until
from conftest import SAMPLE
from handmade import HOSTILE, make_result
from media_files import write_video

from avsent.result.record import Result
from avsent.views.report.page import write_report

Open = Callable[..., Opened]

SHOWN = "[...document.querySelectorAll('.utterances tbody tr')].map(r => Number(r.dataset.index))"
CHOSEN = "Number(document.querySelector('tr[aria-current=true]')?.dataset.index ?? -1)"
NOW = "document.querySelector('video, audio').currentTime"
PAUSED = "document.querySelector('video, audio').paused"
OUT = "document.querySelectorAll('.block.is-out').length"


def page_of(path: Path, result: Result) -> Path:
    write_report(path, result, media=None)
    return path


def start_of(opened: Opened, index: int) -> tuple[float, float]:
    one = opened.page.evaluate(
        "i => JSON.parse(document.getElementById('head').textContent).utterances[i]", index
    )
    return one["start"], one["end"]


def ready(opened: Opened) -> Any:
    until(opened.page, "document.querySelector('video, audio').readyState >= 2")
    return opened.page


# --- what there is to see ------------------------------------------------------------------------


def test_page_opens(sample_page: Path, open_page: Open) -> None:
    page = ready(open_page(sample_page))
    assert page.title() == "demo.mp4: sentiment"
    assert page.locator("h1").inner_text() == "demo.mp4"
    assert page.locator(".block").count() == page.locator(".utterances tbody tr").count() == 4
    assert page.evaluate(CHOSEN) == 0
    assert page.locator("#detail .text").inner_text().startswith("I am so happy")
    crops = page.locator(".crop img")
    assert crops.count() == 6
    assert page.evaluate(
        "[...document.querySelectorAll('.crop img')].every(i => i.naturalWidth > 60)"
    )
    assert page.evaluate("document.querySelector('.strip.sound img').naturalHeight") == 64
    shares = page.locator(".split-words").inner_text()
    assert "Voice" in shares
    assert "Face" in shares


def test_what_a_screen_reader_finds(sample_page: Path, open_page: Open) -> None:
    page = ready(open_page(sample_page))
    tree = page.locator("body").aria_snapshot()
    for part in (
        'heading "demo.mp4" [level=1]',
        'region "Player"',
        'region "Over time"',
        'region "Utterance 1 of 4"',
        'region "Utterances"',
        'search "Filter utterances"',
        'columnheader "Confidence"',
        'group "Timeline of utterances"',
        'button "Utterance 2, 0:04.6 to 0:07.8, ',
    ):
        assert part in tree, part
    nameless = page.evaluate(
        """() => [...document.querySelectorAll('button, a[href], input, [role=button], [role=img]')]
        .filter(e => e.checkVisibility() && !e.getAttribute('aria-label') && !e.textContent.trim()
          && !e.labels?.length).map(e => e.outerHTML)"""
    )
    assert nameless == []
    page.locator(".block").nth(2).click()
    assert page.locator("#announce").inner_text().startswith("Utterance 3, 0:08.8 to")


# Contrast of all that is written with what it stands on, for WCAG 2.2 level AA.
FAINT = """() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const parts = (colour) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = (colour) => {
    const linear = c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    const [r, g, b] = colour.map(c => linear(c / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parts(getComputedStyle(at).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return [255, 255, 255, 255];
  };
  const faint = [];
  for (const element of document.querySelectorAll('body *')) {
    const own = [...element.childNodes].some(n => n.nodeType === 3 && n.data.trim());
    const passed = element.closest('script, style, title, :disabled, .unseen');
    if (!own || !element.checkVisibility() || passed) continue;
    const style = getComputedStyle(element);
    const ink = parts(element.ownerSVGElement ? style.fill : style.color);
    const [a, b] = [light(ink), light(ground(element))].sort((x, y) => y - x);
    const contrast = (a + 0.05) / (b + 0.05);
    if (contrast < 4.5) faint.push(`${contrast.toFixed(2)} ${element.outerHTML.slice(0, 80)}`);
  }
  return faint;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [WIDE, NARROW], ids=["wide", "narrow"])
def test_nothing_sticks_out_and_all_can_be_read(
    tmp_path: Path,
    open_page: Open,
    size: tuple[int, int],
    scheme: str,
) -> None:
    result = make_result(12, "x" * 120 + ".mp4", text="W" * 300)
    result = dataclasses.replace(result, warnings=("what " * 40, "https://" + "a" * 200))
    page = open_page(page_of(tmp_path / "a.html", result), size=size, scheme=scheme).page
    assert page.evaluate("document.documentElement.dataset.theme") == scheme
    for place in (0, 11):
        page.evaluate(f"location.hash = '#u{place + 1}'")
        until(page, f"{CHOSEN} === {place}")
        assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
        assert page.evaluate(FAINT) == []
    cut = page.evaluate(
        """() => [...document.querySelectorAll('h1, h2, h3, td, th, dt, dd, p, button')].filter(e =>
        e.checkVisibility() && !e.closest('.unseen, .scroller') && e.scrollWidth > e.clientWidth + 1
        && getComputedStyle(e).display !== 'inline' && getComputedStyle(e).overflow !== 'visible')
        .map(e => e.outerHTML.slice(0, 80))"""
    )
    assert cut == []


def test_theme_is_turned_and_remembered(tmp_path: Path, open_page: Open) -> None:
    page = open_page(page_of(tmp_path / "a.html", make_result(2))).page
    ground = "getComputedStyle(document.body).backgroundColor"
    before = page.evaluate(ground)
    page.get_by_role("button", name="Switch to dark colours").click()
    assert page.evaluate(ground) != before
    page.reload()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.get_by_role("button", name="Switch to light colours").click()
    assert page.evaluate(ground) == before


# --- playing -------------------------------------------------------------------------------------


def test_a_click_plays_the_utterance_to_its_end(sample_page: Path, open_page: Open) -> None:
    opened = open_page(sample_page)
    page = ready(opened)
    start, end = start_of(opened, 2)
    page.locator(".block").nth(2).click()
    until(page, f"!{PAUSED} && {NOW} > {start}")
    assert page.evaluate(CHOSEN) == 2
    until(page, PAUSED)
    stopped = page.evaluate(NOW)
    assert end <= stopped < end + 0.5  # at most the busy machine's next turn
    assert page.evaluate(CHOSEN) == 2


def test_a_row_and_the_button_play_too(sample_page: Path, open_page: Open) -> None:
    opened = open_page(sample_page)
    page = ready(opened)
    page.locator(".utterances tbody tr").nth(3).click()
    until(page, f"!{PAUSED} && {NOW} >= {start_of(opened, 3)[0]}")
    page.keyboard.press("Space")
    until(page, PAUSED)
    page.locator("#previous").click()
    until(page, f"Math.abs({NOW} - {start_of(opened, 2)[0]}) < 0.01")
    assert page.evaluate(PAUSED)
    page.locator("#play").click()
    until(page, f"!{PAUSED}")


def test_faces_and_strips_lead_to_their_moment(sample_page: Path, open_page: Open) -> None:
    opened = open_page(sample_page)
    page = ready(opened)
    part = page.evaluate("JSON.parse(document.getElementById('part-0').textContent)")
    page.locator(".crop").nth(1).click()
    until(page, f"Math.abs({NOW} - {part['faces'][1][0]}) < 0.01")
    start, end = start_of(opened, 0)
    strip = page.locator(".strip.sound")
    width = strip.bounding_box()["width"]
    strip.click(position={"x": width / 4, "y": 10})
    wanted = start + (end - start) / 4
    until(page, f"Math.abs({NOW} - {wanted}) < {2 * (end - start) / width}")
    # Beside the blocks a click goes to that moment, and the chosen utterance stays.
    page.locator("#chart .scroller").click(position={"x": 100, "y": 130})
    until(page, f"Math.abs({NOW} - {wanted}) > 0.5")
    assert page.evaluate(CHOSEN) == 0


def test_free_playing_chooses_what_is_heard(sample_page: Path, open_page: Open) -> None:
    opened = open_page(sample_page)
    page = ready(opened)
    page.evaluate(f"{NOW} = {start_of(opened, 1)[0] - 0.2}")
    page.evaluate("document.querySelector('video').play()")
    until(page, f"{CHOSEN} === 1")
    assert page.locator("#announce").inner_text() == ""  # it would talk over the sound


def test_embedded_video_plays_without_its_file(tmp_path: Path, open_page: Open) -> None:
    media = tmp_path / "gone.mp4"
    media.write_bytes(SAMPLE.read_bytes())
    write_report(tmp_path / "a.html", make_result(2), media=media, pictures=False, embed=True)
    media.unlink()
    page = ready(open_page(tmp_path / "a.html"))
    assert page.evaluate("document.querySelector('video').src").startswith("blob:")
    assert page.evaluate("document.querySelector('video').duration") == pytest.approx(16.4, abs=0.5)
    page.locator(".block").nth(1).click()
    until(page, f"{NOW} > 5.5")
    assert page.locator("script.media").count() == 0


@pytest.mark.parametrize("there", [True, False])
def test_a_video_that_cannot_be_played_is_told_of(
    tmp_path: Path,
    open_page: Open,
    there: bool,
) -> None:
    media = write_video(tmp_path / "a'b<i>.avi", [0, 100, 200])
    write_report(tmp_path / "a.html", make_result(2), media=media, sightings=[])
    if not there:
        media.unlink()
    opened = open_page(tmp_path / "a.html")
    page = opened.page
    page.wait_for_selector("#player .note")
    assert "cannot play a'b<i>.avi" in page.locator("#player .note").inner_text()
    assert page.locator("#play").is_hidden()
    page.locator(".block").nth(1).click()
    assert page.evaluate(CHOSEN) == 1
    opened.errors.clear()  # the browser itself says that it found no file


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
    inside = """() => { const box = (one) => document.querySelector(one).getBoundingClientRect();
      const [s, b] = [box('.scroller'), box('.block[aria-current=true] .field-of')];
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
    until(page, f"{CHOSEN} === 14")  # the browser tells the page of the new hash a moment later
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


def test_what_is_unsure_is_marked_and_can_be_filtered(tmp_path: Path, open_page: Open) -> None:
    result = make_result(4)
    unsure = dataclasses.replace(result.utterances[2], unsure="<i>nearly</i> even")
    utterances = (*result.utterances[:2], unsure, result.utterances[3])
    marked = dataclasses.replace(result, utterances=utterances)
    page = open_page(page_of(tmp_path / "a.html", marked)).page
    assert page.locator(".utterances .unsure").count() == 1
    assert page.locator("tr[data-index='2'] .unsure").get_attribute("title") == (
        "Unsure: <i>nearly</i> even"
    )
    assert page.locator("#legend").inner_text().endswith("unsure (1)")
    assert page.locator(".block.is-unsure").count() == 1
    assert "Unsure:" not in page.locator("#detail").inner_text()
    page.locator(".block.is-unsure").click()
    assert "? Unsure: <i>nearly</i> even." in page.locator("#detail").inner_text()
    assert page.locator("#announce").inner_text().startswith("Utterance 3, ")
    assert "unsure: <i>nearly</i> even" in page.locator("#announce").inner_text()
    page.locator("#unsure").check()
    assert page.evaluate(SHOWN) == [2]
    assert page.evaluate(OUT) == 3
    page.locator("#clear").click()
    assert page.evaluate(SHOWN) == [0, 1, 2, 3]
    page = open_page(page_of(tmp_path / "b.html", result)).page
    assert page.locator(".unsure:visible").count() == 0
    assert not page.locator("#unsure").is_visible()
