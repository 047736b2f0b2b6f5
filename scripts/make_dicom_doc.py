"""Writes the table of docs/dicom.md from real runs: what each reader makes of each property of DICOM.

    PYTHONPATH=. .venv/bin/python scripts/make_dicom_doc.py ../shared/dicom

The other readers are those that can be imported; dicom2nifti and dcm2niix are no dependencies of medmtl.
"""

import sys
from pathlib import Path

from scripts.dicom_readers import OTHERS, by_medmtl, images_of, installed, tried, verdict

PAGE = Path(__file__).parent.parent / "docs" / "dicom.md"
START, END = "<!-- readers: start -->", "<!-- readers: end -->"

# property, file, and whether it is a volume at all: where not, refusing it by name is right
ROWS = (
    ("plain axial CT", "ct_axial_28", True),
    ("slice thickness is not the step (3 and 2 mm)", "ct_axial_20_j2k", True),
    ("sagittal MR with gaps", "mr_sag_10", True),
    ("oblique MR", "mr_oblique_4", True),
    ("pixels that are not square", "hostile/nonsquare", True),
    ("gantry tilt 18.5 degrees", "study_ct_phantom/2_tilt_m18p5", True),
    ("gantry tilt 20 degrees", "hostile/tilt20", True),
    ("slices that drift sideways, no tilt tag", "hostile/in_plane_shift", True),
    ("tilt and three different steps", "ct_tilt_varspacing_10", False),
    ("a slice missing", "hostile/missing_slice", False),
    ("two slices missing", "hostile/missing_two", False),
    ("the last slice cut short", "hostile/truncated_last", False),
    ("a slice cut short", "hostile/truncated", False),
    ("a slice twice, equal pixels", "hostile/doubled_slice", True),
    ("two slices at one place, other pixels", "hostile/doubled_slice_differs", False),
    ("the same file twice", "hostile/doubled_file", True),
    ("steps of 5 and 3 mm", "hostile/inconsistent_spacing", False),
    ("steps that jitter by 0.008 mm", "hostile/jitter_spacing", True),
    ("names and numbers shuffled", "hostile/shuffled", True),
    ("normal to the feet", "hostile/normal_minus_z", True),
    ("negative spacing between slices", "hostile/wrong_sbs", True),
    ("two orientations in one series", "mr_multi_orientation_4", True),
    ("orientation turns from slice to slice", "hostile/iop_varies", False),
    ("a localizer in the series", "hostile/localizer_mixed", True),
    ("two series in a folder", "hostile/mixed_series", True),
    ("two patients in one series", "hostile/mixed_patients", False),
    ("two frames of reference in one series", "hostile/two_frames_of_reference", False),
    ("two pixel spacings in one series", "hostile/spacing_differs", False),
    ("two time points in one series", "mr_axial_4d_2vol", True),
    ("two contrast phases in one series", "hostile/two_phases", True),
    ("two echoes, magnitude and phase", "mr_multiecho_6x4", True),
    ("enhanced CT", "enh_ct_2f/eCT_Supplemental.dcm", True),
    ("enhanced MR, two stacks in one file", "enh_mr_philips_64f/IM_0027_fMAP.dcm", True),
    ("enhanced MR, a file per time point", "enh_mr_siemens_4vol", True),
    ("enhanced MR without positions", "enh_mr_10f_variants/emri_small.dcm", False),
    ("Siemens mosaic", "mosaic_siemens_2", False),
    ("colour", "rgb_4", False),
    ("a single slice", "hostile/single_slice", False),
    ("no orientation", "hostile/missing_iop", False),
    ("no position", "hostile/missing_ipp", False),
    ("no position in one slice", "hostile/missing_ipp_one", False),
    ("no pixel spacing", "hostile/missing_pixelspacing", False),
    ("pixel spacing 0", "hostile/zero_pixelspacing", False),
    ("directions of length 2", "hostile/iop_not_unit", False),
    ("directions that are not perpendicular", "hostile/iop_not_orthogonal", False),
    ("another slope in each slice", "hostile/perslice_slope", True),
    ("slope 1, then 40", "hostile/perslice_slope_overflow", True),
    ("slope 1, then 0.25", "hostile/perslice_slope_fraction", True),
    ("MONOCHROME1", "hostile/monochrome1", True),
    ("slope that is no number", "hostile/nan_slope", False),
    ("slope 0", "hostile/zero_slope", False),
    ("slope written 1,0", "hostile/comma_slope", False),
    ("JPEG 2000", "transfer_syntax/j2k", True),
    ("JPEG-LS", "transfer_syntax/jpeg_ls", True),
    ("JPEG lossless", "transfer_syntax/jpeg_lossless", True),
    ("RLE", "transfer_syntax/rle", True),
    ("deflated", "transfer_syntax/deflated", True),
    ("big endian", "transfer_syntax/big_endian", True),
)


def table(root: Path) -> str:
    """The table in Markdown."""
    found = installed()
    heads = ["property", *(f"{name} {number}" for name, number in found.items()), "medmtl"]
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for what, name, volume in ROWS:
        folder = root / name
        images = images_of(folder)
        outcomes = [*(tried(other, folder) for other in OTHERS if other in found), by_medmtl(folder)]
        cells = [verdict(images, outcome, volume=volume) for outcome in outcomes]
        lines.append(f"| {what} (`{name}`) | {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    return "\n".join(lines)


def main() -> None:
    """Run every reader on every row, then put the table into the page."""
    made = table(Path(sys.argv[1]))
    page = PAGE.read_text(encoding="utf-8")
    before, rest = page.split(START)
    _, after = rest.split(END)
    PAGE.write_text(f"{before}{START}\n{made}\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
