"""What ``avsent doctor`` thinks of machines that are not as they should be."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import pytest
from small_models import flip, save

from avsent.cli.checkup import course, libraries, media, surroundings, versions, working
from avsent.cli.checkup.check import Check, State, Step, is_broken
from avsent.model.checkpoint import WEIGHTS_FILE
from avsent.model.index import INDEX_FILE, write_index

pytestmark = pytest.mark.usefixtures("one_thread")


def states(checks: Iterable[Check]) -> dict[str, State]:
    """The state of each, by name; what is wrong says what to do."""
    found = list(checks)
    assert len({check.name for check in found}) == len(found)
    for check in found:
        assert check.found
        assert bool(check.advice) == (check.state in {"warning", "failed", "absent"}), check
    return {check.name: check.state for check in found}


# --- steps ----------------------------------------------------------------------------------------


def broken_look() -> Iterator[Check]:
    yield Check("first", State.ok, "there")
    raise ImportError("libcublas.so.12: cannot open\nshared object file")


@pytest.mark.parametrize(("needed", "state"), [(True, State.failed), (False, State.warning)])
def test_an_error_becomes_a_line(needed: bool, state: State) -> None:
    checks = Step("second", broken_look, "install it", needed).take()
    assert states(checks) == {"first": State.ok, "second": state}
    assert checks[1].found == "libcublas.so.12: cannot open shared object file"
    assert is_broken(checks) == needed


def test_what_needs_a_broken_part_is_not_tried() -> None:
    step = Step("late", broken_look, "install it", needs=("torch", "numpy"))
    checks = step.take(["numpy", "dlib"])
    assert checks == [Check("late", State.skipped, "needs numpy, see above")]
    assert is_broken(checks)


def test_an_endless_error_is_cut_short() -> None:
    def look() -> Iterator[Check]:
        raise ValueError("long " * 1000)
        yield

    (check,) = Step("name", look, "do").take()
    assert check.found.startswith("ValueError: long long")
    assert len(check.found) == 300


def test_steps_need_only_steps_before_them() -> None:
    before: set[str] = set()
    for step in course.steps_for("cpu"):
        assert step.name not in before
        assert set(step.needs) <= before, step.name
        assert step.advice
        before.add(step.name)


# --- surroundings ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "state"),
    [
        ((3, 10), State.failed),
        ((3, 11), State.ok),
        ((3, 13), State.ok),
        ((3, 14), State.warning),
    ],
)
def test_versions_of_python(version: tuple[int, int], state: State) -> None:
    found, advice = surroundings.judge_python(version)
    assert found is state
    assert bool(advice) == (state is not State.ok)


def test_little_memory_and_a_full_disk_are_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surroundings, "usable_bytes", lambda: 100_000_000)
    monkeypatch.setattr(surroundings, "SPARE_DISK_BYTES", 10**18)
    assert states(surroundings.look_at_machine()) == {"cores, memory": State.warning}
    assert states(surroundings.look_at_disk()) == {"current folder": State.warning}
    assert states(surroundings.look_at_temporary_folder()) == {"temporary folder": State.warning}


def test_output_that_is_not_utf8() -> None:
    for encoding, state in (("utf-8", State.ok), ("ascii", State.warning)):
        file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        check = surroundings.look_at_terminal(file)
        assert (check.name, check.state) == ("output", state)


# --- libraries ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "wanted", "fitting"),
    [
        ("4.14.0.94", ">=4.10,<5", True),
        ("5.0.0", ">=4.10,<5", False),
        ("4.9", ">=4.10,<5", False),
        ("20.0.1.post1", ">=19.24.6", True),
        ("2.13.0+cpu", ">=2.4", True),
        ("2.4", ">=2.4.0", True),
        ("1.0", "", True),
        ("1.0", "!=1.0", True),
    ],
)
def test_ranges_of_versions(version: str, wanted: str, fitting: bool) -> None:
    assert versions.fits(version, wanted) == fitting


def test_avsent_says_what_it_asks_for() -> None:
    assert versions.asked_for("opencv_python.headless") == ">=4.10,<5"
    assert versions.asked_for("face-recognition-models") == ">=0.3"
    assert versions.asked_for("ray") == ""  # of an extra


def test_another_opencv(monkeypatch: pytest.MonkeyPatch) -> None:
    assert states(libraries.look_at_opencv()) == {"opencv-python-headless": State.ok}
    monkeypatch.setattr(cv2, "__version__", "5.0.0")
    (check,) = libraries.look_at_opencv()
    assert check.state is State.warning
    assert "pip install 'opencv-python-headless>=4.10,<5'" in check.advice


def test_two_wheels_that_overwrite_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    both = {"dlib-bin": "20.0.1", "dlib": "20.0.0"}
    monkeypatch.setattr(libraries, "installed", lambda names: both)
    (check,) = libraries.look_at_dlib()
    assert check.state is State.warning
    assert check.advice == "pip uninstall dlib-bin dlib, then pip install dlib-bin"


def test_a_device_that_is_not_there() -> None:
    steps = {step.name: step for step in course.steps_for("cuda:77")}
    (check,) = steps["device"].take()
    assert (check.name, check.state) == ("device", State.failed)
    assert "--device cpu" in check.advice
    assert states(libraries.look_at_device("cpu")) == {"device": State.ok}


def test_options_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    gone = ("no-such-thing", "no_such_thing", "more", "nothing")
    half = ("numpy", "no_such_thing", "more", "nothing")
    monkeypatch.setattr(libraries, "OPTIONAL", (gone, half))
    absent, wrong = libraries.look_at_options()
    assert absent.state is State.absent
    assert absent.advice == "for nothing: pip install 'avsent[more]'"
    assert wrong.state is State.warning


# --- media, faces, models -------------------------------------------------------------------------


def test_codecs_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    assert states(media.look_at_codecs()) == {"decoders": State.ok, "encoders": State.ok}
    monkeypatch.setattr(media, "DECODERS", {"h264": ("h264",), "h999": ("h999", "libh999")})
    monkeypatch.setattr(media, "ENCODERS", {"h999": ("h999",)})
    decoders, encoders = media.look_at_codecs()
    assert decoders.found == "cannot read h999; can read h264"
    assert (decoders.state, encoders.state) == (State.warning, State.warning)


def test_missing_face_models(monkeypatch: pytest.MonkeyPatch) -> None:
    assert states(working.look_at_face_models()) == {"face models": State.ok}
    import avsent.extraction.faces.landmarks

    there = {"shape_predictor_68_face_landmarks.dat": Path("there")}
    monkeypatch.setattr(avsent.extraction.faces.landmarks, "model_file", there.get)
    assert states(working.look_at_face_models()) == {"face models": State.warning}
    there.clear()
    assert states(working.look_at_face_models()) == {"face models": State.failed}


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two models that count as those that came along."""
    folder = tmp_path / "models"
    save(folder / "default")
    save(folder / "other", seed=1)
    write_index(folder)
    monkeypatch.setattr("avsent.model.index.shipped_folder", lambda: folder)
    return folder


def test_whole_models(models: Path) -> None:
    assert states(working.look_at_models()) == {
        "model default": State.ok,
        "model other": State.ok,
    }


def test_a_damaged_default_model_fails_and_another_warns(models: Path) -> None:
    flip(models / "other" / WEIGHTS_FILE)
    assert states(working.look_at_models())["model other"] is State.warning
    flip(models / "default" / WEIGHTS_FILE)
    checks = list(working.look_at_models())
    assert states(checks) == {"model default": State.failed, "model other": State.warning}
    assert "SHA-256" in checks[0].found
    assert "restore" in checks[0].advice


def test_models_that_are_gone(models: Path) -> None:
    (models / INDEX_FILE).unlink()
    assert states(working.look_at_models())[f"model {INDEX_FILE}"] is State.warning
    for path in sorted(models.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    assert states(working.look_at_models())["model default"] is State.failed
