"""``python -m avsent`` is the command ``avsent``."""

import sys

from avsent.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
