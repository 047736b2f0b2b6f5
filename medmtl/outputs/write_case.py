"""One case's result folder: all files, or none."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from medmtl.errors import Code, Notice, OutputError
from medmtl.outputs.dicom_source import dicom_obstacle, with_warning
from medmtl.outputs.files import cannot_write, fsync_folder, json_bytes, write_atomic
from medmtl.outputs.nifti_map import mask_files, probability_files
from medmtl.outputs.numbers import amount, percent
from medmtl.outputs.structures import structures_of
from medmtl.result import CaseResult

FORMATS = frozenset({"nii", "json", "html", "png", "seg", "sr", "csv", "prob"})
"""What can be asked for. `csv` is the run's `summary.csv`, written by `collect`; `sr` brings the SEG it refers to."""


def write_case(result: CaseResult, out_dir: Path, formats: frozenset[str]) -> list[str]:
    """Write `out_dir/CASE/` and give its files, relative to `out_dir`, sorted.

    The folder is filled under a hidden name and renamed when everything in it is on disk and was checked, so a killed
    run leaves the former folder or the new one. The same result gives the same bytes. Where a DICOM study cannot carry
    DICOM outputs, `findings.json` holds the warning `no-dicom-output` and the other files are written.

    Args:
        result: the case.
        out_dir: folder of the run; made where it does not stand.
        formats: some of `FORMATS`.

    Raises:
        OutputError: `cannot-write`; `output-check-failed` where a DICOM object does not read back as the masks.
    """
    if not result.case or result.case.startswith(".") or Path(result.case).name != result.case or "\\" in result.case:
        raise OutputError(Code.CANNOT_WRITE, "the case's name is no folder name", "choose another --name-by")
    partial = out_dir / f".{result.case}.{os.getpid()}.partial"
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
        if partial.exists():
            shutil.rmtree(partial)
        partial.mkdir()
        names = []
        for name, data in _files(result, formats):
            write_atomic(partial / name, data)
            names.append(f"{result.case}/{name}")
        for folder in {partial, *(path for path in partial.rglob("*") if path.is_dir())}:
            fsync_folder(folder)
        _swap(partial, out_dir / result.case)
        fsync_folder(out_dir)
    except OSError as error:
        raise cannot_write(error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
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
    if formats & {"seg", "sr"} and result.volume.dicom is not None:
        objects, notice = _dicom(result, formats)
        yield from objects
        if notice is not None:
            result = with_warning(result, notice)
    if "json" in formats:
        yield "findings.json", json_bytes(result.findings)
    if "nii" in formats:
        yield from mask_files(result)
    if "prob" in formats:
        yield from probability_files(result)
    if formats & {"html", "png"}:
        yield from _pages(result, formats)


def _dicom(result: CaseResult, formats: frozenset[str]) -> tuple[list[tuple[str, bytes]], Notice | None]:
    """SEG and SR, read back and compared, or the reason why there are none."""
    obstacle = dicom_obstacle(result.volume)
    structures = structures_of(result)
    if obstacle is None and not structures:
        text = "No structure was found, so there is nothing for SEG and SR to refer to."
        obstacle = Notice(code=Code.NO_DICOM_OUTPUT, text=text)
    if obstacle is not None:
        return [], obstacle
    # slow to import, and NIfTI runs never need them
    from pydicom.errors import InvalidDicomError

    from medmtl.outputs.dicom_check import check_report, check_segmentation, part10_bytes
    from medmtl.outputs.dicom_seg import segmentation
    from medmtl.outputs.dicom_source import read_source
    from medmtl.outputs.dicom_sr import expected_numbers, report

    try:
        source = read_source(result)
        seg = segmentation(result, source, structures)
        seg_data = part10_bytes(seg)
        sr = report(result, source, seg, structures) if "sr" in formats else None
        sr_data = None if sr is None else part10_bytes(sr)
    except (AttributeError, InvalidDicomError, KeyError, OSError, TypeError, ValueError) as error:
        text = f"The source series cannot carry DICOM outputs: {type(error).__name__} from its headers."
        return [], Notice(code=Code.NO_DICOM_OUTPUT, text=text)
    check_segmentation(seg_data, structures, result.volume.grid)
    objects = [("seg.dcm", seg_data)]
    if sr_data is not None:
        check_report(sr_data, expected_numbers(result, structures))
        objects.append(("sr.dcm", sr_data))
    return objects, None


def _pages(result: CaseResult, formats: frozenset[str]) -> Iterator[tuple[str, bytes]]:
    from medmtl.outputs.files import plain
    from medmtl.outputs.picture import key_pictures, preview_png
    from medmtl.outputs.report_html import report_html

    pictures = key_pictures(result)
    if "html" in formats:
        yield "report.html", report_html(plain(result.findings), pictures).encode()
    if "png" in formats:
        yield "preview.png", preview_png(pictures, _caption(result))


def _caption(result: CaseResult) -> tuple[str, ...]:
    findings = result.findings
    said = []
    if findings["lesions"] is not None:
        totals = findings["lesions"]["totals"]
        said.append(f"lesions {totals['count']}, {amount(totals['ml'], 'mL')}")
    if findings["diagnosis"] is not None:
        found = findings["diagnosis"]
        said.append(f"{found['title'].get('en', found['class'])} {percent(found['probabilities'][found['class']])}")
    said.append(f"trust {findings['trust']['level']}")
    model = f"{findings['model']['name']} {findings['model']['version']}"
    terms = [
        t for t, told in (("non-commercial", "non_commercial"), ("synthetic", "synthetic")) if findings["model"][told]
    ]
    lines = (f"{result.case}   {'   '.join(said)}", f"RESEARCH USE ONLY   medmtl   {', '.join([model, *terms])}")
    return tuple(line.encode("ascii", "replace").decode("ascii") for line in lines)
