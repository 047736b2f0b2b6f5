import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from medmtl.errors import UsageError
from medmtl.reading.nifti import read_nifti
from medmtl_training.cases import Dataset, read_dataset
from medmtl_training.evaluate_cli import evaluate_command
from medmtl_training.evaluation.altered import ALTERATIONS, altered_images, structures_of

BY_NAME = {alteration.name: alteration for alteration in ALTERATIONS}


def changed(toy: Path, out: Path, name: str) -> tuple[Dataset, dict[str, tuple[Path, ...]]]:
    dataset = read_dataset(toy)[0]
    return dataset, altered_images(dataset, dataset.cases, BY_NAME[name], out)


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("padding blanked", {(24, 22, 6)}),
        ("cropped", {(24, 22, 6)}),
        ("ends dropped", {(24, 22, 4)}),
        ("lesion slices", {(24, 22, 2)}),
    ],
)
def test_every_case_loses_the_same_whatever_its_class(
    toy: Path, tmp_path: Path, name: str, shapes: set[tuple[int, ...]]
) -> None:
    dataset, images = changed(toy, tmp_path / "out", name)
    assert set(images) == {case.name for case in dataset.cases}
    assert {read_nifti(paths[0]).array.shape for paths in images.values()} == shapes


@pytest.mark.parametrize("name", sorted(BY_NAME))
def test_what_is_left_stays_where_it_was(toy: Path, tmp_path: Path, name: str) -> None:
    """Each voxel of the changed image has the value that the plain one has at the same place in the patient."""
    dataset, images = changed(toy, tmp_path / "out", name)
    for case in dataset.cases[:3]:
        plain, now = read_nifti(case.images[0]), read_nifti(images[case.name][0])
        index = np.argwhere(np.ones(now.array.shape, dtype=np.bool_))
        there = np.rint(plain.grid.to_index(now.grid.to_lps(index.astype(np.float64)))).astype(int)
        assert np.array_equal(now.array[tuple(index.T)], plain.array[tuple(there.T)])


def test_padding_gets_the_median(toy: Path, tmp_path: Path) -> None:
    dataset = read_dataset(toy)[0]
    path = dataset.cases[0].images[0]
    volume = read_nifti(path)
    array = volume.array.copy()
    array[:, :4] = -5
    from medmtl.outputs.nifti_map import nifti_bytes

    path.write_bytes(nifti_bytes(array, volume.grid))
    _, images = changed(toy, tmp_path / "out", "padding blanked")
    now = read_nifti(images["c00"][0]).array
    assert np.unique(now[:, :4]).tolist() == [int(np.median(array[:, 4:]))]
    assert np.array_equal(now[:, 4:], array[:, 4:])


def test_cropped_within_the_slice_at_20_mm(toy: Path) -> None:
    case = read_dataset(toy)[0].cases[1]
    found = structures_of(case, read_dataset(toy)[0].tasks)
    assert found is not None
    assert (found.box, found.axis, found.lesions) == (((4, 20), (4, 18), (1, 5)), 2, (2, 4))


def test_a_class_read_from_the_frame_falls(toy: Path, tmp_path: Path) -> None:
    """A classifier that errs on altered images alone is told apart from one that does not care."""

    def predict(model: str, dataset: Dataset, out: Path, images: Mapping[str, tuple[Path, ...]] | None) -> Path:
        for case in dataset.cases:
            ill = case.case_labels["diagnosis"] == "ill" or case.case_labels["diagnosis"] == 1
            wrong = images is not None and read_nifti(images[case.name][0]).array.shape[2] == 2
            p = 0.9 if ill != wrong else 0.1
            body = {"warnings": [], "tasks": {"diagnosis": {"probabilities": {"well": 1 - p, "ill": p}}}}
            (out / case.name).mkdir(parents=True)
            (out / case.name / "findings.json").write_text(json.dumps(body), encoding="utf-8")
        return out

    arguments = ["some-model", str(toy), "-o", str(tmp_path / "out"), "--altered", "--quiet"]
    result = CliRunner().invoke(evaluate_command(predict), arguments, catch_exceptions=False)
    assert "lesion slices (12 cases), diagnosis: AUROC differs by -1.000 (-1.000 to -1.000)" in result.stdout
    assert "cropped (12 cases), diagnosis: AUROC differs by 0.000 (0.000 to 0.000)" in result.stdout
    assert "Asked again on altered images" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    found = json.loads((tmp_path / "out" / "metrics.json").read_text(encoding="utf-8"))["altered"]
    assert found["lesion slices"]["tasks"]["diagnosis"]["auroc"]["verdict"] == "worse"


def test_predictions_cannot_be_asked_again(toy: Path, tmp_path: Path) -> None:
    arguments = [str(toy / "organs"), str(toy), "--task", "organs", "-o", str(tmp_path / "out"), "--altered"]
    with pytest.raises(UsageError, match="--altered"):
        CliRunner().invoke(evaluate_command(), arguments, catch_exceptions=False)
