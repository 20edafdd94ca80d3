"""Utterance boundaries given by the user: what is read, tolerated and refused."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pytest
from handmade import make_result
from hypothesis import example, given, settings
from hypothesis import strategies as st

from avsent.errors import BoundariesError
from avsent.extraction.utterances import boundaries
from avsent.extraction.utterances.boundaries import Boundaries, read_boundaries
from avsent.extraction.utterances.segmentation import Segment
from avsent.result.writers import Format, make_writer

CLIPS = Path(__file__).resolve().parents[3] / "shared" / "clips"
MAX_MS = 100 * 3600 * 1000
QUICK = settings(max_examples=60, deadline=None, database=None)

words = st.text("abc XYZ éß我 0123456789 .,!?'\"", max_size=30).map(lambda t: " ".join(t.split()))
cues = st.lists(
    st.tuples(st.integers(0, MAX_MS), st.integers(40, 60_000), words), min_size=1, max_size=12
)


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def segments_of(path: Path, *options: object) -> list[Segment]:
    """The utterances of a file that is read without a warning."""
    found = read_boundaries(path, *options)  # type: ignore[arg-type]
    assert found.warnings == ()
    return list(found.segments)


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
        # Numbered, as cues that touch and repeat words are one.
        items = [(a, n, text and f"{k}. {text}") for k, (a, n, text) in enumerate(items)]
        content = form(items).replace("\r\n", "\n").replace("\n", newline)
        found = segments_of(write(tmp_path, f"a.{suffix}", content.encode(encoding)))
        expected = [Segment(a / 1000, (a + n) / 1000, t or None) for a, n, t in items]
        assert found == sorted(expected, key=lambda s: (s.start_s, s.end_s))

    check()


@pytest.mark.parametrize("suffix", ["srt", "vtt", "csv", "eaf", "TextGrid"])
def test_random_bytes_raise_nothing_else(tmp_path: Path, suffix: str) -> None:
    pieces = st.sampled_from(
        ["-->", "00:00:01,000", "1:2.5", "\n", "\r", ",", '"', "start_s,end_s", "WEBVTT", "NOTE",
         "nan", "1e999", "-1", "\0", "<b", "{\\", "&#0;", "\x0b", "7", "<TIER>", "</TIER>",
         '"ooTextFile"', '"TextGrid"', "<exists>", '"IntervalTier"', '"x"', "1"]
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
            segments = list(read_boundaries(path).segments)
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
00:01:00 --> 00:05:00,5
42
00:00:05,000 --> 00:00:06,000
"""


def test_srt_may_be_irregular(tmp_path: Path) -> None:
    assert segments_of(write(tmp_path, "a.SRT", SRT)) == [
        Segment(0.0, 0.9, "- First still first"),
        Segment(1.5, 2.25, "Hello there, a < b"),
        Segment(5.0, 6.0, None),
        Segment(60.0, 300.5, None),  # the lone number above a time counts the next cue
    ]


def test_srt_keeps_a_text_that_is_a_number(tmp_path: Path) -> None:
    text = "1\n00:00:01,000 --> 00:00:02,000\n42\n\n00:00:03,000 --> 00:00:04,000\nuntil\n43"
    found = segments_of(write(tmp_path, "a.srt", text))
    assert [s.text for s in found] == ["42", "until 43"]
    numbered = as_srt([(0, 1000, "7"), (2000, 1000, "8 9")])
    assert [s.text for s in segments_of(write(tmp_path, "b.srt", numbered))] == ["7", "8 9"]


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
    assert segments_of(write(tmp_path, "a.vtt", VTT)) == [
        Segment(0.0, 8.0, "overlaps"),
        Segment(1.0, 2.5, "Fish & chips twice"),
        Segment(360_000.0, 360_001.0, None),
    ]


def test_vtt_cue_right_below_the_first_line(tmp_path: Path) -> None:
    path = write(tmp_path, "a.vtt", "WEBVTT\n00:01.000 --> 00:02.000\nHi")
    assert segments_of(path) == [Segment(1.0, 2.0, "Hi")]


