import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from medmtl.errors import Code, GuardError, Notice, UsageError
from medmtl.findings.calibration import Calibration, ClassCalibration, LesionCalibration, VolumeCalibration
from medmtl.outputs.files import json_bytes, plain
from medmtl.pipeline.diagnose import Request, diagnose
from medmtl.pipeline.model import Model, load_model
from medmtl.result import CaseResult
from medmtl.volume import Volume
from tests.tiny import ROOT, heart_volume, write_bundle

Oracle = Callable[..., Model]
Planted = Callable[..., Volume]
ML = 0.768  # of a voxel
WALL_BOX = (slice(6, 8), slice(6, 14), slice(1, 3))  # 32 voxels of the wall
SCHEMA = json.loads((ROOT / "medmtl" / "outputs" / "findings.schema.json").read_text(encoding="utf-8"))


def answer(model: Model, volume: Volume, *tasks: str, **more: Any) -> CaseResult:
    return diagnose("case", (volume,), model, Request(tasks=tasks or None, **more))


def failed(result: CaseResult) -> set[str]:
    return {check["name"] for check in result.findings["checks"] if not check["ok"]}


def test_every_number_of_a_planted_heart(oracle: Oracle, planted: Planted) -> None:
    volume = planted(infarct=WALL_BOX, core=(slice(6, 7), slice(8, 10), slice(1, 2)))
    result = answer(oracle(), volume)
    found = result.findings
    assert np.array_equal(result.masks["lesions"] > 0, volume.array >= 3)
    organs = {row["name"]: row for row in found["organs"]}
    assert organs["lv_cavity"]["ml"] == pytest.approx(64 * ML)
    assert organs["myocardium"]["ml"] == pytest.approx(192 * ML)
    assert organs["myocardium"]["g"] == pytest.approx(1.05 * 192 * ML, abs=1e-3)
    assert organs["lv_cavity"]["g"] is None
    assert found["lesions"]["totals"] == {
        "count": 1, "ml": pytest.approx(32 * ML), "ml_interval": None, "host": "organs.myocardium",
        "percent_of_host": pytest.approx(100 * 32 / 192, abs=1e-3), "confidence_calibrated": False,
    }  # fmt: skip
    (lesion,) = found["lesions"]["items"]
    assert lesion["ml_by_label"] == {"infarct": pytest.approx(30 * ML), "no_reflow": pytest.approx(2 * ML)}
    assert lesion["slice_range"] == [1, 2]
    assert lesion["inside_host"] == 1.0
    assert lesion["centroid_lps_mm"] == pytest.approx([6.5 * 8 - 80, 9.5 * 8 - 70, 1.5 * 12 + 12])
    # 2 x 8 pixels of 8 mm: from edge to edge, measured between the middles of the outer edges
    assert lesion["long_axis_mm"] == pytest.approx(np.hypot(64, 8), abs=0.1)
    derived = {row["name"]: row["value"] for task in found["tasks"].values() for row in task["derived"]}
    assert derived == {
        "infarct_percent_of_myocardium": pytest.approx(100 * 32 / 192, abs=1e-3),
        "myocardial_mass": pytest.approx(1.05 * 192 * ML, abs=1e-3),
    }
    assert found["tasks"]["organs"]["values"]["lv_cavity"]["mean"] == 1.0


def test_all_kinds_are_reported_and_the_file_is_what_the_schema_says(oracle: Oracle, planted: Planted) -> None:
    found = answer(oracle(), planted(infarct=WALL_BOX)).findings
    jsonschema.validate(plain(found), SCHEMA)
    values = {name: task["values"] for name, task in found["tasks"].items()}
    assert values["tissue"] == {"value": pytest.approx(24 * 20 * 6 * ML, rel=1e-3), "unit": "mL"}
    assert values["signs"]["present"] == ["effusion"]
    assert values["grade"]["class"] == "middle"
    assert values["parts"]["any"]["voxels"] == 256
    assert values["parts"]["wall"]["voxels"] == 192
    assert found["diagnosis"]["class"] == "infarction"
    gain = found["diagnosis"]["probabilities"]["infarction"] - 0.5
    assert found["diagnosis"]["influence"] == [
        {"structure": "organs.myocardium", "change": pytest.approx(gain, abs=1e-4)}
    ]
    assert sum(found["diagnosis"]["probabilities"].values()) == pytest.approx(1.0)
    assert found["trust"] == {"level": "green", "reasons": []}
    assert found["research_use_only"] is True


