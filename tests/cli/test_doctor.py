"""``avsent doctor``: single checks on machines that are not as they should be, and the command here
and where a library is broken in one way or another."""

from __future__ import annotations

import importlib.metadata
import io
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from conftest import ROOT, run_avsent
from packaging.requirements import Requirement
from small_models import flip, save

from avsent.cli import checkup
from avsent.cli.checkup import STEPS, Check, CheckState, Step, ending, look_at_output
from avsent.model.checkpoint import WEIGHTS_FILE
from avsent.model.index import INDEX_FILE, write_index

NATIVE_CRASH = "import os, signal\nos.kill(os.getpid(), signal.SIGILL)\n"

pytestmark = pytest.mark.usefixtures("one_thread")


def states(checks: Iterable[Check]) -> dict[str, CheckState]:
    """The state of each, by name; what is wrong says what to do."""
    found = list(checks)
    assert len({check.name for check in found}) == len(found)
    for check in found:
        assert check.found
        assert bool(check.advice) == (check.state in {"warning", "failed", "absent"}), check
    return {check.name: check.state for check in found}


def take(name: str, device: str = "cpu") -> list[Check]:
    """The checks of the step of that name."""
    (step,) = (step for step in STEPS if step.name == name)
    return step.take(device)


# --- steps ----------------------------------------------------------------------------------------


def broken_look(device: str) -> Iterator[Check]:
    yield Check("first", "ok", "there")
    raise ImportError("libcublas.so.12: cannot open\nshared object file")


@pytest.mark.parametrize(("needed", "state"), [(True, "failed"), (False, "warning")])
def test_an_error_becomes_a_line(needed: bool, state: CheckState) -> None:
    checks = Step("second", broken_look, "install it", needed=needed).take("cpu")
    assert states(checks) == {"first": "ok", "second": state}
    assert checks[1].found == "libcublas.so.12: cannot open shared object file"
    assert checkup.blocks(checks) == needed


def test_what_needs_a_broken_step_is_skipped() -> None:
    place = [step.name for step in STEPS].index("prediction")
    command = [sys.executable, "-m", "avsent.cli.checkup", "cpu", "", str(place), "av", "torch"]
    done = subprocess.run(command, capture_output=True, text=True)
    (check,) = [Check(*cells) for cells in json.loads(done.stdout)]
    assert check == Check("prediction", "skipped", "needs av and torch, see above")


def test_an_endless_error_is_cut_short() -> None:
    def look(device: str) -> Iterator[Check]:
        raise ValueError("long " * 1000)
        yield Check("name", "ok", "never reached")

    (check,) = Step("name", look, "do").take("cpu")
    assert check.found.startswith("ValueError in test_doctor: long long")
    assert len(check.found) == 300


def test_an_error_names_the_library_that_raised_it() -> None:
    def look(device: str) -> Iterator[Check]:
        np.linalg.inv(np.zeros((2, 2)))
        yield Check("name", "ok", "never reached")

    (check,) = Step("name", look, "do").take("cpu")
    assert check.found.startswith("LinAlgError in numpy.linalg")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (1, "ended with code 1"),
        (-4, "was ended by SIGILL: made for another processor"),
        (-9, "was ended by SIGKILL: out of memory?"),
        (-11, "was ended by SIGSEGV"),
        (-40, "was ended by signal 40"),
    ],
)
def test_how_a_process_ended(code: int, words: str) -> None:
    assert ending(code) == words


def test_steps_need_only_steps_before_them() -> None:
    before: set[str] = set()
    for step in STEPS:
        assert step.name not in before
        assert set(step.needs) <= before, step.name
        assert step.advice
        before.add(step.name)


# --- the machine ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "state"),
    [
        ((3, 10), "failed"),
        ((3, 11), "ok"),
        ((3, 13), "ok"),
        ((3, 14), "warning"),
    ],
)
def test_versions_of_python(
    version: tuple[int, int], state: CheckState, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "version_info", (*version, 0))
    assert states(take("machine"))["Python"] == state


def test_little_memory_and_a_full_disk_are_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkup.machine, "usable_bytes", lambda: 100_000_000)
    monkeypatch.setattr(checkup, "SPARE_DISK_BYTES", 10**18)
    found = states(take("machine"))
    assert found["cores, memory"] == "warning"
    assert found["current folder"] == "warning"
    assert found["temporary folder"] == "warning"


def test_no_folder_for_the_cache_of_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NUMBA_CACHE_DIR", raising=False)
    assert states(take("machine"))["numba cache"] == "ok"
    monkeypatch.setattr(
        checkup, "ensure_numba_cache", lambda: monkeypatch.setenv("NUMBA_CACHE_DIR", "/tmp/made")
    )
    assert states(take("machine"))["numba cache"] == "warning"


def test_output_that_is_not_utf8() -> None:
    for encoding, state in (("utf-8", "ok"), ("ascii", "warning")):
        check = look_at_output(io.TextIOWrapper(io.BytesIO(), encoding=encoding))
        assert states([check]) == {"output": state}


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
        ("1.0", "!=1.0", False),
        ("2.14.0a0+git1234", ">=2.14", True),
        ("of no known form", ">=1", True),
    ],
)
def test_ranges_of_versions(version: str, wanted: str, fitting: bool) -> None:
    assert checkup.fits(version, Requirement(f"library{wanted}")) == fitting


