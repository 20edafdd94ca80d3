"""The report page as a file: what stands in it, and that nothing from outside becomes markup."""

from __future__ import annotations

import base64
import dataclasses
import html.parser
import json
import re
from pathlib import Path
from typing import Any

import pytest
from handmade import HOSTILE, make_result, patient, results
from hypothesis import given
from media_files import tone, write_sound

from avsent.errors import InputError, OutputError
from avsent.result.record import Result
from avsent.result.utterance import Attention, ModelInfo, TimeWeight
from avsent.views.report.html import json_block
from avsent.views.report.linking import embedded, kind_of, link
from avsent.views.report.page import write_report
from avsent.views.report.payload import part_of

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
    import hashlib

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
    assert kind_of(Path("a.wav")) == kind_of(Path("a.mp3")) == "audio"


def test_another_file_than_the_one_analysed_is_told_of(tmp_path: Path) -> None:
    sound = write_sound(tmp_path / "a.wav", tone(2.0), "pcm_s16le")
    result = dataclasses.replace(make_result(1), duration_s=60.0)
    head = data_of(written(tmp_path / "a.html", result, media=sound))["head"]
    assert head["media"]["kind"] == "audio"
    assert "lasts 2.0 s, the one that was analysed 60.0 s" in head["warnings"][-1]


def test_a_page_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot write"):
        write_report(tmp_path / "no" / "a.html", make_result(1), media=None)


# --- size ----------------------------------------------------------------------------------------


def test_hundreds_of_utterances_stay_small(tmp_path: Path) -> None:
    write_report(tmp_path / "a.html", make_result(400), media=None)
    assert (tmp_path / "a.html").stat().st_size < 4_000_000
