"""What the page says of one study: findings in words and numbers of `findings.json`, in both languages."""

import io
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from medmtl.outputs.numbers import amount, figure, percent
from medmtl.outputs.sentences import (
    LANGUAGES,
    RESEARCH_USE,
    full_title_of,
    inside_sentence,
    report_sentences,
    title_of,
)
from medmtl_app.reviews import review_page
from medmtl_app.stored_study import RULES, case_folder, newest_version, read_json, view_of
from medmtl_app.workspace import ANSWERED, Study


def study_page(study: Study, folder: Path, version: int | None = None) -> dict[str, Any]:
    """Everything about a study but its voxels, as JSON values.

    Numbers come as text, rounded as in reports and copied sentences, so that no two places differ.

    Args:
        study: a readable one.
        folder: the study's.
        version: of its reviews, 0 for the model's own answers, None for the newest.

    Raises:
        OSError: its files are not there.
    """
    answered = study.state in ANSWERED
    version = newest_version(folder) if version is None else version
    view = view_of(folder, version if answered else 0)
    page: dict[str, Any] = {"view": view, "findings": None, "review": None, "research_use": RESEARCH_USE}
    if not answered:
        return page
    findings = read_json(case_folder(folder, version) / "findings.json")
    drawn = None
    if (folder / RULES).is_file():
        page["review"] = review_page(folder, version, findings, view)
        drawn = page["review"].pop("drawn_lesions")
        view |= {key: page["review"].pop(key) for key in ("absent", "regions")}
    _add_amounts(view["structures"], findings)
    page["findings"] = {
        "case": findings["case"],
        "model": findings["model"],
        "engine": findings["engine"],
        "trust": findings["trust"],
        "warnings": findings["warnings"],
        "allowed": findings["allowed"],
        "checks": findings["checks"],
        "lesions": _lesions(findings, drawn),
        "derived": _derived(findings),
        "classes": _classes(findings),
        "text": {language: "\n".join(report_sentences(findings, language)) for language in LANGUAGES},
        "seconds": round(study.finished - study.started, 1),
    }
    return page


def export_zip(folder: Path) -> Iterator[bytes]:
    """What is in a folder as a zip, in pieces; times in it are fixed, so that equal results give equal bytes."""
    sink, root = _Pieces(), folder
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for path in sorted(path for path in root.rglob("*") if path.is_file()):
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
        row["likely"] = _likely(values)
        row["truncated"] = values["truncated"]
        mass = grams.get((row["task"], row["name"]))
        row["mass"] = None if mass is None else amount(mass, "g")


def _lesions(findings: Mapping[str, Any], drawn: list[dict[str, Any]] | None) -> dict[str, Any] | None:
    """Totals of the findings, and a row for each of the `drawn` lesions, rejected ones too."""
    found = findings["lesions"]
    if found is None:
        return None
    totals = found["totals"]
    sureness = "confidence" if totals["confidence_calibrated"] else "mean_probability"
    rows = []
    for item in found["items"] if drawn is None else drawn:
        held = sorted(((n, ml) for n, ml in item["ml_by_label"].items() if ml > 0.0), key=lambda one: -one[1])
        rows.append(
            {
                "id": item["id"],
                "amount": amount(item["ml"], "mL"),
                "long": amount(item["long_axis_mm"], "mm"),
                "short": amount(item["short_axis_mm"], "mm"),
                "sure": None if item[sureness] is None else percent(item[sureness]),
                "parts": [{"title": _titles(findings, f"lesions.{n}"), "amount": amount(ml, "mL")} for n, ml in held],
                "host": _inside(findings, item["host"]) if item.get("host") else None,
            }
        )
    return {
        "count": totals["count"],
        "amount": amount(totals["ml"], "mL"),
        "likely": _likely(totals),
        "sureness": sureness,
        "share": None if totals["percent_of_host"] is None else amount(totals["percent_of_host"], "%"),
        "host": _inside(findings, totals["host"]) if totals["host"] else None,
        "items": rows,
    }


def _likely(measured: Mapping[str, Any]) -> dict[str, str] | None:
    """The interval of a volume; None where none was measured, and where nothing was found."""
    if not measured["ml_interval"] or not measured["ml"]:
        return None
    low, high = measured["ml_interval"]
    return {"low": figure(low, "mL"), "high": amount(high, "mL")}


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
                {
                    "name": label,
                    "title": _titles(findings, f"{name}.{label}"),
                    "p": p,
                    "text": percent(p),
                    "chosen": label in chosen,
                }
                for label, p in ranked
            ]
            held = values.get("prediction_set")
            block["set"] = None if not held else [_titles(findings, f"{name}.{label}") for label in held]
            block["basis"] = findings["diagnosis"].get("basis") if name == "diagnosis" else None
            block["influence"] = _influence(findings) if name == "diagnosis" else []
        elif "value" in values:
            block["value"] = amount(values["value"], values.get("unit", ""))
        else:
            continue
        blocks.append(block)
    return blocks


def _influence(findings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What the class rests on: structures, and the percentage points of its probability that each brings."""
    return [
        {
            "structure": row["structure"],
            "title": {language: full_title_of(findings, row["structure"], language) for language in LANGUAGES},
            "change": row["change"],
            "text": f"{100.0 * row['change']:+.1f}".replace("-", "\N{MINUS SIGN}"),
        }
        for row in findings["diagnosis"].get("influence", ())
        if row["structure"].split(".")[0] in findings["tasks"]
    ]


def _inside(findings: Mapping[str, Any], path: str) -> dict[str, str]:
    """Titles as they stand inside a sentence."""
    return {language: inside_sentence(title, language) for language, title in _titles(findings, path).items()}


def _titles(findings: Mapping[str, Any], path: str) -> dict[str, str]:
    return {language: title_of(findings, path, language) for language in LANGUAGES}
