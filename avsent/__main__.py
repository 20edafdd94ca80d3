"""``python -m avsent`` is the command ``avsent``."""

from __future__ import annotations

import sys

from avsent.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
