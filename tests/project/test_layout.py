"""The rooms of CONTRIBUTING.md: who may import whom, and what may not come in."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import avsent
from avsent import errors

PACKAGE = Path(avsent.__file__).resolve().parent
# From the ground up. A room imports from itself and from lower floors; every other module of the
# package is a root module, on the ground floor.
FLOORS: tuple[set[str], ...] = (
    {"_version", "errors", "labels", "progress", "options", "text", "schema", "files", "machine"},
    {"extraction", "result"},
    {"model"},
    {"predictor", "views"},
    {"training", "batch"},
    {"cli", "__main__"},
)
FORBIDDEN = {
    *("torchaudio", "torchcodec", "torchvision", "timm", "lightning", "opensmile"),
    *("pytorch_lightning", "face_recognition_models"),
    *("pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"),
}

FILES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if "models" not in path.relative_to(PACKAGE).parts
}


def imports_of(module: str) -> Iterator[str]:
    """Full names of all that ``module`` imports, also inside functions."""
    path = FILES[module]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: relative import in line {node.lineno}"
            assert node.module is not None
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in FILES else node.module


def own_imports(module: str) -> set[str]:
    """Modules of avsent that ``module`` imports."""
    return {name for name in imports_of(module) if name in FILES} - {"avsent"}


def floor_of(module: str) -> int:
    """Index of the floor of ``module``."""
    top = module.split(".")[1]
    for floor, rooms in enumerate(FLOORS):
        if top in rooms:
            return floor
    raise AssertionError(f"{module} lives on no floor: see CONTRIBUTING.md, and give it one here")


def room_of(module: str) -> str:
    """Its room; root modules share one, and ``__main__`` belongs to the command line."""
    top = module.split(".")[1]
    if floor_of(module) == 0:
        return "root"
    return "cli" if top == "__main__" else top


MODULES = [module for module in FILES if module != "avsent"]


def test_there_is_something_to_check() -> None:
    assert {"avsent.cli.predict", "avsent.predictor", "avsent.model.networks.target"} <= set(
        MODULES
    )
    assert "avsent.model.networks.attention" in own_imports("avsent.model.networks.fusion")
    assert "avsent.predictor" in own_imports("avsent.cli.predict")  # inside a function


@pytest.mark.parametrize("module", MODULES)
def test_imports_only_from_below(module: str) -> None:
    floor, room = floor_of(module), room_of(module)
    for imported in own_imports(module):
        allowed = floor_of(imported) < floor or room_of(imported) == room
        assert allowed, (
            f"{module} (floor {floor + 1}) imports {imported} ({floor_of(imported) + 1})"
        )


def test_no_circles() -> None:
    order = TopologicalSorter({module: own_imports(module) for module in MODULES})
    assert len(list(order.static_order())) == len(MODULES)  # CycleError where there is one


@pytest.mark.parametrize("module", [m for m in MODULES if m.startswith("avsent.model.networks.")])
def test_networks_are_pure_torch(module: str) -> None:
    outside = {name.split(".")[0] for name in imports_of(module)} - set(sys.stdlib_module_names)
    assert outside <= {"torch", "avsent"}


@pytest.mark.parametrize("module", FILES)
def test_nothing_forbidden_comes_in(module: str) -> None:
    assert not {name.split(".")[0] for name in imports_of(module)} & FORBIDDEN
    source = FILES[module].read_text(encoding="utf-8")
    assert not re.search(r"\btorch\.load\(|allow_pickle=True|\beval\(['\"]|\bexec\(", source)


def test_what_avsent_offers_is_there() -> None:
    assert sorted(avsent.__all__) == avsent.__all__
    for name in avsent.__all__:
        assert getattr(avsent, name) is not None
        assert name in dir(avsent)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = avsent.nothing


# --- the tree of errors --------------------------------------------------------------------------


def drawn_errors() -> dict[str, tuple[str, int]]:
    """Name → parent and exit code, as drawn in the docstring of ``avsent.errors``."""
    assert errors.__doc__ is not None
    found: dict[str, tuple[str, int]] = {}
    above: list[tuple[str, int]] = []
    for line in errors.__doc__.splitlines():
        match = re.match(r"([ │├└─]*)([A-Z]\w+)(?: +(\d))?(?: +\S|$)", line)
        if match is None or not line.startswith("    "):
            continue
        depth = (len(match[1]) - 4) // 4
        del above[depth:]
        code = int(match[3]) if match[3] else above[-1][1]
        found[match[2]] = (above[-1][0] if above else "Exception", code)
        above.append((match[2], code))
    return found


def test_the_errors_are_as_drawn() -> None:
    real = {
        name: (value.__bases__[0].__name__, value.exit_code)
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.AvsentError)
    }
    assert len(real) >= 9
    assert drawn_errors() == real
    assert all(getattr(errors, name).__doc__ for name in real)