def required() -> dict[str, tuple[set[str], str]]:
    """The range and the extra of each library."""
    found = list(checkup.requirements())
    assert len({wanted.name for wanted, _ in found}) == len(found)
    return {one.name: ({str(part) for part in one.specifier}, extra) for one, extra in found}


def test_the_versions_avsent_requires() -> None:
    found = required()
    assert found["opencv-python-headless"] == ({">=4.10", "<5"}, "")
    assert found["face-recognition-models"] == ({">=0.3"}, "")
    assert found["ray"][1] == "ray"
    assert not {"pytest", "mkdocs-material"} & found.keys()


def test_a_checkout_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> list[str]:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", missing)
    found = required()
    assert found["torch"] == ({">=2.4"}, "")
    assert found["opencv-python-headless"] == ({">=4.10", "<5"}, "")


def test_every_library_that_predict_needs_is_loaded() -> None:
    needed = {step.name for step in STEPS if step.needed}
    assert {"av", "dlib-bin", "librosa", "numpy", "torch", "safetensors"} <= needed
    assert not {*checkup.NOT_FOR_PREDICT, "ray", "pandas"} & needed


def test_another_opencv(monkeypatch: pytest.MonkeyPatch) -> None:
    assert states(take("opencv-python-headless")) == {"opencv-python-headless": "ok"}
    monkeypatch.setattr(cv2, "__version__", "5.0.0")
    (check,) = take("opencv-python-headless")
    assert check.state == "warning"
    assert "pip install 'opencv-python-headless>=4.10,<5'" in check.advice


def test_two_wheels_that_overwrite_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    both = {"dlib-bin": "20.0.1", "dlib": "20.0.0"}
    monkeypatch.setattr(checkup, "installed", lambda *names: both)
    (check,) = take("dlib-bin")
    assert check.state == "warning"
    assert check.advice == "pip uninstall dlib-bin dlib, then pip install dlib-bin"


def test_the_wheels_that_are_installed() -> None:
    assert checkup.installed("dlib-bin", "no-such-thing").keys() == {"dlib-bin"}


def test_a_device_that_is_not_there() -> None:
    (check,) = take("device", "cuda:77")
    assert (check.name, check.state) == ("device", "failed")
    assert "--device cpu" in check.advice
    assert states(take("device")) == {"device": "ok"}


def test_extras_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    gone, half = Requirement("no-such-thing"), Requirement("numpy")
    (absent,) = checkup.library(gone, "text").take("cpu")
    assert absent.state == "absent"
    assert absent.advice == "for text encoders for training: pip install 'avsent[text]'"
    (old,) = checkup.library(Requirement("filelock>=999"), "text").take("cpu")
    assert (old.state, "filelock>=999" in old.advice) == ("warning", True)
    monkeypatch.setitem(checkup.MODULES, "numpy", "no_such_thing")
    monkeypatch.setattr(checkup, "installed", lambda *names: {"numpy": "2.0"})
    assert states(checkup.library(half, "text").take("cpu")) == {"numpy": "warning"}


