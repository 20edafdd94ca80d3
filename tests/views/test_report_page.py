"""The report page as a file: what stands in it, and that nothing from outside becomes markup."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import html.parser
import json
import re
from pathlib import Path
from typing import Any

import pytest
from handmade import HOSTILE, make_result, patient, results
from hypothesis import given
from media_files import tone, write_sound

from avsent.cli.app import main
from avsent.errors import InputError, OutputError
from avsent.result.record import Attention, ModelInfo, Result, TimeWeight, lanes
from avsent.views.report.page import embedded, json_block, link, media_kind, part_of, write_report

EVIL = "</script><script>alert(1)</script><!-- \u2028\u2029 & ' \" <b>"


class Elements(html.parser.HTMLParser):
    """The elements of a page, as a browser would find them."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._inside = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.texts.append("")
        self._inside = True

    def handle_endtag(self, tag: str) -> None:
        self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.texts[-1] += data

    def of(self, tag: str) -> list[tuple[dict[str, str | None], str]]:
        found = zip(self.tags, self.texts, strict=True)
        return [(attributes, text) for (name, attributes), text in found if name == tag]


def written(path: Path, result: Result, **options: Any) -> Elements:
    write_report(path, result, media=options.pop("media", None), **options)
    return Elements(path.read_text(encoding="utf-8"))


def data_of(elements: Elements) -> dict[str, Any]:
    """The blocks of data by their id."""
    blocks = {}
    for attributes, text in elements.of("script"):
        if attributes.get("type") == "application/json":
            blocks[str(attributes["id"])] = json.loads(text)
    return blocks


def evil_result() -> Result:
    result = make_result(3, f"clips/{EVIL}.mp4", text=EVIL)
    last = dataclasses.replace(result.utterances[2], warnings=(EVIL, HOSTILE))
    return dataclasses.replace(
        result,
        utterances=(*result.utterances[:2], last),
        warnings=(EVIL,),
        model=ModelInfo(EVIL, "ab" * 32, result.model.labels),
    )


def test_nothing_from_outside_becomes_markup(tmp_path: Path) -> None:
    plain = written(tmp_path / "plain.html", make_result(3, text="well"))
    evil = written(tmp_path / "evil.html", evil_result())
    assert [tag for tag, _ in evil.tags] == [tag for tag, _ in plain.tags]
    assert [a for _, a in evil.tags if a.get("id")] == [a for _, a in plain.tags if a.get("id")]
    data = data_of(evil)
    assert data["head"]["source"] == f"clips/{EVIL}.mp4"
    assert data["head"]["utterances"][0]["text"] == EVIL
    assert data["head"]["utterances"][2]["warnings"][0] == EVIL
    assert "<b>.mp4" in evil.of("title")[0][1]  # as text


