"""The Ray engine, on a real cluster of two nodes on this machine.

Everything that joins the cluster runs in a process of its own, as the commands of users do.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from conftest import HANG_S, ROOT, SHARED

from avsent import __version__
from avsent.batch.engines import ray_cluster
from avsent.batch.engines.base import Done, Engine, Failed, Job, Outcome, Work, WorkersError
from avsent.batch.engines.local import LocalEngine
from avsent.batch.engines.ray_cluster import (
    GPU_SHARE,
    NODE_LOST,
    RayEngine,
    fitting,
    reason_of,
    resources_of,
)
from avsent.batch.events import Advanced, Ended, Event, Retried, Started
from avsent.batch.journal import FOLDER_NAME, Journal
from avsent.batch.run import BatchOptions, run_batch
from avsent.errors import AvsentError, UsageError

# Not imported: in the processes of the users of the engine it is not, either.
if find_spec("ray") is None:
    pytest.skip("Ray is not installed; pip install 'avsent[ray]'", allow_module_level=True)
psutil = pytest.importorskip("psutil", reason="psutil is not installed; it is in avsent[dev]")

SAMPLE = ROOT / "samples" / "demo.mp4"
FILES = 6
STORE_BYTES = 80_000_000
SECOND = "second_node"
LOCKED = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
"""For the cluster of the tests, which listens on the network."""
SOON = {"RAY_health_check_period_ms": "1000", "RAY_health_check_failure_threshold": "3"}
"""A lost node is found out in seconds; by default it takes a quarter of a minute."""
MARK = ">"


# --- the cluster ---------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, slots=True)
class Nodes:
    """A head and a second node, each with room for one worker."""

    address: str
    folder: Path

    def processes(self) -> list[psutil.Process]:
        """Of both nodes, but for workers: these are children of those."""
        found = []
        for process in psutil.process_iter(["cmdline"]):
            if str(self.folder) in " ".join(process.info["cmdline"] or []):
                found.append(process)
        return found

    def start(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", *arguments]
        common = ["--num-cpus=1", "--disable-usage-stats"]
        done = subprocess.run(
            [*command, *common, f"--object-store-memory={STORE_BYTES}"],
            env={**os.environ, **LOCKED, **SOON},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=HANG_S,
        )
        assert done.returncode == 0, done.stdout

    def stop(self) -> None:
        kill(self.processes())


def kill(processes: Iterable[psutil.Process]) -> None:
    """Kill processes with all their descendants."""
    family = set()
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            family |= {process, *process.children(recursive=True)}
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()


def stop_second_node(folder: str) -> None:
    """As if its plug were pulled: its raylet and all workers at once."""
    for process in Nodes("", Path(folder)).processes():
        words = process.cmdline()
        if Path(words[0]).name == "raylet" and any(SECOND in word for word in words):
            kill([process])
            return
    raise AssertionError("the second node does not run")


@pytest.fixture(scope="module")
def short_folder() -> Iterator[Path]:
    """Ray makes sockets in it, whose paths may not be longer than 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="avray", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def cluster(short_folder: Path) -> Iterator[Nodes]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    nodes = Nodes(f"127.0.0.1:{port}", short_folder)
    try:
        nodes.start(
            "--head", f"--port={port}", f"--temp-dir={short_folder}", "--include-dashboard=false"
        )
        nodes.start(f"--address={nodes.address}", f'--resources={{"{SECOND}": 1}}')
        yield nodes
    finally:
        nodes.stop()


# --- what runs in other processes ----------------------------------------------------------------


