"""Subtitles: cues that players show and people can read."""

from __future__ import annotations

import dataclasses
import html
import io
import itertools
import re
import unicodedata

import av
import pytest
from handmade import HOSTILE, MODEL, make_result, patient, utterance_results
from hypothesis import given
from hypothesis import strategies as st

from avsent.errors import UsageError
from avsent.labels import EMOTIONS
from avsent.result.colours import colour_of
from avsent.result.record import Result, UtteranceResult
from avsent.result.writers import Format, make_writer
from avsent.result.writers.subtitles import CLOSE_MS, LINE_COLUMNS, LINES, SHORTEST_MS, Cue, cues_of
from avsent.result.writers.wrapping import columns, wrap
from avsent.text import one_line

FORMATS = (Format.srt, Format.vtt)
TIMES = {
    Format.srt: re.compile(r"(\d{2,}):([0-5]\d):([0-5]\d),(\d{3})"),
    Format.vtt: re.compile(r"(\d{2,}):([0-5]\d):([0-5]\d)\.(\d{3})"),
}


def written(format: Format, *results: Result) -> str:
    file = io.StringIO()
    make_writer(format).write(iter(results), file)
    return file.getvalue()


def talk(*spans: tuple[float, float], text: str | None = None, **changes: object) -> Result:
    """A video whose utterances are at these times."""
    result = make_result(len(spans))
    utterances = tuple(
        dataclasses.replace(one, start_s=start, end_s=end, track=1, text=text, **changes)  # type: ignore[arg-type]
        for one, (start, end) in zip(result.utterances, spans, strict=True)
    )
    return dataclasses.replace(result, utterances=utterances)


def times(*spans: tuple[float, float]) -> list[tuple[int, int]]:
    return [(cue.start_ms, cue.end_ms) for cue in cues_of(talk(*spans).utterances)]


def milliseconds(format: Format, time: str) -> int:
    match = TIMES[format].fullmatch(time)
    assert match is not None
    hours, minutes, seconds, rest = map(int, match.groups())
    return ((hours * 60 + minutes) * 60 + seconds) * 1000 + rest


def cues_in(format: Format, text: str) -> list[tuple[int, int, list[str]]]:
    """A strict reader: start and end in milliseconds, lines, of each cue."""
    assert text.endswith("\n\n")
    blocks = text.removesuffix("\n\n").split("\n\n")
    if format is Format.vtt:
        assert [block.split("\n")[0] for block in blocks[:3]] == ["WEBVTT", "NOTE", "STYLE"]
        assert not any("-->" in block for block in blocks[:3])
        blocks = blocks[3:]
    found = []
    for number, block in enumerate(blocks, start=1):
        count, span, *lines = block.split("\n")
        assert count == str(number)
        assert all(lines)
        assert not any("-->" in line for line in lines)
        start, end = (milliseconds(format, time) for time in span.split(" --> "))
        assert start < end
        found.append((start, end, lines))
    return found


# Cues


@pytest.mark.parametrize("format", FORMATS)
@patient
@given(utterances=st.lists(utterance_results(), min_size=1, max_size=4))
def test_cues_are_well_formed(format: Format, utterances: list[UtteranceResult]) -> None:
    result = Result("a", 1.0, MODEL, utterances=tuple(utterances))
    cues = cues_in(format, written(format, result))
    assert len(cues) >= len(utterances)
    assert [start for start, _, _ in cues] == [c.start_ms for c in cues_of(utterances)]
    for cue, (_, _, lines) in zip(cues_of(utterances), cues, strict=True):
        assert 1 <= len(lines) <= 1 + LINES
        if format is Format.srt:
            assert not re.search(r"[<>{}]", "".join(lines))
        else:
            shown = "\n".join(lines)
            assert len(re.findall("<c.[a-z]+>", shown)) == shown.count("</c>") == 1
            shown = re.sub(r"</?c(\.[a-z]+)?>|</?v( Track \d+)?>", "", shown)
            assert "<" not in shown
            assert html.unescape(shown).split("\n")[1:] == list(cue.lines)


@patient
@given(st.lists(utterance_results(), min_size=1, max_size=5))
def test_cues_keep_time_and_words(utterances: list[UtteranceResult]) -> None:
    of: dict[int, list[Cue]] = {id(utterance): [] for utterance in utterances}
    for cue in cues_of(utterances):
        of[id(cue.utterance)].append(cue)
    for utterance in utterances:
        cues = of[id(utterance)]
        assert cues[0].start_ms == round(1000 * utterance.start_s)
        ends = round(1000 * utterance.end_s)
        assert ends - CLOSE_MS <= cues[-1].end_ms <= max(ends, cues[0].start_ms + SHORTEST_MS)
        assert all(one.end_ms == other.start_ms for one, other in itertools.pairwise(cues))
        assert all(columns(line) <= LINE_COLUMNS for cue in cues for line in cue.lines)
        words = "".join(one_line(utterance.text or "").split())
        shown = "".join("".join(line.split()) for cue in cues for line in cue.lines)
        assert shown == words or words.startswith(shown.removesuffix("…"))