def test_calibration_divides_the_logits(oracle: Oracle, planted: Planted) -> None:
    known = ClassCalibration(temperature=2.0, threshold=0.1, cases=40)
    calibration = Calibration(
        classes={"diagnosis": known},
        volumes={"organs.myocardium": VolumeCalibration(low=-0.1, high=0.2, cases=40)},
        lesions={"lesions": LesionCalibration(constant=-1.0, log_odds=0.0, log_ml=0.0, lesions=40)},
    )
    found = answer(oracle(calibration=calibration), planted(infarct=WALL_BOX)).findings
    jsonschema.validate(plain(found), SCHEMA)
    assert found["diagnosis"]["probabilities"]["infarction"] == pytest.approx(1 / (1 + np.exp(-2.0)), abs=1e-4)
    assert found["diagnosis"]["calibrated"] is True
    assert found["diagnosis"]["prediction_set"] == ["normal", "infarction"]  # 0.12 and 0.88
    muscle = found["tasks"]["organs"]["values"]["myocardium"]
    low, high = muscle["ml_interval"]
    assert low == pytest.approx((muscle["ml"] + 0.5) * np.exp(-0.1) - 0.5, abs=1e-3)
    assert low < muscle["ml"] < high
    assert found["organs"][1]["ml_interval"] == [low, high]
    assert found["lesions"]["totals"]["ml_interval"] is None
    assert found["lesions"]["totals"]["confidence_calibrated"] is True
    assert found["lesions"]["items"][0]["confidence"] == pytest.approx(1 / (1 + np.e), abs=1e-4)


@pytest.mark.parametrize(
    ("lesion", "logits", "names", "level"),
    [
        ({"infarct": WALL_BOX}, (0.0, 4.0), set(), "green"),
        ({}, (4.0, 0.0), set(), "green"),
        ({}, (0.0, 4.0), {"class-against-burden"}, "red"),
        ({"infarct": WALL_BOX}, (4.0, 0.0), {"class-against-burden"}, "red"),
        ({"in_cavity": (slice(9, 11), slice(9, 11), slice(2, 4))}, (0.0, 4.0), {"lesion-outside-host"}, "amber"),
        ({"infarct": WALL_BOX}, (0.0, 0.5), set(), "amber"),
    ],
)
def test_answers_are_held_against_each_other(
    oracle: Oracle, planted: Planted, lesion: dict[str, Any], logits: tuple[float, float], names: set[str], level: str
) -> None:
    result = answer(oracle(logits), planted(**lesion))
    assert failed(result) == names
    assert result.findings["trust"]["level"] == level
    assert bool(result.findings["trust"]["reasons"]) == (level != "green")
    jsonschema.validate(plain(result.findings), SCHEMA)


def test_an_organ_that_is_not_found_is_said(oracle: Oracle, planted: Planted) -> None:
    volume = planted()
    nothing = replace(volume, array=np.where(volume.array == 1, 0, volume.array))
    result = answer(oracle((4.0, 0.0)), nothing)
    assert failed(result) == {"empty-organ"}
    assert result.findings["trust"]["level"] == "amber"
    assert "ventricular cavity" in result.findings["trust"]["reasons"][0]["en"]


def test_what_lies_far_from_the_organs_is_no_lesion_of_theirs(oracle: Oracle, planted: Planted) -> None:
    result = answer(oracle((4.0, 0.0)), planted(stray=(slice(18, 22), slice(1, 4), slice(2, 4))))
    assert result.findings["lesions"]["totals"]["count"] == 0
    assert not result.masks["lesions"].any()