def elsewhere(call: str, **options: str) -> subprocess.CompletedProcess[str]:
    """``call`` of a function of this module, in a process of its own."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests"), str(Path(__file__).parent)])
    return subprocess.run(
        [sys.executable, "-c", f"import test_ray as here; here.{call}"],
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **options},
        capture_output=True,
        text=True,
        timeout=HANG_S,
    )


def batch(folder: str, out: str, engine: Engine, heard: list[Event]) -> Ended:
    options = BatchOptions(work=Work(device="cpu"))
    return run_batch(Path(folder), Path(out), lambda plan: engine, options, heard.append)


def do_and_lose_a_node(folder: str, out: str, address: str, cluster_folder: str) -> None:
    """A batch on the cluster, whose second node is stopped as soon as it has a file."""
    engine = RayEngine(Work(device="cpu"), None, address, jobs=FILES)
    events: list[Event] = []
    stopped = ""

    def listen(heard: Event) -> None:
        nonlocal stopped
        events.append(heard)
        if isinstance(heard, Started) and not stopped:
            worker = engine._living[heard.worker]
            if worker.node in second:
                stopped = heard.name
                stop_second_node(cluster_folder)

    import ray

    second = {node["NodeID"] for node in ray.nodes() if SECOND in node["Resources"]}
    ended = run_batch(
        Path(folder), Path(out), lambda plan: engine, BatchOptions(work=Work(device="cpu")), listen
    )
    retried = [(heard.name, heard.reason) for heard in events if isinstance(heard, Retried)]
    print(ended.did, ended.failed, stopped, retried, ray.is_initialized())


def do_here(folder: str, out: str) -> None:
    """A batch on a Ray of its own."""
    heard: list[Event] = []
    ended = batch(folder, out, RayEngine(Work(device="cpu"), 1, None), heard)
    print(ended.did, ended.failed, "RAY_AUTH_TOKEN" in os.environ)


def use_a_connection(folder: str, address: str) -> None:
    """Four engines, one after the other, in a program that has joined the cluster itself."""
    import ray

    ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("avsent.batch.engines.ray_cluster.__version__", "0.0")
        print(MARK, error_of(Work(device="cpu"), address))
    print(MARK, error_of(Work(checkpoint="no-such-model", device="cpu"), address))
    print(MARK, cut_off_and_go_on(folder, address))
    print(MARK, fail_unexpectedly(folder, address))
    print(MARK, ray.is_initialized())


def error_of(work: Work, address: str) -> str:
    """What ends the batch before any worker is up."""
    with RayEngine(work, 1, address) as engine, pytest.raises(AvsentError) as caught:
        wait_for_a_worker(engine)
    return f"{caught.type.__name__}: {caught.value}"


def cut_off_and_go_on(folder: str, address: str) -> list[str]:
    """One worker, whose job is cut off: another takes its place."""
    paths = sorted(Path(folder).iterdir())
    first, second = (Job(n, path.name, path) for n, path in enumerate(paths[:2]))
    with RayEngine(Work(device="cpu"), 1, address) as engine:
        wait_for_a_worker(engine)
        engine.start(first)
        assert engine.free() == 0
        engine.abandon(first)
        wait_for_a_worker(engine)
        engine.start(second)
        events: list[Advanced | Outcome] = []
        while not any(isinstance(event, Done) for event in events):
            events += engine.wait(0.5)
        return sorted({event.job.name for event in events if not isinstance(event, Advanced)})


def fail_unexpectedly(folder: str, address: str) -> list[str]:
    """A job that raises what no worker expects, and another one for the same worker."""

    class Unprintable:
        """A path without a name, but in this process."""

        here = os.getpid()

        def __str__(self) -> str:
            if os.getpid() != self.here:
                raise RuntimeError("no name")
            return "broken"

    path = min(Path(folder).iterdir())
    broken = Job(0, "broken", Unprintable())  # type: ignore[arg-type]
    ends = []
    with RayEngine(Work(device="cpu"), 1, address) as engine:
        wait_for_a_worker(engine)
        for job in (broken, Job(1, path.name, path)):
            assert engine.start(job) == 0
            while engine.free() == 0:
                for event in engine.wait(0.5):
                    if not isinstance(event, Advanced):
                        ends.append(type(event).__name__)
                        if isinstance(event, Failed):
                            ends.append(event.error)
    return ends


def wait_for_a_worker(engine: Engine) -> None:
    while engine.free() == 0:
        assert engine.wait(0.5) == []


# --- tests ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("media")
    clips = sorted((SHARED / "clips" / "grid").glob("*.mpg"))[:FILES] or [SAMPLE]
    for number in range(FILES):
        clip = clips[number % len(clips)]
        shutil.copy(clip, folder / f"{number}{clip.suffix}")
    return folder


def contents(out: Path) -> dict[str, bytes]:
    files = [path for path in sorted(out.rglob("*")) if path.is_file()]
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in files
        if FOLDER_NAME not in path.relative_to(out).parts
    }


def test_a_program_that_is_connected_to_ray_already(cluster: Nodes, media: Path) -> None:
    done = elsewhere(f"use_a_connection({str(media)!r}, {cluster.address!r})", **LOCKED)
    assert done.returncode == 0, done.stderr
    # The connection is not ours: what Ray itself prints in it we leave alone.
    lines = [line for line in done.stdout.splitlines() if line.startswith(MARK)]
    version, model, names, unexpected, connected = (line.removeprefix(f"{MARK} ") for line in lines)
    assert version.startswith("WorkersError: node ")
    assert f"has avsent {__version__}, here it is 0.0" in version
    assert model.startswith("CheckpointError: unknown checkpoint 'no-such-model'")
    assert names == str([sorted(path.name for path in media.iterdir())[1]])
    # It fails at once, and is not retried as lost; its worker goes on.
    error = "internal error: RuntimeError: no name; --debug shows the traceback"
    assert unexpected == str(["Failed", error, "Done"])
    assert connected == "True"


def test_the_file_of_a_lost_node_is_tried_again(
    cluster: Nodes, media: Path, tmp_path: Path
) -> None:
    ray_out, local_out = tmp_path / "ray", tmp_path / "local"
    call = f"do_and_lose_a_node({str(media)!r}, {str(ray_out)!r}, {cluster.address!r}, "
    done = elsewhere(f"{call}{str(cluster.folder)!r})", **LOCKED)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # nothing of what Ray has to say about it
    with Journal(ray_out, write=False) as journal:
        again = {entry.name for entry in journal.entries() if entry.attempts > 1}
    assert len(again) == 1
    lost = again.pop()
    # Nothing else on standard output either. A node and its workers go in any order.
    assert done.stdout in {
        f"{FILES} 0 {lost} {[(lost, reason)]} False\n"
        for reason in (NODE_LOST, "its worker ended unexpectedly")
    }

    batch(str(media), str(local_out), LocalEngine(Work(device="cpu"), 2), [])
    assert contents(ray_out) == contents(local_out)
    assert len(contents(local_out)) > FILES


def test_a_ray_started_for_the_batch(media: Path, tmp_path: Path, short_folder: Path) -> None:
    folder, home = tmp_path / "two", tmp_path / "home"
    folder.mkdir()
    home.mkdir()
    own = short_folder / "own"
    own.mkdir()
    for path in sorted(media.iterdir())[:2]:
        shutil.copy(path, folder)
    call = f"do_here({str(folder)!r}, {str(tmp_path / 'out')!r})"
    done = elsewhere(call, HOME=str(home), RAY_TMPDIR=str(own))
    assert done.stdout.split() == ["2", "0", "False"], done.stderr
    assert done.stderr == ""
    assert list(home.glob(".ray*")) == []  # no token is left there
    assert list(Nodes("", own).processes()) == []


# --- without a cluster ---------------------------------------------------------------------------


@pytest.fixture
def port() -> Iterator[int]:
    """Of something that listens, and is not Ray."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


