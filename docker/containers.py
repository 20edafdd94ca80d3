"""Containers from an image's unpacked root, started by runc as ``docker run`` would start them.

The options are always ``--read-only --network none --tmpfs /tmp --user … --cap-drop ALL
--security-opt no-new-privileges``. The root is read-only; network, process, mount, IPC and UTS
namespaces are separate. Docker's seccomp filter is not applied.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TMP_MB = 1024
SHM_MB = 64  # Docker's default


@dataclass(frozen=True)
class Image:
    """An unpacked image: its root folder and its run configuration."""

    root: Path
    env: Mapping[str, str]
    entrypoint: Sequence[str]
    user: str
    folder: str
    stop_signal: str
    labels: Mapping[str, str]

    @classmethod
    def read(cls, root: Path, described: Path) -> Image:
        """``described``: the output of ``buildah inspect --type image``."""
        config = json.loads(described.read_text("utf-8"))["OCIv1"]["config"]
        return cls(
            root=root,
            env=dict(pair.split("=", 1) for pair in config["Env"]),
            entrypoint=config["Entrypoint"],
            user=config.get("User", ""),
            folder=config.get("WorkingDir") or "/",
            stop_signal=config.get("StopSignal", "SIGTERM"),
            labels=config.get("Labels") or {},
        )


@dataclass(frozen=True)
class Mount:
    """A folder of this machine, mounted inside the container."""

    here: Path
    inside: str
    writable: bool = False


@dataclass(frozen=True)
class Ended:
    """Exit code and output of a container. ``cpu_s``: CPU time of all its processes."""

    code: int
    out: str
    err: str
    wall_s: float
    cpu_s: float


@dataclass
class Runner:
    """Starts containers one at a time; ``work`` holds their configurations."""

    image: Image
    work: Path
    number: int = field(default=0, init=False)

    def prepare(
        self,
        arguments: Sequence[str],
        mounts: Sequence[Mount] = (),
        *,
        user: str | None = None,
        env: Mapping[str, str] | None = None,
        entrypoint: Sequence[str] | None = None,
        tmp: bool = True,
    ) -> tuple[str, list[str]]:
        """The container's name and the command that runs it in the foreground."""
        self.number += 1
        name = f"avsent-test-{os.getpid()}-{self.number}"
        bundle = self.work / name
        bundle.mkdir(parents=True)
        start = self.image.entrypoint if entrypoint is None else entrypoint
        uid, _, gid = (user or self.image.user).partition(":")
        wanted = {
            "ociVersion": "1.0.2",
            "hostname": "avsent",
            "root": {"path": str(self.image.root), "readonly": True},
            "process": {
                "args": [*start, *arguments],
                "cwd": self.image.folder,
                "env": [f"{k}={v}" for k, v in {**self.image.env, **(env or {})}.items()],
                "user": {"uid": int(uid), "gid": int(gid or uid)},
                "capabilities": {},
                "noNewPrivileges": True,
                "terminal": False,
            },
            "mounts": [*_system(tmp), *map(_bound, mounts)],
            "linux": {
                "namespaces": [
                    {"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")
                ],
                "cgroupsPath": f"/{name}",
                "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"],
                "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys"],
            },
        }
        (bundle / "config.json").write_text(json.dumps(wanted), encoding="utf-8")
        state = ["--root", str(self.work / "state")]
        return name, ["runc", *state, "run", "--bundle", str(bundle), name]

    def run(self, arguments: Sequence[str], *mounts: Mount, **how: Any) -> Ended:
        """Run a container until it ends; raises TimeoutExpired after ten minutes."""
        _, command = self.prepare(arguments, mounts, **how)
        before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=600, stdin=subprocess.DEVNULL
        )
        wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return Ended(done.returncode, done.stdout, done.stderr, wall, cpu)

    def kill(self, name: str, signal: str) -> None:
        """Send a signal to a container's first process, as ``docker kill`` does."""
        state = ["--root", str(self.work / "state")]
        subprocess.run(["runc", *state, "kill", name, signal], check=True)


def _system(tmp: bool) -> list[dict[str, Any]]:
    safe = ["nosuid", "noexec", "nodev"]
    found = [
        ("/proc", "proc", safe),
        ("/dev", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
        ("/dev/pts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]),
        ("/dev/shm", "tmpfs", [*safe, "mode=1777", f"size={SHM_MB}m"]),
        ("/sys", "sysfs", [*safe, "ro"]),
    ]
    if tmp:
        found.append(("/tmp", "tmpfs", [*safe, "mode=1777", f"size={TMP_MB}m"]))
    return [
        {"destination": place, "type": kind, "source": kind, "options": options}
        for place, kind, options in found
    ]


def _bound(mount: Mount) -> dict[str, Any]:
    return {
        "destination": mount.inside,
        "type": "bind",
        "source": str(mount.here.resolve()),
        "options": ["rbind", "nosuid", "nodev", "rw" if mount.writable else "ro"],
    }
