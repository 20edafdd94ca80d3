"""Facts about the machine and the software, none of which names the machine."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGES = (
    ("torch",),
    ("av",),
    ("dlib-bin", "dlib"),
    ("opencv-python-headless", "opencv-python"),
    ("silero-vad",),
    ("librosa",),
    ("numpy",),
)


def host_facts() -> list[tuple[str, str]]:
    """Name and value of each fact, for the report."""
    facts = [
        ("CPU", cpu_model()),
        ("cores", str(len(os.sched_getaffinity(0)))),
        ("memory", f"{_memory_bytes() / 2**30:.1f} GiB"),
        ("load before", f"{os.getloadavg()[0]:.1f} (1 min mean; 0 is an idle machine)"),
        ("system", f"{platform.system()} {platform.machine()}"),
        ("Python", platform.python_version()),
    ]
    return facts + [(names[0], _installed(names)) for names in PACKAGES]


def avsent_facts() -> list[tuple[str, str]]:
    """Version, commit and model."""
    from avsent import __version__
    from avsent.model.checkpoint import load_checkpoint

    config = load_checkpoint("default").config
    return [
        ("avsent", __version__),
        ("git", git_sha()),
        ("model", f"{config.name}, sha256 {config.weights_sha256[:16]}…"),
    ]


def cpu_model() -> str:
    """The CPU as it names itself."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    for line in lines:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def git_sha() -> str:
    """The short commit, and whether tracked files differ from it."""
    try:
        sha = _git("rev-parse", "--short", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{sha}, with uncommitted changes" if changed else sha


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def _memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _installed(names: tuple[str, ...]) -> str:
    for name in names:
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return "not installed"
