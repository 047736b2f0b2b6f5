"""Makes `sample_data/cardiac_lge/` from the development set of cardiac late gadolinium MR.

    .venv/bin/python scripts/make_samples.py --source DATASET

The choice was made before any training: the first case by name of each stratum in fold 0. The voxels and the geometry
are those of the data set; the files are written anew so that they are small and the same every time.
"""

import csv
import io
from pathlib import Path

import click
import nibabel
import numpy as np

from medmtl.geometry.grid import Grid
from medmtl.volume import Volume
from sample_data.dicom_study import StudyText, write_dicom_study
from sample_data.phantoms import write_nifti

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "sample_data" / "cardiac_lge"
FOLD = "0"
STRATA = ("infarction_noreflow", "infarction_only", "normal")
FOLDERS = ("images", "lesions", "organs")
COMMENT = "EMIDEC (doi:10.3390/data5040089), CC BY-NC-SA 4.0, non-commercial; synthetic header, nominal position"


def rows_of(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def chosen_cases(source: Path) -> list[dict[str, str]]:
    """The row of `cases.csv` of the first case by name of each stratum in fold 0."""
    strata = {row["case"]: row["stratum"] for row in rows_of(source / "labels_not_features.csv")}
    in_fold = sorted((row for row in rows_of(source / "cases.csv") if row["fold"] == FOLD), key=lambda row: row["case"])
    return [next(row for row in in_fold if strata[row["case"]] == stratum) for stratum in STRATA]


def lps_grid(image: nibabel.Nifti1Image) -> Grid:
    """The grid of a NIfTI image in LPS."""
    return Grid(shape=image.shape, affine=np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine)


def write_case(source: Path, case: str) -> Volume:
    """Copy image and maps of `case`; returns the image."""
    for folder in FOLDERS:
        image = nibabel.load(source / folder / f"{case}.nii.gz")
        array = np.asarray(image.dataobj).astype(np.int16 if folder == "images" else np.uint8)
        write_nifti(TARGET / folder / f"{case}.nii.gz", array, lps_grid(image))
        if folder == "images":
            volume = Volume(array=array, grid=lps_grid(image), modality="MR", content_hash="")
    return volume


@click.command()
@click.option(
    "--source",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=ROOT.parent / "shared" / "data" / "cardiac_lge_mr",
    help="The data set, with images, lesions, organs, cases.csv and labels_not_features.csv.",
)
def main(source: Path) -> None:
    """Write the three sample cases, and the first of them as a zipped DICOM study too."""
    cases = chosen_cases(source)
    for index, row in enumerate(cases):
        volume = write_case(source, row["case"])
        if index == 0:
            text = StudyText(
                study=f"medmtl sample {row['case']}", description="LGE short axis", body_part="HEART", comment=COMMENT
            )
            write_dicom_study(TARGET / "dicom" / f"{row['case']}.zip", volume, text)
    yaml_text = (source / "dataset.yaml").read_text(encoding="utf-8")
    (TARGET / "dataset.yaml").write_text(
        yaml_text.replace("name: cardiac_lge_mr", "name: cardiac_lge_samples", 1), encoding="utf-8"
    )
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["case", "patient", "fold", "diagnosis"])
    writer.writerows(
        [row["case"], row["case"], row["fold"], row["diagnosis"]] for row in sorted(cases, key=lambda row: row["case"])
    )
    (TARGET / "cases.csv").write_text(table.getvalue(), encoding="utf-8")
    total = sum(path.stat().st_size for path in TARGET.rglob("*") if path.is_file())
    click.echo(f"{len(cases)} cases, {total / 1e6:.2f} MB in {TARGET.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
