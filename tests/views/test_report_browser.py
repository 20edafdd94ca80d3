"""The report page in a real browser: it opens, can be read by all, and plays."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from browser import NARROW, WIDE, until
from conftest import SAMPLE
from handmade import make_result
from media_files import write_video
from report_pages import CHOSEN, NOW, PAUSED, Open, page_of, ready, start_of

from avsent.views.report.page import write_report

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
