"""`medmtl inspect`: what a study holds, and what of it would be read."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from medmtl.errors import MedmtlError, Notice
    from medmtl.reading.any_volume import CaseInput
    from medmtl.reading.choice import Choice, Wanted
    from medmtl.reading.dicom_series import Series


@dataclass(frozen=True, kw_only=True)
class _Case:
    rows: tuple[dict[str, Any], ...]
    error: "MedmtlError | None"
    where: str


@click.command()
@click.argument("source", metavar="IN", type=click.Path(path_type=Path))
@click.option("-m", "--model", metavar="MODEL", help="Choose as this model would; else as any installed one.")
@click.option("--json", "as_json", is_flag=True, help="A JSON list for machines.")
@click.pass_context
def inspect(context: click.Context, source: Path, model: str | None, as_json: bool) -> None:
    """List the volumes of IN: a file, a DICOM folder, a zip, a folder of any of these, or a CSV (path, case).

    Says of each where it lies, whether it can be read, whether predict would take it and why. A series that holds
    several volumes (phases, echoes, orientations) has a row for each; `--series` of predict takes the name that stands
    there. Ends with 0 if every case has a readable volume, 1 if some have none, 2 if there is no such input, 3 if no
    case has one.
    """
    from medmtl.errors import MedmtlError
    from medmtl.reading.any_volume import discover

    try:
        wanted = _wanted(model)
        cases = [_inspected(case, source, wanted) for case in discover(source, names=wanted.channels)]
    except MedmtlError as error:
        click.echo(error.line("input"), err=True)
        context.exit(2)
    rows = [row for case in cases for row in case.rows]
    click.echo(json.dumps(rows, indent=2, ensure_ascii=False) if as_json else "\n".join(map(_text, rows)))
    failed = [case for case in cases if case.error is not None]
    for case in failed:
        if case.error is not None:
            click.echo(case.error.line(case.where), err=True)
    if failed:
        context.exit(3 if len(failed) == len(cases) else 1)


def _wanted(model: str | None) -> "Wanted":
    """What predict would look for."""
    from medmtl.bundle.bundle import read_bundle
    from medmtl.bundle.catalogue import bundle_folders, find_bundle
    from medmtl.pipeline.guards import suits
    from medmtl.reading.choice import Wanted

    given = find_bundle(model) if model else None
    known = [given] if given is not None else [read_bundle(path) for path in bundle_folders().values()]
    return Wanted(
        modality=given.modality if given is not None else None,
        channels=given.channels if given is not None else (),
        suits=lambda grid, modality: any(suits(grid, modality, bundle) for bundle in known),
    )


def _inspected(case: "CaseInput", root: Path, wanted: "Wanted") -> _Case:
    found = _listed(case, wanted)
    # the name of a case hides where it came from; the list for machines says it
    inside = case.source.relative_to(root) if case.source.is_relative_to(root) else case.source
    return replace(found, rows=tuple(row | {"source": inside.as_posix()} for row in found.rows))


def _listed(case: "CaseInput", wanted: "Wanted") -> _Case:
    from medmtl.errors import MedmtlError
    from medmtl.reading.any_volume import InputKind, list_volumes

    try:
        if case.kind is InputKind.NIFTI:
            return _Case(rows=(_nifti_row(case),), error=None, where=case.where)
        found, choice, error = list_volumes(case, wanted)
    except MedmtlError as refusal:
        row = _row(case.name, error=refusal) | {"why": f"{refusal.what}; {refusal.todo}"}
        return _Case(rows=(row,), error=refusal, where=case.where)
    rows = tuple(_series_row(case, series, choice, index) for index, series in enumerate(found))
    return _Case(rows=rows, error=error, where=case.where)


def _nifti_row(case: "CaseInput") -> dict[str, Any]:
    from medmtl.reading.any_volume import read_case

    volume = read_case(case)[0]
    row = _row(case.name) | {"chosen": True, "why": "the only volume"}
    return row | _geometry(volume.grid) | {"notices": _notices(volume.notices)}


def _series_row(case: "CaseInput", series: "Series", choice: "Choice | None", index: int) -> dict[str, Any]:
    first = series.first
    row = _row(case.name, error=series.error) | {
        "state": series.state,
        "series_uid": first.series_uid,
        "series": series.selector,
        "part": series.part,
        "part_label": series.label,
        "series_number": first.series_number,
        "description": first.description,
        "modality": first.modality or None,
        "images": series.plane_count,
        "notices": _notices(series.notices),
    }
    if series.grid is not None:
        row |= _geometry(series.grid) | {"deviation_mm": round(series.deviation_mm, 4)}
    elif first.rows:
        row["shape"] = [first.columns, first.rows, series.plane_count]
    chosen = choice is not None and any(series is one for one in choice.taken)
    why = f"{series.error.what}; {series.error.todo}" if series.error is not None else ""
    return row | {"chosen": chosen, "why": choice.reasons[index] if choice is not None else why}


def _row(case: str, error: "MedmtlError | None" = None) -> dict[str, Any]:
    return {
        "case": case,
        "state": "ok" if error is None else "refused",
        "code": None if error is None else str(error.code),
        "series_uid": None,
        "series": None,
        "part": None,
        "part_label": "",
        "series_number": None,
        "description": "",
        "modality": None,
        "images": None,
        "shape": None,
        "affine": None,
        "spacing": None,
        "deviation_mm": None,
        "chosen": False,
        "why": "",
        "notices": [],
    }


def _geometry(grid: Any) -> dict[str, Any]:
    return {"shape": list(grid.shape), "affine": grid.affine.tolist(), "spacing": list(grid.spacing)}


def _notices(notices: "tuple[Notice, ...]") -> list[dict[str, str]]:
    return [{"code": str(notice.code), "text": notice.text} for notice in notices]


def _text(row: dict[str, Any]) -> str:
    shape = "x".join(map(str, row["shape"])) if row["shape"] else "-"
    spacing = " x ".join(f"{value:.4g}" for value in row["spacing"]) + " mm" if row["spacing"] else "-"
    mark = "*" if row["chosen"] else " "
    state = row["state"] + (f" ({row['code']})" if row["code"] else "")
    words = (row["series_number"], row["description"], row["part_label"] and f"({row['part_label']})")
    label = " ".join(str(part) for part in words if part not in (None, ""))
    lines = [f"{mark} {row['case']}  {row['modality'] or '-'}  {shape}  {spacing}  {state}  {_plain(label)}"]
    if row["series"]:
        lines.append(f"    --series {_plain(row['series'])}")
    if row["affine"]:
        affine = "; ".join(" ".join(f"{value:.6g}" for value in line) for line in row["affine"][:3])
        lines.append(f"    affine (LPS mm) {affine}")
    lines.append(f"    {'taken' if row['chosen'] else 'not taken'}: {row['why']}")
    lines += [f"    {notice['code']}: {notice['text']}" for notice in row["notices"]]
    return "\n".join(lines)


def _plain(text: str) -> str:
    """Without control characters, which a header may hold and a terminal would obey."""
    return "".join(char if char.isprintable() else "?" for char in text)
