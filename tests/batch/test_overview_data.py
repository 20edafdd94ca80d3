"""What the overview of a batch holds, against the table of all utterances."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path
from typing import Any

import pytest
from batching import CONFIG, OTHER, journal_of, keep, results, write
from handmade import make_result
from overviews import BAD, batch_of, overview_of, small_batch

from avsent.batch.journal import Journal
from avsent.batch.lock import exclusive
from avsent.batch.outputs import CSV_NAME
from avsent.batch.run import together_digest
from avsent.errors import OutputError
from avsent.result.utterance import ModelInfo
from avsent.text import one_line


def tiles(blocks: dict[str, Any]) -> dict[str, str]:
    return {name: figure for name, figure, _, _ in blocks["head"]["tiles"]}


def notes(out: Path) -> str:
    return "\n".join(overview_of(out)["head"]["notes"])


def test_it_holds_what_the_table_holds(tmp_path: Path) -> None:
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
        assert said["certainty"][number] / 1000 == pytest.approx(certainty, abs=6e-4)
        assert said["text"][number] == row["text"]
        remark = said["remarks"].get(str(number))
        assert ("" if remark is None else data["remarks"][remark]) == row["warnings"]


def test_files_have_their_state_mean_and_remarks(tmp_path: Path) -> None:
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
    facts = blocks["head"]["facts"]
    assert facts[0] == "model handmade (abababab)"
    assert "face speaking" in facts
    assert blocks["head"]["notes"] == []


def test_a_batch_in_which_nothing_was_said(tmp_path: Path) -> None:
    blocks = overview_of(batch_of(tmp_path, {"b.wav": make_result(0, "b.wav")}))
    assert tiles(blocks)["Mean score"] == "–"
    assert blocks["data"]["utterances"]["start"] == []
    assert blocks["data"]["utterances"]["text"] is None


def test_a_batch_in_which_nothing_is_done(tmp_path: Path) -> None:
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


def test_while_the_batch_is_at_work(tmp_path: Path) -> None:
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
        assert "was at work" in notes(out)
        assert "2 of 6 files are not in yet" in notes(out)
    assert "was not finished" in notes(out)


def test_a_result_taken_back_while_it_is_read(
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
        journal.keep_fact("options", dataclasses.replace(CONFIG, adapt="corpus").shown())
        assert "will change" in notes(out)
        journal.keep_fact("corpus", together_digest(journal.entries()))
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