def test_small_lesions_are_not_reported(oracle: Oracle, planted: Planted) -> None:
    volume = planted(infarct=(slice(6, 7), slice(6, 7), slice(1, 2)))
    plan = oracle().bundle.plan
    for minimum, count in ((ML, 1), (ML + 0.01, 0)):
        found = answer(oracle(plan=replace(plan, minimum_lesion_ml=minimum)), volume).findings
        assert found["lesions"]["totals"]["count"] == count


def test_only_the_largest_piece_where_the_plan_says_so(oracle: Oracle, planted: Planted) -> None:
    volume = planted()
    array = volume.array.copy()
    array[20:22, 16:18, 2] = 1
    plan = replace(oracle().bundle.plan, keep_largest=("organs", "parts"))
    result = answer(oracle(plan=plan), replace(volume, array=array))
    assert result.findings["tasks"]["organs"]["values"]["lv_cavity"]["voxels"] == 64
    assert (
        answer(oracle(), replace(volume, array=array)).findings["tasks"]["organs"]["values"]["lv_cavity"]["voxels"]
        == 68
    )
    assert not result.masks["parts"][0, 20, 16, 2]
    assert result.masks["parts"][0, 6, 6, 1]


def test_the_edge_of_the_scan_is_told_within_the_slice_only_whichever_axis_slices_lie_on(
    oracle: Oracle, planted: Planted
) -> None:
    volume = planted()
    array = volume.array.copy()
    array[:, :, [0, 5]] = array[:, :, [1, 1]]  # up to the ends of the stack
    for axes in ((0, 1, 2), (2, 0, 1)):
        affine = volume.grid.affine.copy()
        affine[:3, :3] = affine[:3, :3][:, list(axes)]
        for shift, cut in ((0, False), (-6, True)):
            moved = np.roll(array, shift, axis=0).transpose(axes)
            grid = replace(volume.grid, shape=moved.shape, affine=affine)
            result = answer(oracle((4.0, 0.0)), replace(volume, array=moved, grid=grid))
            rows = {row["name"]: row["truncated"] for row in result.findings["organs"]}
            assert rows == {"lv_cavity": False, "myocardium": cut}
            assert result.findings["tasks"]["organs"]["values"]["myocardium"]["truncated"] == cut


@pytest.mark.parametrize("asked", [("lesions",), ("organs",), ("diagnosis",), ("diagnosis", "lesions")])
def test_asked_tasks_only_and_their_answers_stay_the_same(
    oracle: Oracle, planted: Planted, asked: tuple[str, ...]
) -> None:
    volume = planted(infarct=WALL_BOX)
    whole, part = answer(oracle(), volume), answer(oracle(), volume, *asked)
    assert set(part.findings["tasks"]) == set(asked)
    for name in asked:
        assert part.findings["tasks"][name] == whole.findings["tasks"][name]
        assert part.findings[name] == whole.findings[name]
        if name != "diagnosis":
            assert np.array_equal(part.masks[name], whole.masks[name])
    for name in {"lesions", "diagnosis"} - set(asked):
        assert part.findings[name] is None
    assert {row["task"] for row in part.findings["organs"]} == ({"organs"} if "organs" in asked else set())
    assert set(part.masks) == set(asked) - {"diagnosis"}
    jsonschema.validate(plain(part.findings), SCHEMA)


def test_a_derived_value_of_a_task_that_was_not_asked_has_no_value(oracle: Oracle, planted: Planted) -> None:
    tasks = tuple(replace(task, inside=None) for task in oracle().bundle.tasks)
    part = answer(oracle(tasks=tasks), planted(infarct=WALL_BOX), "lesions")
    assert [row["value"] for row in part.findings["tasks"]["lesions"]["derived"]] == [None]


