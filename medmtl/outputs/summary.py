"""`summary.csv`: a row per case, for a table or a trial's database."""

import csv
import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

FIRST = ("case", "state", "code", "trust", "lesion_count", "lesion_ml", "lesion_percent_of_host", "class")
LAST = ("warnings", "allowed", "model", "message")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def summary_csv(rows: Iterable[Mapping[str, Any]], out_dir: Path) -> bytes:
    """The table as UTF-8 CSV with a byte-order mark, so that a spreadsheet reads Chinese titles.

    Columns: `FIRST`, then `p_CLASS`, `TASK.LABEL_ml`, derived values as `TASK.NAME`, answers of further tasks as
    `TASK`, of reviewed cases `reader`, `review` (the version) and `reader_class`, each where a case has it, then
    `LAST`. Numbers are those of `findings.json`.

    Args:
        rows: lines of the manifest.
        out_dir: where the cases' folders lie.
    """
    table = [_cells(row, _findings(row, out_dir)) for row in rows]
    middle = dict.fromkeys(key for cells in table for key in cells if key not in FIRST and key not in LAST)
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, [*FIRST, *middle, *LAST], restval="", lineterminator="\r\n")
    writer.writeheader()
    writer.writerows({key: _cell(value) for key, value in cells.items()} for cells in table)
    return b"\xef\xbb\xbf" + buffer.getvalue().encode()


def _findings(row: Mapping[str, Any], out_dir: Path) -> dict[str, Any]:
    path = out_dir / row["case"] / "findings.json"
    if row["state"] not in ("ok", "warned") or not path.is_file():
        return {}
    found: dict[str, Any] = json.loads(path.read_bytes())
    return found


def _cells(row: Mapping[str, Any], findings: Mapping[str, Any]) -> dict[str, Any]:
    cells: dict[str, Any] = {"case": row["case"], "state": row["state"], "code": row.get("code")}
    cells["message"] = row.get("message")
    cells["warnings"] = " ".join(row.get("warnings", []))
    if not findings:
        return cells
    cells["trust"] = findings["trust"]["level"]
    cells["warnings"] = " ".join(dict.fromkeys(w["code"] for w in findings["warnings"]))
    cells["allowed"] = " ".join(findings["allowed"])
    cells["model"] = f"{findings['model']['name']} {findings['model']['version']}"
    if "review" in findings:
        word = findings["review"]["classes"].get("diagnosis", {})
        cells |= {"reader": findings["review"]["reader"], "review": findings["review"]["version"]}
        cells["reader_class"] = word.get("class") or word.get("decision")
    if findings["lesions"] is not None:
        totals = findings["lesions"]["totals"]
        cells |= {"lesion_count": totals["count"], "lesion_ml": totals["ml"]}
        cells["lesion_percent_of_host"] = totals["percent_of_host"]
    if findings["diagnosis"] is not None:
        cells["class"] = findings["diagnosis"]["class"]
        cells |= {f"p_{name}": p for name, p in findings["diagnosis"]["probabilities"].items()}
    for name, task in findings["tasks"].items():
        cells |= _task_cells(name, task)
    return cells


def _task_cells(name: str, task: Mapping[str, Any]) -> dict[str, Any]:
    values = task["values"]
    cells = {f"{name}.{d['name']}": d["value"] for d in task["derived"]}
    if task["kind"] in ("segmentation", "regions"):
        cells |= {f"{name}.{label}_ml": value["ml"] for label, value in values.items()}
    elif name != "diagnosis":
        answer = values.get("value", values.get("class"))
        cells[name] = " ".join(values["present"]) if "present" in values else answer
    return cells


def _cell(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula."""
    if value is None:
        return ""
    return "'" + value if isinstance(value, str) and value.startswith(_FORMULA) else value