@patient
@given(result=results())
def test_any_text_survives_as_data(
    result: Result, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("page") / "a.html"
    elements = written(path, result)
    head = data_of(elements)["head"]
    assert head["source"] == result.source
    assert [one["text"] for one in head["utterances"]] == [one.text for one in result.utterances]
    assert head["warnings"] == list(result.warnings)


def test_json_blocks_cannot_be_ended_from_inside() -> None:
    block = json_block("head", [EVIL, "\udcff"])
    inside = block.removeprefix('<script type="application/json" id="head">')
    inside = inside.removesuffix("</script>\n")
    assert not set(inside) & set("<>&\u2028\u2029\udcff")
    assert json.loads(inside) == [EVIL, "\udcff"]


def test_policy_allows_own_scripts_alone(tmp_path: Path) -> None:
    page = written(tmp_path / "a.html", make_result(2))
    (policy,) = (
        str(attributes["content"])
        for attributes, _ in page.of("meta")
        if attributes.get("http-equiv") == "Content-Security-Policy"
    )
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert "unsafe" not in policy
    assert "http" not in policy
    for kind, rule in (("script", "script-src"), ("style", "style-src")):
        run = [text for attributes, text in page.of(kind) if "type" not in attributes]
        digests = [base64.b64encode(hashlib.sha256(t.encode()).digest()).decode() for t in run]
        assert rules[rule] == " ".join(f"'sha256-{digest}'" for digest in digests)
    assert "style=" not in re.sub(
        r"<script.*?</script>", "", (tmp_path / "a.html").read_text("utf-8"), flags=re.S
    )


def test_page_refers_to_nothing_outside(tmp_path: Path) -> None:
    page = written(tmp_path / "a.html", make_result(2))
    for tag, attributes in page.tags:
        for name in ("src", "href", "srcset", "action", "poster"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:")), (tag, value)
    text = (tmp_path / "a.html").read_text("utf-8")
    assert set(re.findall(r"https?://[^\s\"']+", text)) == {"http://www.w3.org/2000/svg"}


# --- data ----------------------------------------------------------------------------------------


def test_what_the_page_is_told(tmp_path: Path) -> None:
    result = make_result(4, text="hello")
    data = data_of(written(tmp_path / "a.html", result))
    head = data["head"]
    assert head["media"] is None
    assert head["labels"] == ["negative", "neutral", "positive"]
    assert len(set(head["colours"])) == 3
    assert set(data) == {"head", "part-0", "part-1", "part-2", "part-3"}
    one, told = result.utterances[1], head["utterances"][1]
    assert (told["start"], told["end"], told["track"]) == (one.start_s, one.end_s, one.track)
    assert told["score"] == pytest.approx(one.score)
    assert told["p"] == pytest.approx(list(one.probabilities.values()))
    assert told["shares"] == {"audio": [0.41, True], "face": [0.59, True]}
    part = data["part-1"]
    assert part["audio"][0] == pytest.approx(
        [f.time_s for f in one.attention.audio_frames], abs=1e-3
    )
    assert sum(part["face"][1]) == pytest.approx(1, abs=1e-3)
    assert sorted(row[0] for row in part["context"]) == [0, 1, 2, 3]


def test_context_has_the_greatest_first_and_tells_what_is_missing() -> None:
    one = make_result(3).utterances[0]
    attention = Attention({"audio": (0.1, 0.6, 0.3), "face": (0.2, 0.1, 0.7)})
    rows = part_of(dataclasses.replace(one, attention=attention), None, None)["context"]
    assert rows == [[2, 3000, 7000], [1, 6000, 1000], [0, 1000, 2000]]
    assert part_of(dataclasses.replace(one, attention=attention), None, 1)["context"] == rows[:1]
    alone = Attention({"audio": (0.1, 0.6, 0.3), "face": ()}, (), (TimeWeight(0.5, 1.0),))
    part = part_of(dataclasses.replace(one, attention=alone), None, None)
    assert part["context"] == [[1, 6000, None], [2, 3000, None], [0, 1000, None]]


def test_labels_without_good_and_bad_have_colours_of_their_own(tmp_path: Path) -> None:
    result = make_result(2)
    relabelled = [
        dataclasses.replace(one, sentiment=label, score=0.0, probabilities={"a": 0.4, "b": 0.6})
        for one, label in zip(result.utterances, "ab", strict=True)
    ]
    result = dataclasses.replace(
        result, utterances=tuple(relabelled), model=ModelInfo("m", "ab" * 32, ("a", "b"))
    )
    head = data_of(written(tmp_path / "a.html", result))["head"]
    assert [one["colour"] for one in head["utterances"]] == head["colours"]
    assert head["colours"][0] != head["colours"][1]


# --- media ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("media", "target", "url"),
    [
        ("a.mp4", "a.html", "a.mp4"),
        ("in/a b#1?.mp4", "a.html", "in/a%20b%231%3F.mp4"),
        ("a.mp4", "out/deep/a.html", "../../a.mp4"),
        ("x/'\"<&>%.mp4", "a.html", "x/%27%22%3C%26%3E%25.mp4"),
        ("http:a.mp4", "a.html", "http%3Aa.mp4"),
        ("-我很好.mp4", "a.html", "-%E6%88%91%E5%BE%88%E5%A5%BD.mp4"),
        ("\udcff.mp4", "a.html", "%FF.mp4"),
    ],
)
def test_links_are_relative_and_encoded(tmp_path: Path, media: str, target: str, url: str) -> None:
    assert link(tmp_path / media, tmp_path / target) == url


def test_embedded_media_can_be_put_together_again(tmp_path: Path) -> None:
    content = bytes(range(256)) * 40_000  # more than one piece
    (tmp_path / "a.mp4").write_bytes(content)
    blocks = list(embedded(tmp_path / "a.mp4"))
    assert len(blocks) == 4
    texts = [text for _, text in Elements("".join(blocks)).of("script")]
    assert b"".join(map(base64.b64decode, texts)) == content


def test_media_too_large_for_a_page_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "a.mp4").open("wb") as file:
        file.truncate(1_200_000_000)  # a hole: it takes no room
    with pytest.raises(InputError, match=r"1\.2 GB, too much for a page; leave out --embed"):
        write_report(tmp_path / "a.html", make_result(1), media=tmp_path / "a.mp4", embed=True)
    assert not (tmp_path / "a.html").exists()


