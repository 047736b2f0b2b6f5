"""One case's result folder: all files, or none."""

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medmtl.errors import Code, Notice, OutputError
from medmtl.geometry.upright import is_upright
from medmtl.outputs.channel_parts import ChannelPart, channel_parts
from medmtl.outputs.dicom_source import SourceStudy, dicom_obstacle, with_warning
from medmtl.outputs.files import cannot_write, fsync_folder, json_bytes, write_atomic
from medmtl.outputs.nifti_map import mask_files, probability_files
from medmtl.outputs.numbers import amount, percent
from medmtl.outputs.source_slices import on_source_slices
from medmtl.outputs.structures import Structure, structures_of
from medmtl.outputs.upright_copy import FOLDER as UPRIGHT_FOLDER
from medmtl.outputs.upright_copy import upright_copy, upright_files
from medmtl.result import CaseResult

if TYPE_CHECKING:
    from medmtl.outputs.picture import KeyPictures

FORMATS = frozenset({"nii", "json", "html", "png", "seg", "sr", "rtstruct", "sc", "pdf", "csv", "prob"})
"""What can be asked for. `csv` is the run's `summary.csv`, written by `collect`; `sr` brings the SEG it refers to."""

# `pdf` is not among them: without DICOM it is a plain file
DICOM_FORMATS = frozenset({"seg", "sr", "rtstruct", "sc"})
"""Those of `FORMATS` that are written for DICOM input alone."""
DEFAULT_FORMATS = frozenset({"nii", "json", "csv", "html", "png", "seg", "sr"})
"""What one study is written as where nothing is asked for."""

_UPRIGHT = "The folder upright holds the same structures on upright voxels, for readers that know no shear"

_Made = tuple[str, bytes, Callable[[], None]]
"""File name, content, and what reads it back and refuses it where it differs."""

_OF_STRUCTURES = frozenset({"seg", "sr", "rtstruct"})


def write_case(
    result: CaseResult,
    out_dir: Path,
    formats: frozenset[str],
    finish: Callable[[Path, dict[str, Any]], list[str]] | None = None,
) -> list[str]:
    """Write `out_dir/CASE/` and give its files, relative to `out_dir`, sorted.

    The folder is filled under a hidden name and renamed when everything in it is on disk and was checked, so a killed
    run leaves the former folder or the new one. The same result gives the same bytes. Where a DICOM study cannot carry
    DICOM outputs, `findings.json` holds the warning `no-dicom-output` and the other files are written.

    Args:
        result: the case.
        out_dir: folder of the run; made where it does not stand.
        formats: some of `FORMATS`.
        finish: called with the filled folder and the findings before its final name appears; adds files, gives their
            names, and refuses by raising.

    Raises:
        OutputError: `cannot-write`; `output-check-failed` where a DICOM object does not read back as the masks.
    """
    if not result.case or result.case.startswith(".") or Path(result.case).name != result.case or "\\" in result.case:
        raise OutputError(Code.CANNOT_WRITE, "the case's name is no folder name", "choose another --name-by")
    unfinished = out_dir / f".{result.case}.{os.getpid()}.partial"
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
        if unfinished.exists():
            shutil.rmtree(unfinished)
        unfinished.mkdir()
        names = []
        for name, data in _files(result, formats):
            write_atomic(unfinished / name, data)
            names.append(f"{result.case}/{name}")
        if finish is not None:
            names += [f"{result.case}/{name}" for name in finish(unfinished, result.findings)]
        for folder in {unfinished, *(path for path in unfinished.rglob("*") if path.is_dir())}:
            fsync_folder(folder)
        _swap(unfinished, out_dir / result.case)
        fsync_folder(out_dir)
    except OSError as error:
        raise cannot_write(error) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return sorted(names)


def _swap(new: Path, final: Path) -> None:
    if not final.exists():
        new.rename(final)
        return
    former = final.with_name(f".{final.name}.{os.getpid()}.former")
    final.rename(former)
    new.rename(final)
    shutil.rmtree(former)


