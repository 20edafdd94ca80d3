"""Utterance boundaries given by the user: what is read, tolerated and refused."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from avsent.errors import BoundariesError
from avsent.extraction.utterances import boundaries
from avsent.extraction.utterances.boundaries import read_boundaries
from avsent.extraction.utterances.segmentation import Segment

CLIPS = Path(__file__).resolve().parents[3] / "shared" / "clips"
MAX_MS = 100 * 3600 * 1000
QUICK = settings(max_examples=60, deadline=None, database=None)

words = st.text("abc XYZ éß我 0123456789 .,!?'\"", max_size=30).map(lambda t: " ".join(t.split()))
cues = st.lists(
    st.tuples(st.integers(0, MAX_MS), st.integers(1, 60_000), words), min_size=1, max_size=12
)


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def clock(ms: int, dot: str) -> str:
    seconds, ms = divmod(ms, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{dot}{ms:03}"


def as_srt(items: list[tuple[int, int, str]]) -> str:
    return "".join(
        f"{i}\n{clock(a, ',')} --> {clock(a + n, ',')}\n{text}\n\n"
        for i, (a, n, text) in enumerate(items, 1)
    )


def as_vtt(items: list[tuple[int, int, str]]) -> str:
    body = (f"{clock(a, '.')} --> {clock(a + n, '.')} line:0\n{t}\n\n" for a, n, t in items)
    return "WEBVTT\n\n" + "".join(body)


def as_csv(items: list[tuple[int, int, str]]) -> str:
    out = io.StringIO(newline="")
    rows = csv.writer(out)
    rows.writerow(["text", "end_s", "speaker", "start_s"])
    rows.writerows([t, f"{(a + n) / 1000:.3f}", "x", f"{a / 1000:.3f}"] for a, n, t in items)
    return out.getvalue()


@pytest.mark.parametrize(("suffix", "form"), [("srt", as_srt), ("vtt", as_vtt), ("csv", as_csv)])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_round_trip(tmp_path: Path, suffix: str, form: object, encoding: str) -> None:
    @QUICK
    @given(cues, st.sampled_from(["\n", "\r\n"]))
    def check(items: list[tuple[int, int, str]], newline: str) -> None:
        assert callable(form)
        content = form(items).replace("\r\n", "\n").replace("\n", newline)
        found = read_boundaries(write(tmp_path, f"a.{suffix}", content.encode(encoding)))
        expected = [Segment(a / 1000, (a + n) / 1000, t or None) for a, n, t in items]
        assert found == sorted(expected, key=lambda s: (s.start_s, s.end_s))

    check()


@pytest.mark.parametrize("suffix", ["srt", "vtt", "csv"])
def test_random_bytes_raise_nothing_else(tmp_path: Path, suffix: str) -> None:
    pieces = st.sampled_from(
        ["-->", "00:00:01,000", "1:2.5", "\n", "\r", ",", '"', "start_s,end_s", "WEBVTT", "NOTE",
         "nan", "1e999", "-1", "\0", "<b", "{\\", "&#0;", "\x0b", "7"]
    )  # fmt: skip
    likely = st.lists(pieces | st.text(max_size=3), max_size=30).map(
        lambda p: " ".join(p).replace("\n ", "\n").encode("utf-8", "surrogatepass")
    )

    @settings(QUICK, max_examples=150)
    @given(st.binary(max_size=200) | likely)
    @example(b"\xff\xfe\x00")
    @example(b"")
    def check(data: bytes) -> None:
        path, refusal, segments = write(tmp_path, f"a.{suffix}", data), "", []
        try:
            segments = read_boundaries(path)
        except BoundariesError as error:
            refusal = str(error)
        assert bool(segments) != bool(refusal)
        assert refusal.isprintable()
        assert all(0 <= s.start_s < s.end_s for s in segments)

    check()


SRT = """1
00:00:01,500 --> 00:00:02.25
<i>Hello</i>
{\\an8}there, a < b

2

00:00:00,000 --> 00:00:00,900  X1:10 X2:20
- <font color="red">First</font>

still first
3
00:01:00 --> 01:00:00,5
42
00:00:05,000 --> 00:00:06,000
"""


def test_srt_may_be_irregular(tmp_path: Path) -> None:
    assert read_boundaries(write(tmp_path, "a.SRT", SRT)) == [
        Segment(0.0, 0.9, "- First still first"),
        Segment(1.5, 2.25, "Hello there, a < b"),
        Segment(5.0, 6.0, None),
        Segment(60.0, 3600.5, None),  # the lone number above a time counts the next cue
    ]


def test_srt_keeps_a_text_that_is_a_number(tmp_path: Path) -> None:
    text = "1\n00:00:01,000 --> 00:00:02,000\n42\n\n00:00:03,000 --> 00:00:04,000\nuntil\n43"
    found = read_boundaries(write(tmp_path, "a.srt", text))
    assert [s.text for s in found] == ["42", "until 43"]
    numbered = as_srt([(0, 1000, "7"), (2000, 1000, "8 9")])
    assert [s.text for s in read_boundaries(write(tmp_path, "b.srt", numbered))] == ["7", "8 9"]


VTT = """WEBVTT - a title --> here
Kind: captions

STYLE
::cue { color: red }

NOTE a comment
over 00:00.000 --> 00:09.000 two lines

REGION
id:fred

first name
00:01.000 --> 00:02.500 align:start position:0%
<v Ann>Fish &amp; <00:01.500><c.loud>chips</c></v>
twice

stray line

