"""Every block of code in the documentation runs as it stands, or says why it is not run."""

from __future__ import annotations

import functools
import glob
import re
import shlex
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import pytest
from conftest import ROOT, SAMPLE

from avsent.cli.app import main
from avsent.predictor import Predictor

COMMANDS, PYTHON = "sh", "python"
SHOWN = {"text", "json"}
"""Languages of blocks that are there to be read."""

_FENCE = re.compile(r"( *)(```+|~~~+) *(\w*)")
_COMMENT = re.compile(r"<!-- (not run(?: where (?P<where>\S+))?|file): +(?P<value>\S.*?) -->")


@dataclass(frozen=True)
class Block:
    """A fenced block; ``lines`` begin below ``line`` of the page, from 1."""

    page: Path
    line: int
    language: str
    lines: tuple[str, ...]
    skip: str | None = None
    """Of lines that hold this nothing is run; all lines hold the empty text."""
    file: str | None = None

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def text(self) -> str:
        return "\n".join(self.lines) + "\n"

    def commands(self) -> list[list[str]]:
        """The words of each command; comments and what is not to be run are left out.

        Fails where a line is a command of something else than avsent.
        """
        found = []
        for line in self.text.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if not words or (self.skip is not None and self.skip in line):
                continue
            assert words[0] == "avsent", f"{self.place}: mark what cannot be run: {line}"
            found.append(words[1:])
        return found


def pages() -> list[Path]:
    """README, and the pages of the documentation; measurements are written by their commands."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path) -> Iterator[Block]:
    """Every fenced block of a page, in order."""
    lines = page.read_text(encoding="utf-8").splitlines()
    number = 0
    while number < len(lines):
        if fence := _FENCE.fullmatch(lines[number]):
            indent, mark, language = fence.groups()
            end = next(n for n in range(number + 1, len(lines)) if lines[n].strip() == mark)
            inside = tuple(line.removeprefix(indent) for line in lines[number + 1 : end])
            skip, file = _said_above(lines[:number])
            if not language and inside and inside[0].startswith("avsent "):
                language = COMMANDS
            yield Block(page, number + 1, language, inside, skip, file)
            number = end
        number += 1


def _said_above(lines: list[str]) -> tuple[str | None, str | None]:
    comment = _COMMENT.fullmatch(lines[-1].strip()) if lines else None
    if comment is None:
        return None, None
    if comment[1] == "file":
        return None, comment["value"]
    return comment["where"] or "", None


PAGES = [page for page in pages() if any(True for _ in blocks(page))]
SHORT_S = 4.2
"""Of the sample: its first utterance."""
QUICKER = {"train": ["--epochs", "1"]}
"""What is added to a command, so that it ends in a moment."""
LOAD = Predictor.load
DONE: set[tuple[str, ...]] = set()
"""Commands that stand on an earlier page as well: the folder is the same."""
MANIFEST = """\
video,start_s,end_s,speaker,split,label,text
a.mp4,0.8,3.6,ann,train,positive,so happy to see you
b.mp4,0.8,3.6,bob,train,negative,this is terrible news
c.mp4,0.8,3.6,cat,valid,positive,such a happy day
d.mp4,0.8,3.6,dan,valid,negative,really terrible
e.mp4,0.8,3.6,eve,test,positive,a wonderful day
f.mp4,0.8,3.6,fay,test,negative,sad news
"""
SENTENCES = "text,label\nwhat a wonderful day,positive\nthis is sad,negative\n"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with everything that the pages speak of."""
    folder = tmp_path_factory.mktemp("docs")
    for sub in ("videos", "samples", "DATA"):
        (folder / sub).mkdir()
    shutil.copy(SAMPLE, folder / "samples" / "demo.mp4")
    talk = folder / "talk.mp4"
    cut_short(SAMPLE, talk, SHORT_S)
    for copy in ("video.mp4", "videos/a.mp4"):
        shutil.copy(talk, folder / copy)
    for number, name in enumerate("abcdef"):  # no two are the same
        cut_short(SAMPLE, folder / "DATA" / f"{name}.mp4", SHORT_S - 0.1 * number)
    (folder / "DATA" / "manifest.csv").write_text(MANIFEST, encoding="utf-8")
    shutil.copytree(folder / "DATA", folder / "TEST-DATA")
    (folder / "sentences.csv").write_text(SENTENCES, encoding="utf-8")
    (folder / "talk.csv").write_text("start_s,end_s,text\n0.8,3.6,Hello\n", encoding="utf-8")
    (folder / "talk.srt").write_text("1\n00:00:00,800 --> 00:00:03,600\nHello\n", encoding="utf-8")
    return folder