def _files(result: CaseResult, formats: frozenset[str]) -> Iterator[tuple[str, bytes]]:
    pictures = None
    if formats & {"html", "png", "pdf"} or ("sc" in formats and result.volume.dicom is not None):
        from medmtl.outputs.picture import key_pictures  # slow to import

        pictures = key_pictures(result)
    if formats & DICOM_FORMATS and result.volume.dicom is not None:
        objects, notice = _dicom(result, formats, pictures)
        yield from objects
        if notice is not None:
            result = with_warning(result, notice)
    moved = upright_copy(result)
    if formats & {"nii", "seg"} and not is_upright(result.volume.grid):
        result = _with_upright_notice(result)
    if "json" in formats:
        yield "findings.json", json_bytes(result.findings)
    if "nii" in formats:
        yield from mask_files(result)
        yield from upright_files(moved) if moved is not None else ()
    if "prob" in formats:
        yield from probability_files(result)
    if pictures is not None:
        yield from _pages(result, formats, pictures)
        if "pdf" in formats:
            yield _report(result, pictures)


def _with_upright_notice(result: CaseResult) -> CaseResult:
    """Added to the warning that reading gave of the tilt, so that one stands there; NIfTI input had none."""
    rows = result.findings.get("warnings", [])
    told = [{**row, "text": f"{row['text']}. {_UPRIGHT}"} if row["code"] == Code.TILTED else row for row in rows]
    if told == rows:
        return with_warning(result, Notice(code=Code.TILTED, text=f"the slices are tilted. {_UPRIGHT}"))
    return replace(result, findings={**result.findings, "warnings": told})


def _report(result: CaseResult, pictures: "KeyPictures") -> tuple[str, bytes]:
    """The PDF report: as a DICOM object where the study can carry one, else as it is."""
    from medmtl.outputs.files import plain
    from medmtl.outputs.report_pdf import report_pdf

    pdf = report_pdf(plain(result.findings), pictures)
    if result.volume.dicom is None or dicom_obstacle(result.volume) is not None:
        return "report.pdf", pdf
    from pydicom.errors import InvalidDicomError

    from medmtl.outputs.dicom_check import part10_bytes
    from medmtl.outputs.dicom_pdf import check_document, encapsulated_pdf
    from medmtl.outputs.dicom_source import read_source

    try:
        data = part10_bytes(encapsulated_pdf(result, read_source(result), pdf))
    except (AttributeError, InvalidDicomError, KeyError, OSError, TypeError, ValueError):
        return "report.pdf", pdf  # findings.json says why there are no DICOM objects
    check_document(data, pdf)
    return "report.dcm", data


def _dicom(
    result: CaseResult, formats: frozenset[str], pictures: "KeyPictures | None"
) -> tuple[list[tuple[str, bytes]], Notice | None]:
    """The DICOM objects, read back and compared, or the reason why there are none."""
    parts = channel_parts(result)
    obstacle = next((found for part in parts if (found := dicom_obstacle(part.result.volume)) is not None), None)
    structures = [structures_of(on_source_slices(part.result)) for part in parts]
    wanted = formats & _OF_STRUCTURES
    if obstacle is None and wanted and not any(structures):
        text = "No structure was found, so there is nothing for SEG, SR and RTSTRUCT to refer to."
        obstacle = Notice(code=Code.NO_DICOM_OUTPUT, text=text)
        formats -= wanted
    elif obstacle is not None:
        formats = frozenset()
    # slow to import, and NIfTI runs never need them
    from pydicom.errors import InvalidDicomError

    from medmtl.outputs.dicom_source import read_source

    made: list[_Made] = []
    try:
        if formats & DICOM_FORMATS:
            source = read_source(result)
            made += _structure_objects(result, list(zip(parts, structures, strict=True)), formats)
            made += _captures(result, source, pictures if "sc" in formats else None)
    except (AttributeError, InvalidDicomError, KeyError, OSError, TypeError, ValueError) as error:
        text = f"The source series cannot carry DICOM outputs: {type(error).__name__} from its headers."
        return [], Notice(code=Code.NO_DICOM_OUTPUT, text=text)
    for _, _, check in made:
        check()
    return [(name, data) for name, data, _ in made], obstacle