100:00:00.000 --> 100:00:01.000
00:00.000 --> 00:08.000
overlaps
"""


def test_vtt_blocks_settings_and_markup(tmp_path: Path) -> None:
    assert read_boundaries(write(tmp_path, "a.vtt", VTT)) == [
        Segment(0.0, 8.0, "overlaps"),
        Segment(1.0, 2.5, "Fish & chips twice"),
        Segment(360_000.0, 360_001.0, None),
    ]


def test_vtt_cue_right_below_the_first_line(tmp_path: Path) -> None:
    path = write(tmp_path, "a.vtt", "WEBVTT\n00:01.000 --> 00:02.000\nHi")
    assert read_boundaries(path) == [Segment(1.0, 2.0, "Hi")]


def test_csv_columns_in_any_order(tmp_path: Path) -> None:
    text = (
        'clip, End_S ,start_s,text\r\n\r\na,2.5,1e0,"two\nlines, ""quoted"""\r\n,1,0.5\r\n,,,\r\n'
    )
    assert read_boundaries(write(tmp_path, "a.csv", text)) == [
        Segment(0.5, 1.0, None),
        Segment(1.0, 2.5, 'two lines, "quoted"'),
    ]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.srt", "", "a.srt: no utterances"),
        ("a.srt", "1\nhello\n", "a.srt: no utterances"),
        ("a.vtt", "WEBVTT\n\nNOTE\n00:01.000 --> 00:02.000\n", "a.vtt: no utterances"),
        ("a.csv", "start_s,end_s\n", "a.csv: no utterances"),
        ("a.csv", "", "a.csv: no utterances"),
        ("a.srt", "1\n00:00:01,000 --> soon\n", "a.srt:2: “soon” is not a time"),
        ("a.srt", "1\n00:00:01,000 -->\n", "a.srt:2: “” is not a time"),
        ("a.srt", "\n00:61:01,000 --> 02:00:00,000\n", "a.srt:2: “00:61:01,000” is not a time"),
        ("a.srt", "nan --> inf\n", "a.srt:1: “nan” is not a time"),
        ("a.srt", "٠٠:٠٠:٠١ --> 00:00:02,000\n", "is not a time"),
        ("a.vtt", "WEBVTT\n\n-00:01.000 --> 00:02.000\n", "a.vtt:3: “-00:01.000” is negative"),
        ("a.vtt", "\n00:02.000 --> 00:02.000\n", "a.vtt:2: the end, 2 s, is not after"),
        ("a.csv", "start_s,text\n1,x\n", "a.csv:1: no column end_s; begin"),
        ("a.csv", "\n1;2\n", "a.csv:2: no column start_s and end_s; begin"),
        ("a.csv", "start_s,end_s\n\n1,x\n", "a.csv:3: end_s “x” is not a number"),
        ("a.csv", "start_s,end_s\n1\n", "a.csv:2: end_s “” is not a number"),
        ("a.csv", "start_s,end_s\nnan,1\n", "a.csv:2: start_s “nan” is not a number"),
        ("a.csv", "start_s,end_s\n0,inf\n", "a.csv:2: end_s “inf” is not a number"),
        ("a.csv", "start_s,end_s\n0,1e400\n", "a.csv:2: end_s “1e400” is not a number"),
        ("a.csv", "start_s,end_s\n1_0,20\n", "a.csv:2: start_s “1_0” is not a number"),
        ("a.csv", "start_s,end_s\n-1,1\n", "a.csv:2: a time is negative"),
        ("a.csv", "start_s,end_s\n3,1\n", "a.csv:2: the end, 1 s, is not after the start, 3 s"),
        ("a.csv", "start_s,end_s\n1," + "9" * 200_000, "a.csv:2: not a CSV row"),
        ("a.srt", b"1\n00:00:01,000 --> 00:00:02,000\ncaf\xe9\n", "a.srt:3: not UTF-8"),
        ("a.csv", b"\xff\xfea\x00b", "a.csv:byte 4: not UTF-16 text"),
        ("a.csv", "start_s,end_s\n1,2\n".encode("utf-16-le"), "a.csv:1: zero bytes"),
        ("a.txt", "1", "a.txt: unknown kind of file; give a .srt, .vtt or .csv"),
        ("new\nline.srt", "", "new\\nline.srt: no utterances"),
    ],
)
def test_invalid_files_are_refused_in_one_line(
    tmp_path: Path, name: str, content: str | bytes, said: str
) -> None:
    with pytest.raises(BoundariesError) as caught:
        read_boundaries(str(write(tmp_path, name, content)))
    assert said in str(caught.value)
    assert str(caught.value).isprintable()


def test_paths_that_cannot_be_read_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "folder.srt").mkdir()
    with pytest.raises(BoundariesError, match="is a folder"):
        read_boundaries(tmp_path / "folder.srt")
    with pytest.raises(BoundariesError, match="no such file"):
        read_boundaries(tmp_path / "none.srt")
    for name in ("zero\0byte.srt", "x" * 5000 + ".srt"):
        with pytest.raises(BoundariesError, match=r"no such file|cannot be read"):
            read_boundaries(tmp_path / name)
    monkeypatch.setattr(boundaries, "MAX_FILE_BYTES", 1024**2)
    with pytest.raises(BoundariesError, match="over 1 MB"):
        read_boundaries(write(tmp_path, "big.csv", b"a" * (1024**2 + 1)))


@pytest.mark.skipif(not CLIPS.is_dir(), reason="the shared clips are not here")
def test_boundaries_of_the_shared_clip() -> None:
    found = read_boundaries(CLIPS / "many_utterances.csv")
    assert len(found) == 9
    assert found[1].start_s == 3.001
    assert found[0].text is not None
    assert found[-1] == Segment(52.426, 59.06, None)