def test_csv_columns_in_any_order(tmp_path: Path) -> None:
    text = (
        'clip, End_S ,start_s,text\r\n\r\na,2.5,1e0,"two\nlines, ""quoted"""\r\n,1,0.5\r\n,,,\r\n'
    )
    assert segments_of(write(tmp_path, "a.csv", text)) == [
        Segment(0.5, 1.0, None),
        Segment(1.0, 2.5, 'two lines, "quoted"'),
    ]


TABLES = {
    "semicolons.csv": 'sep=;\r\nstart_s;end_s;text\r\n0,5;3,0;hello\r\n4;5;"a; b"\r\n',
    "tabs.csv": "start_s\tend_s\ttext\n0.5\t3.0\thello\n4\t5\ta; b\n",
    "quoted.csv": 'Begin,Stop,Text\n"0,5","3,0",hello\n4,5,a; b,\n',
    "clock.tsv": "onset\toffset\ttext\n0:00.5\t00:00:03\thello\n0:04\t0:05,0\ta; b\n",
    "elan.txt": "Tier\tBegin Time - hh:mm:ss.ms\tBegin Time - msec\tEnd Time - hh:mm:ss.ms\t"
    "End Time - msec\tAnnotation\nA\t00:00:00.500\t500\t00:00:03.000\t3000\thello\n"
    "A\t00:00:04.000\t4000\t00:00:05.000\t5000\ta; b\n",
    "msec.txt": "Begin Time - msec;End Time - msec;Transcript\n500;3000;hello\n4000;5000;a  b\n",
    "events.tsv": "onset\tduration\ttext\n0.5\t2.5\thello\n4\t1\ta; b\n",
    "edit.csv": "Number;Start time in milliseconds;End time in milliseconds;Text\r\n"
    '1;500;3000;"hello"\r\n2;4000;5000;"a; b"\r\n',
    "media.txt": '"#file:///C:/talk.mp4 -- offset: 0"\nBegin Time - msec\tEnd Time - msec\tText\n'
    "500\t3000\thello\n4000\t5000\ta  b\n",
    "commas.txt": "0,500000\t3,000000\thello\n4,0\t5,0\ta; b\n",
    "labels.txt": "0.500000\t3.000000\thello\n\\\t100.0\t200.0\n4.000000\t5.000000\ta; b\n",
}
"""What spreadsheets, ELAN, BIDS and Audacity write."""


@pytest.mark.parametrize("name", TABLES)
def test_tables_of_other_programs(tmp_path: Path, name: str) -> None:
    found = segments_of(write(tmp_path, name, TABLES[name]))
    assert [(s.start_s, s.end_s) for s in found] == [(0.5, 3.0), (4.0, 5.0)]
    assert [s.text for s in found] == [
        "hello",
        "a b" if name in ("msec.txt", "media.txt") else "a; b",
    ]


def test_whole_numbers_far_apart_are_milliseconds(tmp_path: Path) -> None:
    """As Whisper's .tsv has them, without a unit."""
    found = read_boundaries(
        write(tmp_path, "a.tsv", "start\tend\ttext\n0\t2400\thi\n2400\t4630\tyou\n")
    )
    assert found.segments == (Segment(0.0, 2.4, "hi"), Segment(2.4, 4.63, "you"))
    assert found.warnings[0].startswith(f"{tmp_path}/a.tsv: its whole numbers are read as millisec")
    seconds = write(tmp_path, "b.tsv", "start\tend\n0\t50\n1:00\t300\n60\t61\n")
    assert [s.end_s for s in segments_of(seconds)] == [50.0, 61.0, 300.0]
    named = "start_s,end_s\n0,70\n70,150\n"
    assert segments_of(write(tmp_path, "c.csv", named))[1] == Segment(70.0, 150.0)


def test_quotes_that_are_not_closed(tmp_path: Path) -> None:
    """Whisper's .tsv has the text as it is; what begins with a quotation mark swallows no row."""
    text = 'start\tend\ttext\n0\t2400\t"Hello\n2400\t4000\tyou," he said\n4000\t6000\t"Yes"\n'
    found = read_boundaries(write(tmp_path, "a.tsv", text)).segments
    assert [(s.end_s, s.text) for s in found] == [
        (2.4, "Hello"),
        (4.0, 'you," he said'),
        (6.0, "Yes"),
    ]
    lines = 'start\tend\ttext\n0\t1\t"two\nlines, ""quoted"""\n2\t3\tx\n'
    assert segments_of(write(tmp_path, "b.txt", lines))[0].text == 'two lines, "quoted"'


