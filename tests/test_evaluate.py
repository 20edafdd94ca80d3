"""`avsent evaluate`, and what `avsent train` refuses."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import AUDIO, POLARITIES, feature_file, small_corpus, small_settings

from avsent.cli import main
from avsent.data.corpus import Corpus
from avsent.data.feature_files import write_features
from avsent.features.audio import AudioConfig
from avsent.features.config import FeatureConfig
from avsent.training.judging import JudgeOptions, judge
from avsent.training.run_folder import RunFolder
from avsent.training.runs import Request, run

CPU = torch.device("cpu")


pytestmark = pytest.mark.usefixtures("one_thread")


def trained(folder: Path, corpus: Corpus, **settings: Any) -> Path:
    told = small_settings(**{"epochs": 2, **settings})
    run(Request(corpus, told, (0,), RunFolder(folder), CPU))
    return folder


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on three polarities, with gaps."""
    return trained(tmp_path_factory.mktemp("classes"), three())


@pytest.fixture(scope="module")
def numbers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return trained(tmp_path_factory.mktemp("numbers"), small_corpus(), label="sentiment")


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    corpus = small_corpus(raw=True, speakers=4)
    return trained(tmp_path_factory.mktemp("raw"), corpus, epochs=1)


def three() -> Corpus:
    return small_corpus(classes=POLARITIES, speakers=12, gaps=True)


def written(folder: Path, corpus: Corpus) -> Path:
    write_features(folder / "data.npz", corpus)
    return folder / "data.npz"


def refused(
    capsys: pytest.CaptureFixture[str], code: int, *arguments: str | Path, usage: bool = False
) -> str:
    """The one line of an error."""
    assert main([str(argument) for argument in arguments]) == code
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert lines[0].startswith("avsent: error: "), err
    assert len(lines) == (3 if code == 2 else 1)
    return lines[0]


# --- figures ---


