"""Every error avsent raises on purpose, and the exit code each one ends the command with.

::

    AvsentError                 1   (never raised itself)
    ├── UsageError              2   a bad option or combination of options
    ├── InputError              3   a file or folder that cannot be used
    │   ├── MediaError              not media, empty, damaged beyond use
    │   ├── BoundariesError         an --utterances file that cannot be read
    │   └── DatasetError            a training corpus that cannot be read
    ├── OutputError             3   a result that cannot be written
    ├── CheckpointError         4   unknown, damaged or incompatible checkpoint
    └── PartialFailure          5   some of several files failed, the rest is done

Each message is one line: what is wrong, where, and what to do next.
"""

from typing import ClassVar


class AvsentError(Exception):
    """Base of every error that avsent raises on purpose."""

    exit_code: ClassVar[int] = 1


class UsageError(AvsentError):
    """An option, or a combination of options, that makes no sense."""

    exit_code: ClassVar[int] = 2


class InputError(AvsentError):
    """A file or folder given by the user that cannot be used."""

    exit_code: ClassVar[int] = 3


class MediaError(InputError):
    """A media file that is missing, empty, not media, or damaged beyond use."""


class BoundariesError(InputError):
    """A file of utterance boundaries that cannot be read."""


class DatasetError(InputError):
    """A training corpus, or a part of it, that cannot be read."""


class OutputError(AvsentError):
    """A result that cannot be written where the user asked for it."""

    exit_code: ClassVar[int] = 3


class CheckpointError(AvsentError):
    """A checkpoint that is unknown, damaged or made for another version."""

    exit_code: ClassVar[int] = 4


class PartialFailure(AvsentError):
    """Some of several files failed; the others are done."""

    exit_code: ClassVar[int] = 5
