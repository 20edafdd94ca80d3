"""``avsent doctor`` as a command: here, and where a library is broken in one way or another."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import run_avsent

from avsent.cli.checkup.check import Check, State
from avsent.cli.checkup.course import steps_for
from avsent.cli.doctor import _print_table

NATIVE_CRASH = "import os, signal\nos.kill(os.getpid(), signal.SIGILL)\n"


def doctor(
    *arguments: str, broken: dict[str, str] | None = None, folder: Path | None = None
) -> tuple[subprocess.CompletedProcess[str], dict[str, dict[str, str]]]:
    """Run it with ``--json``; ``broken``: what stands in ``folder`` for some modules."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if broken and folder:
        for module, code in broken.items():
            (folder / f"{module}.py").write_text(code, encoding="utf-8")
        environment["PYTHONPATH"] = str(folder)
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
    several = {"models": "model default", "extras": "ray"}
    assert {several.get(s.name, s.name) for s in steps_for("cpu")} <= set(checks)
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
    assert skipped == {"face detection", "prediction"}
    assert checks["model default"]["state"] == "ok"


def test_a_library_that_ends_the_process(tmp_path: Path) -> None:
    broken = {"av": NATIVE_CRASH, "sklearn": "import os\nos._exit(3)\n"}
    done, checks = doctor("--device", "cpu", broken=broken, folder=tmp_path)
    assert done.returncode == 1
    assert checks["av"]["found"] == ("the process was ended by SIGILL: made for another processor")
    assert checks["round trip"]["state"] == "skipped"
    # scikit-learn is for training: without it predictions go on.
    assert checks["scikit-learn"]["state"] == "warning"
    assert checks["scikit-learn"]["found"] == "the process ended by itself, with code 3"
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
    assert {cells[0] for cells in lines} <= {State.ok, State.warning, State.absent}
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


@pytest.mark.parametrize(("encoding", "arrow"), [("utf-8", "→"), ("ascii", "->")])
def test_a_table(tmp_path: Path, encoding: str, arrow: str) -> None:
    checks = [
        Check("dlib-bin", State.failed, "no \x1b[31m[red]such[/red] file", "install it"),
        Check("torch", State.ok, "2.4"),
    ]
    path = tmp_path / "table.txt"
    with path.open("w", encoding=encoding) as file:
        _print_table(checks, file)
    lines = [" ".join(line.split()) for line in path.read_text(encoding).splitlines()]
    assert lines == [
        r"failed dlib-bin no \x1b[31m[red]such[/red] file",
        f"{arrow} install it",
        "ok torch 2.4",
    ]


def test_a_wrong_device_is_a_usage_error() -> None:
    done = run_avsent("doctor", "--device", "abacus")
    assert done.returncode == 2
    assert sys.executable not in done.stderr
