"""ELAN's and Praat's formats, read back by strict readers."""

from __future__ import annotations

import dataclasses
import io
import itertools
from collections import Counter
from pathlib import Path
from urllib.parse import unquote, urlparse

import pytest
from handmade import HOSTILE, MODEL, make_result, patient, results, utterance_results
from hypothesis import given
from hypothesis import strategies as st
from reading_annotations import read_eaf, read_textgrid

from avsent.cli.predict import choose_destination
from avsent.errors import UsageError
from avsent.result.record import Result, UtteranceResult, lanes
from avsent.result.writers import Format, format_of, make_writer
from avsent.result.writers.elan_praat import annotation, label_of, tiers_of

FORMATS = (Format.eaf, Format.textgrid)


def written(format: Format, *results: Result) -> str:
    file = io.StringIO()
    make_writer(format).write(iter(results), file)
    return file.getvalue()


def overlapping() -> Result:
    """Two faces; the second one's utterances overlap each other."""
    result = make_result(4, text='He said "no" & <left>')
    spans = ((1, 0.5, 2.25), (2, 2.0, 4.0), (2, 3.0, 5.0), (2, 4.0, 6.0))
    utterances = tuple(
        dataclasses.replace(one, track=track, start_s=start, end_s=end)
        for one, (track, start, end) in zip(result.utterances, spans, strict=True)
    )
    return dataclasses.replace(result, utterances=utterances)


def test_eaf_has_a_tier_for_each_face_and_below_it_the_text() -> None:
    header, tiers = read_eaf(written(Format.eaf, overlapping()))
    assert {name: tier.parent for name, tier in tiers.items()} == {
        "sentiment track 1": None,
        "text track 1": "sentiment track 1",
        "sentiment track 2": None,
        "sentiment track 2 (2)": None,
    }
    assert tiers["sentiment track 1"].annotations == [(500, 2250, "positive +0.63")]
    assert tiers["text track 1"].annotations == [(500, 2250, 'He said "no" & <left>')]
    assert tiers["sentiment track 2"].annotations == [
        (2000, 4000, "negative -0.63"),
        (4000, 6000, "positive +0.63"),
    ]
    assert tiers["sentiment track 2 (2)"].annotations == [(3000, 5000, "neutral +0.00")]
    assert header[0].attrib == {
        "MEDIA_URL": "./talk.mp4",
        "RELATIVE_MEDIA_URL": "./talk.mp4",
        "MIME_TYPE": "video/mp4",
    }


def test_textgrid_has_tiers_of_label_score_and_text() -> None:
    end, tiers = read_textgrid(written(Format.textgrid, overlapping()))
    assert end == 21
    assert list(tiers) == [
        "sentiment track 1",
        "score track 1",
        "text track 1",
        "sentiment track 2",
        "score track 2",
        "sentiment track 2 (2)",
        "score track 2 (2)",
    ]
    assert tiers["sentiment track 1"] == [(0, 0.5, ""), (0.5, 2.25, "positive"), (2.25, 21, "")]
    assert tiers["score track 1"][1] == (0.5, 2.25, "+0.63")
    assert tiers["text track 1"][1] == (0.5, 2.25, 'He said "no" & <left>')
    assert tiers["sentiment track 2"] == [
        *((0, 2, ""), (2, 4, "negative"), (4, 6, "positive"), (6, 21, "")),
    ]


@patient
@given(results())
def test_any_result_can_be_read_back(result: Result) -> None:
    _, tiers = read_eaf(written(Format.eaf, result))
    end, grid = read_textgrid(written(Format.textgrid, result))
    assert end >= result.duration_s - 1e-6
    expected = Counter(map(label_of, result.utterances))
    found = [a for tier in tiers.values() if tier.parent is None for a in tier.annotations]
    assert Counter(label for _, _, label in found) == expected
    words = Counter(filter(None, (annotation(u.text or "") for u in result.utterances)))
    texts = [a for tier in tiers.values() if tier.parent for a in tier.annotations]
    assert Counter(text for _, _, text in texts) == words
    intervals = Counter(
        text
        for name, tier in grid.items()
        if name.startswith("text")
        for _, _, text in tier
        if text
    )
    assert intervals == words


@patient
@given(st.lists(utterance_results(), max_size=6), st.sampled_from([1000, 1_000_000]))
def test_tiers_hold_every_utterance_once_and_never_overlap(
    utterances: list[UtteranceResult], units: int
) -> None:
    tiers = tiers_of(Result("a", 1.0, MODEL, utterances=tuple(utterances)), units)
    spans = [span for tier in tiers for span in tier.spans]
    assert sorted(id(span.utterance) for span in spans) == sorted(map(id, utterances))
    for tier in tiers:
        assert {span.utterance.track for span in tier.spans} == {tier.track}
        assert all(a.end <= b.start for a, b in zip(tier.spans, tier.spans[1:], strict=False))
    for span in spans:
        assert abs(span.start - span.utterance.start_s * units) <= 0.5
        assert abs(span.end - span.utterance.end_s * units) <= 1.5
    assert len({tier.name for tier in tiers}) == len(tiers)


