from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from medmtl.geometry.grid import Grid
from medmtl.task import tasks_from_mapping
from medmtl_training.cases import Case, Dataset
from medmtl_training.cells import CaseLabel
from medmtl_training.shortcuts import CaseLook, Shortcut, shortcut_table

CASES = 60
TWO = {"kind": "classification", "classes": ["well", "ill"]}
THREE = {"kind": "ordinal", "classes": ["none", "some", "much"]}
MANY = {"kind": "multilabel", "classes": ["cyst", "stone"]}


def dataset(
    body: dict[str, object], truths: Sequence[CaseLabel], columns: dict[str, list[str]] | None = None, folds: int = 5
) -> Dataset:
    cases = tuple(
        Case(
            name=f"c{index:02d}",
            patient=f"p{index:02d}",
            fold=(index // 2) % folds if folds else None,
            images=(),
            case_labels={"diagnosis": truth},
            columns={name: cells[index] for name, cells in (columns or {}).items()},
        )
        for index, truth in enumerate(truths)
    )
    return Dataset(
        root=Path(), name="toy", modality="MR", channels=("T1",), tasks=tasks_from_mapping({"diagnosis": body}),
        licence="", citation="", description="", cases=cases,
    )  # fmt: skip


def looks(
    data: Dataset, widths: Sequence[int] | None = None, paddings: Sequence[float] | None = None
) -> dict[str, CaseLook]:
    result = {}
    for index, case in enumerate(data.cases):
        shape = (widths[index] if widths is not None else 40, 40, 9)
        grid = Grid(shape=shape, affine=np.diag([1.5, 1.5, 6.0, 1.0]))
        result[case.name] = CaseLook(grid=grid, padding=paddings[index] if paddings is not None else 0.1)
    return result


def table(rows: Sequence[Shortcut]) -> dict[tuple[str, str], float]:
    return {(row.feature, row.label): row.auc for row in rows}


HALVES = ["ill" if index % 2 else "well" for index in range(CASES)]


@pytest.mark.parametrize("folds", [5, 0])
def test_the_width_that_tells_the_class_is_found_and_nothing_else(folds: int) -> None:
    data = dataset(TWO, HALVES, folds=folds)
    found = shortcut_table(data, looks(data, widths=[50 if truth == "ill" else 40 for truth in HALVES]))
    expected = {(name, "ill"): 1.0 for name in ("matrix", "field of view", "geometry")}
    assert table(found) == expected  # spacing, slices and padding are alike in all cases
    assert all(row.is_clear and row.cases == CASES for row in found)


def test_every_further_column_is_asked_and_noise_is_not_clear() -> None:
    rng = np.random.default_rng(0)
    columns = {
        "age": [str(60 + (8 if truth == "ill" else 0) + rng.normal(0, 8)) for truth in HALVES],
        "site": [rng.choice(["north", "south"]) for _ in HALVES],
        "constant": ["1"] * CASES,
        "empty": [""] * CASES,
        "remark": [f"text {index} of many" for index in range(CASES)],
    }
    data = dataset(TWO, HALVES, columns)
    found = shortcut_table(data, looks(data, paddings=list(rng.uniform(0, 0.4, CASES))))
    assert [row.feature for row in found] == ["padding", "column age", "column site"]
    assert [row.feature for row in found if row.is_clear] == ["column age"]
    # two normal distributions one standard deviation apart
    assert table(found)["column age", "ill"] == pytest.approx(0.76, abs=0.1)


def test_slices_are_counted_along_the_widest_spacing() -> None:
    data = dataset(TWO, HALVES)
    grids = {
        case.name: Grid(shape=(12 if truth == "ill" else 8, 40, 40), affine=np.diag([6.0, 1.5, 1.5, 1.0]))
        for case, truth in zip(data.cases, HALVES, strict=True)
    }
    found = table(shortcut_table(data, {name: CaseLook(grid=grid, padding=0.0) for name, grid in grids.items()}))
    assert found["slices", "ill"] == 1.0


def test_each_of_three_classes_is_told_from_the_rest() -> None:
    truths = [["none", "some", "much"][index % 3] for index in range(CASES)]
    data = dataset(THREE, truths, {"scanner": ["B" if truth == "much" else "A" for truth in truths]})
    found = table(shortcut_table(data, looks(data)))
    assert found["column scanner", "much"] == 1.0
    assert found["column scanner", "none"] == pytest.approx(0.75, abs=0.03)  # half of the rest has the other scanner


def test_classes_that_may_overlap_are_asked_one_by_one() -> None:
    truths: list[CaseLabel] = [
        (("cyst",) if index % 2 else ()) + (("stone",) if index % 5 else ()) for index in range(60)
    ]
    data = dataset(MANY, truths, {"odd": [str(index % 2) for index in range(CASES)]})
    found = table(shortcut_table(data, looks(data)))
    assert found["column odd", "cyst"] == 1.0
    assert found["column odd", "stone"] < 0.6


def test_unknown_truth_and_unreadable_images_are_left_out() -> None:
    truths: list[CaseLabel] = [*HALVES[:50], *[None] * 10]
    data = dataset(TWO, truths, {"age": [str(index % 2) for index in range(CASES)]})
    known = looks(data)
    del known["c00"], known["c01"]
    assert {row.cases for row in shortcut_table(data, known)} == {48}


def test_few_cases_of_a_class_or_of_one_patient_give_no_figure() -> None:
    few = ["ill" if index < 9 else "well" for index in range(CASES)]
    data = dataset(TWO, few, {"age": [str(index) for index in range(CASES)]})
    assert shortcut_table(data, looks(data)) == ()
    none = dataset({"kind": "regression", "unit": "g"}, [float(index) for index in range(CASES)])
    assert shortcut_table(none, looks(none)) == ()


def test_what_chance_reaches_with_few_cases_is_not_clear() -> None:
    def row(auc: float, chance_error: float) -> Shortcut:
        return Shortcut(task="t", label="ill", feature="slices", auc=auc, chance_error=chance_error, cases=20)

    assert row(0.72, 0.05).is_clear
    assert not row(0.69, 0.05).is_clear
    assert not row(0.72, 0.13).is_clear
    assert row(0.72, 0.05).as_json()["class"] == "ill"