@pytest.mark.parametrize("part", ["test", "valid"])
def test_the_figures_are_those_of_the_run(classes: Path, part: str, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    arguments = ["evaluate", str(classes / "checkpoint"), str(written(tmp_path, three()))]
    assert main([*arguments, "--split", part, "-o", str(out), "--quiet"]) == 0
    found = json.loads(out.read_text())
    before = json.loads((classes / "seed-0/evaluation.json").read_text())["target"][part]
    assert found["part"] == part
    assert found["baseline_from"] == "train"
    assert found["left_out"] == 1
    for name, value in before.items():
        assert found[name] == value, name


def test_numbers_too(numbers: Path, tmp_path: Path) -> None:
    options = JudgeOptions(label="sentiment")
    found = judge(numbers / "checkpoint", small_corpus(), options).evaluation.to_dict()
    before = json.loads((numbers / "seed-0/evaluation.json").read_text())["target"]["test"]
    assert found == before
    assert {"mae", "correlation", "accuracy"} <= set(found["metrics"])


def test_raw_features_too(raw: Path) -> None:
    corpus = small_corpus(raw=True, speakers=4)
    found = judge(raw / "checkpoint", corpus, JudgeOptions()).evaluation.to_dict()
    before = json.loads((raw / "seed-0/evaluation.json").read_text())["target"]["test"]
    assert found == before


def test_json_confusion_and_words(
    classes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out, picture = written(tmp_path, three()), tmp_path / "o.json", tmp_path / "c.svg"
    command = ["evaluate", str(classes / "checkpoint"), str(data)]
    options = ["--format", "json", "-o", str(out), "--confusion", str(picture)]
    assert main([*command, *options, "--draws", "100"]) == 0
    stdout, err = capsys.readouterr()
    found = json.loads(stdout)
    assert stdout == out.read_text()
    assert found["draws"] == 100
    assert sum(map(sum, found["confusion"])) == found["count"]
    assert "<svg" in picture.read_text()
    assert (
        err == "avsent: warning: 1 utterances without a label, or without voice and face left out\n"
    )
    assert main([*command, "--quiet"]) == 0
    stdout, err = capsys.readouterr()
    assert err == ""
    blocks = [block.splitlines() for block in stdout.strip().split("\n\n")]
    assert [block[0].split(",")[0] for block in blocks] == [
        f"# {found['count']} utterances of 3 videos",
        "# per class",
        "# confusion",
        "# per speaker",
    ]
    assert [line.split("\t")[0] for line in blocks[2][2:]] == list(POLARITIES)
    assert [row.split("\t")[1:] for row in blocks[2][2:]] == [
        [str(count) for count in row] for row in found["confusion"]
    ]


def test_without_parts_all_is_judged(classes: Path) -> None:
    corpus = small_corpus(classes=POLARITIES, speakers=12, given=False)
    found = judge(classes / "checkpoint", corpus, JudgeOptions())
    assert found.part == found.baseline_from == "all"
    assert found.evaluation.count == len(corpus.samples)
    assert found.left_out == 0


def test_the_parts_that_were_drawn_are_known_again(tmp_path: Path) -> None:
    corpus = small_corpus(classes=POLARITIES, speakers=12, given=False)
    run_folder = trained(tmp_path / "run", corpus)
    split = json.loads((run_folder / "checkpoint" / "parts.json").read_text())
    found = judge(run_folder / "checkpoint", corpus, JudgeOptions())
    assert (found.part, found.baseline_from) == ("test", "train")
    assert set(found.predictions.keys) == set(split["test"])
    assert len(split["train"]) + len(split["valid"]) + len(split["test"]) == len(corpus.samples)
    ran = json.loads((run_folder / "seed-0" / "evaluation.json").read_text())
    assert found.evaluation.metrics == ran["target"]["test"]["metrics"]
    whole = judge(run_folder, corpus, JudgeOptions())  # a run's folder stands for its checkpoint
    assert whole.evaluation == found.evaluation
    other = small_corpus(classes=POLARITIES, speakers=12, given=False, seed=1)
    assert judge(run_folder / "checkpoint", other, JudgeOptions()).part == "all"


# --- what does not fit ---


def test_features_of_another_kind(
    classes: Path, raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = small_corpus()
    samples = tuple(dataclasses.replace(s, audio=s.audio[:3]) for s in plain.samples)  # type: ignore[index]
    small = dataclasses.replace(plain, samples=samples, vectors={**plain.vectors, "audio": 3})
    sounds = small_corpus(raw=True, speakers=4)
    loud = FeatureConfig(audio=dataclasses.replace(AudioConfig(), trim_db=33.0))
    cases = [
        (classes, small, f"needs audio vectors of size {AUDIO}, tiny has audio vectors of size 3"),
        (classes, sounds, f"needs audio vectors of size {AUDIO}, tiny has raw sound"),
        (raw, plain, f"needs raw sound, tiny has audio vectors of size {AUDIO}"),
        (raw, dataclasses.replace(sounds, features=loud), "features made in another way"),
    ]
    for model, corpus, message in cases:
        data = written(tmp_path, corpus)
        assert message in refused(capsys, 4, "evaluate", model / "checkpoint", data)


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({}, ["--label", "emotion"], "no column 'emotion'; choose with --label from label, senti"),
        ({"labels": {"label": "tired"}}, [], "tiny: v0_0: 'tired' is none of the labels negative"),
        ({"split": "valid"}, ["--split", "test"], "has no part 'test'; choose another --split"),
        ({"labels": {"label": ""}}, [], "no utterance of the part 'test' has a label and audio or"),
        ({"audio": None, "face": None}, [], "no utterance of the part 'test' has a label and audi"),
    ],
)
def test_data_that_cannot_be_judged(
    classes: Path,
    change: dict[str, Any],
    options: list[str],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    corpus = three()
    changed = [dataclasses.replace(one, **change) for one in corpus.samples]
    data = written(tmp_path, corpus.subset(changed))
    assert message in refused(capsys, 3, "evaluate", classes / "checkpoint", data, *options)


def test_other_mistakes(classes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, model = written(tmp_path, three()), classes / "checkpoint"
    before = data.read_bytes()
    for code, arguments, message in (
        (2, [model, data, "-o", "x.txt"], "x.txt: its name must end in .json"),
        (2, [model, data, "--confusion", "x.json"], "must end in .png or .svg"),
        (2, [model, data, "--draws", "5"], "--draws"),
        (2, [model, data, "--split", "most"], "--split"),
        (3, [model, data, "-o", tmp_path / "no/x.json"], "there is no folder"),
        (3, [model, tmp_path / "gone.npz"], "no such file"),
        (4, [tmp_path, data], "not a checkpoint"),
        (4, ["nothing", data], "unknown checkpoint 'nothing'"),
    ):
        assert message in refused(capsys, code, "evaluate", *arguments)
    assert data.read_bytes() == before


# --- what train refuses ---


@pytest.mark.parametrize(
    ("code", "arguments", "message"),
    [
        (2, "", "--output"),
        (2, "-o out --target text", "'text' is none of audio,face audio face"),
        (2, "-o out --source audio --target audio", "audio cannot teach itself"),
        (2, "-o out --source audio --source-text", "name two sources"),
        (2, "-o out --source face --text-corpus t.csv", "leave --source away"),
        (2, "-o out --baseline", "--baseline compares with transfer"),
        (2, "-o out --beta 2", "--beta is about a teacher"),
        (2, "-o out --schedule decay", "--schedule is about a teacher"),
        (2, "-o out --cross-fit 5", "--cross-fit is about a teacher"),
        (2, "-o out --source-text --cross-fit 1", "--cross-fit needs 2 folds or more"),
        (2, "-o out --text-corpus t.csv --cross-fit 3", "--cross-fit is for texts of the data"),
        (2, "-o out --label mood", "'mood' is none of label, emotion, sentiment"),
        (2, "-o out --fusion tfn --target audio", "--fusion tfn needs --target audio,face"),
        (2, "-o out --fusion fbp --target face", "--fusion fbp needs --target audio,face"),
        (2, "-o out --fusion multiplicative --target audio", "needs --target audio,face"),
        (2, "-o out --fusion multiplicative --label sentiment", "multiplicative needs classes"),
        (2, "-o out --fusion sum", "--fusion"),
        (2, "-o out --source-text --text-encoder no/such/model", "no sentence-transformers model"),
        (2, "-o out --epochs 0", "--epochs"),
        (2, "-o out --device gpu", "'gpu' is none of auto, cpu"),
        (3, "-o out --label emotion", "no column 'emotion'; choose with --label from label, senti"),
        (3, "-o out --labels happy,sad", "tiny: v0_0: 'negative' is none of the labels happy, sad"),
        (3, "-o out --labels real", "'negative' is not a number"),
        (3, "-o out --labels happy", "at least two are needed"),
        (3, "-o out --text-corpus gone.csv", "gone.csv"),
        (3, "-o data.npz --epochs 1", "data.npz: holds other files"),
        (3, "-o data.npz/out --epochs 1", "data.npz/out: cannot be written"),
    ],
)
def test_options_that_make_no_sense(
    code: int,
    arguments: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    before = feature_file(tmp_path / "data.npz").read_bytes()
    assert message in refused(capsys, code, "train", "data.npz", *arguments.split())
    assert [path.name for path in tmp_path.iterdir()] == ["data.npz"]
    assert (tmp_path / "data.npz").read_bytes() == before


def test_data_that_cannot_be_learnt_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corpus = small_corpus()
    wordless = [dataclasses.replace(one, words=None, text="") for one in corpus.samples]
    sizes = {name: size for name, size in corpus.vectors.items() if name != "text"}
    shared = [dataclasses.replace(one, speaker="ann") for one in corpus.samples]
    cases = [
        (
            dataclasses.replace(corpus.subset(wordless), vectors=sizes),
            "no text to teach with; fill the text column, or give --text-corpus",
        ),
        (corpus.subset(shared), "'ann' is in train and in valid; put each speaker into one part"),
        (corpus.subset(corpus.samples[:2]), "speakers or videos are too few"),
    ]
    for data, message in cases:
        path = written(tmp_path, data)
        line = refused(capsys, 3, "train", path, "--source-text", "-o", tmp_path / "out")
        assert message in line
        assert not (tmp_path / "out").exists()
    gone = refused(capsys, 3, "train", tmp_path / "gone", "-o", tmp_path / "out")
    assert "no such file or folder" in gone
    (tmp_path / "manifest.csv").write_text("video,speaker\na.mp4,ann\n")
    line = refused(capsys, 3, "train", tmp_path, "-o", tmp_path / "out")
    assert "manifest.csv:1: no column label, emotion or sentiment; add one of them" in line


def test_speakers_in_several_parts_are_accepted_on_demand(tmp_path: Path) -> None:
    corpus = small_corpus()
    shared = [dataclasses.replace(one, speaker="ann") for one in corpus.samples]
    path = written(tmp_path, corpus.subset(shared))
    arguments = ["--split-by", "video", "--epochs", "1", "--quiet", "-o", str(tmp_path / "out")]
    assert main(["train", str(path), *arguments]) == 0
    assert (
        "No part shares a video with another" in (tmp_path / "out/checkpoint/CARD.md").read_text()
    )