def test_a_cue_lasts_until_it_can_be_read_where_there_is_room() -> None:
    assert times((1, 1.2)) == [(1000, 1800)]
    assert times((1, 1.2), (1.5, 2.5)) == [(1000, 1500), (1500, 2500)]
    assert times((1, 1.2), (1.2, 2.5)) == [(1000, 1200), (1200, 2500)]
    assert times((1, 1.2), (5, 8)) == [(1000, 1800), (5000, 8000)]


def test_cues_that_follow_closely_do_not_overlap() -> None:
    assert times((1, 4.1), (4.0, 6)) == [(1000, 4000), (4000, 6000)]
    # Two people at the same time are both shown.
    assert times((1, 4.1), (2, 6)) == [(1000, 4100), (2000, 6000)]
    assert times((1, 4.1), (1, 6)) == [(1000, 4100), (1000, 6000)]


def test_time_before_the_file_is_its_start() -> None:
    assert times((-0.02, -0.01)) == [(0, 800)]
    assert "00:00:00,000 --> 00:00:00,800" in written(Format.srt, talk((-0.02, -0.01)))


def test_a_long_text_is_spread_over_its_utterance() -> None:
    words = " ".join(f"word{number}" for number in range(40))
    cues = cues_of(talk((10, 22), text=words).utterances)
    assert " ".join(line for cue in cues for line in cue.lines) == words
    assert len(cues) == 4
    assert [len(cue.lines) for cue in cues] == [2, 2, 2, 1]
    assert all(1000 <= cue.end_ms - cue.start_ms <= 4000 for cue in cues)
    assert (cues[0].start_ms, cues[-1].end_ms) == (10_000, 22_000)
    # Nobody says so much in a second; no player shows it.
    (hasty,) = cues_of(talk((10, 10.9), text=words).utterances)
    assert hasty.lines[1].endswith("…")
    assert max(map(columns, hasty.lines)) <= LINE_COLUMNS


# Lines


def test_lines_are_even_and_end_at_blanks() -> None:
    text = "It is a truth universally acknowledged, that a single man"
    assert wrap(text, 42) == ["It is a truth universally", "acknowledged, that a single man"]
    assert wrap("short", 42) == ["short"]
    assert wrap(" ", 42) == []


@pytest.mark.parametrize(
    "text",
    [
        "今天天气很好，我们一起去公园散步吧。然后我们可以去喝咖啡，聊聊最近发生的事情。",
        "今日はとても良い天気なので、公園へ散歩に行きましょう。それからコーヒーを飲みませんか？",
        "วันนี้อากาศดีมากเราไปเดินเล่นที่สวนสาธารณะกันเถอะแล้วค่อยไปดื่มกาแฟกัน",
        "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft",
        "👩‍👩‍👧‍👦" * 20,
        "e\u0301" * 60,
    ],
)
def test_lines_of_scripts_without_blanks(text: str) -> None:
    lines = wrap(text, LINE_COLUMNS)
    assert len(lines) >= 2
    assert "".join(lines) == text
    for line in lines:
        assert columns(line) <= LINE_COLUMNS
        assert unicodedata.category(line[0])[0] != "M"
        assert line[0] not in "，。、？ー\u200d"
    if text[0] in "今ว":
        assert max(map(columns, lines)) - min(map(columns, lines)) <= 6


@patient
@given(st.text(), st.integers(2, 60))
def test_nothing_but_blanks_is_lost(text: str, width: int) -> None:
    lines = wrap(text, width)
    assert "".join("".join(line.split()) for line in lines) == "".join(text.split())
    assert all(line == line.strip() and line for line in lines)


@patient
@given(st.text(), st.integers(2, 60))
def test_lines_are_measured_in_any_unit_and_filled_where_they_need_not_be_even(
    text: str, width: int
) -> None:
    doubled = wrap(text, 2 * width, measure=lambda part: 2 * columns(part))
    assert doubled == wrap(text, width)
    full = wrap(text, width, even=False)
    assert len(full) == len(doubled)
    assert "".join(full).replace(" ", "") == "".join(doubled).replace(" ", "")
    assert wrap("one two three four", 13, even=False) == ["one two three", "four"]


def test_columns() -> None:
    assert [columns(text) for text in ("abc", "我很好", "e\u0301", "", "👍")] == [3, 6, 1, 0, 2]


