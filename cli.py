#!/usr/bin/env python3
"""Launcher for a checkout: ``python cli.py predict …`` equals ``avsent predict …``."""

from __future__ import annotations

import sys

from avsent.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