def test_probabilities_only_where_they_are_wanted(oracle: Oracle, planted: Planted) -> None:
    assert answer(oracle(), planted()).probabilities == {}
    kept = answer(oracle(), planted(), "organs", keep_probabilities=True).probabilities
    assert {name: p.shape for name, p in kept.items()} == {"organs": (3, 24, 20, 6)}


def test_guards(oracle: Oracle, planted: Planted) -> None:
    ct = planted("CT")
    with pytest.raises(GuardError) as caught:
        answer(oracle(), ct)
    assert caught.value.code is Code.MODALITY_MISMATCH
    assert "CT" in caught.value.what
    assert "tiny" in caught.value.what
    with pytest.raises(GuardError):
        answer(oracle(), ct, allowed=("field-of-view",))
    passed = answer(oracle(), ct, allowed=("modality-mismatch",)).findings
    assert passed["allowed"] == ["modality-mismatch"]
    assert passed["trust"]["level"] == "red"
    assert [warning["code"] for warning in passed["warnings"]] == ["modality-mismatch"]
    jsonschema.validate(plain(passed), SCHEMA)
    # a permission that was not needed is not told as one that was used
    assert answer(oracle(), planted(), allowed=("modality-mismatch",)).findings["allowed"] == []


@pytest.mark.parametrize(("factor", "refused"), [(1.0, False), (3.0, True), (0.05, True)])
def test_a_foreign_field_of_view_is_refused(oracle: Oracle, planted: Planted, factor: float, refused: bool) -> None:
    volume = planted()
    affine = volume.grid.affine.copy()
    affine[:3, :3] *= factor
    volume = replace(volume, grid=replace(volume.grid, affine=affine))
    if not refused:
        answer(oracle(), volume)
        return
    with pytest.raises(GuardError) as caught:
        answer(oracle(), volume)
    assert caught.value.code is Code.FIELD_OF_VIEW
    assert answer(oracle(), volume, allowed=("field-of-view",)).findings["trust"]["level"] == "red"


def test_warnings_of_reading_travel_into_the_findings(oracle: Oracle, planted: Planted) -> None:
    note = Notice(code=Code.NO_RESCALE, text="no rescale was stated")
    result = answer(
        oracle((4.0, 0.0)), replace(planted(), notices=(note,)), notices=(replace(note, code=Code.SERIES_CHOSEN),)
    )
    assert {row["code"] for row in result.findings["warnings"]} == {"no-rescale", "series-chosen"}
    assert result.findings["trust"]["level"] == "amber"


@pytest.mark.parametrize(("code", "level"), [(Code.SUPERSEDES, "green"), (Code.SLICES_UNVERIFIED, "amber")])
def test_notices_that_only_inform_lower_no_trust(oracle: Oracle, planted: Planted, code: Code, level: str) -> None:
    note = Notice(code=code, text="more images came in")
    result = answer(oracle((4.0, 0.0)), planted(), notices=(note,))
    assert {row["code"] for row in result.findings["warnings"]} == {code}
    assert result.findings["trust"]["level"] == level


def test_what_the_call_gets_wrong(oracle: Oracle, planted: Planted) -> None:
    with pytest.raises(UsageError) as caught:
        answer(oracle(), planted(), "bones")
    assert caught.value.code is Code.UNKNOWN_TASK
    with pytest.raises(UsageError) as caught:
        diagnose("case", (planted(), planted()), oracle(), Request())
    assert caught.value.code is Code.CHANNEL_MISSING


def test_the_same_study_twice_gives_the_same_bytes_with_a_real_network(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "tiny")
    runs = [answer(load_model(bundle, "cpu"), heart_volume(), allowed=("field-of-view",)) for _ in range(2)]
    assert json_bytes(runs[0].findings) == json_bytes(runs[1].findings)
    for name in ("organs", "lesions"):
        assert np.array_equal(runs[0].masks[name], runs[1].masks[name])
        assert runs[0].masks[name].shape == heart_volume().array.shape
    jsonschema.validate(plain(runs[0].findings), SCHEMA)
