"""``avsent report``: which file it takes, where the page goes, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from handmade import make_result
from media_files import tone, write_sound

from avsent.cli.app import main


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


def head_of(page: Path) -> dict[str, Any]:
    text = page.read_text(encoding="utf-8").split('id="head">')[1].split("</script>")[0]
    head: dict[str, Any] = json.loads(text)
    return head


def test_page_beside_the_result_and_media_from_here(here: Path) -> None:
    assert main(["report", "out/a.wav.json"]) == 0
    head = head_of(here / "out" / "a.wav.html")
    assert head["media"]["url"] == "../media/a.wav"
    assert head["media"]["kind"] == "audio"


def test_media_beside_the_result_comes_first(here: Path) -> None:
    (here / "out" / "media").mkdir()
    write_sound(here / "out" / "media" / "a.wav", tone(2.0), "pcm_s16le")
    assert main(["report", "out/a.wav.json", "-o", "page.html"]) == 0
    assert head_of(here / "page.html")["media"]["url"] == "out/media/a.wav"


def test_media_that_is_not_there_is_a_warning(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(here / "b.json", "gone/b.mp4")
    assert main(["report", "b.json"]) == 0
    assert head_of(here / "b.html")["media"] is None
    assert capsys.readouterr().err == (
        "avsent: warning: there is no gone/b.mp4 beside b.json or here; give --video PATH\n"
    )
    assert main(["report", "b.json", "--quiet", "--video", "media/a.wav"]) == 0
    assert head_of(here / "b.html")["media"]["url"] == "media/a.wav"
    assert capsys.readouterr().err == ""


def test_media_that_is_none_any_more_is_a_warning(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "media" / "a.wav").write_text("no sound")
    assert main(["report", "out/a.wav.json"]) == 0
    assert "not a media file" in capsys.readouterr().err
    assert head_of(here / "out" / "a.wav.html")["media"] is None


def test_embedded(here: Path) -> None:
    assert main(["report", "out/a.wav.json", "--embed"]) == 0
    page = here / "out" / "a.wav.html"
    assert head_of(page)["media"]["url"] is None
    assert '<script type="text/plain" class="media">UklGR' in page.read_text("utf-8")  # RIFF


def test_without_pictures(here: Path) -> None:
    assert main(["report", "out/a.wav.json", "--no-pictures"]) == 0
    text = (here / "out" / "a.wav.html").read_text("utf-8")
    assert "image/webp" not in text.split('id="part-0">')[1].split("</script>")[0]


def test_array_of_one_result(here: Path) -> None:
    plain = make_result(1, "media/a.wav").to_dict()
    Path("one.json").write_text(json.dumps([plain]))
    assert main(["report", "one.json"]) == 0
    assert head_of(Path("one.html"))["source"] == "media/a.wav"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ("missing.json", 3, "cannot read missing.json: no such file"),
        ("empty.json", 3, "empty.json is empty"),
        ("broken.json", 3, "broken.json: is not JSON"),
        ("none.json", 3, "none.json: holds the results of 0 files"),
        ("other.json", 3, "other.json: result.schema is missing"),
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
