"""The package as it is imported and launched: names, light commands, completion."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from conftest import ROOT
from own_process import python

import avsent


def test_exported_names_are_there() -> None:
    assert avsent.__all__ == sorted(avsent.__all__)
    assert set(avsent.__all__) == {"AvsentError", "__version__", *avsent._LAZY}
    assert set(avsent.__all__) <= set(dir(avsent))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        avsent.nothing  # noqa: B018


def test_lazy_names_can_be_had() -> None:
    for name in avsent._LAZY:
        assert getattr(avsent, name).__name__ == name


@pytest.mark.parametrize("option", ["--version", "--help"])
def test_light_commands_import_nothing_heavy(option: str) -> None:
    code = f"""
import sys
from avsent.cli import main
assert main([{option!r}]) == 0
assert main(["predict", "--help"]) == 0
heavy = {{"torch", "numpy", "librosa", "av", "dlib", "cv2", "scipy", "rich"}} & set(sys.modules)
assert not heavy, heavy
"""
    assert python(code, capture_output=True).stderr == ""


@pytest.mark.parametrize("launcher", [["-m", "avsent"], ["cli.py"]])
def test_launchers(launcher: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, *launcher, "--version"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout == f"avsent {avsent.__version__}\n"
    assert done.returncode == 0


def test_shell_completion() -> None:
    environment = {
        **os.environ,
        "_AVSENT_COMPLETE": "complete_bash",
        "COMP_WORDS": "avsent predict --ut",
        "COMP_CWORD": "2",
    }
    done = subprocess.run(
        [sys.executable, "cli.py"], cwd=ROOT, capture_output=True, text=True, env=environment
    )
    assert "--utterances" in done.stdout