def test_nothing_at_the_address() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(WorkersError, match=rf"127\.0\.0\.1:{port}: Connection refused") as caught:
        RayEngine(Work(), None, f"127.0.0.1:{port}")
    assert "\n" not in str(caught.value)


def test_something_else_at_the_address(
    port: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("avsent.batch.engines.ray_cluster.TRIAL_LIMIT_S", 3.0)
    before = os.environ.copy()
    with pytest.raises(WorkersError, match="no answer in 3 s; is it Ray") as caught:
        RayEngine(Work(), None, f"127.0.0.1:{port}")
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")
    assert os.environ == before


@pytest.mark.parametrize("address", ["ray://127.0.0.1:10001", "somewhere", "host:port", ":1"])
def test_invalid_addresses(address: str) -> None:
    with pytest.raises(UsageError, match=r"--ray-address .*HOST:PORT"):
        RayEngine(Work(), None, address)


def test_nothing_private_of_ray_is_used() -> None:
    source = Path(ray_cluster.__file__).read_text("utf-8")
    assert "ray._" not in source
    assert "_private" not in source


def test_without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("avsent.batch.engines.ray_cluster.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'avsent\[ray\]'"):
        RayEngine(Work(), None, None)


def test_number_of_workers_that_fit() -> None:
    nodes = [{"CPU": 7.0}, {"CPU": 4.0, "GPU": 1.0}, {"GPU": 8.0}]
    on_cpu = resources_of(Work(device="cpu", threads=2), nodes)
    assert fitting(nodes, on_cpu) == 3 + 2
    anywhere = resources_of(Work(device="auto", threads=1), nodes)
    assert anywhere == {"num_cpus": 1, "num_gpus": GPU_SHARE}
    assert fitting(nodes, anywhere) == 4  # on the second: the first has no GPU, the third no CPU
    without = resources_of(Work(device="auto", threads=1), nodes[:1])
    assert fitting(nodes[:1], without) == 7


def test_reasons_of_lost_workers_in_words() -> None:
    from ray.exceptions import ActorDiedError, NodeDiedError, OutOfMemoryError

    assert reason_of(NodeDiedError("x")) == NODE_LOST
    assert "out of memory" in reason_of(OutOfMemoryError("x"))
    assert reason_of(ActorDiedError()) == "its worker ended unexpectedly"
