"""Checks of an image's files: required ones, forbidden ones, and sizes; see ``check.py``."""

from __future__ import annotations

import json
import stat
from pathlib import Path

from trial import Trial, expect

TOOLS = {"gcc", "cc", "g++", "c++", "ld", "as", "make", "cmake", "nvcc", "git", "curl", "wget"}


def holds_no_tools(trial: Trial) -> str:
    root = trial.image.root
    found = []
    for folder in ("bin", "sbin", "usr/bin", "usr/sbin", "usr/local/bin", "opt/avsent/bin"):
        found += [p for p in (root / folder).glob("*") if p.name in TOOLS]
    ours = root / "opt" / "avsent"
    found += [*ours.glob("lib/python3*/site-packages/pip"), *ours.glob("bin/pip*")]
    found += [*ours.rglob("*.whl"), *(root / "tmp").iterdir(), *root.glob("build")]
    found += [p for home in ("root", "home/*") for p in root.glob(f"{home}/.cache")]
    found += [p for p in [root / "etc/pip.conf"] if p.exists()]
    expect(not found, found)
    loose = [p for p in ours.rglob("*") if not p.is_symlink() and p.lstat().st_mode & stat.S_IWOTH]
    expect(not loose, f"anyone may write {loose[:3]}")
    return "no compiler, pip, wheel or cache"


def carries_its_licences(trial: Trial) -> str:
    ours = trial.image.root / "opt" / "avsent"
    (site,) = ours.glob("lib/python3*/site-packages")
    wanted = [
        ours / "share/doc/avsent/LICENSE",
        ours / "share/doc/avsent/LICENCES.md",
        site / "avsent/models/default/CARD.md",
        site / "avsent/models/emotion/CARD.md",
    ]
    expect(not (missing := [p for p in wanted if not p.is_file()]), missing)
    silent = []
    packages = sorted(site.glob("*.dist-info"))
    for package in packages:
        about = (package / "METADATA").read_text("utf-8")
        texts = [p for p in package.rglob("*") if p.name.upper().startswith(("LICEN", "COPYING"))]
        if not texts and "\nLicense" not in about and "Classifier: License" not in about:
            silent.append(package.name)
    expect(not silent, silent)
    return f"{len(packages)} packages, each with its licence; models with their cards"


def is_small(trial: Trial) -> str:
    """Sizes as `docker images` counts them; writes sizes.json for docs/docker.md."""
    ours = trial.image.root / "opt" / "avsent"
    (site,) = ours.glob("lib/python3*/site-packages")
    sizes = {"all": weigh(trial.image.root), "/opt/avsent": weigh(ours)}
    sizes["base"] = sizes["all"] - sizes["/opt/avsent"]
    sizes |= {f"/opt/avsent/{p.name}": weigh(p) for p in ours.iterdir() if p.is_dir()}
    sizes |= {p.name: weigh(p) for p in site.iterdir()}
    ordered = dict(sorted(sizes.items(), key=lambda item: -item[1]))
    (trial.work / "sizes.json").write_text(json.dumps(ordered, indent=1), encoding="utf-8")
    expect(sizes["all"] < 1.5e9, f"{sizes['all'] / 1e6:.0f} MB")
    return f"{sizes['all'] / 1e6:.0f} MB, of which the base {sizes['base'] / 1e6:.0f} MB"


def weigh(place: Path) -> int:
    """Bytes of all files in ``place``; hard links count once, symbolic links not at all."""
    seen, total = set(), 0
    for path in [place, *place.rglob("*")] if not place.is_symlink() else []:
        about = path.lstat()
        if stat.S_ISREG(about.st_mode) and (about.st_dev, about.st_ino) not in seen:
            seen.add((about.st_dev, about.st_ino))
            total += about.st_size
    return total