@functools.cache
def loaded(checkpoint: str = "default", *, device: str = "auto") -> Predictor:
    """Loaded once for all pages."""
    return LOAD(checkpoint, device=device)


@pytest.fixture(autouse=True)
def in_place(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    monkeypatch.setenv("AVSENT_CACHE", str(place / "cache"))
    monkeypatch.setattr(Predictor, "load", loaded)


def cut_short(source: Path, target: Path, length_s: float) -> None:
    """The first seconds of a video, its packets as they are."""
    with av.open(str(source)) as whole, av.open(str(target), "w") as cut:
        streams = {stream.index: cut.add_stream_from_template(stream) for stream in whole.streams}
        for packet in whole.demux():
            if packet.dts is not None and packet.dts * packet.time_base < length_s:
                packet.stream = streams[packet.stream.index]
                cut.mux(packet)


def run_commands(block: Block) -> None:
    for words in block.commands():
        if tuple(words) in DONE:
            continue
        # As a shell does; a pattern that fits nothing stays.
        given = [name for word in words for name in sorted(glob.glob(word)) or [word]]
        code = main([*given, *QUICKER.get(words[0], [])])
        assert code == 0, f"{block.place}: avsent {' '.join(words)} ends with {code}"
        DONE.add(tuple(words))


def run_python(block: Block) -> None:
    # As many lines above as on the page, so that a traceback names the right one.
    code = compile("\n" * block.line + block.text, str(block.page), "exec")
    exec(code, {"__name__": "__main__"})


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_blocks_run(page: Path) -> None:
    for block in blocks(page):
        if block.skip == "":
            continue
        if block.file is not None:
            Path(block.file).write_text(block.text, encoding="utf-8")
        elif block.language == COMMANDS:
            run_commands(block)
        elif block.language == PYTHON:
            run_python(block)
        else:
            assert block.language in SHOWN, f"{block.place}: say its language, or mark it"


def test_there_is_something_to_run() -> None:
    found = [block for page in pages() for block in blocks(page)]
    ran = [block for block in found if block.skip != "" and block.language in {COMMANDS, PYTHON}]
    assert len(ran) > 30
    assert {block.page.stem for block in ran} >= {"README", "index", "looking", "batch", "api"}


def test_what_is_neither_run_nor_marked_is_noticed() -> None:
    page = ROOT / "README.md"
    with pytest.raises(AssertionError, match=r"README\.md:7: mark what cannot be run: make demo"):
        Block(page, 7, COMMANDS, ("avsent doctor  # and", "make demo")).commands()
    assert Block(page, 7, COMMANDS, ("make demo", "avsent doctor  # x"), "make").commands() == [
        ["doctor"]
    ]


def test_what_is_left_out_is_there() -> None:
    for page in pages():
        for block in blocks(page):
            if block.skip is not None:
                assert block.skip in block.text, block.place
    comments = sum(page.read_text("utf-8").count("<!-- not run") for page in pages())
    assert comments == sum(b.skip is not None for page in pages() for b in blocks(page))


def test_the_first_table_is_what_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    """Utterances, labels and times; scores may differ in their last place."""
    shown = next(b for b in blocks(ROOT / "docs" / "index.md") if b.language == "text")
    assert main(["predict", "samples/demo.mp4"]) == 0
    rows = re.compile(r"(?m)^(\d+) +(\S+–\S+) +(\w+\??) +[-+]\d\.\d\d ")
    found = rows.findall(shown.text)
    assert len(found) == 4
    assert rows.findall(capsys.readouterr().out) == found
