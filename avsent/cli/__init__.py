"""The command line: one small file per command. Nothing heavy is imported before it is needed."""

import os

# Before numpy is loaded. On some processors the number of threads changes the last digits of its
# matrix products; in a batch each worker has one.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from avsent.cli.app import app, main

__all__ = ["app", "main"]