@patient
@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 9))), st.none() | st.integers(1, 3))
def test_spans_in_one_lane_do_not_overlap(times: list[tuple[int, int]], most: int | None) -> None:
    spans = [(start, start + duration) for start, duration in times]
    chosen = lanes(spans, most=most)
    assert set(chosen) == set(range(max(chosen, default=-1) + 1))
    for lane in set(chosen):
        own = sorted(span for span, place in zip(spans, chosen, strict=True) if place == lane)
        free = all(one[1] <= other[0] for one, other in itertools.pairwise(own))
        assert free or (most is not None and lane == most - 1)
    if most is not None:
        assert max(chosen, default=0) < most


@pytest.mark.parametrize("duration_s", [0.0, 12.5])
def test_without_utterances_there_is_an_empty_tier(duration_s: float) -> None:
    result = dataclasses.replace(make_result(0), duration_s=duration_s)
    _, tiers = read_eaf(written(Format.eaf, result))
    assert [tier.annotations for tier in tiers.values()] == [[]]
    _, grid = read_textgrid(written(Format.textgrid, result))
    assert grid == {"sentiment": [(0, duration_s or 1e-6, "")]}


def test_time_before_the_file_is_its_start() -> None:
    early = dataclasses.replace(make_result(1).utterances[0], start_s=-0.02, end_s=-0.01)
    result = dataclasses.replace(make_result(1), utterances=(early,))
    _, tiers = read_eaf(written(Format.eaf, result))
    assert tiers["sentiment no face"].annotations == [(0, 1, "positive +0.63")]
    assert read_textgrid(written(Format.textgrid, result))[1]["score no face"][0] == (
        *(0, 1e-6, "+0.63"),
    )


@pytest.mark.parametrize("text", [HOSTILE, "\ufffe\uffff\x00\x0b", "]]>", '""', "<!--", "&amp;"])
def test_hostile_texts(text: str) -> None:
    result = make_result(2, text, text=text)
    utterance = dataclasses.replace(result.utterances[1], track=1, sentiment=text)
    result = dataclasses.replace(
        result,
        utterances=(result.utterances[0], utterance),
        model=dataclasses.replace(MODEL, name=text, labels=(text,)),
    )
    header, tiers = read_eaf(written(Format.eaf, result))
    shown = annotation(text)
    assert tiers["text track 1"].annotations[0][2] == shown
    assert tiers["sentiment track 1"].annotations[1][2] == f"{shown} -0.63"
    assert header[2].text == shown
    _, grid = read_textgrid(written(Format.textgrid, result))
    assert grid["text track 1"][1][2] == shown


def test_a_file_of_another_encoding_holds_numbers() -> None:
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    make_writer(Format.eaf).write([make_result(1, "我.mp4", text="我很好")], file)
    file.seek(0)
    text = file.read()
    assert "&#25105;" in text
    _, tiers = read_eaf(text)
    assert tiers["text no face"].annotations[0][2] == "我很好"


@pytest.mark.parametrize("name", ["talk 1.mp4", "50% & #1?.mp4", "我.MOV", "-a.xyz", "a\udcff.wav"])
def test_eaf_points_to_the_video(tmp_path: Path, name: str) -> None:
    video = tmp_path / name
    video.touch()
    header, _ = read_eaf(written(Format.eaf, make_result(1, str(video))))
    media = header[0].attrib
    url = urlparse(media["MEDIA_URL"])
    assert url.scheme == "file"
    assert unquote(url.path, errors="surrogateescape") == str(video)
    assert unquote(media["RELATIVE_MEDIA_URL"], errors="surrogateescape") == f"./{name}"
    kind = {".mp4": "video/mp4", ".mov": "video/quicktime", ".wav": "audio/x-wav"}
    assert media["MIME_TYPE"] == kind.get(video.suffix.lower(), "unknown")


def test_the_same_result_gives_the_same_file() -> None:
    for format in FORMATS:
        assert written(format, overlapping()) == written(format, overlapping())


@pytest.mark.parametrize("format", FORMATS)
def test_they_are_for_one_file(format: Format) -> None:
    with pytest.raises(UsageError, match="folder"):
        written(format, make_result(), make_result())


@pytest.mark.parametrize("format", Format)
def test_the_extension_tells_the_format_in_any_case(format: Format) -> None:
    assert make_writer(format).extension == format.extension
    for name in (f"a.{format.extension}", f"A.{format.extension.upper()}"):
        assert format_of(name) is format
    assert format_of("a.TextGrid") is format_of("a.textgrid") is Format.textgrid
    assert format_of("a.txt") is Format.table


@pytest.mark.parametrize("format", FORMATS)
def test_they_hold_no_attention_between_utterances(format: Format) -> None:
    with pytest.raises(UsageError, match=f"{format} cannot hold --attention"):
        choose_destination([Path("a.mp4")], format, None, attention=True)


def test_a_question_mark_behind_an_unsure_label() -> None:
    result = make_result(1)
    one = dataclasses.replace(result.utterances[0], unsure="nearly even", start_s=0.5, end_s=2.0)
    result = dataclasses.replace(result, utterances=(one,))
    _, tiers = read_eaf(written(Format.eaf, result))
    assert [tier.annotations for tier in tiers.values()] == [[(500, 2000, "positive? +0.63")]]
    _, grid = read_textgrid(written(Format.textgrid, result))
    assert [intervals[1] for intervals in grid.values()] == [
        (0.5, 2.0, "positive?"),
        (0.5, 2.0, "+0.63"),
    ]