def test_without_pictures_the_media_is_linked_unseen(tmp_path: Path) -> None:
    page = written(tmp_path / "a.html", make_result(1), media=tmp_path / "gone.mp4", pictures=False)
    head = data_of(page)["head"]
    assert head["media"] == {
        "kind": "video",
        "url": "gone.mp4",
        "type": "video/mp4",
        "name": "gone.mp4",
    }
    assert media_kind(Path("a.wav")) == media_kind(Path("a.mp3")) == "audio"


def test_another_file_than_the_one_analysed_is_told_of(tmp_path: Path) -> None:
    sound = write_sound(tmp_path / "a.wav", tone(2.0), "pcm_s16le")
    result = dataclasses.replace(make_result(1), duration_s=60.0)
    head = data_of(written(tmp_path / "a.html", result, media=sound))["head"]
    assert head["media"]["kind"] == "audio"
    assert "lasts 2.0 s, the one that was analysed 60.0 s" in head["warnings"][-1]


def test_a_page_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot write"):
        write_report(tmp_path / "no" / "a.html", make_result(1), media=None)


# --- lanes ----------------------------------------------------------------------------------------


def test_utterances_of_one_lane_do_not_overlap() -> None:
    assert lanes([]) == []
    assert lanes([(0, 2), (1, 3), (2, 4), (1.5, 9), (3, 5)]) == [0, 1, 0, 2, 1]
    assert lanes([(5, 6), (0, 5)]) == [0, 0]  # in the order of their starts
    assert lanes([(0, 2), (1.995, 3)], slack=0.01) == [0, 0]
    assert lanes([(0, 9), (1, 9), (2, 3), (4, 5)], most=2) == [0, 1, 1, 1]


def test_a_page_has_the_lane_of_each_utterance(tmp_path: Path) -> None:
    result = make_result(4)
    longer = dataclasses.replace(result.utterances[1], end_s=result.utterances[3].end_s)
    result = dataclasses.replace(
        result, utterances=(result.utterances[0], longer, *result.utterances[2:])
    )
    assert data_of(written(tmp_path / "a.html", result))["head"]["lanes"] == [0, 0, 1, 1]


# --- size ----------------------------------------------------------------------------------------


def test_hundreds_of_utterances_stay_small(tmp_path: Path) -> None:
    write_report(tmp_path / "a.html", make_result(400), media=None)
    assert (tmp_path / "a.html").stat().st_size < 4_000_000


# --- the command -------------------------------------------------------------------------------


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: a sound in ``media``, results of it in ``out``."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "media").mkdir()
    (tmp_path / "out").mkdir()
    write_sound(tmp_path / "media" / "a.wav", tone(2.0), "pcm_s16le")
    save(tmp_path / "out" / "a.wav.json", "media/a.wav")
    return tmp_path


def save(path: Path, source: str, **changes: Any) -> Path:
    path.write_text(json.dumps({**make_result(1, source).to_dict(), **changes}))
    return path


def head_in(page: Path) -> dict[str, Any]:
    text = page.read_text(encoding="utf-8").split('id="head">')[1].split("</script>")[0]
    head: dict[str, Any] = json.loads(text)
    return head


def test_page_beside_the_result_and_media_from_here(here: Path) -> None:
    assert main(["report", "out/a.wav.json"]) == 0
    head = head_in(here / "out" / "a.wav.html")
    assert head["media"]["url"] == "../media/a.wav"
    assert head["media"]["kind"] == "audio"


