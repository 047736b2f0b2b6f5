"""The log of a run: a line per finished case in `manifest.jsonl`, and `manifest.json` made from all lines."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from medmtl.outputs.files import cannot_write, json_bytes, plain, write_atomic
from medmtl.outputs.summary import summary_csv

LINES, MANIFEST, SUMMARY = "manifest.jsonl", "manifest.json", "summary.csv"
SCHEMA = "medmtl-manifest/1"


class State(StrEnum):
    """How a case ended."""

    OK = "ok"
    WARNED = "warned"  # done, with warnings
    REFUSED = "refused"  # cannot be read, or no model may answer
    FAILED = "failed"  # internal error, memory, disk


@dataclass(frozen=True, kw_only=True)
class ManifestLine:
    """One case of one run.

    Attributes:
        case: the case's name, also its folder.
        state: how it ended.
        code: of the refusal, None where the case was done.
        message: one line without identities, None where the case was done.
        seconds: wall time.
        files: written files, relative to the output folder.
        input_sha256: hash of the input, None where it could not be read.
        bundle_sha256: hash of the model.
        options: what else decides the answer; equal options, input and bundle mean that a case is finished.
        warnings: their codes.
        shard: "2/8" for the second of eight, None without shards.
    """

    case: str
    state: State
    code: str | None = None
    message: str | None = None
    seconds: float = 0.0
    files: tuple[str, ...] = ()
    input_sha256: str | None = None
    bundle_sha256: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    shard: str | None = None


def append_line(out_dir: Path, line: ManifestLine) -> None:
    """Add `line` to `manifest.jsonl`, fsynced: one write at the end of the file, so runs in parallel do not mix.

    Raises:
        OutputError: the folder cannot be written.
    """
    row = {key: value for key, value in asdict(line).items() if value is not None}
    data = (json.dumps(plain(row), ensure_ascii=False, allow_nan=False) + "\n").encode()
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
        handle = os.open(out_dir / LINES, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            size = os.fstat(handle).st_size
            if size and os.pread(handle, 1, size - 1) != b"\n":
                data = b"\n" + data  # a killed run left a torn line
            os.write(handle, data)
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        raise cannot_write(error) from error


def read_lines(out_dir: Path) -> dict[str, dict[str, Any]]:
    """Case to its newest line, from all `manifest*.jsonl` of `out_dir`; torn lines are passed over."""
    newest: dict[str, dict[str, Any]] = {}
    for path in sorted(out_dir.glob("manifest*.jsonl")):
        for text in path.read_bytes().split(b"\n"):
            row = _row(text)
            if row is not None:
                newest[row["case"]] = row
    return newest


def is_finished(row: Mapping[str, Any] | None, out_dir: Path, line: ManifestLine) -> bool:
    """Whether `row` tells that the same input, bundle and options were answered and the files still stand.

    Args:
        row: the case's line as `read_lines` has it, None where there is none.
        out_dir: the output folder.
        line: what is about to be run; its input, bundle and options are compared.
    """
    if row is None or row.get("state") not in (State.OK, State.WARNED):
        return False
    same = (row.get("input_sha256"), row.get("bundle_sha256"), row.get("options", {})) == (
        line.input_sha256,
        line.bundle_sha256,
        plain(dict(line.options)),
    )
    return same and all((out_dir / name).is_file() for name in row.get("files", []))


def collect(out_dir: Path) -> dict[str, Any]:
    """Build `manifest.json` and `summary.csv` from the lines of all shards; gives the manifest's content.

    Raises:
        OutputError: the folder cannot be written.
    """
    rows = [row for _, row in sorted(read_lines(out_dir).items())]
    counts = {str(state): sum(row["state"] == state for row in rows) for state in State}
    manifest = {"schema": SCHEMA, "counts": counts, "cases": rows}
    write_atomic(out_dir / MANIFEST, json_bytes(manifest))
    write_atomic(out_dir / SUMMARY, summary_csv(rows, out_dir))
    return manifest


def _row(text: bytes) -> dict[str, Any] | None:
    if not text.strip():
        return None
    try:
        row = json.loads(text)
    except ValueError:
        return None
    return row if isinstance(row, dict) and isinstance(row.get("case"), str) and "state" in row else None
