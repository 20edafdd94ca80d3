"""The wheel, installed into a fresh environment, predicts offline with the models inside it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest
from conftest import HANG_S, SAMPLE

ROOT = Path(__file__).resolve().parents[2]


def run(*command: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # type: ignore[call-overload, no-any-return]
        [str(word) for word in command], capture_output=True, text=True, timeout=HANG_S, **options
    )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    built = run(
        *(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, ROOT)
    )
    assert built.returncode == 0, built.stderr
    (path,) = out.glob("*.whl")
    return path


def test_wheel_predicts_offline(wheel: Path, tmp_path: Path) -> None:
    fresh = tmp_path / "fresh"
    venv.create(fresh, with_pip=True)
    python = fresh / "bin" / "python"
    installed = run(python, "-m", "pip", "install", "--no-deps", "--no-index", wheel)
    assert installed.returncode == 0, installed.stderr
    # The dependencies are those of this environment; avsent itself is not taken from it: a
    # checkout's own path file is not followed from here.
    (packages,) = fresh.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    where = run(python, "-c", "import avsent; print(avsent.__file__)", cwd=tmp_path)
    assert str(packages) in where.stdout

    # Without any network where the system lets us take it away.
    offline = ["unshare", "--net"] if shutil.which("unshare") else []
    if offline and run(*offline, "true").returncode != 0:
        offline = []
    out = tmp_path / "demo.json"
    predicted = run(*offline, fresh / "bin" / "avsent", "predict", SAMPLE, "-o", out, cwd=tmp_path)
    assert predicted.returncode == 0, predicted.stderr
    result = json.loads(out.read_text("utf-8"))
    assert len(result["utterances"]) == 4
    assert result["model"]["name"] == "default"


def test_wheel_holds_nothing_it_should_not(wheel: Path) -> None:
    import zipfile

    names = zipfile.ZipFile(wheel).namelist()
    assert "avsent/models/default/model.safetensors" in names
    assert "avsent/models/default/CARD.md" in names
    assert "avsent/py.typed" in names
    assert {f"avsent/views/report/assets/report.{kind}" for kind in ("html", "css", "js")} <= set(
        names
    )
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"avsent"}
    assert wheel.stat().st_size < 60_000_000
