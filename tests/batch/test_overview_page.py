"""The overview as a file: where it goes, what it links to, and that nothing in it can act up."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import shutil
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pytest
from batching import NO_UTF8, filled, journal_of, results
from conftest import SAMPLE
from handmade import make_result
from overviews import BAD, batch_of, blocks_of, overview_of, small_batch

from avsent.batch.journal import Journal
from avsent.batch.overview import write_overview
from avsent.errors import OutputError
from avsent.progress import Progress


class Elements(HTMLParser):
    """All elements of a page, with what stands in scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inside: dict[str, list[str]] = {"script": [], "style": []}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        tag, attributes = self.tags[-1] if self.tags else ("", {})
        if tag in self.inside and "type" not in attributes and data.strip():
            self.inside[tag].append(data)


def elements(page: Path) -> Elements:
    return Elements(page.read_text("utf-8"))


def test_names_and_words_stay_data(tmp_path: Path) -> None:
    hostile = write_overview(small_batch(tmp_path / "</title><b>"), pages=False)
    harmless = write_overview(batch_of(tmp_path / "plain", {}), pages=False)
    # The same elements, whatever is in the batch.
    assert [tag for tag, _ in elements(hostile).tags] == [tag for tag, _ in elements(harmless).tags]
    text = hostile.read_text("utf-8")
    assert "alert(1)" in text
    assert "<script>alert" not in text
    assert "\u202e" not in text


def test_only_its_own_scripts_may_run(tmp_path: Path) -> None:
    found = elements(write_overview(small_batch(tmp_path), pages=False))
    policies = [a["content"] for t, a in found.tags if t == "meta" and "http-equiv" in a]
    (policy,) = policies
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    for kind in ("script", "style"):
        assert found.inside[kind]
        for text in found.inside[kind]:
            digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
            assert f"'sha256-{digest}'" in policy
    attributes = [name for _, attrs in found.tags for name in attrs]
    assert not [name for name in attributes if name.startswith("on") or name in {"src", "style"}]
    assert not re.search(r"https?://(?!www\.w3\.org)", "".join(found.inside["script"]))


def test_the_same_batch_gives_the_same_page(tmp_path: Path) -> None:
    out = small_batch(tmp_path)
    page = write_overview(out, pages=False)
    assert page == out / "index.html"
    before = page.read_bytes()
    assert write_overview(out, pages=False).read_bytes() == before


@pytest.mark.parametrize("place", ["index.html", "../elsewhere.html", "sub/deep.html"])
def test_links_lead_to_the_results(tmp_path: Path, place: str) -> None:
    out = small_batch(tmp_path / "out")
    (out / "sub").mkdir(exist_ok=True)
    page = write_overview(out, out / place, pages=False)
    columns = blocks_of(page)["data"]["files"]
    found = {
        os.path.realpath(page.parent / os.fsdecode(unquote_to_bytes(link)))
        for link in columns["result"]
        if link is not None
    }
    assert found == {os.path.realpath(out / f"{name}.json") for name in results()}
    assert all(map(os.path.isfile, found))
    assert columns["result"][columns["name"].index(BAD)] is None
    assert not any(columns["page"])
    assert not any(":" in link for link in columns["result"] if link)


def test_no_link_to_what_is_not_there(tmp_path: Path) -> None:
    out = small_batch(tmp_path)
    (out / "a.mp4.json").unlink()
    columns = overview_of(out)["data"]["files"]
    assert columns["result"][columns["name"].index("a.mp4")] is None


def test_it_cannot_be_written(tmp_path: Path) -> None:
    out = small_batch(tmp_path / "out")
    with pytest.raises(OutputError, match="cannot write"):
        write_overview(out, tmp_path / "nowhere" / "page.html", pages=False)
    with pytest.raises(OutputError, match="cannot write"):
        write_overview(out, out / "sub", pages=False)


# --- A page for each file ------------------------------------------------------------------------


def pages_of(out: Path) -> dict[str, int]:
    """When each page of a file was written."""
    found = [path for path in out.rglob("*.html") if path.name != "index.html"]
    return {str(path.relative_to(out)): path.stat().st_mtime_ns for path in found}


def make_old(out: Path) -> dict[str, int]:
    for path in out.rglob("*.html"):
        os.utime(path, ns=(1, 1))
    return pages_of(out)


def test_each_file_that_is_done_has_a_page(tmp_path: Path) -> None:
    out = small_batch(tmp_path)
    told: list[Progress] = []
    page = write_overview(out, on_progress=told.append)
    assert set(pages_of(out)) == {f"{name}.html" for name in results()}
    columns = blocks_of(page)["data"]["files"]
    linked = [os.fsdecode(unquote_to_bytes(link)) for link in columns["page"] if link]
    assert sorted(linked) == sorted(pages_of(out))
    assert [(one.completed, one.total) for one in told] == [(n, 5) for n in range(6)]
    assert "handmade" in (out / f"{NO_UTF8}.html").read_text("utf-8")


