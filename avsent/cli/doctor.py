"""``avsent doctor``: whether avsent can work here, and what to do where it cannot."""

import dataclasses
import json
import sys

import typer

from avsent import __version__
from avsent.cli import options, outcome

SCHEMA = "avsent-doctor/1"
CANNOT_WORK = 1
STYLES = {"ok": "green", "warning": "yellow", "failed": "bold red", "absent": "dim"}


def doctor(
    device: str = options.DEVICE, as_json: bool = options.JSON, debug: bool = options.DEBUG
) -> None:
    """Tell whether avsent can work here, and what to do where it cannot.

    Checks Python, torch and its device, dlib, the codecs, the models and their hashes, optional
    libraries, memory and free disk, and predicts a synthetic clip. Takes some seconds; nothing is
    sent anywhere. Without a terminal each line holds state, name, what was found and what to do,
    with tabs between them. Exits with 1 if something that predict needs failed.
    """
    from rich.console import Console

    from avsent.cli import checkup

    with Console(stderr=True).status("checking"):
        checks = checkup.run_checks(device, debug=options.SESSION.debug)
    checks.append(checkup.look_at_output(sys.stdout))
    failed = sum(check.state == "failed" for check in checks)
    with outcome.printing():
        if as_json:
            plain = [dataclasses.asdict(check) for check in checks]
            about = {"schema": SCHEMA, "version": __version__, "works": not failed}
            # ASCII, which any pipe or terminal takes.
            print(json.dumps({**about, "checks": plain}, indent=1))
        else:
            rows = [(check.state, check.name, check.found, check.advice) for check in checks]
            outcome.print_table(rows, styles=STYLES)
    if failed:
        count = f"{failed} of {len(checks)} checks failed"
        outcome.say("error", f"{count}: avsent predict cannot work; do what the failed lines say")
        raise typer.Exit(CANNOT_WORK)