# Formats


def test_subtitles_show_label_score_and_text() -> None:
    text = "a < b & c {x} \\h"
    srt = written(Format.srt, make_result(1, text=text))
    assert srt == "1\n00:00:00,420 --> 00:00:04,100\npositive +0.63\na ‹ b & c (x) \\h\n\n"
    ((_, _, lines),) = cues_in(Format.vtt, written(Format.vtt, make_result(1, text=text)))
    assert lines == ["<c.positive>positive +0.63</c>", "a &lt; b &amp; c {x} \\h"]


def test_a_score_of_nothing_has_no_sign_of_minus() -> None:
    assert "positive +0.00\n" in written(Format.srt, talk((0, 1), score=-0.001))


def test_vtt_has_the_colours_of_all_labels() -> None:
    model = dataclasses.replace(MODEL, labels=EMOTIONS)
    result = dataclasses.replace(talk((0, 1), sentiment="happy"), model=model)
    style = written(Format.vtt, result).split("\n\n")[2].split("\n")
    assert style == [
        "STYLE",
        *(
            f"::cue(.{label}) {{ color: #ffffff; background-color: {colour_of(label)}; }}"
            for label in EMOTIONS
        ),
    ]


def test_vtt_classes_are_names_whatever_the_labels_are() -> None:
    labels = ("highly negative", "Highly-Negative", "我", "7", HOSTILE, "-->")
    result = talk(*((2.0 * n, 2.0 * n + 1) for n in range(len(labels))))
    utterances = tuple(
        dataclasses.replace(one, sentiment=label)
        for one, label in zip(result.utterances, labels, strict=True)
    )
    model = dataclasses.replace(MODEL, labels=labels[:3], name=HOSTILE)
    text = written(
        Format.vtt, dataclasses.replace(result, utterances=utterances, model=model, source=HOSTILE)
    )
    used = [re.findall(r"<c\.([^>]+)>", lines[0])[0] for _, _, lines in cues_in(Format.vtt, text)]
    assert len(set(used)) == len(labels)
    assert used[:4] == ["highly-negative", "label-1", "label-2", "label-3"]
    assert re.findall(r"::cue\(\.([a-z][a-z0-9-]*)\) ", text) == used


def test_vtt_names_who_speaks_where_several_do() -> None:
    result = make_result(3, text="good morning")
    assert "<v" not in written(Format.vtt, result)
    tracks = (1, 2, None)
    utterances = tuple(
        dataclasses.replace(one, track=track)
        for one, track in zip(result.utterances, tracks, strict=True)
    )
    several = dataclasses.replace(result, utterances=utterances)
    lines = [lines for _, _, lines in cues_in(Format.vtt, written(Format.vtt, several))]
    assert lines[0] == ["<v Track 1><c.positive>positive +0.63</c>", "good morning</v>"]
    assert lines[1] == ["<v Track 2><c.negative>negative -0.63</c></v>"]
    assert lines[2] == ["<c.neutral>neutral +0.00</c>"]


@pytest.mark.parametrize("format", FORMATS)
def test_subtitles_are_for_one_file(format: Format) -> None:
    with pytest.raises(UsageError, match="folder"):
        written(format, make_result(), make_result())


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("text", ["good morning", HOSTILE, "今天天气很好，" * 9, "1\n2\n\n3"])
def test_ffmpeg_reads_all_cues(format: Format, text: str) -> None:
    result = talk((0.5, 2), (2, 4.25), (4, 9), text=text)
    raw = written(format, result).encode()
    with av.open(io.BytesIO(raw), format="srt" if format is Format.srt else "webvtt") as container:
        packets = [packet for packet in container.demux() if packet.size]
        spans = [
            (float(p.pts * p.time_base), float((p.pts + p.duration) * p.time_base))  # type: ignore[operator]
            for p in packets
        ]
        bodies = [bytes(packet).decode() for packet in packets]
    cues = cues_in(format, written(format, result))
    assert spans == [(start / 1000, end / 1000) for start, end, _ in cues]
    assert bodies == ["\n".join(lines) for _, _, lines in cues]


def test_a_question_mark_behind_an_unsure_label() -> None:
    result = talk((0, 2), (3, 5))
    first = dataclasses.replace(result.utterances[0], unsure="nearly even")
    result = dataclasses.replace(result, utterances=(first, *result.utterances[1:]))
    found = [[lines[0] for *_, lines in cues_in(f, written(f, result))] for f in FORMATS]
    assert found == [
        ["positive? +0.63", "negative -0.63"],
        ["<c.positive>positive? +0.63</c>", "<c.negative>negative -0.63</c>"],
    ]
