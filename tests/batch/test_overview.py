"""The overview of a batch as a file: its data, its links, and that nothing in it becomes markup."""

from __future__ import annotations

import base64
import csv
import dataclasses
import hashlib
import os
import re
import shutil
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest
from batching import CONFIG, NO_UTF8, OTHER, filled, journal_of, keep, results, write
from conftest import SAMPLE
from handmade import make_result
from written_views import BAD, batch_of, blocks_of, overview_of, small_batch

from avsent.batch.journal import Journal, exclusive
from avsent.batch.outputs import CSV_NAME
from avsent.batch.overview import write_overview
from avsent.batch.run import corpus_digest
from avsent.errors import OutputError
from avsent.progress import Progress
from avsent.result.record import ModelInfo
from avsent.text import one_line
from avsent.views.report.page import write_report


def tiles(blocks: dict[str, Any]) -> dict[str, str]:
    return {name: figure for name, figure, _, _ in blocks["head"]["tiles"]}


def notes(out: Path) -> str:
    return "\n".join(overview_of(out)["head"]["notes"])


def test_overview_and_table_have_the_same_content(tmp_path: Path) -> None:
    out = small_batch(tmp_path)
    with Journal(out, write=True) as journal:
        write(out, journal)
    with (out / CSV_NAME).open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    data = overview_of(out)["data"]
    files, said = data["files"], data["utterances"]
    names = [
        name
        for name, count in zip(files["name"], files["count"], strict=True)
        for _ in range(count)
    ]
    assert len(table) == len(names) == 10
    for number, row in enumerate(table):
        assert names[number] == row["source"]
        first = sum(files["count"][: files["name"].index(row["source"])])
        assert number - first == int(row["index"])
        assert said["start"][number] / 1000 == pytest.approx(float(row["start_s"]), abs=6e-4)
        length = float(row["end_s"]) - float(row["start_s"])
        assert said["length"][number] / 1000 == pytest.approx(length, abs=6e-4)
        label = data["labels"][said["label"][number]]
        assert label == row["sentiment"]
        assert said["score"][number] / 10_000 == pytest.approx(float(row["score"]), abs=6e-5)
        certainty = float(row[f"p_{label}"])
        assert said["probability"][number] / 1000 == pytest.approx(certainty, abs=6e-4)
        assert said["text"][number] == row["text"]
        remark = said["remarks"].get(str(number))
        assert ("" if remark is None else data["remarks"][remark]) == row["warnings"]
        reason = said["unsure"].get(str(number))
        assert ("" if reason is None else data["remarks"][reason]) == row["unsure"]


def test_state_mean_and_warnings_of_files(tmp_path: Path) -> None:
    data = overview_of(small_batch(tmp_path))["data"]
    files = data["files"]
    place = {name: number for number, name in enumerate(files["name"])}
    states = [data["states"][number] for number in files["state"]]
    assert states[place[BAD]] == "failed"
    assert files["error"] == {str(place[BAD]): f"{BAD}: no media file"}
    assert sorted(states) == ["done"] * 5 + ["failed"]
    # Scores of a.mp4: 0.63, −0.63, 0.
    assert files["mean"][place["a.mp4"]] == 0
    assert files["mean"][place["z/我.mp4"]] == 0
    assert files["mean"][place["sub/caf\\udce9.mp4"]] == 6300
    # −0.000001, −0.63, 0, 0.63
    assert files["mean"][place["-c.mp4"]] == 0
    assert files["mean"][place["b.wav"]] is None
    assert files["count"][place["b.wav"]] == 0
    assert files["duration"][place["-c.mp4"]] == 21_000
    (remarks,) = [files["remarks"][str(place["b.wav"])]]
    assert [data["remarks"][number] for number in remarks] == ["no speech was found"]


def test_the_figures_at_the_top(tmp_path: Path) -> None:
    blocks = overview_of(small_batch(tmp_path / "talks & more"))
    assert blocks["head"]["title"] == "talks & more"
    assert tiles(blocks) == {
        "Files": "6",
        "Failed": "1",
        # 16 + 1 + 6 + 11 + 21 s
        "Duration": "55 s",
        "Utterances": "10",
        # Two of 0.63 and one of −0.63 less two: (0 + 0 + 0.63 + 0 − 0.000001) / 10
        "Mean score": "+0.06",
        "Files with warnings": "5",
    }
    # The first of -c.mp4; ten in five files.
    assert [t[2] for t in blocks["head"]["tiles"] if t[1] == "10"] == ["2.0 per file, 1 unsure"]
    facts = blocks["head"]["facts"]
    assert facts[0] == "model handmade (abababab)"
    assert "face speaking" in facts
    assert blocks["head"]["notes"] == []


def test_a_batch_without_utterances(tmp_path: Path) -> None:
    blocks = overview_of(batch_of(tmp_path, {"b.wav": make_result(0, "b.wav")}))
    assert tiles(blocks)["Mean score"] == "–"
    assert blocks["data"]["utterances"]["start"] == []
    assert blocks["data"]["utterances"]["text"] is None


def test_a_batch_without_finished_files(tmp_path: Path) -> None:
    blocks = overview_of(batch_of(tmp_path, {}, "bad.mp4"))
    assert blocks["data"]["labels"] == []
    assert blocks["data"]["files"]["count"] == [0]
    assert tiles(blocks)["Failed"] == "1"


def test_no_column_for_texts_without_texts(tmp_path: Path) -> None:
    blocks = overview_of(batch_of(tmp_path, {"a.mp4": make_result(2, "a.mp4")}))
    assert blocks["data"]["utterances"]["text"] is None


