"""The command line: one small file per command. Nothing heavy is imported before it is needed."""

from avsent.cli.app import app, main

__all__ = ["app", "main"]
