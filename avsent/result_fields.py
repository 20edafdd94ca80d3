"""Plain JSON, read field by field: what is wrong is named by its place."""

from __future__ import annotations

import math
from typing import NoReturn

from avsent.errors import InputError

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
