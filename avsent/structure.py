"""Nested dataclasses from plain data, checked: for configurations read from files."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

T = TypeVar("T")


def build(kind: type[T], data: Any, where: str = "config") -> T:
    """An instance of the dataclass ``kind`` from the mapping ``data``.

    Fields may be int, float, str, bool, tuples of one of these, optional ones, and dataclasses.

    Raises:
        ValueError: a key is unknown or missing, or a value has the wrong type; says where.
    """
    if not isinstance(data, Mapping):
        raise ValueError(f"{where} is not an object")
    hints = typing.get_type_hints(kind)
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(data) - set(fields))
    if unknown:
        raise ValueError(f"{where} has the unknown key {unknown[0]!r}")
    values: dict[str, Any] = {}
    for name, field in fields.items():
        if name in data:
            values[name] = _value(hints[name], data[name], f"{where}.{name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise ValueError(f"{where} lacks the key {name!r}")
    return kind(**values)


def _value(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return build(hint, value, where)
    origin = typing.get_origin(hint)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ValueError(f"{where} is not a list")
        item = typing.get_args(hint)[0]
        return tuple(_value(item, entry, f"{where}[{index}]") for index, entry in enumerate(value))
    if origin in (types.UnionType, typing.Union):
        if value is None:
            return None
        (inner,) = (option for option in typing.get_args(hint) if option is not type(None))
        return _value(inner, value, where)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            raise ValueError(f"{where} is not a finite number") from None
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise ValueError(f"{where} should be {hint.__name__}, not {type(value).__name__}")
    if hint is float and not math.isfinite(value):
        raise ValueError(f"{where} is not a finite number")
    return value
