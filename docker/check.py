"""Test an unpacked image the way users run it; ``docker/test.sh`` starts this.

    python docker/check.py --root ROOT --image IMAGE.json --work FOLDER [CLIP…]

Prints one line per check with its measurements; exit code 1 if a check fails.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from containers import TMP_MB, Image, Runner
from contents import carries_its_licences, holds_no_tools, is_small
from trial import PROJECT, Trial, ended_with, entries, expect, state_of, valid

DEMO = PROJECT / "samples" / "demo.mp4"
UNKNOWN_USER = "54321:54321"
"""A user that the image does not know, as with ``--user $(id -u):$(id -g)``."""
MANY = 60
"""Enough files to keep a command busy until it is stopped."""
MODULES = """
import os, sys
from importlib.util import cache_from_source
from avsent.cli.app import main
main(["predict", "/in/demo.mp4", "-o", "/tmp/x.json", "--quiet"])
files = [getattr(m, "__file__", None) or "" for m in list(sys.modules.values())]
files = [f for f in files if f.endswith(".py")]
print(len(files), sum(not os.path.exists(cache_from_source(f)) for f in files))
"""


def states_its_configuration(trial: Trial) -> str:
    image = trial.image
    expect(list(image.entrypoint) == ["avsent"], image.entrypoint)
    expect(int(image.user.partition(":")[0]) > 0, f"user {image.user}")
    expect(image.stop_signal == "SIGINT", image.stop_signal)
    expect("NC" in image.labels.get("org.opencontainers.image.licenses", ""), image.labels)
    expect("landmarks" in " ".join(image.labels), image.labels)
    ended = trial.runner.run(["--version"])
    ended_with(ended, 0)
    return f"{ended.out.strip()}, user {image.user}, {ended.wall_s:.1f} s"


def sees_no_network(trial: Trial) -> str:
    probe = (
        "import socket, os\n"
        "print(sorted(name for _, name in socket.if_nameindex()), os.getuid(), os.getpid())\n"
        "try: socket.create_connection(('192.0.2.1', 9), 2)\n"
        "except OSError as error: print(error.errno)\n"
        "for place in ('/x', '/opt/avsent/x', '/data/x', '/etc/x', '/var/tmp/x'):\n"
        "    try: open(place, 'w'); print('wrote', place)\n"
        "    except OSError: pass\n"
    )
    ended = trial.runner.run(["-c", probe], entrypoint=["/opt/avsent/bin/python"])
    ended_with(ended, 0)
    uid = trial.image.user.partition(":")[0]
    expect(ended.out.splitlines()[:2] == [f"['lo'] {uid} 1", "101"], ended.out)
    expect("wrote" not in ended.out, ended.out)
    return "only lo, network unreachable; root cannot be written"


def predicts(trial: Trial) -> str:
    told = []
    for clip in [DEMO, *trial.clips]:
        user = trial.image.user
        source = trial.inputs(clip.stem, clip)
        out = trial.outputs(clip.stem, user)
        name = clip.name.lstrip("-")
        ended = trial.runner.run(["predict", f"/in/{name}", "-o", "/out/r.json"], source, out)
        ended_with(ended, 0)
        expect(entries(out.here) == ["r.json"], entries(out.here))
        written = (out.here / "r.json").stat()
        expect(f"{written.st_uid}:{written.st_gid}" == user, f"{written.st_uid}")
        result = valid((out.here / "r.json").read_text("utf-8"))
        expect(clip != DEMO or len(result["utterances"]) == 4, result)
        told.append(f"{name}: {len(result['utterances'])} utterances, {ended.cpu_s:.0f} s CPU")
    return "; ".join(told)


def predicts_for_any_user(trial: Trial) -> str:
    """A user without an entry in /etc/passwd and without a home."""
    source = trial.inputs("unknown-user", DEMO)
    how: dict[str, Any] = {"user": UNKNOWN_USER, "env": {"HOME": "/nonexistent"}}
    ended = trial.runner.run(["predict", "/in/demo.mp4", "--format", "json"], source, **how)
    ended_with(ended, 0)
    expect(len(valid(ended.out)["utterances"]) == 4, ended.out)
    expect("Traceback" not in ended.err and "atplotlib" not in ended.err, ended.err)
    return f"{ended.cpu_s:.0f} s CPU"


def compiles_nothing(trial: Trial) -> str:
    """No numba function and almost no Python module is compiled at start."""
    source = trial.inputs("compiled", DEMO)
    debug = {"NUMBA_DEBUG_CACHE": "1", "HOME": "/nonexistent"}
    python = ["/opt/avsent/bin/python"]
    ended = trial.runner.run(["-c", MODULES], source, entrypoint=python, env=debug)
    ended_with(ended, 0)
    saved, loaded = ended.out.count("data saved"), ended.out.count("data loaded")
    expect(saved == 0 and loaded > 10, f"numba saved {saved}, loaded {loaded}")
    modules, without = map(int, ended.out.splitlines()[-1].split())
    expect(without <= modules // 20, f"{without} of {modules} modules have no bytecode")
    plain = trial.runner.run(
        ["predict", "/in/demo.mp4", "-o", "/tmp/x.json"], source, env={"NUMBA_CACHE_DIR": ""}
    )
    ended_with(plain, 0)
    return (
        f"{loaded} numba functions loaded, {modules - without} of {modules} modules have bytecode; "
        f"with no prepared numba functions {plain.cpu_s:.0f} s CPU"
    )


def draws(trial: Trial) -> str:
    """Report, plot and annotated video work: matplotlib, Pillow, encoders."""
    source, user = trial.inputs("draws", DEMO), trial.image.user
    out = trial.outputs("draws", user)
    wanted = ["--report", "/out/r.html", "--plot", "/out/r.png", "--annotate", "/out/r.mp4"]
    ended = trial.runner.run(["predict", "/in/demo.mp4", *wanted], source, out)
    ended_with(ended, 0)
    expect(entries(out.here) == ["r.html", "r.mp4", "r.png"], entries(out.here))
    expect("atplotlib" not in ended.err, ended.err)
    return ", ".join(f"{p.name} {p.stat().st_size // 1000} kB" for p in sorted(out.here.iterdir()))


def doctor_finds_no_fault(trial: Trial) -> str:
    ended = trial.runner.run(["doctor", "--json"])
    ended_with(ended, 0)
    checks = json.loads(ended.out)["checks"]
    bad = [check for check in checks if check["state"] not in {"ok", "absent", "skipped"}]
    expect(not any(check["state"] == "failed" for check in checks), bad)
    for check in checks:
        if check["name"] in {"librosa", "numba cache"}:
            expect(check["state"] == "ok", check)
    said = "; ".join(f"{check['name']}: {check['state']}" for check in bad)
    return f"{len(checks)} lines" + (f" ({said})" if said else "")


def processes_a_folder(trial: Trial) -> str:
    user = trial.image.user
    source = trial.inputs("batch", DEMO, *trial.clips)
    out = trial.outputs("batch", user)
    command = ["batch", "/in", "-o", "/out"]
    ended = trial.runner.run(command, source, out)
    ended_with(ended, 0)
    names = sorted(path.name for path in source.here.iterdir())
    for name in names:
        valid((out.here / f"{name}.json").read_text("utf-8"))
    expect((out.here / "summary.json").exists(), entries(out.here))
    again = trial.runner.run(command, source, out)
    ended_with(again, 0)
    owners = {path.stat().st_uid for path in out.here.rglob("*")}
    expect(owners == {int(user.partition(":")[0])}, owners)
    return f"{len(names)} files, {ended.wall_s:.0f} s; again: {again.wall_s:.0f} s"


def fails_as_documented(trial: Trial) -> str:
    source = trial.inputs("failures", DEMO)
    (source.here / "broken.mp4").write_bytes(b"not a video")
    for arguments, code in {
        ("predict", "/in/missing.mp4"): 3,
        ("predict", "/in/broken.mp4"): 3,
        ("predict", "/in/demo.mp4", "--checkpoint", "nonesuch"): 4,
        ("predict", "/in/demo.mp4", "-o", "/in/r.json"): 3,
        ("predict", "/in/demo.mp4", "-o", "/etc/r.json"): 3,
        ("predict", "--nonesuch"): 2,
    }.items():
        ended = trial.runner.run(arguments, source)
        ended_with(ended, code)
        expect("Traceback" not in ended.err, ended.err)
        expect(code == 2 or ended.err.count("\n") == 1, ended.err)
    return "exit codes 2, 3, 4; one line each"


def stops_on_signals(trial: Trial) -> str:
    """The image's stop signal (as Ctrl-C) and SIGTERM stop avsent as process 1."""
    told = []
    user = trial.image.user
    ways = (("predict", trial.image.stop_signal), ("predict", "SIGTERM"), ("batch", "SIGTERM"))
    for what, signal in ways:
        source = trial.inputs(f"{signal}-{what}", DEMO)
        names = [f"{number}.mp4" for number in range(MANY)]
        for name in names:  # enough work even for a fast machine
            shutil.copy(DEMO, source.here / name)
        out = trial.outputs(f"{signal}-{what}", user)
        arguments = {
            "predict": ["predict", *(f"/in/{name}" for name in names), "-o", "/out/r.json"],
            "batch": ["batch", "/in", "-o", "/out/b"],
        }[what]
        name, command = trial.runner.prepare(arguments, [source, out])
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL
        )
        time.sleep(6)
        expect(process.poll() is None, f"{what} ended before the signal")
        began = time.monotonic()
        trial.runner.kill(name, signal)
        _, err = process.communicate(timeout=60)
        took = time.monotonic() - began
        expect(process.returncode == 130, f"{what}, {signal}: {process.returncode} {err!r}")
        expect(b"Traceback" not in err, err)
        left = [path for path in entries(out.here) if not path.startswith("b")]
        expect(not left, left)
        told.append(f"{what}, {signal}: {took:.1f} s")
    return "exit code 130, nothing half-written (docker waits 10 s); " + ", ".join(told)


