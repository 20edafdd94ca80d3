"""``avsent plot``: the pictures of a run drawn anew, and the timeline of a result."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from handmade import make_result
from small_runs import TAUGHT, begun, files, read
from tiny import small_settings

from avsent.cli import main
from avsent.errors import InputError
from avsent.report.timeline import save_timeline
from avsent.training.run_folder import RunFolder
from avsent.training.spaces import Space, keep_spaces, load_spaces
from avsent.writers import Format, make_writer

pytestmark = pytest.mark.usefixtures("one_thread")

PICTURES = {"losses", "confusion", "spaces-audio"}


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of two seeds with transfer."""
    folder = tmp_path_factory.mktemp("run") / "taught"
    begun(folder, told=small_settings(target=("audio",), transfer=TAUGHT), seeds=(3, 4))
    return folder


@pytest.fixture
def run(taught: Path, tmp_path: Path) -> Path:
    """A copy of it to spoil."""
    return Path(shutil.copytree(taught, tmp_path / "run"))


def written(path: Path, count: int = 3) -> Path:
    file = io.StringIO()
    make_writer(Format.json).write([make_result(count)], file)
    path.write_text(file.getvalue(), encoding="utf-8")
    return path


# Runs


def test_pictures_are_drawn_as_they_were_while_training(run: Path) -> None:
    before = files(run / "plots")
    assert set(before) == {f"{name}.png" for name in PICTURES}
    shutil.rmtree(run / "plots")
    assert main(["plot", str(run)]) == 0
    assert files(run / "plots") == before


@pytest.mark.parametrize("kind", ["svg", "pdf"])
def test_other_formats_and_folders(run: Path, tmp_path: Path, kind: str) -> None:
    before = files(run)
    out = tmp_path / "a" / "b"
    assert main(["plot", str(run), "-o", str(out), "--format", kind]) == 0
    assert set(files(out)) == {f"{name}.{kind}" for name in PICTURES}
    assert files(run) == before


def test_another_seed(run: Path, tmp_path: Path) -> None:
    best = read(run / "summary.json")["best_seed"]
    other = {3: 4, 4: 3}[best]
    expected = files(run / f"seed-{other}" / "plots")
    for number, arguments in enumerate(
        ([str(run), "--seed", str(other)], [str(run / f"seed-{other}")])
    ):
        out = tmp_path / str(number)
        assert main(["plot", *arguments, "-o", str(out)]) == 0
        assert files(out) == expected
    shutil.rmtree(run / f"seed-{other}" / "plots")
    assert main(["plot", str(run), "--seed", str(other)]) == 0
    assert files(run / f"seed-{other}" / "plots") == expected


