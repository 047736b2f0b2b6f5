"""Makes data sets of analytic phantoms with known millilitres.

    python sample_data/phantoms.py hearts -o DIR --cases 12 --seed 1
    python sample_data/phantoms.py abdomen -o DIR --cases 2 --shape 256 256 128 --spacing 1.5 1.5 2.5

Every second case has a lesion. `truth_ml.csv` holds the analytic millilitres beside the voxel counts.
"""

import csv
import gzip
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import nibabel
import numpy as np
import yaml

from medmtl.geometry.grid import Grid
from medmtl.shapes import Shape, Spacing, VoxelArray
from sample_data.abdomen import abdomen
from sample_data.dicom_study import StudyText, write_dicom_study
from sample_data.hearts import heart
from sample_data.solids import Phantom

FOLDER = Path(__file__).resolve().parent
KINDS = ("hearts", "abdomen")
FOLDS = 5


def phantom(
    kind: str, *, seed: int, lesion: bool, shape: Shape | None = None, spacing: Spacing | None = None
) -> Phantom:
    """A phantom of `kind`, "hearts" or "abdomen", with that kind's own grid where none is given."""
    grid: dict[str, Any] = {k: v for k, v in (("shape", shape), ("spacing", spacing)) if v is not None}
    if kind == "hearts":
        return heart(seed=seed, infarction=lesion, **grid)
    return abdomen(seed=seed, lesion=lesion, **grid)


def case_name(kind: str, index: int) -> str:
    """Name of the case at `index` of a data set."""
    return f"{kind.upper()}_{index:03d}"


def phantoms(
    kind: str, *, cases: int, seed: int, shape: Shape | None = None, spacing: Spacing | None = None
) -> Iterator[tuple[str, Phantom]]:
    """Cases of a data set in order, name and phantom; the odd ones have a lesion."""
    for index in range(cases):
        made = phantom(kind, seed=seed * 10_000 + index, lesion=index % 2 == 1, shape=shape, spacing=spacing)
        yield case_name(kind, index), made


def write_nifti(path: Path, array: VoxelArray, grid: Grid) -> None:
    """`array` as NIfTI (RAS affine, mm); the same array gives the same bytes."""
    image = nibabel.Nifti1Image(array, np.diag([-1.0, -1.0, 1.0, 1.0]) @ grid.affine)
    image.set_qform(image.affine, code=1)
    image.set_sform(image.affine, code=1)
    image.header.set_xyzt_units("mm")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(image.to_bytes(), compresslevel=9, mtime=0))


def write_dataset(
    folder: Path,
    kind: str,
    *,
    cases: int,
    seed: int,
    shape: Shape | None = None,
    spacing: Spacing | None = None,
) -> dict[str, dict[str, float]]:
    """A data set that `medmtl train` reads; returns analytic mL by case and "task.label"."""
    folder.mkdir(parents=True, exist_ok=True)
    text = (FOLDER / f"{kind}.yaml").read_text(encoding="utf-8")
    (folder / "dataset.yaml").write_text(text, encoding="utf-8")
    tasks = yaml.safe_load(text)["tasks"]
    rows: list[list[str]] = []
    truth: list[list[str]] = []
    ml: dict[str, dict[str, float]] = {}
    for index, (case, made) in enumerate(phantoms(kind, cases=cases, seed=seed, shape=shape, spacing=spacing)):
        write_nifti(folder / "images" / f"{case}.nii.gz", made.array, made.grid)
        for task, labels in made.maps.items():
            write_nifti(folder / task / f"{case}.nii.gz", labels, made.grid)
        rows.append([case, f"PATIENT_{index:03d}", str(index // 2 % FOLDS), made.diagnosis])
        ml[case] = dict(made.ml)
        for name, analytic in made.ml.items():
            task, label = name.split(".")
            value = next(row["value"] for row in tasks[task]["labels"] if row["name"] == label)
            # a host's own label is complete: lesions are a map of their own
            counted = np.count_nonzero(made.maps[task] == value) * made.grid.voxel_ml
            truth.append([case, task, label, f"{analytic:.4f}", f"{counted:.4f}"])
    _write_csv(folder / "cases.csv", ["case", "patient", "fold", "diagnosis"], rows)
    _write_csv(folder / "truth_ml.csv", ["case", "task", "label", "analytic_ml", "voxel_ml"], truth)
    return ml


def _write_csv(path: Path, header: list[str], rows: list[list[str]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    path.write_text(text.getvalue(), encoding="utf-8")


@click.command()
@click.argument("kind", type=click.Choice(KINDS))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder of the data set.")
@click.option("--cases", type=click.IntRange(1), default=4, show_default=True, help="Number of cases.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Another seed, other cases.")
@click.option("--shape", type=click.IntRange(1), nargs=3, help="Voxels along i, j, k.")
@click.option("--spacing", type=float, nargs=3, help="Millimetres along i, j, k.")
@click.option("--dicom", is_flag=True, help="Write each image as a zipped DICOM study too.")
def main(
    kind: str, output: Path, cases: int, seed: int, shape: Shape | None, spacing: Spacing | None, dicom: bool
) -> None:
    """Write a data set of phantoms, KIND being hearts or abdomen."""
    write_dataset(output, kind, cases=cases, seed=seed, shape=shape or None, spacing=spacing or None)
    if dicom:
        made_cases = phantoms(kind, cases=cases, seed=seed, shape=shape or None, spacing=spacing or None)
        for case, made in made_cases:
            text = StudyText(study=f"{kind} {seed} {case}", description=f"Phantom {kind}", body_part="")
            write_dicom_study(output / "dicom" / f"{case}.zip", made.volume(), text)
    click.echo(f"{cases} cases in {output}")


if __name__ == "__main__":
    main()
