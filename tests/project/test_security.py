"""What SECURITY.md promises of the code as a whole: nothing is run, opened or sent on the sly."""

from __future__ import annotations

import ast
import json
import os
import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import av
import pytest
from conftest import HANG_S, ROOT, SAMPLE

import avsent
from avsent.errors import CheckpointError
from avsent.extraction.media.events import MAX_FRAME_PIXELS
from avsent.model.checkpoint import load_checkpoint

PACKAGE = Path(avsent.__file__).resolve().parent
TREES = {
    path.relative_to(PACKAGE).as_posix(): ast.parse(path.read_text("utf-8"))
    for path in sorted(PACKAGE.rglob("*.py"))
}
RUNS_DATA = {
    *("pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"),
    *("yaml", "code", "codeop", "runpy", "pty", "webbrowser"),
}
TALKS = {
    *("socket", "socketserver", "ssl", "http", "ftplib", "smtplib", "requests", "httpx", "urllib3"),
    *("aiohttp", "urllib.request", "subprocess", "asyncio"),
}
MAY_TALK = {
    "batch/engines/ray_cluster.py": {"socket", "subprocess"},
    "cli/checkup.py": {"subprocess"},
}
"""Ray is started, or a cluster connected to, if ``--engine ray`` asks for it. ``doctor`` runs its
checks in a second process of the same Python: a library that crashes when imported ends only it."""
NEVER_CALLED = {
    *("eval", "exec", "compile", "__import__", "os.system", "os.popen", "torch.load"),
    *("torch.hub.load", "torch.jit.load", "pandas.read_pickle", "pd.read_pickle"),
}


def imported(tree: ast.AST) -> Iterator[str]:
    """The modules that a module imports, also inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def touching(tree: ast.AST, modules: set[str]) -> set[str]:
    """Which of ``modules`` a module imports, whole or in part."""
    names = tuple(imported(tree))
    return {m for m in modules if any(n == m or n.startswith(f"{m}.") for n in names)}


def unsafe(tree: ast.AST) -> set[str]:
    """Calls that run what they read."""
    found = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, (ast.Name, ast.Attribute)):
            found |= {ast.unparse(node.func)} & NEVER_CALLED
        for word in node.keywords:
            if word.arg in ("allow_pickle", "shell") and ast.unparse(word.value) != "False":
                found.add(ast.unparse(node))
    return found


@pytest.mark.parametrize(
    "code",
    [
        *("import pickle", "from yaml import load", "def f():\n    import joblib"),
        *("eval('1')", "torch.load(p)", "np.load(p, allow_pickle=True)", "run(x, shell=True)"),
    ],
)
def test_the_search_finds(code: str) -> None:
    tree = ast.parse(code)
    assert touching(tree, RUNS_DATA) | unsafe(tree)


def test_no_module_runs_what_it_reads() -> None:
    assert len(TREES) > 100
    found = {path: touching(tree, RUNS_DATA) | unsafe(tree) for path, tree in TREES.items()}
    assert {path: names for path, names in found.items() if names} == {}


def test_no_module_talks_to_the_network_or_starts_programs() -> None:
    found = {path: touching(tree, TALKS) for path, tree in TREES.items()}
    assert {path: names for path, names in found.items() if names} == MAY_TALK


class Bomb:
    """As a pickle: makes a file when it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("names", [("model.safetensors",), ("config.json",)])
def test_a_pickle_in_a_checkpoint_is_refused_unread(tmp_path: Path, names: tuple[str, ...]) -> None:
    checkpoint, mark = tmp_path / "model", tmp_path / "mark"
    shutil.copytree(PACKAGE.parent / "models" / "default", checkpoint)
    for name in names:
        (checkpoint / name).write_bytes(pickle.dumps(Bomb(mark)))
    with pytest.raises(CheckpointError):
        load_checkpoint(checkpoint)
    assert not mark.exists()


def test_security_page_names_existing_tests() -> None:
    text = (ROOT / "SECURITY.md").read_text("utf-8")
    named = set(re.findall(r"`(tests/\w+(?:/\w+)?\.py)`", text))
    assert len(named) > 10
    assert {name for name in named if not (ROOT / name).is_file()} == set()
    (limit,) = re.findall(r"more than (\d+)×(\d+) pixels", text)
    assert int(limit[0]) * int(limit[1]) == MAX_FRAME_PIXELS


WATCHED = """
import json, os, sys

seen = {"network": [], "programs": [], "written": [], "unpickled": []}
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

def hook(event, arguments):
    if event.startswith(("socket.", "urllib.", "http.", "ftplib.", "smtplib.")):
        seen["network"].append(event)
    elif event in ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork"):
        seen["programs"].append(event)
    elif event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITES:
        seen["written"].append(os.fsdecode(arguments[0]))
    elif event in ("os.rename", "os.remove", "os.truncate", "os.chmod", "os.link", "os.symlink"):
        seen["written"] += [os.fsdecode(a) for a in arguments if isinstance(a, (str, bytes))]
    elif event == "pickle.find_class":
        seen["unpickled"].append(sys._getframe(1).f_code.co_filename)

sys.addaudithook(hook)
from avsent.cli import main
code = main(["predict", "-q", *sys.argv[1:]])
print(json.dumps({"code": code, **seen}))
"""
"""Runs ``avsent predict`` and tells what it did besides."""


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first seconds of the sample, with one utterance in them."""
    target = tmp_path_factory.mktemp("short") / "short.mp4"
    with av.open(str(SAMPLE)) as before, av.open(str(target), "w") as after:
        copies = {s.index: after.add_stream_from_template(s) for s in before.streams}
        for packet in before.demux():
            if packet.dts is not None and packet.dts * packet.time_base < 3:
                packet.stream = copies[packet.stream.index]
                after.mux(packet)
    return target


def test_a_prediction_opens_no_network_starts_nothing_and_writes_its_output_alone(
    short: Path, tmp_path: Path
) -> None:
    out, temporary = tmp_path / "out", tmp_path / "temporary"
    out.mkdir()
    temporary.mkdir()
    run = subprocess.run(
        [sys.executable, "-c", WATCHED, "-o", str(out / "r.json"), str(short)],
        capture_output=True,
        text=True,
        timeout=HANG_S,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(temporary)},
        check=False,
    )
    assert run.returncode == 0, run.stderr
    seen = json.loads(run.stdout)
    assert seen["code"] == 0
    assert len(json.loads((out / "r.json").read_text("utf-8"))["utterances"]) >= 1
    assert seen["network"] == []
    assert seen["programs"] == []
    # librosa's compiled parts are kept by numba, beside librosa or where NUMBA_CACHE_DIR says.
    assert [name for name in seen["written"] if not _of_numba(name) and str(out) not in name] == []
    assert [name for name in seen["unpickled"] if f"{os.sep}numba{os.sep}" not in name] == []
    assert [path.name for path in out.iterdir()] == ["r.json"]
    assert list(temporary.iterdir()) == []


def _of_numba(name: str) -> bool:
    place = os.environ.get("NUMBA_CACHE_DIR")
    return f"{os.sep}librosa" in name or (place is not None and name.startswith(place))
