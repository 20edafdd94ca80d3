"""``constraints.txt`` pins the whole environment, and nothing else."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

import pytest
from packaging.markers import Marker
from packaging.utils import canonicalize_name
from packaging.version import Version
from tooling import tool

constraints = tool("constraints")
HEAD, PINS = constraints.read(constraints.FILE.read_text("utf-8"))
THERE = constraints.installed(constraints.asked_for())
OF_HERE = {pin.key: pin for pin in PINS if not pin.marker or Marker(pin.marker).evaluate()}


def test_every_package_of_the_environment_is_pinned() -> None:
    unpinned = sorted(THERE.keys() - OF_HERE.keys())
    assert unpinned == [], "make constraints"
    differing = {
        key: (pin.version, OF_HERE[key].version)
        for key, pin in THERE.items()
        if Version(pin.version) != Version(OF_HERE[key].version)
    }
    assert differing == {}, "installed, pinned: make dev, or make constraints"


def test_what_nothing_needs_is_not_pinned() -> None:
    assert sorted(key for key in OF_HERE.keys() - THERE.keys() if _is_installed(key)) == []


def test_the_ranges_of_pyproject_hold() -> None:
    for wanted in constraints.asked_for():
        pin = OF_HERE[canonicalize_name(wanted.name)]
        assert wanted.specifier.contains(pin.version, prereleases=True), pin.line


def test_the_file_is_in_order() -> None:
    keys = [pin.key for pin in PINS]
    assert keys == sorted(set(keys))
    assert all(line.startswith("#") for line in HEAD)
    (torch,) = (pin for pin in PINS if pin.key == "torch")
    assert torch.line == "torch==2.13.0"  # no "+cpu", which only some indexes have
    assert not any(key.startswith(constraints.OF_TORCH) for key in keys)


OLD = """# Head.

b==1
# Why c is held.
c==2
d==3 ; python_version >= "4"
gone==1
"""


def test_renewing_keeps_comments_and_markers() -> None:
    there = {name: constraints.Pin(name, "5") for name in ("a", "b", "c")}
    assert constraints.renewed(OLD, there) == (
        '# Head.\n\na==5\nb==5\n# Why c is held.\nc==5\nd==3 ; python_version >= "4"\n'
    )
    with pytest.raises(ValueError, match="no pin: e>=1"):
        constraints.read("# Head.\n\ne>=1\n")


def _is_installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True