def test_rows_without_times_are_left_out(tmp_path: Path) -> None:
    """As those of numerals in whisperX's words."""
    text = "word,start,end,score\nin,0.1,0.3,0.9\n2024,,,\nyes,nan,NA,\nwe,0.5,0.8,0.7\n"
    found = read_boundaries(write(tmp_path, "a.csv", text))
    assert [s.start_s for s in found.segments] == [0.1, 0.5]
    assert found.warnings == (f"{tmp_path}/a.csv: 2 rows without times left out: line 3",)


def test_tiers_of_tables(tmp_path: Path) -> None:
    text = "Tier\tBegin Time - msec\tEnd Time - msec\tAnnotation\nAnn\t500\t3000\thello you\n"
    one = write(tmp_path, "one.txt", text)
    assert segments_of(one) == [Segment(0.5, 3.0, "hello you")]
    two = write(tmp_path, "two.txt", f"{text}words\t500\t900\thello\nwords\t900\t3000\tyou\n")
    assert segments_of(two, None, "ann") == segments_of(one)
    assert len(segments_of(two, None, "words")) == 2
    with pytest.raises(BoundariesError, match="several tiers: its tiers are “Ann”, “words”; name"):
        read_boundaries(two)
    with pytest.raises(BoundariesError, match="has no tiers; leave --tier out"):
        read_boundaries(write(tmp_path, "a.csv", "start_s,end_s\n0,1\n"), None, "Ann")


def test_text_of_other_encodings(tmp_path: Path) -> None:
    words = "start_s;end_s;text\n0;1;café “déjà”\n"
    found = read_boundaries(write(tmp_path, "a.csv", words.encode("cp1252")))
    assert found.segments == (Segment(0.0, 1.0, "café “déjà”"),)
    assert found.warnings == (
        f"{tmp_path}/a.csv: not UTF-8, so read as Windows-1252; save it as UTF-8",
    )
    assert segments_of(write(tmp_path, "b.csv", words.encode("utf-16"))) == list(found.segments)


def test_the_rows_of_a_video(tmp_path: Path) -> None:
    rows = [
        *("talks\\A.mp4,0,1,one", "talks/b.mp4,0,2,two", "other/b.mp4,0,3,three"),
        *("/somewhere/else/c.mov,0,4,four", "d,0,5,five", "e.mp4,0,6,six", "talks/e.mp4,0,7,seven"),
    ]
    table = write(tmp_path, "a.csv", "\n".join(["video,start_s,end_s,text", *rows]))
    assert boundaries.names_videos(table)
    assert len(segments_of(table)) == 7
    for video, text in (
        ("talks/a.mp4", "one"),  # as Windows wrote it
        ("talks/b.mp4", "two"),
        ("here/c.mov", "four"),  # moved since
        ("d.mp4", "five"),  # without its ending
        ("talks/e.mp4", "seven"),  # the longer path fits better
        ("e.mp4", "six"),
    ):
        assert [s.text for s in segments_of(table, tmp_path / video)] == [text], video
    for video in ("b.mp4", "none.mp4"):  # one of two, none
        with pytest.raises(BoundariesError, match=rf"no row is for {video}; its column video has"):
            read_boundaries(table, tmp_path / video)
    # Whole paths of Windows: the longest end decides. In another folder is another file.
    rows = ["C:\\d\\day1\\v.mp4,0,1", "C:\\d\\day2\\v,0,2", "day3/w.mp4,0,3", "../x/y.mp4,0,4"]
    table = write(tmp_path, "c.csv", "\n".join(["File name,start_s,end_s", *rows]))
    for video, end_s in (
        ("day1/V.mp4", 1.0),
        ("day2/v.mp4", 2.0),
        ("day3/w.mp4", 3.0),
        ("x/y.mp4", 4),
    ):
        assert [s.end_s for s in segments_of(table, tmp_path / video)] == [end_s], video
    for video in ("day4/v.mp4", "day4/w.mp4"):
        with pytest.raises(
            BoundariesError, match=r"no row is for .\.mp4; its column File name has"
        ):
            read_boundaries(table, tmp_path / video)
    assert not boundaries.names_videos(write(tmp_path, "b.csv", "start_s,end_s\n0,1\n"))
    assert not boundaries.names_videos(write(tmp_path, "b.srt", "video,source"))


