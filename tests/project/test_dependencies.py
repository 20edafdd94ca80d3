"""``make audit``: it finds what is known, and never takes silence for a clean bill."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pytest
from packaging.markers import Marker
from packaging.utils import canonicalize_name
from packaging.version import Version
from processes import tool

KNOWN = {"jinja2": "2.10", "leaky": "1.2"}
"""Packages of which the service in this test knows a hole."""


audit = tool("audit")


class Osv(BaseHTTPRequestHandler):
    """As much of OSV as pip-audit asks for; ``knows``: what it has data of."""

    knows: dict[str, str]

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name, version = asked["package"]["name"].lower(), asked["version"]
        hole = {
            "id": f"TEST-{name}",
            "aliases": ["CVE-2026-0001"],
            "summary": "a hole",
            "affected": [
                {
                    "package": {"ecosystem": "PyPI", "name": name},
                    "versions": [version],
                    "ranges": [
                        {
                            "type": "ECOSYSTEM",
                            "events": [{"introduced": "0"}, {"fixed": "9.9"}],
                        }
                    ],
                }
            ],
        }
        answer = {"vulns": [hole]} if self.knows.get(name) == version else {}
        content = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Nothing on standard error."""


@pytest.fixture
def osv() -> Iterator[tuple[type[Osv], dict[str, tuple[str, ...]]]]:
    """A service on this machine, and the options that lead pip-audit to it."""
    handler = type("Handler", (Osv,), {"knows": dict(KNOWN)})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/v1/query"
        yield handler, {"OSV": ("--vulnerability-service", "osv", "--osv-url", url)}
        server.shutdown()


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """Pins, as ``constraints.txt`` has them, and an empty list of ignored advisories."""
    pins, ignored = tmp_path / "pins.txt", tmp_path / "audit.toml"
    pins.write_text('# Pins.\n\nleaky==1.2\nsound==3.0\nodd==1.0 ; python_version < "3"\n')
    ignored.write_text("")
    return pins, ignored


def test_a_real_run_of_pip_audit(
    osv: tuple[type[Osv], dict[str, tuple[str, ...]]],
    files: tuple[Path, Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("pip_audit")
    handler, services = osv
    assert audit.main([], services, *files) == audit.EXIT_FOUND
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "audit: leaky 1.2: CVE-2026-0001, TEST-leaky; fixed in 9.9"
    assert out[-1] == "audit: 2 packages, 1 advisories (OSV)"
    # One that answers, but has no data, knows of nothing at all: no audit, whatever it says.
    handler.knows = {}
    assert audit.main([], services, *files) == 0
    assert capsys.readouterr().out.startswith("audit: NOT MADE: ")
    nowhere = {"OSV": (*services["OSV"][:-1], "http://127.0.0.1:1/v1/query")}
    assert audit.main(["--must"], nowhere, *files) == audit.EXIT_NOT_MADE
    out = capsys.readouterr().out
    assert out.startswith("audit: NOT MADE: ")
    assert out.count("\n") == 1


TOLD = {
    "dependencies": [
        {"name": "a", "version": "1", "vulns": [{"id": "P-1", "aliases": ["CVE-1"]}]},
        {"name": "b", "version": "2", "vulns": [{"id": "P-2", "fix_versions": ["3"]}]},
        {"name": "c", "skip_reason": "not found"},
    ]
}


def test_only_what_was_looked_at_is_ignored() -> None:
    found = audit.findings(TOLD)
    assert (found.audited, found.unknown) == (2, ("c",))
    by_alias = audit.Ignored("CVE-1", "A", "not used", date(2026, 11, 21))
    other_package = audit.Ignored("P-2", "a", "not used", date(2026, 11, 21))
    stand, used, stale = audit.judged(found, [by_alias, other_package])
    assert [advisory.package for advisory in stand] == ["b"]
    assert (used, stale) == ([by_alias], [other_package])


@pytest.mark.parametrize(
    "entry",
    [
        'id = "P-1"\npackage = "a"\ndate = 2026-11-21',
        'id = "P-1"\npackage = "a"\nreason = " "\ndate = 2026-11-21',
        'id = "P-1"\npackage = "a"\nreason = "not used"\ndate = "today"',
        'id = "P-1"\npackage = "a"\nreason = "not used"',
    ],
)
def test_no_reason_or_no_date(
    files: tuple[Path, Path], entry: str, capsys: pytest.CaptureFixture[str]
) -> None:
    files[1].write_text(f"[[ignored]]\n{entry}\n")
    assert audit.main([], {}, *files) == audit.EXIT_WRONG
    assert capsys.readouterr().err.startswith("audit: error: audit.toml: ")


def test_the_list_of_this_repository_is_whole() -> None:
    for one in audit.read_ignored(audit.IGNORED):
        assert one.date <= date.today()


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
