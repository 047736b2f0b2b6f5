"""Bytes on disk: whole files or none, and the same bytes for the same content."""

import contextlib
import io
import json
import math
import os
from pathlib import Path
from typing import Any

from isal import igzip

from medmtl.errors import Code, OutputError

_GZIP_LEVEL = 2  # label maps come out a fifth larger than with zlib's default and are written 20 times as fast
SIGNIFICANT_DIGITS = 9
"""Floats in JSON: enough for a float32 to come back bit for bit, too few for noise of the last bits."""


def write_atomic(path: Path, data: bytes) -> None:
    """Put `data` at `path`: written beside it, fsynced, renamed, so a killed run leaves the old file or the new.

    Raises:
        OutputError: the folder cannot be written.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise cannot_write(error) from error


def fsync_folder(folder: Path) -> None:
    """Make the names in `folder` durable, where the file system can."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def cannot_write(error: OSError) -> OutputError:
    """The refusal for a failed write; the reason without the path, which may hold an identity."""
    reason = error.strerror or type(error).__name__
    return OutputError(Code.CANNOT_WRITE, f"an output cannot be written ({reason})", "check free space and rights")


def gzip_bytes(*parts: bytes | memoryview) -> bytes:
    """The parts, one after the other, as gzip without name and time, so that equal data gives equal files."""
    buffer = io.BytesIO()
    with igzip.IGzipFile(filename="", mode="wb", fileobj=buffer, compresslevel=_GZIP_LEVEL, mtime=0) as file:
        for part in parts:
            file.write(part)
    return buffer.getvalue()


def plain(value: Any) -> Any:
    """`value` as JSON values: floats to `SIGNIFICANT_DIGITS`, arrays and tuples to lists, key order kept.

    Raises:
        ValueError: a number is NaN or infinite; a missing value is `None`.
        TypeError: something that JSON has no word for.
    """
    if hasattr(value, "tolist"):  # numpy arrays and scalars
        value = value.tolist()
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, str):
        return str(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value} has no place in JSON; a missing value is None")
        return float(f"{value:.{SIGNIFICANT_DIGITS}g}") + 0.0  # no minus zero
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    raise TypeError(f"{type(value).__name__} is no JSON value")


def json_bytes(value: Any) -> bytes:
    """`value` as indented UTF-8 JSON, keys in their order, the same bytes for equal values.

    Raises:
        ValueError: a number is NaN or infinite.
    """
    return (json.dumps(plain(value), ensure_ascii=False, indent=1, allow_nan=False) + "\n").encode()