blank = " "
ROLLING = f"""WEBVTT

00:00:00.240 --> 00:00:02.390 align:start position:0%
{blank}
good<00:00:00.520><c> morning</c><00:00:00.900><c> all</c>

00:00:02.390 --> 00:00:02.400 align:start position:0%
good morning all
{blank}

00:00:02.400 --> 00:00:04.630 align:start position:0%
good morning all
we<00:00:02.800><c> begin</c>

00:00:04.630 --> 00:00:04.640
we begin
{blank}

00:00:04.640 --> 00:00:06.500
we begin
now
"""
THREE = [
    Segment(0.24, 2.39, "good morning all"),
    Segment(2.4, 4.63, "we begin"),
    Segment(4.64, 6.5, "now"),
]


def test_rolling_captions(tmp_path: Path) -> None:
    assert segments_of(write(tmp_path, "a.vtt", ROLLING)) == THREE
    srt = ROLLING.partition("\n")[2].replace(" \n", "\n")
    assert segments_of(write(tmp_path, "a.srt", srt)) == THREE
    # Cues that touch, without short ones between; the last line stays for a second more.
    touching = (
        "00:00.000 --> 00:02.000\nA b\n\n00:02.000 --> 00:04.000\nA b\nC\n\n"
        "00:04.000 --> 00:05.000\nC\n\n00:05.100 --> 00:06.000\nC\n"
    )
    expected = [Segment(0, 2, "A b"), Segment(2, 5, "C"), Segment(5.1, 6, "C")]
    assert segments_of(write(tmp_path, "b.vtt", touching)) == expected
    # A line that grows word by word.
    growing = [
        (0, 500, "we"),
        (500, 500, "we begin"),
        (1000, 1000, "we begin now"),
        (2000, 900, "we"),
    ]
    expected = [Segment(0, 2, "we begin now"), Segment(2, 2.9, "we")]
    assert segments_of(write(tmp_path, "c.srt", as_srt(growing))) == expected


def test_equal_cues_stay_apart(tmp_path: Path) -> None:
    """Where nothing rolls, as in windows of equal length that all have one text."""
    path = write(tmp_path, "a.srt", as_srt([(0, 9000, "x"), (9000, 9000, "x"), (18000, 9000, "x")]))
    assert segments_of(path) == [Segment(0, 9, "x"), Segment(9, 18, "x"), Segment(18, 27, "x")]


def test_words_that_are_marked_one_by_one_are_one_utterance(tmp_path: Path) -> None:
    """Whisper with --highlight_words."""
    marked = [(0, 400, "<u>good</u> morning"), (400, 600, "good <u>morning</u>"), (1000, 900, "x")]
    found = segments_of(write(tmp_path, "a.srt", as_srt(marked)))
    assert found == [Segment(0, 1, "good morning"), Segment(1, 1.9, "x")]


def test_a_growing_cue_that_ends_before_it_begins(tmp_path: Path) -> None:
    text = "00:00.000 --> 00:02.000\na\n\n00:02.000 --> 00:01.000\na b\n"
    with pytest.raises(BoundariesError, match="the end, 1 s, is before the start, 2 s"):
        read_boundaries(write(tmp_path, "a.vtt", text))


def test_hostile_files_take_no_hours(tmp_path: Path) -> None:
    """Each took minutes to hours: the square of its size."""
    lines = "a\n" * 300_000
    rolling = f"00:00.000 --> 00:01.000\n{lines}\n00:01.000 --> 00:02.000\n{lines}b\n"
    assert len(segments_of(write(tmp_path, "a.srt", rolling))) == 2
    wide = "start_s,end_s" + "," * 1_000_000 + "\n" + "0,1\n" * 3000
    assert len(segments_of(write(tmp_path, "a.csv", wide))) == 3000
    notes = "".join(
        f'<ANNOTATION><A ANNOTATION_ID="{n}" ANNOTATION_REF="{n + 1}"/></ANNOTATION>'
        for n in range(20_000)
    )
    chain = f'<A><TIER TIER_ID="a">{notes}</TIER></A>'
    with pytest.raises(BoundariesError, match="has no time"):
        read_boundaries(write(tmp_path, "a.eaf", chain))


