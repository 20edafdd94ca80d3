"""Whether avsent can work on this machine: what is looked at, and what is to be done next.

Nothing is imported here or by :mod:`avsent.cli.checkup.course` that may be missing or broken: each
check imports what it looks at.
"""
