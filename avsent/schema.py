"""Plain JSON, read field by field: what is wrong is named by its place."""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from avsent.errors import CheckpointError, InputError

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


MAX_WHOLE = 2**53
MAX_TIME_S = 1e9
"""Thirty years: more is no time in a file, and a page would draw a scale to its end."""


class Fields:
    """A JSON object whose fields are read by type; a wrong one is an InputError that names it."""

    def __init__(self, plain: object, where: str) -> None:
        if not isinstance(plain, dict) or not all(isinstance(key, str) for key in plain):
            raise InputError(f"{where} must be an object with text keys")
        self.mapping: dict[str, object] = plain
        self.where = where

    def value(self, key: str) -> object:
        if key not in self.mapping:
            raise InputError(f"{self.where}.{key} is missing")
        return self.mapping[key]

    def text(self, key: str) -> str:
        value = self.value(key)
        return value if isinstance(value, str) else self._refuse(key, "text")

    def flag(self, key: str) -> bool:
        value = self.value(key)
        return value if isinstance(value, bool) else self._refuse(key, "true or false")

    def number(self, key: str) -> float:
        return self._as_number(self.value(key), key)

    def whole(self, key: str) -> int:
        number = self.number(key)
        fits = number.is_integer() and abs(number) <= MAX_WHOLE
        return int(number) if fits else self._refuse(key, "a whole number")

    def time(self, key: str) -> float:
        number = self.number(key)
        return number if abs(number) <= MAX_TIME_S else self._refuse(key, "a time in seconds")

    def numbers(self, key: str) -> tuple[float, ...]:
        return tuple(self._as_number(value, key) for value in self._list(key))

    def texts(self, key: str) -> tuple[str, ...]:
        values = self._list(key)
        return tuple(v if isinstance(v, str) else self._refuse(key, "text only") for v in values)

    def fields(self, key: str) -> Fields:
        return Fields(self.value(key), f"{self.where}.{key}")

    def items(self, key: str) -> list[Fields]:
        found = enumerate(self._list(key))
        return [Fields(item, f"{self.where}.{key}[{number}]") for number, item in found]

    def _list(self, key: str) -> list[object]:
        value = self.value(key)
        return value if isinstance(value, list) else self._refuse(key, "a list")

    def _as_number(self, value: object, key: str) -> float:
        # bool is an int to Python; a whole number beyond float's range raises OverflowError.
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            try:
                number = float(value)
            except OverflowError:
                number = math.inf
            if math.isfinite(number):
                return number
        return self._refuse(key, "a finite number")

    def _refuse(self, key: str, expected: str) -> NoReturn:
        raise InputError(f"{self.where}.{key} must be {expected}")


MAX_CONFIG_BYTES = 1_000_000
"""The index of a folder of models may be as large, too."""


def read_json(
    path: Path, kind: type[T], check: Callable[[T], object], *, form: str, remedy: str
) -> T:
    """The dataclass ``kind`` from a JSON file whose key "format" is ``form``.

    ``check`` raises ValueError for values that do not go together; ``remedy`` ends the messages.

    Raises:
        CheckpointError: the file cannot be read, or is damaged or made for another version.
    """
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise ValueError("it is far too large")
        data = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(data, dict) and data.get("format") != form:
            raise CheckpointError(
                f"{path}: its format is {str(data.get('format'))[:40]!r}, this avsent reads "
                f"{form!r}; use a matching version"
            )
        found = build(kind, data, path.stem)
        check(found)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror}); {remedy}") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: damaged, {error}; {remedy}") from error
    return found