def test_soundfile_is_no_extra() -> None:
    """librosa requires it, so it is there wherever avsent is."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert "train" not in project["optional-dependencies"]
    requirements = importlib.metadata.requires("librosa") or []
    assert any(line.startswith("soundfile") and "extra" not in line for line in requirements)
    assert required()["soundfile"] == (set(), "")
    assert states(take("soundfile")) == {"soundfile": "ok"}


def test_extras_that_doctor_names_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    assert set(checkup.EXTRAS) <= set(extras)
    found = required()
    for extra in checkup.EXTRAS:
        for line in extras[extra]:
            assert found[Requirement(line).name][1] == extra


# --- media, faces, models -------------------------------------------------------------------------


def test_codecs_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    assert states(take("codecs")) == {"codecs": "ok"}
    names = ["h264", "h999", "libh998|flac", "libh997|libh996"]
    monkeypatch.setattr(checkup, "CODECS", names)
    (codecs,) = take("codecs")
    assert codecs.found.endswith(", without h999, libh997|libh996")
    assert codecs.state == "warning"
    assert "--annotate" in codecs.advice


def test_missing_face_models(monkeypatch: pytest.MonkeyPatch) -> None:
    assert states(take("face models")) == {"face models": "ok"}
    import avsent.extraction.faces.landmarks

    landmarks = avsent.extraction.faces.landmarks
    there = {landmarks.PREDICTOR_FILE: landmarks.model_file(landmarks.PREDICTOR_FILE)}
    monkeypatch.setattr(landmarks, "model_file", there.get)
    assert states(take("face models")) == {"face models": "warning"}
    there.clear()
    (check,) = take("face models")
    assert check.state == "failed"
    assert "--landmarks" in check.found


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
    assert states(take("models")) == {
        "model default": "ok",
        "model other": "ok",
    }


def test_a_damaged_default_model_fails_and_another_warns(models: Path) -> None:
    flip(models / "other" / WEIGHTS_FILE)
    assert states(take("models"))["model other"] == "warning"
    flip(models / "default" / WEIGHTS_FILE)
    checks = take("models")
    assert states(checks) == {"model default": "failed", "model other": "warning"}
    assert "SHA-256" in checks[0].found
    assert "restore" in checks[0].advice


def test_models_that_are_gone(models: Path) -> None:
    (models / INDEX_FILE).unlink()
    assert states(take("models"))[f"model {INDEX_FILE}"] == "warning"
    for path in sorted(models.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    assert states(take("models"))["model default"] == "failed"


# --- the command ----------------------------------------------------------------------------------


def doctor(
    *arguments: str, broken: dict[str, str] | None = None, folder: Path | None = None
) -> tuple[subprocess.CompletedProcess[str], dict[str, dict[str, str]]]:
    """Run it with ``--json``; ``broken``: what stands in ``folder`` for some modules."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if broken and folder:
        for module, code in broken.items():
            (folder / f"{module}.py").write_text(code, encoding="utf-8")
        paths = [str(folder), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    done = run_avsent("doctor", "--json", *arguments, env=environment)
    assert "Traceback" not in done.stderr
    plain: dict[str, Any] = json.loads(done.stdout)
    assert plain["schema"] == "avsent-doctor/1"
    assert plain["works"] == (done.returncode == 0)
    return done, {check["name"]: check for check in plain["checks"]}


def test_here_avsent_works() -> None:
    done, checks = doctor("--device", "cpu")
    assert done.returncode == 0, done.stdout
    assert done.stderr == ""
    assert not [check for check in checks.values() if check["state"] in {"failed", "skipped"}]
    several = {"machine": "Python", "models": "model default"}
    assert {several.get(s.name, s.name) for s in STEPS} <= set(checks)
    assert checks["prediction"]["state"] == checks["model emotion"]["state"] == "ok"


def test_a_library_that_cannot_be_loaded(tmp_path: Path) -> None:
    broken = {"dlib": "raise ImportError('libcublas.so.12: cannot open shared object file')\n"}
    done, checks = doctor("--device", "cpu", broken=broken, folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "cannot work" in done.stderr
    assert checks["dlib-bin"]["state"] == "failed"
    assert "libcublas.so.12" in checks["dlib-bin"]["found"]
    assert "pip install --force-reinstall dlib-bin" in checks["dlib-bin"]["advice"]
    skipped = {name for name, check in checks.items() if check["state"] == "skipped"}
    assert skipped == {"face models", "prediction"}
    assert checks["model default"]["state"] == "ok"


def test_a_library_that_ends_the_process(tmp_path: Path) -> None:
    memory = "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)\n"
    broken = {"av": NATIVE_CRASH, "sklearn": "import os\nos._exit(3)\n", "matplotlib": memory}
    done, checks = doctor("--device", "cpu", broken=broken, folder=tmp_path)
    assert done.returncode == 1
    assert checks["av"]["found"] == "the process was ended by SIGILL: made for another processor"
    assert checks["codecs"]["state"] == checks["prediction"]["state"] == "skipped"
    # scikit-learn is for training: without it predictions go on.
    assert checks["scikit-learn"]["state"] == "warning"
    assert checks["scikit-learn"]["found"] == "the process ended with code 3"
    assert checks["matplotlib"]["found"] == "the process was ended by SIGSEGV"
    assert checks["filelock"]["state"] == "ok"


def test_a_library_that_is_not_there(tmp_path: Path) -> None:
    code = "raise ModuleNotFoundError(\"No module named 'numpy'\", name='numpy')\n"
    done, checks = doctor("--device", "cpu", broken={"numpy": code}, folder=tmp_path)
    assert done.returncode == 1
    assert checks["numpy"]["state"] == "failed"
    assert checks["numpy"]["found"] == "No module named 'numpy'"
    assert checks["models"]["state"] == checks["prediction"]["state"] == "skipped"
    assert checks["av"]["state"] == "ok"


def test_lines_without_a_terminal_nor_other_streams() -> None:
    def close() -> None:
        os.close(0)
        os.close(2)

    done = run_avsent("doctor", "--device", "cpu", preexec_fn=close)
    assert done.returncode == 0, done.stdout
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert {len(cells) for cells in lines} <= {3, 4}
    assert {cells[0] for cells in lines} <= {"ok", "warning", "absent"}
    (output,) = [cells for cells in lines if cells[1] == "output"]
    assert output[2].startswith("file or pipe, ")


def test_a_current_folder_that_is_gone(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    code = "import os, sys; os.rmdir(os.getcwd()); from avsent.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code, "doctor"], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 3
    assert done.stderr == (
        "avsent: error: the current folder is gone; change to another one and try again\n"
    )


def test_a_wrong_device_is_a_usage_error() -> None:
    done = run_avsent("doctor", "--device", "abacus")
    assert done.returncode == 2
    assert sys.executable not in done.stderr
