"""Dataclasses from plain JSON: every wrong entry is refused, and the message names its place."""

import dataclasses
import json
import math
import types
import typing
from collections.abc import Callable, Collection, Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from avsent.errors import AvsentError, CheckpointError
from avsent.text import printable

T = TypeVar("T")

MAX_CONFIG_BYTES = 1_000_000
"""Of a checkpoint's configuration, and of the index of a folder of models."""
MAX_TIME_S = 1e9
"""Thirty years: no file lasts longer, and a page would draw a time scale to its end."""
MAX_WHOLE = 2**53  # larger whole numbers are not exact in the JSON of other programs


def build(
    kind: type[T], data: Any, where: str = "config", *, may_lack: Collection[str] | None = None
) -> T:
    """An instance of the dataclass ``kind`` from the mapping ``data``.

    Fields may be int, float, str, bool, dataclasses, tuples and dictionaries of these, and
    optional ones. Times, whose names end in ``_s``, are at most ``MAX_TIME_S``.

    ``where``: with which places in messages begin. ``may_lack``: for files of other programs, the
    fields that may be absent; then unknown keys are ignored, 3.0 is a whole number, and whole
    numbers are at most ``MAX_WHOLE``. By default every field with a default may be absent, and
    unknown keys are refused. Raises ValueError if a key is unknown or missing, or a value has the
    wrong type; says where.
    """
    if not isinstance(data, Mapping):
        raise ValueError(f"{where} is not an object")
    fields = _fields(kind)  # type: ignore[arg-type]
    unknown = sorted(set(data) - set(fields)) if may_lack is None else []
    if unknown:
        raise ValueError(f"{where} has the unknown key {unknown[0]!r}")
    values: dict[str, Any] = {}
    for name, (hint, has_default) in fields.items():
        if name in data:
            values[name] = _value(hint, data[name], f"{where}.{name}", may_lack)
        elif not (has_default if may_lack is None else name in may_lack):
            raise ValueError(f"{where} lacks the key {name!r}")
    return kind(**values)


@cache
def _fields(kind: type) -> dict[str, tuple[Any, bool]]:
    """Type of each field, and whether it has a default."""
    hints = typing.get_type_hints(kind)
    missing = dataclasses.MISSING
    return {
        field.name: (
            hints[field.name],
            field.default is not missing or field.default_factory is not missing,
        )
        for field in dataclasses.fields(kind)
    }


def _value(hint: Any, value: Any, where: str, may_lack: Collection[str] | None) -> Any:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return build(hint, value, where, may_lack=may_lack)
    origin, parts = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ValueError(f"{where} is not a list")
        if parts[0] is float and all(type(v) is float and math.isfinite(v) for v in value):
            return tuple(value)  # the attention of two hours of talk has millions of them
        return tuple(
            _value(parts[0], entry, f"{where}[{index}]", may_lack)
            for index, entry in enumerate(value)
        )
    if origin is dict:
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            raise ValueError(f"{where} is not an object")
        return {
            key: _value(parts[1], entry, f"{where}.{printable(key)}", may_lack)
            for key, entry in value.items()
        }
    if origin in (types.UnionType, typing.Union):
        (inner,) = (option for option in parts if option is not type(None))
        return None if value is None else _value(inner, value, where, may_lack)
    return _scalar(hint, value, where, tolerant=may_lack is not None)


def _scalar(hint: Any, value: Any, where: str, *, tolerant: bool) -> Any:
    if tolerant and hint is int and isinstance(value, float) and value.is_integer():
        value = int(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            value = float(value)
        except OverflowError:
            value = math.inf
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise ValueError(f"{where} should be {hint.__name__}, not {type(value).__name__}")
    if hint is float and not math.isfinite(value):
        raise ValueError(f"{where} is not a finite number")
    if hint is float and where.endswith("_s") and abs(value) > MAX_TIME_S:
        raise ValueError(f"{where} is not a time in seconds")
    if tolerant and hint is int and abs(value) > MAX_WHOLE:
        raise ValueError(f"{where} is too large")
    return value


def read_json(
    path: Path, kind: type[T], check: Callable[[T], object], *, form: str, remedy: str
) -> T:
    """The dataclass ``kind`` from a JSON file whose key "format" is ``form``.

    ``check`` raises ValueError for values that do not go together; ``remedy`` ends the messages.
    Raises CheckpointError if the file cannot be read, or is damaged or made for another version.
    """
    data = read_object(path, CheckpointError, remedy, max_bytes=MAX_CONFIG_BYTES)
    try:
        if data.get("format") != form:
            raise CheckpointError(
                f"{path}: its format is {str(data.get('format'))[:40]!r}, this avsent reads "
                f"{form!r}; use a matching version"
            )
        found = build(kind, data, path.stem)
        check(found)
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: damaged, {error}; {remedy}") from error
    return found


def read_object(
    path: Path, error_class: type[AvsentError], remedy: str, *, max_bytes: int | None = None
) -> dict[str, Any]:
    """The object in a JSON file; ``remedy`` ends the messages. Raises ``error_class`` where the
    file cannot be read, is larger than ``max_bytes`` or damaged."""
    try:
        if max_bytes is not None and path.stat().st_size > max_bytes:
            raise ValueError("it is far too large")
        data = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(data, dict):
            raise ValueError(f"{path.stem} is not an object")
    except OSError as error:
        raise error_class(f"{path}: cannot be read ({error.strerror}); {remedy}") from error
    except (ValueError, RecursionError) as error:
        raise error_class(f"{path}: damaged, {error}; {remedy}") from error
    return data