def test_blanks_in_a_cue_of_webvtt(tmp_path: Path) -> None:
    text = (
        "WEBVTT\n\n00:01.000 --> 00:02.000\none\n \nmore\n\t\nname\n00:02.500 --> 00:03.000\ntwo\n"
    )
    found = segments_of(write(tmp_path, "a.vtt", text))
    assert found == [Segment(1.0, 2.0, "one more"), Segment(2.5, 3.0, "two")]


def test_short_utterances_are_left_out(tmp_path: Path) -> None:
    text = "start_s,end_s\n1,1\n2,2.03\n3,3.04\n"
    found = read_boundaries(write(tmp_path, "a.csv", text))
    assert found == Boundaries(
        (Segment(3.0, 3.04),),
        (f"{tmp_path}/a.csv: 2 utterances shorter than 0.04 s left out, the first at 1.00 s",),
    )


EAF = """<?xml version="1.0" encoding="UTF-8"?>
<ANNOTATION_DOCUMENT><HEADER TIME_UNITS="milliseconds">
<MEDIA_DESCRIPTOR MEDIA_URL="file:///c:/other.mp4"/>
<MEDIA_DESCRIPTOR MEDIA_URL="file:///c:/my%20talk.mp4" TIME_ORIGIN="250"/></HEADER>
<TIME_ORDER><TIME_SLOT TIME_SLOT_ID="t1" TIME_VALUE="500"/><TIME_SLOT TIME_SLOT_ID="t2"
TIME_VALUE="3000"/><TIME_SLOT TIME_SLOT_ID="t3" TIME_VALUE="4000"/><TIME_SLOT TIME_SLOT_ID="t4"/>
</TIME_ORDER>
<TIER TIER_ID="Ann"><ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a1" TIME_SLOT_REF1="t1"
TIME_SLOT_REF2="t2"><ANNOTATION_VALUE>hello &amp; you</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION>
</ANNOTATION></TIER>
<TIER TIER_ID="words" PARENT_REF="Ann"><ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a2"
ANNOTATION_REF="a1"><ANNOTATION_VALUE>hello</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>
<ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a3" ANNOTATION_REF="a1"><ANNOTATION_VALUE>you
</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION></TIER>
<TIER TIER_ID="none"/>
<TIER TIER_ID="open"><ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="a4" TIME_SLOT_REF1="t3"
TIME_SLOT_REF2="t4"/></ANNOTATION></TIER>
<TIER TIER_ID="round"><ANNOTATION><REF_ANNOTATION ANNOTATION_ID="a5" ANNOTATION_REF="a5"/>
</ANNOTATION></TIER></ANNOTATION_DOCUMENT>"""


def test_tiers_of_elan(tmp_path: Path) -> None:
    path = write(tmp_path, "a.eaf", EAF)
    assert segments_of(path, None, "Ann") == [Segment(0.5, 3.0, "hello & you")]
    assert segments_of(path, None, "WORDS") == [Segment(0.5, 3.0, "hello you")]
    video = tmp_path / "my talk.mp4"  # its zero is at 0.25 s
    assert segments_of(path, video, "Ann") == [Segment(0.75, 3.25, "hello & you")]
    for tier, said in (
        (
            None,
            "has several tiers: its tiers are “Ann”, “open”, “round”; name one with --ti",
        ),
        ("Bob", "has no tier “Bob”: its tiers are “Ann”,"),
        ("none", "no utterances in it"),
        ("open", "the annotation “a4” has no time; align it in ELAN"),
        ("round", "the annotation “a5” has no time"),
    ):
        with pytest.raises(BoundariesError, match=said):
            read_boundaries(path, None, tier)
    with pytest.raises(BoundariesError, match="has no tiers; leave --tier out"):
        read_boundaries(write(tmp_path, "a.srt", ""), None, "Ann")
    only = EAF[: EAF.index('<TIER TIER_ID="open"')] + "</ANNOTATION_DOCUMENT>"
    assert len(segments_of(write(tmp_path, "b.eaf", only.encode("utf-16")))) == 1


