"""What the page says of one study: findings in words and numbers of `findings.json`, in both languages."""

import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from medmtl.outputs.numbers import amount, percent
from medmtl.outputs.sentences import LANGUAGES, RESEARCH_USE, inside_sentence, report_sentences, title_of
from medmtl_app.workspace import Study, StudyState


def study_page(study: Study, folder: Path) -> dict[str, Any]:
    """Everything about a study but its voxels, as JSON values.

    Numbers come as text, rounded as in reports and copied sentences, so that no two places differ.

    Args:
        study: a readable one.
        folder: the study's.

    Raises:
        OSError: its files are not there.
    """
    view = json.loads((folder / "view" / "view.json").read_text(encoding="utf-8"))
    findings = find_findings(folder) if study.state is StudyState.READY else None
    page: dict[str, Any] = {"view": view, "findings": None, "research_use": RESEARCH_USE}
    if findings is None:
        return page
    _add_amounts(view["structures"], findings)
    page["findings"] = {
        "case": findings["case"],
        "model": findings["model"],
        "engine": findings["engine"],
        "trust": findings["trust"],
        "warnings": findings["warnings"],
        "allowed": findings["allowed"],
        "checks": findings["checks"],
        "lesions": _lesions(findings),
        "derived": _derived(findings),
        "classes": _classes(findings),
        "text": {language: "\n".join(report_sentences(findings, language)) for language in LANGUAGES},
        "seconds": round(study.finished - study.started, 1),
    }
    return page


def find_findings(folder: Path) -> dict[str, Any] | None:
    """The study's `findings.json`, None where no model answered."""
    for path in sorted((folder / "result").glob("*/findings.json")):
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found
    return None


def export_zip(folder: Path) -> Iterator[bytes]:
    """The case's result folder as a zip, in pieces; times in it are fixed, so that equal results give equal bytes."""
    sink = _Pieces()
    root = folder / "result"
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for path in sorted(path for path in root.glob("*/**/*") if path.is_file()):
            info = zipfile.ZipInfo(str(path.relative_to(root)))
            info.compress_type = zipfile.ZIP_STORED if path.suffix in (".gz", ".png") else zipfile.ZIP_DEFLATED
            info.external_attr = 0o600 << 16
            with path.open("rb") as source, archive.open(info, "w") as target:
                while piece := source.read(1 << 20):
                    target.write(piece)
                    yield sink.taken()
    yield sink.taken()


class _Pieces(io.RawIOBase):
    """A sink that hands over what was written so far."""

    def __init__(self) -> None:
        self.held = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self.held += data
        return len(data)

    def taken(self) -> bytes:
        piece = bytes(self.held)
        self.held.clear()
        return piece


def _add_amounts(structures: list[dict[str, Any]], findings: Mapping[str, Any]) -> None:
    grams = {(row["task"], row["name"]): row["g"] for row in findings["organs"] or []}
    for row in structures:
        task = findings["tasks"][row["task"]]
        values = task["values"][row["name"]]
        row["title"] = _titles(findings, f"{row['task']}.{row['name']}")
        row["group"] = task["title"]
        row["amount"] = amount(values["ml"], "mL")
        row["truncated"] = values["truncated"]
        mass = grams.get((row["task"], row["name"]))
        row["mass"] = None if mass is None else amount(mass, "g")


def _lesions(findings: Mapping[str, Any]) -> dict[str, Any] | None:
    found = findings["lesions"]
    if found is None:
        return None
    totals = found["totals"]
    rows = []
    for item in found["items"]:
        held = sorted(((n, ml) for n, ml in item["ml_by_label"].items() if ml > 0.0), key=lambda one: -one[1])
        rows.append(
            {
                "id": item["id"],
                "amount": amount(item["ml"], "mL"),
                "long": amount(item["long_axis_mm"], "mm"),
                "short": amount(item["short_axis_mm"], "mm"),
                "confidence": None if item["confidence"] is None else percent(item["confidence"]),
                "parts": [{"title": _titles(findings, f"lesions.{n}"), "amount": amount(ml, "mL")} for n, ml in held],
            }
        )
    share = None if totals["percent_of_host"] is None else amount(totals["percent_of_host"], "%")
    host = None
    if totals["host"]:
        titles = _titles(findings, totals["host"])
        host = {language: inside_sentence(title, language) for language, title in titles.items()}
    return {"count": totals["count"], "amount": amount(totals["ml"], "mL"), "share": share, "host": host, "items": rows}


def _derived(findings: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {"title": row["title"], "amount": amount(row["value"], row["unit"])}
        for task in findings["tasks"].values()
        for row in task["derived"]
        if row["value"] is not None
    ]


def _classes(findings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A block per case-level task, by what its values hold; the diagnosis first."""
    blocks = []
    for name, task in sorted(findings["tasks"].items(), key=lambda item: item[0] != "diagnosis"):
        values = task["values"]
        block = {"name": name, "title": task["title"], "calibrated": values.get("calibrated")}
        if "probabilities" in values:
            chosen = {values["class"]} if "class" in values else set(values["present"])
            ranked = sorted(values["probabilities"].items(), key=lambda item: -item[1])
            block["rows"] = [
                {"title": _titles(findings, f"{name}.{label}"), "p": p, "text": percent(p), "chosen": label in chosen}
                for label, p in ranked
            ]
            held = values.get("prediction_set")
            block["set"] = None if not held else [_titles(findings, f"{name}.{label}") for label in held]
            block["basis"] = findings["diagnosis"].get("basis") if name == "diagnosis" else None
        elif "value" in values:
            block["value"] = amount(values["value"], values.get("unit", ""))
        else:
            continue
        blocks.append(block)
    return blocks


def _titles(findings: Mapping[str, Any], path: str) -> dict[str, str]:
    return {language: title_of(findings, path, language) for language in LANGUAGES}