def test_media_beside_the_result_comes_first(here: Path) -> None:
    (here / "out" / "media").mkdir()
    write_sound(here / "out" / "media" / "a.wav", tone(2.0), "pcm_s16le")
    assert main(["report", "out/a.wav.json", "-o", "page.html"]) == 0
    assert head_in(here / "page.html")["media"]["url"] == "out/media/a.wav"


def test_media_that_is_not_there_is_a_warning(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(here / "b.json", "gone/b.mp4")
    assert main(["report", "b.json"]) == 0
    assert head_in(here / "b.html")["media"] is None
    assert capsys.readouterr().err == (
        "avsent: warning: there is no gone/b.mp4 beside b.json or here; give --video PATH\n"
    )
    assert main(["report", "b.json", "--quiet", "--video", "media/a.wav"]) == 0
    assert head_in(here / "b.html")["media"]["url"] == "media/a.wav"
    assert capsys.readouterr().err == ""


def test_media_that_is_none_any_more_is_a_warning(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "media" / "a.wav").write_text("no sound")
    assert main(["report", "out/a.wav.json"]) == 0
    assert "not a media file" in capsys.readouterr().err
    assert head_in(here / "out" / "a.wav.html")["media"] is None


def test_embedded(here: Path) -> None:
    assert main(["report", "out/a.wav.json", "--embed"]) == 0
    page = here / "out" / "a.wav.html"
    assert head_in(page)["media"]["url"] is None
    assert '<script type="text/plain" class="media">UklGR' in page.read_text("utf-8")  # RIFF


def test_without_pictures(here: Path) -> None:
    assert main(["report", "out/a.wav.json", "--no-pictures"]) == 0
    text = (here / "out" / "a.wav.html").read_text("utf-8")
    assert "image/webp" not in text.split('id="part-0">')[1].split("</script>")[0]


def test_array_of_one_result(here: Path) -> None:
    plain = make_result(1, "media/a.wav").to_dict()
    Path("one.json").write_text(json.dumps([plain]))
    assert main(["report", "one.json"]) == 0
    assert head_in(Path("one.html"))["source"] == "media/a.wav"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ("missing.json", 3, "cannot read missing.json: no such file"),
        ("empty.json", 3, "empty.json is empty"),
        ("broken.json", 3, "broken.json: is not JSON"),
        ("none.json", 3, "none.json: holds the results of 0 files"),
        ("other.json", 3, "other.json: result lacks the key 'source'"),
        ("several.json", 3, "several.json: holds the results of 2 files"),
        ("out/a.wav.json --video gone.mp4", 3, "cannot read gone.mp4: no such file"),
        ("out/a.wav.json --video broken.json", 3, "broken.json is not a media file"),
        ("out/a.wav.json -o out/a.wav.json", 2, "the output out/a.wav.json is an input"),
        ("out/a.wav.json -o media/a.wav", 2, "the output media/a.wav is an input"),
        ("out/a.wav.json -o no/a.html", 3, "cannot write no/a.html: there is no folder no"),
        ("gone.json --embed", 3, "there is no gone.mp4 beside gone.json or here to --embed"),
        ("media --video media/a.wav", 2, "--video and --embed are for the page of one result"),
        ("media --embed", 2, "--video and --embed are for the page of one result"),
        ("media", 3, "media"),  # a folder, but of no batch
    ],
)
def test_refusals(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: str, code: int, message: str
) -> None:
    plain = make_result(1, "media/a.wav").to_dict()
    Path("empty.json").touch()
    Path("broken.json").write_text("{")
    Path("none.json").write_text("[]")
    Path("other.json").write_text('{"a": 1}')
    Path("several.json").write_text(json.dumps([plain, plain]))
    save(Path("gone.json"), "gone.mp4")
    before = sorted(here.rglob("*"))
    assert main(["report", *arguments.split()]) == code
    out, err = capsys.readouterr()
    assert message in err.splitlines()[0]
    assert err.startswith("avsent: error: ")
    assert len(err.splitlines()) == (3 if code == 2 else 1)
    assert out == ""
    assert sorted(here.rglob("*")) == before
    assert (here / "media" / "a.wav").read_bytes().startswith(b"RIFF")
