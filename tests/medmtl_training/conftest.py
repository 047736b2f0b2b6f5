"""Small data sets on disk with known truth."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from medmtl.geometry.grid import Grid
from medmtl.outputs.nifti_map import nifti_bytes

SPACING = (1.5, 1.5, 6.0)

HEAD = {
    "name": "toy",
    "modality": "MR",
    "channels": ["T1"],
    "tasks": {
        "lesions": {
            "kind": "segmentation",
            "labels": [{"name": "core", "category": "lesion"}, {"name": "rim", "category": "lesion"}],
        },
        "organs": {"kind": "segmentation", "labels": [{"name": "body", "category": "organ"}]},
        "diagnosis": {"kind": "classification", "classes": ["well", "ill"]},
    },
    "licence": "none",
    "citation": "nobody",
}


def write_nifti(path: Path, array: Any, spacing: tuple[float, float, float] = SPACING) -> Path:
    """`array` at `path`, axes along LPS."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(nifti_bytes(array, Grid(shape=array.shape, affine=np.diag([*spacing, 1.0]))))
    return path


@dataclass
class DatasetWriter:
    """A data set folder that a test fills and then writes."""

    root: Path
    head: dict[str, Any] = field(default_factory=lambda: {**HEAD})
    rows: list[dict[str, str]] = field(default_factory=list)
    shape: tuple[int, int, int] = (24, 22, 6)

    def add(self, row: Mapping[str, str], labels: Mapping[str, Any], image: Any = None) -> None:
        """A case: its row of cases.csv, task to label map, its image (noise, where none is given)."""
        name = row["case"]
        if image is None:
            noise = np.random.default_rng(len(self.rows)).normal(100, 10, self.shape)
            image = noise.astype(np.int16)
        write_nifti(self.root / "images" / f"{name}.nii.gz", image)
        for task, array in labels.items():
            write_nifti(self.root / task / f"{name}.nii.gz", array.astype(np.uint8))
        self.rows.append(dict(row))

    def write(self) -> Path:
        """dataset.yaml and cases.csv."""
        self.root.mkdir(parents=True, exist_ok=True)
        (self.root / "dataset.yaml").write_text(yaml.safe_dump(self.head, sort_keys=False), encoding="utf-8")
        columns = list(dict.fromkeys(column for row in self.rows for column in row))
        lines = [",".join(columns), *(",".join(row.get(column, "") for column in columns) for row in self.rows)]
        (self.root / "cases.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return self.root


@pytest.fixture
def dataset_writer(tmp_path: Path) -> DatasetWriter:
    """An empty data set in a folder of its own."""
    return DatasetWriter(root=tmp_path / "toy")


@pytest.fixture
def toy(dataset_writer: DatasetWriter) -> Path:
    """Twelve cases in three folds: a box as organ in all; a lesion of 4 x 4 x 2 voxels in the ill half."""
    for index in range(12):
        ill = index % 2 == 1
        organ = np.zeros(dataset_writer.shape, dtype=np.uint8)
        organ[4:20, 4:18, 1:5] = 1
        lesion = np.zeros_like(organ)
        if ill:
            lesion[8:12, 8:12, 2:4] = 1
            lesion[12:14, 8:12, 2:4] = 2
        row = {
            "case": f"c{index:02d}",
            "patient": f"p{index:02d}",
            "fold": str(index // 4),
            "diagnosis": "ill" if ill else "well",
            "age": str(40 + 3 * index),
            "sex": "F" if index % 3 else "M",
        }
        dataset_writer.add(row, {"lesions": lesion, "organs": organ})
    return dataset_writer.write()


@pytest.fixture
def nifti_writer() -> Callable[..., Path]:
    """Writes an array as NIfTI with the spacing of the toy data set."""
    return write_nifti