CHECKS: list[Callable[[Trial], str]] = [
    states_its_configuration,
    sees_no_network,
    predicts,
    predicts_for_any_user,
    compiles_nothing,
    draws,
    doctor_finds_no_fault,
    processes_a_folder,
    fails_as_documented,
    stops_on_signals,
    holds_no_tools,
    carries_its_licences,
    is_small,
]


def try_all(trial: Trial) -> Iterator[bool]:
    # Create the mount points before the root becomes read-only, as Docker does.
    trial.runner.run(["--version"], trial.inputs("first"), trial.outputs("first", UNKNOWN_USER))
    before = state_of(trial.image.root)
    for check in CHECKS:
        name = check.__name__.replace("_", " ")
        try:
            told = check(trial)
        except (AssertionError, OSError, ValueError, subprocess.SubprocessError) as error:
            print(f"FAILED  {name}: {error}", flush=True)
            yield False
        else:
            print(f"ok      {name}: {told}", flush=True)
            yield True
    after = state_of(trial.image.root)
    changed = [name for name in {*before, *after} if before.get(name) != after.get(name)]
    if changed:
        print(f"FAILED  written into the image: {changed[:5]}", flush=True)
    else:
        print("ok      the image is unchanged", flush=True)
    yield not changed


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--image", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("clips", nargs="*", type=Path)
    given = parser.parse_args()
    shutil.rmtree(given.work, ignore_errors=True)
    given.work.mkdir(parents=True)
    image = Image.read(given.root, given.image)
    trial = Trial(image, Runner(image, given.work), given.work, given.clips)
    print(f"read-only root, no network, no capabilities, tmpfs /tmp of {TMP_MB} MB", flush=True)
    outcomes = list(try_all(trial))
    print(f"{sum(outcomes)} passed, {len(outcomes) - sum(outcomes)} failed")
    return 0 if all(outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
