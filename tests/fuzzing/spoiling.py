"""Archives of arrays, weights and journals: well-formed, but not what they should be."""

from __future__ import annotations

import io
import json
import sqlite3
import struct
import zipfile
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from tests.fuzzing.mutate import mutated
from tests.fuzzing.texts import spoilt


def spoilt_arrays(data: bytes, number: int, rng: Random) -> bytes:
    """An .npz file with bytes changed, or well-formed with arrays that are not what they were."""
    if rng.random() < 0.4:
        return mutated(data, rng)
    packed = io.BytesIO()
    pressed = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA))
    with (
        zipfile.ZipFile(io.BytesIO(data)) as source,
        zipfile.ZipFile(packed, "w", pressed) as target,
    ):
        names = source.namelist()
        chosen = rng.choice(names)
        for name in names:
            content = source.read(name)
            if name == chosen:
                content = _spoilt_array(content, number, rng)
            target.writestr(name, content)
        if rng.random() < 0.2:
            target.writestr(chosen, content)
    return packed.getvalue()


def _spoilt_array(content: bytes, number: int, rng: Random) -> bytes:
    how = rng.choice(("bytes", "shape", "dtype", "values", "object", "bomb", "json"))
    if how == "bytes":
        return mutated(content, rng)
    array = np.load(io.BytesIO(content))
    if how == "json" and array.dtype == np.uint8:
        array = np.frombuffer(spoilt(json.loads(array.tobytes()), number, rng), np.uint8)
    elif how in ("shape", "dtype"):
        shape = rng.choice(
            ("(1099511627776,)", "(-1,)", "(0, 9223372036854775808)", "()", "(2, 3)")
        )
        dtype = rng.choice(("'<f4'", "'|O'", "'<U100000'", "'|V0'", "[('a', '<f4')]", "'<M8[s]'"))
        text = f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}, }}"
        header = text.encode().ljust(117) + b"\n"
        return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + content[128:]
    elif how == "values" and array.size and array.dtype.kind in "fiu":
        array = array.copy()
        wrong = (np.nan, np.inf, 3e38) if array.dtype.kind == "f" else (0, 2**30, 127)
        array.flat[rng.randrange(array.size)] = rng.choice(wrong)
    elif how == "bomb":
        array = np.zeros(60_000_000 if rng.random() < 0.3 else 1000, array.dtype)
    saved = io.BytesIO()
    np.save(saved, np.array([{}], object) if how == "object" else array, allow_pickle=True)
    return saved.getvalue()


def spoilt_weights(data: bytes, what: str, number: int, rng: Random) -> bytes:
    """Weights with other bytes (``what`` weights), other values, or a header that lies."""
    length = int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8 : 8 + length]), bytearray(data[8 + length :])
    if what == "weights":
        return mutated(data, rng)
    if what == "values":
        values = np.frombuffer(body, np.float32).copy()
        chosen = slice(None) if rng.random() < 0.5 else slice(rng.randrange(values.size), None)
        values[chosen] = rng.choice((np.nan, np.inf, 3e38, -1e30, 1e10, 0.0))
        return data[: 8 + length] + values.tobytes()
    if rng.random() < 0.5:
        text = spoilt(header, number, rng)
    else:
        name = rng.choice([key for key in header if key != "__metadata__"])
        entry: dict[str, Any] = header[name]
        where = rng.choice(("shape", "dtype", "data_offsets"))
        entry[where] = {
            "shape": [rng.choice((2**40, 0, 2**63, 1)), *entry["shape"][1:]],
            "dtype": rng.choice(("F64", "I8", "BOOL", "F8_E4M3", "X")),
            "data_offsets": [0, rng.choice((0, len(body), 2**62))],
        }[where]
        text = json.dumps(header).encode()
    stated = rng.choice((len(text), len(text), len(text), 2**63, 0, 100_000_000))
    return stated.to_bytes(8, "little") + text + bytes(body)


def spoil_journal(path: Path, what: str, rng: Random) -> None:
    """Other values in the journal; with ``what`` schema another structure as well."""
    with sqlite3.connect(path) as db:
        if what == "schema":
            db.executescript(
                rng.choice(
                    (
                        "CREATE TRIGGER t AFTER UPDATE ON files BEGIN DELETE FROM results; END;",
                        "ALTER TABLE files ADD COLUMN more TEXT;",
                        "ALTER TABLE results RENAME TO r; CREATE VIEW results AS WITH RECURSIVE "
                        "c(name, result, rows, representations) AS (SELECT 'a', x'00', '', NULL "
                        "UNION ALL SELECT name, result, rows, representations FROM c) "
                        "SELECT * FROM c;",
                        "DROP TABLE outputs;",
                        "PRAGMA user_version = 7;",
                    )
                )
            )
        for _ in range(rng.choice((1, 1, 3))):
            table, column = rng.choice(
                [("files", name) for name in _COLUMNS]
                + [("results", "result"), ("results", "rows"), ("meta", "value")] * 3
                + [("outputs", "size"), ("outputs", "format"), ("outputs", "name")]
            )
            value = rng.choice(_JOURNAL_VALUES)
            try:
                db.execute("PRAGMA ignore_check_constraints = 1")
                db.execute(f"UPDATE {table} SET {column} = ?", (value,))
            except sqlite3.Error:
                continue
    db.close()


_COLUMNS = (
    *("name", "stem", "stem", "stem", "size", "mtime_ns", "duration_s", "content_sha256", "state"),
    *("config_sha256", "attempts", "seconds", "utterances", "error", "exit_code", "present"),
)
_JOURNAL_VALUES: tuple[Any, ...] = (
    *(None, "", "../../../up", "/tmp/avsent-fuzz-escape", "a\nb", "x" * 300, b"\xff\xfe", b""),
    *(-1, 2**62, 1e308, float("inf"), "text", "[]", "{", "[" * 100_000, '{"adapt": []}', "1e999"),
    *('[["a", 0, "x", 1, 2, "y", 3]]', "[[null]]", "..", "a/../../b", "a\0b", b"x\x9c" + bytes(99)),
)