def test_pages_are_not_written_again_for_nothing(tmp_path: Path) -> None:
    out = small_batch(tmp_path)
    write_overview(out)
    old = make_old(out)
    write_overview(out)
    assert pages_of(out) == old
    # A result changed, a page was cut short, one is gone.
    with journal_of(out, [r for r in results().values() if r.source != "a.mp4"], BAD) as journal:
        journal.survey({name: name for name in [*results(), BAD]})
        journal.rewrite("a.mp4", journal.stored("z/我.mp4").result, "[]")
    (out / "b.wav.html").write_text("cut")
    (out / "-c.mp4.html").unlink()
    write_overview(out)
    new = pages_of(out)
    assert {name for name in old if new[name] != 1} == {"a.mp4.html", "b.wav.html", "-c.mp4.html"}
    make_old(out)
    (out / ".avsent" / "pages.json").write_text('{"a.mp4": 3}')
    write_overview(out)
    assert 1 not in pages_of(out).values()


def test_a_page_without_a_result_is_removed(tmp_path: Path) -> None:
    out = small_batch(tmp_path)
    write_overview(out)
    with Journal(out, write=True) as journal:
        journal.begin("a.mp4")
        journal.survey({name: name for name in results() if name != "b.wav"})
    columns = blocks_of(write_overview(out))["data"]["files"]
    assert "a.mp4.html" not in pages_of(out)
    assert columns["page"][columns["name"].index("a.mp4")] is None
    # One that left the folder keeps its result, and its page.
    assert "b.wav.html" in pages_of(out)


def test_a_page_that_has_no_place_is_left_out(tmp_path: Path) -> None:
    given = {name: make_result(2, name) for name in ("a.mp4", "b.mp4", "index")}
    out = batch_of(tmp_path, given)
    (out / "b.mp4.html").mkdir()
    page = write_overview(out)
    columns = blocks_of(page)["data"]["files"]
    assert dict(zip(columns["name"], columns["page"], strict=True)) == {
        "a.mp4": "a.mp4.html",
        "b.mp4": None,
        "index": None,
    }


def test_a_page_that_knows_its_video_links_it(tmp_path: Path) -> None:
    batch = filled(tmp_path)
    batch.run()
    page = write_overview(batch.out)
    columns = blocks_of(page)["data"]["files"]
    assert columns["name"] == ["a.mp4", "b.wav", "sub/c.mp4", "sub/d.mp4"]
    assert columns["page"] == ["a.mp4.html", None, "sub/c.mp4.html", "sub/d.mp4.html"]
    media = blocks_of(batch.out / "sub/c.mp4.html")["head"]["media"]
    assert media["url"] == "../../media/sub/c.mp4"
    # The folder was moved away: the page does without.
    batch.media.rename(tmp_path / "elsewhere")
    write_overview(batch.out)
    assert blocks_of(batch.out / "sub/c.mp4.html")["head"]["media"] is None


def test_a_batch_that_may_only_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = small_batch(tmp_path / "out")
    # Rights do not hold for root, whom tests may run as.
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    page = write_overview(out, tmp_path / "mine.html")
    assert page.is_file()
    assert pages_of(out) == {}


def test_no_pages_of_results_that_will_change(tmp_path: Path) -> None:
    out = small_batch(tmp_path)
    with Journal(out, write=True) as journal:
        journal.keep_fact("options", {"adapt": "corpus"})
    write_overview(out)
    assert pages_of(out) == {}


def test_pages_with_pictures_keep_them(tmp_path: Path) -> None:
    media, out = tmp_path / "media", tmp_path / "out"
    media.mkdir()
    shutil.copy(SAMPLE, media / "a.mp4")
    (media / "b.mp4").write_bytes(b"no longer media")
    batch_of(out, {name: make_result(2, name) for name in ("a.mp4", "b.mp4")})
    with Journal(out, write=True) as journal:
        journal.keep_fact("folder", str(media))
    write_overview(out)
    plain = {name: (out / name).stat().st_size for name in ("a.mp4.html", "b.mp4.html")}
    write_overview(out, pictures=True)
    assert (out / "a.mp4.html").stat().st_size > plain["a.mp4.html"] + 10_000
    assert (out / "b.mp4.html").stat().st_size == plain["b.mp4.html"]
    old = make_old(out)
    write_overview(out)
    assert pages_of(out) == old


def test_all_assets_are_used() -> None:
    from avsent.batch import overview

    assets = files("avsent.views.report") / "assets"
    kept = {item.name for item in assets.iterdir() if item.name.startswith("overview")}
    script = {name for name in kept if name.endswith(".js")}
    assert script == set(overview._SCRIPTS)
    for name in sorted(kept):
        lines = (assets / name).read_text("utf-8").splitlines()
        limit = 300 if name.endswith(".js") else 600
        assert len(lines) < limit, name