def test_files_that_left_the_folder_are_not_shown(tmp_path: Path) -> None:
    out = small_batch(tmp_path)
    with Journal(out, write=True) as journal:
        journal.survey({name: name for name in ("a.mp4", BAD)})
    assert overview_of(out)["data"]["files"]["name"] == [BAD, "a.mp4"]


def test_a_running_batch(tmp_path: Path) -> None:
    given = results()
    out = batch_of(tmp_path, given)
    with exclusive(out), Journal(out, write=True) as journal:
        journal.survey({name: name for name in [*given, "new.mp4"]})
        journal.begin("a.mp4")
        blocks = overview_of(out)
        data = blocks["data"]
        place = data["files"]["name"].index("a.mp4")
        assert data["states"][data["files"]["state"][place]] == "running"
        assert data["files"]["count"][place] == 0
        assert len(data["utterances"]["start"]) == 7
        assert "was running" in notes(out)
        assert "2 of 6 files are missing here" in notes(out)
    assert "was not finished" in notes(out)


def test_a_result_withdrawn_while_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = batch_of(tmp_path, results())
    read = Journal.stored

    def stored(self: Journal, name: str) -> object:
        if name == "a.mp4":  # now the batch finds that it cannot be done any more
            with Journal(out, write=True) as other:
                other.begin(name)
                other._db.execute("DELETE FROM results WHERE name = ?", (name,))
        return read(self, name)

    monkeypatch.setattr(Journal, "stored", stored)
    data = overview_of(out)["data"]
    place = data["files"]["name"].index("a.mp4")
    assert data["states"][data["files"]["state"][place]] == "pending"


def test_results_of_two_models(tmp_path: Path) -> None:
    moody = ModelInfo("moody", "12" * 32, ("sad", "neutral", "happy"))
    one = make_result(3, "b.mp4")
    renamed = {"positive": "happy", "neutral": "neutral", "negative": "sad"}
    other = dataclasses.replace(
        one,
        model=moody,
        utterances=tuple(
            dataclasses.replace(
                said,
                sentiment=renamed[said.sentiment],
                probabilities={renamed[k]: p for k, p in said.probabilities.items()},
            )
            for said in one.utterances
        ),
    )
    out = batch_of(tmp_path, {"a.mp4": make_result(3, "a.mp4")})
    with Journal(out, write=True) as journal:
        journal.survey({"a.mp4": "a.mp4", "b.mp4": "b.mp4"})
        keep(journal, other, OTHER)
    blocks = overview_of(out)
    data = blocks["data"]
    assert data["labels"] == ["negative", "neutral", "positive", "sad", "happy"]
    shown = [data["labels"][number] for number in data["utterances"]["label"]]
    assert shown == ["positive", "negative", "neutral", "happy", "sad", "neutral"]
    assert len(set(data["labelColours"])) == 5
    assert "more than one model" in notes(out)
    assert blocks["head"]["facts"][0] == "model handmade (abababab), moody (12121212)"


def test_results_that_will_change(tmp_path: Path) -> None:
    out = batch_of(tmp_path, results())
    with Journal(out, write=True) as journal:
        journal.keep_fact("options", dataclasses.replace(CONFIG, adapt="corpus").options())
        assert "will change" in notes(out)
        journal.keep_fact("corpus", corpus_digest(journal.entries()))
    assert notes(out) == ""


def test_a_damaged_journal(tmp_path: Path) -> None:
    with journal_of(tmp_path, results().values()) as journal:
        journal.rewrite("a.mp4", b"rubbish", "[]")
    with pytest.raises(OutputError, match="damaged"):
        overview_of(tmp_path)
    with Journal(tmp_path, write=True) as journal:
        journal._db.execute("DELETE FROM results WHERE name = 'a.mp4'")
    with pytest.raises(OutputError, match="damaged"):
        overview_of(tmp_path)


def test_a_folder_without_a_batch(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="holds no batch"):
        overview_of(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_keys_within_texts_are_not_mistaken(tmp_path: Path) -> None:
    trap = '", "model": {"name": "x"}, "warnings": ["no"]}'
    result = make_result(2, f"{trap}.mp4", text=trap)
    said = dataclasses.replace(result.utterances[1], warnings=(trap,))
    result = dataclasses.replace(
        result, utterances=(result.utterances[0], said), warnings=(trap, "yes\\")
    )
    blocks = overview_of(batch_of(tmp_path, {result.source: result}))
    remarks = blocks["data"]["remarks"]
    (own,) = blocks["data"]["files"]["remarks"].values()
    assert [remarks[number] for number in own] == [trap, "yes\\"]
    assert blocks["head"]["facts"][0] == "model handmade (abababab)"


def test_texts_from_outside_are_one_line(tmp_path: Path) -> None:
    data = overview_of(small_batch(tmp_path))["data"]
    texts = [*data["utterances"]["text"], *data["files"]["name"], *data["remarks"]]
    assert texts == [one_line(text) for text in texts]


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


def test_unchanged_pages_are_not_written_again(tmp_path: Path) -> None:
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


def test_a_page_that_cannot_be_written_is_left_out(tmp_path: Path) -> None:
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


def test_all_assets_are_used(tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    write_report(report, make_result(1), media=None)
    overview = write_overview(small_batch(tmp_path / "out"), pages=False)
    pages = report.read_text("utf-8"), overview.read_text("utf-8")
    assets = list((files("avsent.views.report") / "assets").iterdir())
    assert len(assets) == 9
    for asset in assets:
        parts = re.split(r"\{\{\w+\}\}", asset.read_text("utf-8"))
        found = [all(part in page for part in parts) for page in pages]
        assert found == [not asset.name.startswith(other) for other in ("overview", "report")]
