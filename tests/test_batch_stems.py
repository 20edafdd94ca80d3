"""Where results go in the mirrored tree: never two to one place, on any file system."""

from __future__ import annotations

import os
import unicodedata

import pytest
from handmade import patient
from hypothesis import given
from hypothesis import strategies as st

from avsent.batch.tables import CSV_NAME, PARQUET_NAME, SUMMARY_NAME
from avsent.batch.tree import assign_stems
from avsent.writers import Format, make_writer

ENDINGS = {make_writer(format).extension for format in Format}


def folded(path: str) -> str:
    """As the file system of a Mac compares names: without case and Unicode form."""
    plain = unicodedata.normalize("NFD", path).casefold()
    return unicodedata.normalize("NFD", plain)


def outputs(stems: dict[str, str]) -> list[str]:
    return [f"{stem}.{ending}" for stem in stems.values() for ending in ENDINGS]


def test_the_name_with_its_ending() -> None:
    names = ["a.mp4", "a.wav", "sub/a.mp4", "no ending", "sub/x.tar.gz", "-a.mp4"]
    assert assign_stems(names, {}) == {name: name for name in names}


def test_names_that_some_file_systems_mix_up() -> None:
    assert assign_stems(["A.mp4", "a.MP4", "a.mp4", "a.mp4.2"], {}) == {
        "A.mp4": "A.mp4",
        "a.MP4": "a.MP4.2",
        "a.mp4": "a.mp4.3",
        "a.mp4.2": "a.mp4.2.2",
    }
    assert list(assign_stems(["é.mp4", "e\u0301.mp4"], {}).values()) == [
        "é.mp4",
        "e\u0301.mp4.2",
    ]
    assert assign_stems(["D/a.mp4", "d/a.mp4"], {})["d/a.mp4"] == "d/a.mp4.2"
    assert assign_stems(["\u015b.mp4", "\u017f\u0301.mp4"], {})["\u017f\u0301.mp4"][-2:] == ".2"


@pytest.mark.parametrize("name", ["utterances", "Utterances", "summary", "SUMMARY"])
def test_names_of_the_tables_are_taken_at_the_top(name: str) -> None:
    tables = {folded(table) for table in (CSV_NAME, PARQUET_NAME, SUMMARY_NAME)}
    stems = assign_stems([name, f"sub/{name}", f"{name}.mp4"], {})
    assert not tables & {folded(path) for path in outputs(stems)}
    assert stems[f"sub/{name}"] == f"sub/{name}"
    assert stems[f"{name}.mp4"] == f"{name}.mp4"


def test_long_names_are_cut_between_characters() -> None:
    long = ["我" * 84 + end for end in (".m4", ".mp", ".MP")]  # 255 bytes each
    stems = assign_stems([*long, "x" * 255, "y" * 246, os.fsdecode(b"\xe9" * 255)], {})
    assert stems["y" * 246] == "y" * 246
    for stem in stems.values():
        assert len(os.fsencode(stem)) + max(map(len, ENDINGS)) + 1 <= 255
    assert len({folded(path) for path in outputs(stems)}) == len(stems) * len(ENDINGS)
    assert stems[long[0]].rpartition("~")[0] == "我" * 79


part = st.one_of(
    st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=85),
    st.sampled_from(["a", "A", "a.2", "A.2", "a.2.2", "ß", "ss", "é", "e\u0301", "utterances"]),
    st.binary(min_size=1, max_size=255).map(
        lambda raw: os.fsdecode(raw.replace(b"/", b"_").replace(b"\0", b"_"))
    ),
)
NAMES = st.lists(st.lists(part, min_size=1, max_size=2).map("/".join), max_size=8, unique=True)


@patient
@given(NAMES, NAMES)
def test_no_two_outputs_at_one_place(before: list[str], now: list[str]) -> None:
    known = assign_stems(before, {})
    stems = assign_stems(now, known)
    assert set(stems) == {*before, *now}
    assert {name: stems[name] for name in before} == known
    assert stems == assign_stems(now, known)
    places = [folded(path) for path in outputs(stems)]
    assert len(set(places)) == len(places)
    assert not {folded(CSV_NAME), folded(SUMMARY_NAME), folded(PARQUET_NAME)} & set(places)
    for name, stem in stems.items():
        assert stem.rpartition("/")[0] == name.rpartition("/")[0]
        last = stem.rpartition("/")[2]
        assert all(len(os.fsencode(f"{last}.{ending}")) <= 255 for ending in ENDINGS)
        if len(os.fsencode(last)) < 240 and len(stems) == 1:
            assert stem == name or name in ("utterances", "summary")