def test_unaligned_times_of_elan(tmp_path: Path) -> None:
    """The parts of a time subdivision have a time only where they were given one."""
    slots = {"t1": 500, "t2": "", "t3": "", "t4": 3500, "t5": 4000, "t6": 5000}
    parts = [("t1", "t2"), ("t2", "t3"), ("t3", "t4"), ("t5", "t6")]
    text = "".join(
        f'<TIME_SLOT TIME_SLOT_ID="{slot}" TIME_VALUE="{ms}"/>' for slot, ms in slots.items()
    ).replace(' TIME_VALUE=""', "")
    notes = "".join(
        f'<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="{a}" TIME_SLOT_REF1="{a}" '
        f'TIME_SLOT_REF2="{b}"/></ANNOTATION>'
        for a, b in parts
    )
    text += f'<TIER TIER_ID="words">{notes}</TIER>'
    text = f'<A xmlns="x"><HEADER TIME_UNITS="milliseconds"/>{text}</A>'
    found = read_boundaries(write(tmp_path, "a.eaf", text))
    assert [(s.start_s, s.end_s) for s in found.segments] == [
        (0.5, 1.5),
        (1.5, 2.5),
        (2.5, 3.5),
        (4.0, 5.0),
    ]
    assert found.warnings == (
        f"{tmp_path}/a.eaf: 2 unaligned times set evenly between the aligned ones",
    )
    frames = write(tmp_path, "b.eaf", text.replace("milliseconds", "PAL-frames"))
    with pytest.raises(BoundariesError, match="its times are counted in frames; save it with ELAN"):
        read_boundaries(frames)


def test_elan_without_numbers_of_annotations(tmp_path: Path) -> None:
    bare = re.sub(' ANNOTATION_ID="[^"]*"', "", EAF)
    assert segments_of(write(tmp_path, "a.eaf", bare), None, "Ann") == [
        Segment(0.5, 3.0, "hello & you")
    ]
    endless = EAF.replace('"250"', '"1.7e308"').replace('"500"', '"1e308"')
    with pytest.raises(BoundariesError, match="longer than 300 s"):
        read_boundaries(
            write(tmp_path, "b.eaf", endless.replace('"3000"', '"1e308"')),
            Path("my talk.mp4"),
            "Ann",
        )


LONG_GRID = """File type = "ooTextFile"
Object class = "TextGrid"

xmin = 0
xmax = 6
tiers? <exists>
size = 3
item []:
    item [1]:
        class = "IntervalTier"
        name = "Ann"
        xmin = 0
        xmax = 6
        intervals: size = 4
        intervals [1]:
            xmin = 0
            xmax = 0.5
            text = ""
        intervals [2]: ! 7 "a comment"
            xmin = 0.5
            xmax = 3
            text = "say ""hi"",
2 of you"
        intervals [3]:
            xmin = 3
            xmax = 4
            text = "sil"
        intervals [4]:
            xmin = 4
            xmax = 6
            text = "bye"
    item [2]:
        class = "TextTier"
        name = "clicks"
        xmin = 0
        xmax = 6
        points: size = 1
        points [1]:
            number = 1.5
            mark = "x"
    item [3]:
        class = "IntervalTier"
        name = "Bob"
        xmin = 0
        xmax = 6
        intervals: size = 1
        intervals [1]:
            xmin = 0
            xmax = 6
            text = ""
"""
SHORT_GRID = """File type = "ooTextFile"
Object class = "TextGrid"

0
6
<exists>
1
"IntervalTier"
"Ann"
0
6
2
0.5
3
"say ""hi"", 2 of you"
4
6
"bye"
"""


