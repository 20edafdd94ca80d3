"""Shared by all tests: where the real clips are, and the installed command."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from browser import chromium, open_page, sample_page  # noqa: F401  (fixtures: one browser for all tests)

pytest.register_assert_rewrite("media_files")  # it checks, too

hypothesis.settings.register_profile("avsent", deadline=None)  # no test depends on the load
hypothesis.settings.load_profile("avsent")

LONGEST_FIRST = (
    *("test_gpu", "test_ray", "test_invariance", "test_run", "test_predictor"),
    *("test_end_to_end", "test_docs", "test_batch_end_to_end", "test_wheel", "test_fusion"),
    *("test_security", "test_docs_site"),
)
"""Files that take long: begun last, one of them would keep one process busy and the other idle."""

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
SAMPLE = ROOT / "samples" / "demo.mp4"
HANG_S = 900.0
"""After this a test has hung. It is far more than any needs, as none may depend on the load."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first; in each the order stays."""
    place = {name: number for number, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))


@pytest.fixture(scope="session")
def clips() -> Path:
    """The folder of real clips; they may not be passed on, so not every checkout has them."""
    folder = SHARED / "clips"
    if not folder.is_dir():
        pytest.skip("the research-only clips are not beside this checkout (../shared/clips)")
    return folder


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Small tensors: more threads of torch only wait for each other."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with files that are there."""
    monkeypatch.chdir(tmp_path)
    for name in ("a.mp4", "b.mp4", "-dash.mp4"):
        (tmp_path / name).write_bytes(b"not media")
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "sub").mkdir()
    return tmp_path


def hear_ctrl_c() -> None:
    """For ``preexec_fn``: shells start what runs in the background deaf to Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def run_avsent(*arguments: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
    """The installed command in a process of its own."""
    command = [str(Path(sys.executable).with_name("avsent")), *map(str, arguments)]
    return subprocess.run(  # type: ignore[call-overload, no-any-return]
        command, capture_output=True, text=True, timeout=HANG_S, check=False, **options
    )
