"""``make audit``: check the pinned versions for published advisories.

pip-audit asks OSV, else PyPI, about every package of ``constraints.txt``. A service counts only if
it reports a vulnerability that has been public for years: a mirror without data would answer
"nothing known". If no service counts, one line says that there was no audit; ``--must`` makes that
an error. ``tools/audit.toml`` lists reviewed advisories that do not affect avsent, each with reason
and date.

Exit codes: 0 nothing found, or no audit; 1 an advisory; 2 ``audit.toml`` is wrong, or pip-audit
failed; 3 no audit, with ``--must``.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PINS = ROOT / "constraints.txt"
IGNORED = ROOT / "tools" / "audit.toml"
SERVICES: Mapping[str, tuple[str, ...]] = {
    "OSV": ("--vulnerability-service", "osv"),
    "PyPI": ("--vulnerability-service", "pypi"),
}
KNOWN_HOLE = "jinja2==2.10"
"""Has CVE-2019-10906 and others, which every source of advisories knows."""
ANSWER_S, ALL_S = 60, 600
EXIT_FOUND, EXIT_WRONG, EXIT_NOT_MADE = 1, 2, 3


class AuditError(Exception):
    """The audit cannot be trusted; the message says why in one line."""


@dataclass(frozen=True, slots=True)
class Advisory:
    """A vulnerability of a pinned version; ``ids``: all its names, the service's own first."""

    package: str
    version: str
    ids: tuple[str, ...]
    fixed_in: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Findings:
    """The answer of a service; ``unknown``: packages that it has no data about."""

    audited: int
    advisories: tuple[Advisory, ...]
    unknown: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ignored:
    """A reviewed advisory that does not affect avsent."""

    id: str
    package: str
    reason: str
    date: date


def read_ignored(path: Path) -> tuple[Ignored, ...]:
    """Read ``audit.toml``; raises AuditError if an entry lacks one of its four fields."""
    try:
        entries = tomllib.loads(path.read_text("utf-8")).get("ignored", [])
        found = tuple(Ignored(**entry) for entry in entries)
    except (OSError, TypeError, ValueError) as error:
        raise AuditError(f"{path.name}: {error}") from error
    for one in found:
        if not (one.id and one.package and one.reason.strip() and type(one.date) is date):
            raise AuditError(f"{path.name}: {one.id or 'an entry'}: no reason or no date")
    return found


def ask(service: Sequence[str], pins: str, limit_s: float) -> Findings | None:
    """pip-audit's findings for ``pins`` with these options; None if the service does not answer.

    Raises:
        AuditError: pip-audit is not installed.
    """
    with TemporaryDirectory(prefix="avsent-audit-") as folder:
        asked = Path(folder, "pins.txt")
        asked.write_text(pins, encoding="utf-8")
        # A fresh cache: old answers do not count.
        line = [sys.executable, "-m", "pip_audit", "--format", "json", "--progress-spinner", "off"]
        line += ["--no-deps", "--disable-pip", "--timeout", "10", "--cache-dir", folder]
        line += ["--requirement", str(asked), *service]
        try:
            run = subprocess.run(
                line, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=limit_s
            )
        except subprocess.TimeoutExpired:
            return None
    if "No module named pip_audit" in run.stderr:
        raise AuditError("pip-audit is not installed; run make dev")
    try:
        return findings(json.loads(run.stdout))
    except (ValueError, KeyError, TypeError):
        return None


def findings(told: Any) -> Findings:
    """Parse pip-audit's JSON. Raises ValueError, KeyError or TypeError if it is malformed."""
    advisories, unknown, audited = [], [], 0
    for package in told["dependencies"]:
        if "skip_reason" in package:
            unknown.append(package["name"])
            continue
        audited += 1
        for hole in package["vulns"]:
            ids = (hole["id"], *hole.get("aliases", ()))
            fixed = tuple(hole.get("fix_versions", ()))
            advisories.append(Advisory(package["name"], package["version"], ids, fixed))
    return Findings(audited, tuple(advisories), tuple(unknown))


def judged(
    found: Findings, ignored: Sequence[Ignored]
) -> tuple[list[Advisory], list[Ignored], list[Ignored]]:
    """Advisories that remain, entries that matched one, and stale entries that match none."""
    used = [one for one in ignored if any(_meant(one, advisory) for advisory in found.advisories)]
    stand = [a for a in found.advisories if not any(_meant(one, a) for one in used)]
    return stand, used, [one for one in ignored if one not in used]


def _meant(one: Ignored, advisory: Advisory) -> bool:
    return one.id in advisory.ids and one.package.lower() == advisory.package.lower()


def main(
    arguments: Sequence[str] | None = None,
    services: Mapping[str, Sequence[str]] = SERVICES,
    pins: Path = PINS,
    ignored: Path = IGNORED,
) -> int:
    """Audit and print; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--must", action="store_true", help="fail if no audit was possible")
    options = parser.parse_args(arguments)
    try:
        return _audit(services, pins.read_text("utf-8"), read_ignored(ignored), options.must)
    except AuditError as error:
        print(f"audit: error: {error}", file=sys.stderr)
        return EXIT_WRONG


def _audit(
    services: Mapping[str, Sequence[str]], pins: str, ignored: Sequence[Ignored], must: bool
) -> int:
    for name, service in services.items():
        probe = ask(service, f"{KNOWN_HOLE}\n", ANSWER_S)
        if probe is None or not probe.advisories:
            continue
        found = ask(service, pins, ALL_S)
        if found is not None and found.audited:
            return _tell(name, found, ignored)
    names = " nor ".join(services)
    print(
        f"audit: NOT MADE: neither {names} answers with advisories, so the pinned versions are "
        "unchecked"
    )
    return EXIT_NOT_MADE if must else 0


def _tell(service: str, found: Findings, ignored: Sequence[Ignored]) -> int:
    stand, used, stale = judged(found, ignored)
    for advisory in stand:
        fixed = ", ".join(advisory.fixed_in) or "no version yet"
        print(
            f"audit: {advisory.package} {advisory.version}: {', '.join(advisory.ids)}; "
            f"fixed in {fixed}"
        )
    for one in used:
        print(f"audit: {one.package}: {one.id} ignored since {one.date}: {one.reason}")
    for one in stale:
        print(f"audit: {one.package}: {one.id} no longer found; remove it from audit.toml")
    if found.unknown:
        print(f"audit: {service} has no data about {', '.join(found.unknown)}")
    print(f"audit: {found.audited} packages, {len(stand)} advisories ({service})")
    return EXIT_FOUND if stand else 0


if __name__ == "__main__":
    sys.exit(main())