@pytest.mark.parametrize("text", [LONG_GRID, SHORT_GRID], ids=["long", "short"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_tiers_of_praat(tmp_path: Path, text: str, encoding: str) -> None:
    path = write(tmp_path, "a.TextGrid", text.encode(encoding))
    expected = [Segment(0.5, 3.0, 'say "hi", 2 of you'), Segment(4.0, 6.0, "bye")]
    assert segments_of(path) == segments_of(path, None, "Ann") == expected
    for cut in (40, 90, len(text) - 8):
        with pytest.raises(BoundariesError, match="not a whole TextGrid"):
            read_boundaries(write(tmp_path, "b.TextGrid", text[:cut]))
    with pytest.raises(BoundariesError, match="has no tier “Eve”"):
        read_boundaries(path, None, "Eve")


@pytest.mark.parametrize(
    ("format", "tier"), [("eaf", "text track 1"), ("textgrid", "text track 1")]
)
def test_files_of_avsent_are_read(tmp_path: Path, format: str, tier: str) -> None:
    result = make_result(3, text="Some words")
    writer = make_writer(Format(format))
    path = tmp_path / f"a.{writer.extension}"
    with path.open("w", encoding="utf-8") as file:
        writer.write([result], file)
    wanted = [(u.start_s, u.end_s, u.text) for u in result.utterances if u.track == 1 and u.text]
    found = [(s.start_s, s.end_s, s.text) for s in segments_of(path, None, tier)]
    assert found == [
        (pytest.approx(a, abs=1e-3), pytest.approx(b, abs=1e-3), c) for a, b, c in wanted
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
        ("a.vtt", "\n00:02.000 --> 00:02.000\n", "a.vtt: 1 utterance shorter than 0.04 s left out"),
        ("a.vtt", "\n00:02.000 --> 00:01.000\n", "a.vtt:2: the end, 1 s, is before the start, 2 s"),
        ("a.vtt", "\n00:02.000 --> 05:02.001\n", "a.vtt:2: the utterance at 2.00 s is longer than"),
        ("a.csv", "start_s,text\n1,x\n", "a.csv:1: no column end_s; begin"),
        ("a.csv", "\n1;2\n", "a.csv:2: no column start_s and end_s; begin"),
        ("a.csv", "start_s,end_s\n\n1,x\n", "a.csv:3: end_s “x” is not a number"),
        ("a.csv", "start_s,end_s\n1\n", "a.csv:2: end_s “” is not a number"),
        ("a.csv", "start_s,end_s\nnan,1\n", "a.csv:2: start_s “nan” is not a number"),
        ("a.csv", "start_s,end_s\n0,inf\n", "a.csv:2: end_s “inf” is not a number"),
        ("a.csv", "start_s,end_s\n0,1e400\n", "a.csv:2: end_s “1e400” is not a number"),
        ("a.csv", "start_s,end_s\n1_0,20\n", "a.csv:2: start_s “1_0” is not a number"),
        ("a.csv", "start_s,end_s\n-1,1\n", "a.csv:2: a time is negative"),
        ("a.csv", "start_s,end_s\n3,1\n", "a.csv:2: the end, 1 s, is before the start, 3 s"),
        ("a.csv", "start_s,end_s,text\n0,5,3,0,hi\n", "a.csv:2: 5 cells under 3 names; put a cell"),
        ("a.csv", "start_s;end_s\n1,234.5;2\n", "a.csv:2: start_s “1,234.5” is not a number"),
        ("a.csv", "start_s;end_s\n1;1:75\n", "a.csv:2: “1:75” is not a time"),
        ("a.csv", "onset\tword\n0\tx\n", "a.csv:1: no column end_s; begin"),
        ("a.txt", "hello there\n", "a.txt:1: no column start_s and end_s; begin"),
        ("a.eaf", "<a", "a.eaf: not XML (unclosed token"),
        ("a.eaf", "<!DOCTYPE a><a/>", "a.eaf: has a DOCTYPE"),
        ("a.eaf", "<a/>", "a.eaf: no utterances in it"),
        ("a.TextGrid", "hello", "a.TextGrid: not a whole TextGrid; save it with Praat"),
        ("a.csv", "start_s,end_s\n1," + "9" * 200_000, "a.csv:2: not a CSV row"),
        ("a.srt", b"1\n00:00:01,000 --> \0\n\xe9\n", "a.srt:3: not UTF-8"),
        ("a.csv", b"\xff\xfea\x00b", "a.csv:byte 4: not UTF-16 text"),
        ("a.csv", "start_s,end_s\n1,2\n".encode("utf-16-le"), "a.csv:1: zero bytes"),
        ("a.pdf", "1", "a.pdf: unknown kind of file; give one of .srt .vtt .csv"),
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
    found = segments_of(CLIPS / "many_utterances.csv")
    assert len(found) == 9
    assert found[1].start_s == 3.001
    assert found[0].text is not None
    assert found[-1] == Segment(52.426, 59.06, None)