def test_a_run_without_its_spaces(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for file in run.glob("seed-*/spaces.safetensors"):
        file.unlink()
    shutil.rmtree(run / "plots")
    assert main(["plot", str(run)]) == 0
    assert set(files(run / "plots")) == {"losses.png", "confusion.png"}
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "no embedding spaces" in said
    assert "train again" in said
    assert main(["plot", str(run), "--quiet"]) == 0
    assert capsys.readouterr().err == ""


def test_a_run_without_transfer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    begun(tmp_path / "run")
    assert not list((tmp_path / "run").rglob("spaces.safetensors"))
    assert main(["plot", str(tmp_path / "run"), "-o", str(tmp_path / "out")]) == 0
    assert set(files(tmp_path / "out")) == {"losses.png", "confusion.png"}
    assert "nothing taught this model" in capsys.readouterr().err


def test_runs_that_cannot_be_drawn(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(*arguments: str) -> tuple[int, str]:
        code = main(["plot", *arguments])
        return code, capsys.readouterr().err.splitlines()[0]

    code, line = refused(str(tmp_path))
    assert (code, "is no training run" in line) == (3, True)
    code, line = refused(str(run / "checkpoint"))
    assert (code, "is no training run" in line) == (3, True)
    code, line = refused(str(run), "--seed", "9")
    assert (code, "no finished seed 9; give one of 3, 4" in line) == (3, True)
    code, line = refused(str(run), "-o", str(tmp_path / "a.png"))
    assert (code, "name a folder" in line) == (2, True)
    (run / "seed-3" / "spaces.safetensors").write_bytes(b"no")
    code, line = refused(str(run), "--seed", "3")
    assert (code, "spaces.safetensors: damaged" in line) == (3, True)
    (run / "seed-4" / "metrics.jsonl").write_text("{")
    code, line = refused(str(run), "--seed", "4")
    assert (code, "metrics.jsonl: damaged" in line) == (3, True)
    evaluation = read(run / "seed-4" / "evaluation.json")
    (run / "seed-4" / "evaluation.json").write_text(json.dumps({**evaluation, "target": {}}))
    (run / "seed-4" / "metrics.jsonl").unlink()
    code, line = refused(str(run), "--seed", "4")
    assert (code, "evaluation.json: damaged" in line) == (3, True)
    for file in run.glob("seed-*/evaluation.json"):
        file.unlink()
    code, line = refused(str(run))
    assert (code, "no seed is finished yet" in line) == (3, True)


def test_spaces_come_back_as_they_were(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    spaces = {
        name: Space(
            *(rng.normal(size=(7, 5)).astype(np.float32) for _ in range(3)), rng.integers(0, 3, 7)
        )
        for name in ("audio", "face")
    }
    keep_spaces(tmp_path / "a", spaces)
    keep_spaces(tmp_path / "b", spaces)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    found = load_spaces(tmp_path / "a")
    assert found is not None
    assert set(found) == set(spaces)
    for name, space in spaces.items():
        for field in ("before", "after", "source", "classes"):
            assert np.array_equal(getattr(found[name], field), getattr(space, field))
    assert load_spaces(tmp_path / "none") is None
    keep_spaces(tmp_path / "nothing", {})
    assert not (tmp_path / "nothing").exists()
    keep_spaces(
        tmp_path / "uneven",
        {"audio": Space(*(np.zeros((n, 2), np.float32) for n in (3, 4, 3)), np.zeros(3, np.int64))},
    )
    with pytest.raises(InputError, match="damaged"):
        load_spaces(tmp_path / "uneven")


def test_the_best_seed_is_that_of_the_summary(taught: Path) -> None:
    assert RunFolder(taught).finished() == [3, 4]
    assert RunFolder(taught).best() == read(taught / "summary.json")["best_seed"]


# Results


def test_the_timeline_of_a_result(tmp_path: Path) -> None:
    result = written(tmp_path / "talk.mp4.json")
    save_timeline(tmp_path / "expected.png", make_result())
    save_timeline(tmp_path / "expected.svg", make_result())
    expected = (tmp_path / "expected.png").read_bytes()
    assert main(["plot", str(result)]) == 0
    assert (tmp_path / "talk.mp4.png").read_bytes() == expected
    assert main(["plot", str(result), "-o", str(tmp_path / "new" / "folder")]) == 0
    assert (tmp_path / "new" / "folder" / "talk.mp4.png").read_bytes() == expected
    assert main(["plot", str(result), "-o", str(tmp_path / "figure 1.svg")]) == 0
    vector = (tmp_path / "expected.svg").read_bytes()
    assert (tmp_path / "figure 1.svg").read_bytes() == vector
    assert main(["plot", str(result), "--format", "svg"]) == 0
    assert (tmp_path / "talk.mp4.svg").read_bytes() == vector


def test_results_that_cannot_be_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = written(tmp_path / "a.json")
    (tmp_path / "broken.json").write_text("{")
    before = files(tmp_path)
    for arguments, code, words in (
        ([str(tmp_path / "none.json")], 3, "no such file"),
        ([str(tmp_path / "broken.json")], 3, "is not JSON"),
        ([str(result), "--seed", "1"], 2, "--seed is for training runs"),
        ([str(result), "-o", "a.png", "--format", "svg"], 2, "two formats"),
        ([str(result), "--format", "jpg"], 2, "jpg"),
        ([str(result), "-o", str(tmp_path / "nowhere" / "a.png")], 3, "no folder"),
    ):
        assert main(["plot", *arguments]) == code
        assert words in capsys.readouterr().err
    assert files(tmp_path) == before
