"""What can be told of the container's files without building it; `make docker-test` builds it."""

from __future__ import annotations

import fnmatch
import importlib.util
import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
KNOWN = {"ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "FROM", "LABEL", "RUN", "STOPSIGNAL", "USER"}
KNOWN |= {"WORKDIR"}
FINAL = ["cpu", "cuda"]


@dataclass(frozen=True)
class Stage:
    """A stage of the Dockerfile: what it builds on, and its instructions as (word, rest)."""

    base: str
    steps: list[tuple[str, str]]

    def of(self, word: str) -> list[str]:
        return [rest for step, rest in self.steps if step == word]


def dockerfile() -> tuple[dict[str, str], dict[str, Stage]]:
    """The arguments before the first stage, and the stages by name, in order; "" has no name."""
    text = re.sub(r"(?m)^\s*#.*\n", "", (ROOT / "Dockerfile").read_text("utf-8"))
    arguments: dict[str, str] = {}
    stages: dict[str, Stage] = {}
    steps: list[tuple[str, str]] | None = None
    for line in re.sub(r"\\\n\s*", " ", text).splitlines():
        if not line.strip():
            continue
        word, rest = line.split(maxsplit=1)
        assert word in KNOWN, line
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            steps = []
            stages[name] = Stage(base, steps)
        elif steps is None:
            assert word == "ARG", line
            arguments.update([rest.split("=", 1)])
        else:
            steps.append((word, rest))
    return arguments, stages


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"docker_{name}", ROOT / "docker" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pinned(file: str) -> dict[str, str]:
    lines = (ROOT / file).read_text("utf-8").splitlines()
    found = [re.match(r"([\w.-]+)==(\S+)", line) for line in lines if not line.startswith("#")]
    return {script("requirements").normal(m[1]): m[2] for m in found if m}


def test_stages_and_bases() -> None:
    arguments, stages = dockerfile()
    assert {*FINAL, "cuda-dlib"} <= set(stages)
    assert list(stages)[-1] == "", "what is built where no target is named comes last"
    assert stages[""] == Stage("cpu", [])
    for name, stage in stages.items():
        at = list(stages).index(name)
        told = re.fullmatch(r"\$\{(\w+)\}", stage.base)
        assert told[1] in arguments if told else stage.base in list(stages)[:at], name
    assert all(re.search(r":\S*\d", base) for base in arguments.values()), "a tag with a version"


@pytest.mark.parametrize("name", FINAL)
def test_what_is_run(name: str) -> None:
    stage = dockerfile()[1][name]
    assert stage.of("ENTRYPOINT") == ['["avsent"]']
    assert stage.of("USER") == ["10001:10001"]
    assert [word for word, _ in stage.steps].index("USER") > max(
        at for at, (word, _) in enumerate(stage.steps) if word in {"RUN", "COPY"}
    )
    assert stage.of("STOPSIGNAL") == ["SIGINT"]
    (labels,) = stage.of("LABEL")
    assert "CC-BY-NC-SA-4.0" in labels
    assert "not for commercial use" in labels
    (env,) = stage.of("ENV")
    for set_ in ("HOME=/tmp", "NUMBA_CACHE_DIR=/opt/avsent/numba", "NUMBA_CPU_NAME=generic"):
        assert set_ in env.split()


def test_the_cpu_image_gets_one_folder_and_installs_nothing() -> None:
    stage = dockerfile()[1]["cpu"]
    assert stage.of("RUN") == []
    assert stage.of("COPY") == ["--from=cpu-venv /opt/avsent /opt/avsent"]


def test_never_both_dlibs() -> None:
    stages = dockerfile()[1]
    cuda, cpu = " ".join(stages["cuda-venv"].of("RUN")), " ".join(stages["cpu-venv"].of("RUN"))
    assert "--without dlib-bin" in cuda
    assert "--without " not in cpu
    assert "--from=cuda-dlib /build/dist dist" in stages["cuda-venv"].of("COPY")
    assert any("DLIB_USE_CUDA=1" in run for run in stages["cuda-dlib"].of("RUN"))
    assert any("assert dlib.DLIB_USE_CUDA" in run for run in stages["cuda"].of("RUN"))


def test_what_is_copied_is_there_and_is_sent() -> None:
    lines = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    ignore = [line for line in lines if not line.startswith("#")]
    assert ignore[0] == "*"
    kept = {line[1:] for line in ignore if line.startswith("!")}
    sources = {
        word
        for stage in dockerfile()[1].values()
        for copy in stage.of("COPY")
        if not copy.startswith("--from")
        for word in copy.split()[:-1]
    }
    assert {"models", "avsent", "constraints.txt", "pyproject.toml"} <= sources
    for source in sources:
        assert (ROOT / source).exists(), source
        assert source.partition("/")[0] in kept, f"{source} is not sent to the build"
    assert kept == {source.partition("/")[0] for source in sources}
    assert not any(fnmatch.fnmatch(name, line) for line in kept for name in ("cache", ".git"))
    assert "**/__pycache__" in ignore


def test_everything_installed_is_pinned() -> None:
    tools, constraints = pinned("docker/tools.txt"), pinned("constraints.txt")
    assert set(tools) == {"pip", "hatchling", "setuptools"}
    for name in set(tools) & set(constraints):
        assert tools[name] == constraints[name], name
    stages = dockerfile()[1]
    steps = [run for stage in stages.values() for run in stage.of("RUN")]
    runs = [part for step in steps for part in step.split("&&")]
    pip = [part for part in runs if re.search(r"\bpip\b.* install ", part)]
    assert len(pip) == 8
    for part in pip:
        assert "--no-cache-dir" in part, part
        assert any(
            told in part for told in ("-c constraints.txt", "-r /build/tools.txt", "--no-deps")
        ), part
    (version,) = re.findall(r"DLIB_VERSION=(\S+)", " ".join(stages["cuda-dlib"].of("ARG")))
    assert constraints["dlib-bin"].startswith(version)


def test_requirements() -> None:
    requirements = script("requirements").requirements
    everything = list(requirements(PROJECT))
    assert everything == PROJECT["dependencies"]
    without = list(requirements(PROJECT, ["parquet"], ["dlib_bin"]))
    assert set(without) - set(everything) == set(PROJECT["optional-dependencies"]["parquet"])
    assert [line for line in everything if line not in without] == [
        line for line in everything if line.startswith("dlib-bin")
    ]
    with pytest.raises(SystemExit, match="no such extra: nonesuch"):
        requirements(PROJECT, ["nonesuch"])
    with pytest.raises(SystemExit, match="cannot be left out: dlib"):
        requirements(PROJECT, [], ["dlib"])
    done = subprocess.run(
        [sys.executable, ROOT / "docker" / "requirements.py", ROOT / "pyproject.toml"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == everything


def services() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))
    found: dict[str, Any] = read["services"]
    return found


@pytest.mark.parametrize("name", ["predict", "batch", "gpu"])
def test_compose_keeps_its_promises(name: str) -> None:
    service = services()[name]
    assert service["network_mode"] == "none"
    assert service["read_only"] is True
    assert any(mount.startswith("/tmp") for mount in service["tmpfs"])
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert re.fullmatch(r"\$\{\w+:-[1-9]\d+:[1-9]\d+\}", service["user"])
    assert service["volumes"][0].endswith(":/data:ro")
    assert service["build"]["target"] in dockerfile()[1]
    assert "privileged" not in service


def test_compose_has_a_gpu_for_one_service() -> None:
    devices = {
        name: service.get("deploy", {}).get("resources", {}).get("reservations", {}).get("devices")
        for name, service in services().items()
    }
    assert [name for name, told in devices.items() if told] == ["gpu"]
    assert devices["gpu"] == [{"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}]
    assert services()["gpu"]["build"]["target"] == "cuda"


def test_settings_of_pip_are_put_together(tmp_path: Path) -> None:
    machine = script("machine")
    (tmp_path / "wheels").mkdir()
    (tmp_path / "index" / "simple").mkdir(parents=True)
    index = (tmp_path / "index" / "simple").as_uri()
    found = machine.settings(
        f"global.find-links='{tmp_path}/wheels'\n"
        f"global.extra-index-url='{index} https://example.org/simple'\n"
        "global.timeout='15'\n:env:.timeout='60'\n"
        f":env:.find-links='{tmp_path}/wheels {tmp_path}/missing'\n"
    )
    assert found["global", "timeout"] == "60"
    assert found["global", "find-links"].split() == [f"{tmp_path}/wheels", f"{tmp_path}/missing"]
    assert set(machine.places(found)) == {tmp_path / "wheels", tmp_path / "index"}
    conf = tmp_path / "pip.conf"
    conf.write_text(machine.written(found), encoding="utf-8")
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"],
        capture_output=True,
        text=True,
        check=True,
        env={"PIP_CONFIG_FILE": str(conf), "HOME": str(tmp_path)},
    )
    assert "global.timeout='60'" in listed.stdout


@pytest.mark.parametrize("name", ["slim.sh", "test.sh"])
def test_shell_scripts_parse(name: str) -> None:
    subprocess.run(["bash", "-n", ROOT / "docker" / name], check=True)
