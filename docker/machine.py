"""Pass this machine's access to its package index on to a build in another file system.

Prints one ``--volume`` option per line: a pip.conf with all of pip's settings, from files and
variables; the wheel folders that they name; the certificates. None of it ends up in the image: only
the stages that install see it, and the last stage installs nothing.

    python docker/machine.py FOLDER      # FOLDER gets pip.conf
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
_FOLDERS = {"find-links", "index-url", "extra-index-url"}
_FILES = {"cert", "client-cert"}
Settings = dict[tuple[str, str], str]


def settings(listing: str) -> Settings:
    """The output of ``pip config list`` as (section, key) → value.

    Where pip takes several values, a variable adds to those of the files; else it replaces them.
    """
    found: Settings = {}
    variables: Settings = {}
    for line in listing.splitlines():
        name, _, value = line.partition("=")
        section, _, key = name.rpartition(".")
        told = str(ast.literal_eval(value))
        if section == ":env:":
            variables["global", key] = told
        else:
            found[section, key] = told
    for at, told in variables.items():
        both = at[1] in _FOLDERS - {"index-url"} and at in found
        found[at] = " ".join(dict.fromkeys([*found[at].split(), *told.split()])) if both else told
    return found


def written(found: Settings) -> str:
    """The settings as the text of a pip.conf."""
    lines = []
    for section in sorted({section for section, _ in found}):
        lines.append(f"[{section}]")
        for (of, key), value in found.items():
            if of == section:
                # One list item per line: some versions of pip read spaces as part of the value.
                values = value.split() if key in _FOLDERS else [value]
                lines.append(f"{key} = " + "\n    ".join(values))
    return "\n".join(lines) + "\n"


def places(found: Settings) -> Iterator[Path]:
    """Existing folders and files of this machine that the settings name."""
    for (_, key), value in found.items():
        for word in value.split() if key in _FOLDERS else [value]:
            if key in _FILES or (key == "find-links" and "://" not in word):
                place = Path(word)
            elif key in _FOLDERS and word.startswith("file://"):
                # An index of HTML pages: the linked files are beside it.
                place = Path(unquote(urlsplit(word).path)).parent
            else:
                continue
            if place.is_absolute() and place.exists():
                yield place


def certificates(environment: Mapping[str, str]) -> Path | None:
    """The file with the certificates that this machine trusts."""
    for name in (environment.get("SSL_CERT_FILE"), CERTIFICATES):
        if name and Path(name).is_file():
            return Path(name)
    return None


def main() -> None:
    """The command line."""
    (folder,) = map(Path, sys.argv[1:])
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], check=True, capture_output=True, text=True
    )
    found = settings(listed.stdout)
    (folder / "pip.conf").write_text(written(found), encoding="utf-8")
    volumes = {str(place): place for place in places(found)}
    volumes["/etc/pip.conf"] = (folder / "pip.conf").resolve()
    if trusted := certificates(os.environ):
        volumes[CERTIFICATES] = trusted
    for inside, here in sorted(volumes.items()):
        print(f"--volume={here.resolve()}:{inside}:ro")


if __name__ == "__main__":
    main()