def _structure_objects(
    result: CaseResult, parts: list[tuple[ChannelPart, tuple[Structure, ...]]], formats: frozenset[str]
) -> Iterator[_Made]:
    """Per channel that tasks are drawn on a SEG and an RTSTRUCT, and one SR that refers to all of them."""
    from medmtl.outputs.dicom_check import check_report, part10_bytes
    from medmtl.outputs.dicom_source import read_source
    from medmtl.outputs.dicom_sr import Segmented, expected_numbers, report

    drawn: list[Segmented] = []
    for part, structures in parts:
        if structures:
            source = read_source(part.result)
            seg, objects = _objects_of_part(part, source, structures, formats)
            yield from objects
            drawn += [Segmented(source=source, seg=seg, segments=structures)] if seg is not None else []
    if "sr" in formats and drawn:
        first, *further = drawn
        data = part10_bytes(report(result, first.source, first.seg, first.segments, further))
        structures = tuple(structure for one in drawn for structure in one.segments)
        yield "sr.dcm", data, partial(check_report, data, expected_numbers(result, structures))


def _objects_of_part(
    part: ChannelPart, source: SourceStudy, structures: tuple[Structure, ...], formats: frozenset[str]
) -> tuple[Any, list[_Made]]:
    """The SEG of one channel, None where neither it nor a report is asked for, and all of the channel's files."""
    from medmtl.outputs.dicom_check import check_segmentation, part10_bytes
    from medmtl.outputs.dicom_rtstruct import check_structure_set, structure_set
    from medmtl.outputs.dicom_seg import segmentation

    made: list[_Made] = []
    seg = None
    if "seg" in formats and (moved := upright_copy(part.result)) is not None:
        copies = structures_of(moved)
        if copies:
            data = part10_bytes(segmentation(moved, source, copies, upright=True, channel=part.channel))
            check = partial(check_segmentation, data, copies, moved.volume.grid)
            made.append((part.file(f"{UPRIGHT_FOLDER}/seg.dcm"), data, check))
    result = on_source_slices(part.result)
    grid = result.volume.grid
    if formats & {"seg", "sr"}:
        seg = segmentation(result, source, structures, channel=part.channel)
        data = part10_bytes(seg)
        made.append((part.file("seg.dcm"), data, partial(check_segmentation, data, structures, grid)))
    if "rtstruct" in formats:
        data = part10_bytes(structure_set(result, source, structures))
        made.append((part.file("rtstruct.dcm"), data, partial(check_structure_set, data, structures, grid)))
    return seg, made


def _captures(result: CaseResult, source: SourceStudy, pictures: "KeyPictures | None") -> Iterator[_Made]:
    if pictures is None:
        return
    from medmtl.outputs.dicom_check import part10_bytes
    from medmtl.outputs.dicom_sc import check_capture, secondary_captures

    allowed = result.findings["allowed"]
    passed = [f"guards passed on request: {', '.join(allowed)}"] if allowed else []
    lines = ("; ".join(_said(result)), *passed, f"medmtl, model {_made_by(result)}")
    for number, (capture, pixels) in enumerate(secondary_captures(result, source, pictures, lines), start=1):
        data = part10_bytes(capture)
        yield f"sc/{number:02d}.dcm", data, partial(check_capture, data, pixels)


def _pages(result: CaseResult, formats: frozenset[str], pictures: "KeyPictures") -> Iterator[tuple[str, bytes]]:
    from medmtl.outputs.files import plain
    from medmtl.outputs.picture import preview_png
    from medmtl.outputs.report_html import report_html

    if "html" in formats:
        yield "report.html", report_html(plain(result.findings), pictures).encode()
    if "png" in formats:
        yield "preview.png", preview_png(pictures, _caption(result))


def _caption(result: CaseResult) -> tuple[str, ...]:
    lines = (f"{result.case}   {'   '.join(_said(result))}", f"RESEARCH USE ONLY   medmtl   {_made_by(result)}")
    return tuple(line.encode("ascii", "replace").decode("ascii") for line in lines)


def _said(result: CaseResult) -> list[str]:
    findings = result.findings
    said = []
    if findings["lesions"] is not None:
        totals = findings["lesions"]["totals"]
        said.append(f"lesions {totals['count']}, {amount(totals['ml'], 'mL')}")
    if findings["diagnosis"] is not None:
        found = findings["diagnosis"]
        said.append(f"{found['title'].get('en', found['class'])} {percent(found['probabilities'][found['class']])}")
    said.append(f"trust {findings['trust']['level']}")
    return said


def _made_by(result: CaseResult) -> str:
    model = result.findings["model"]
    terms = [t for t, told in (("non-commercial", "non_commercial"), ("synthetic", "synthetic")) if model[told]]
    return ", ".join([f"{model['name']} {model['version']}", *terms])
