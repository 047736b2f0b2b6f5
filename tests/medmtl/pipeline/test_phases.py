"""A heart in two phases from the files to the objects: who chooses them, what they measure, where their masks lie."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jsonschema
import nibabel as nib
import numpy as np
import pydicom
import pytest
import yaml

from medmtl.bundle.bundle import Bundle
from medmtl.errors import Code, StudyError, UsageError
from medmtl.geometry.grid import Grid
from medmtl.inference.engine import WindowAnswer
from medmtl.outputs.deidentify import Pseudonyms
from medmtl.outputs.files import plain
from medmtl.outputs.summary import summary_csv
from medmtl.pipeline.anonymous_case import site_key
from medmtl.pipeline.batch import BatchOptions, Models, Outcome, run_batch
from medmtl.pipeline.diagnose import Request, diagnose
from medmtl.pipeline.model import Model
from medmtl.pipeline.phases import choose_phases
from medmtl.pipeline.stored import read_result
from medmtl.preparation.plan import Normalisation, Scheme
from medmtl.reading.any_volume import discover
from medmtl.reading.phases import Cine
from medmtl.shapes import FloatArray, ImageArray
from medmtl.task import tasks_from_mapping
from medmtl.volume import Volume
from tests.cine import STEP_MS, beat, grid_of, moved, write_4d, write_classic, write_enhanced
from tests.tiny import ROOT, STACK, unwritten_bundle

CASE = "ACDC_001"
CAVITY = {"scheme": "SCT", "value": "87878005", "meaning": "Left ventricle"}
LABELS = [
    {"name": "lv_cavity", "category": "organ", "code": CAVITY, "title": {"en": "LV cavity", "zh": "左心室腔"}},
    {"name": "myocardium", "category": "organ"},
    {"name": "rv_cavity", "category": "organ"},
]
TASKS = {
    "organs": {
        "kind": "segmentation", "drawn_on": "ED", "labels": LABELS, "title": "End-diastole",
        "derived": [{"name": "myocardial_mass", "unit": "g", "formula": "1.05 * myocardium"}],
    },
    "organs_es": {
        "kind": "segmentation", "drawn_on": "ES", "labels": LABELS, "title": "End-systole",
        "derived": [{"name": "lv_ejection_fraction", "unit": "%", "title": {"en": "LVEF", "zh": "左心室射血分数"},
                     "formula": "100 * (organs.lv_cavity - lv_cavity) / organs.lv_cavity"}],
    },
    "diagnosis": {"kind": "classification", "classes": ["normal", "dilated"]},
}  # fmt: skip
GRID = Grid(shape=(20, 18, 6), affine=np.diag([5.0, 5.0, 10.0, 1.0]))
SCHEMA = json.loads((ROOT / "medmtl" / "outputs" / "findings.schema.json").read_text(encoding="utf-8"))


@dataclass
class LabelReader:
    """The images are label maps: each phase's task reads its own channel."""

    networks: int = 2
    workers: int = 1
    runs: int = 0

    def describe(self) -> dict[str, Any]:
        return {"name": "oracle", "version": "1", "device": "cpu", "precision": "float32"}

    def run(self, image: ImageArray, weight: ImageArray, asked: Collection[str], network: int) -> WindowAnswer:
        self.runs += 1
        dense = {
            name: np.moveaxis(np.eye(4, dtype=np.float32)[np.clip(np.rint(image[channel]).astype(int), 0, 3)], -1, 0)
            for channel, name in enumerate(("organs", "organs_es"))
            if name in asked
        }
        return WindowAnswer(dense=dense, sums=np.ones((13, 1)), peak=1.0)

    def case(self, sums: Mapping[int, FloatArray], voxel_ml: float, asked: Collection[str]) -> dict[str, FloatArray]:
        return {"diagnosis": np.array([0.0, 5.0])} if "diagnosis" in asked else {}


def two_phases(folder: Path, **changes: Any) -> Bundle:
    as_it_is = Normalisation(scheme=Scheme.CLIP, low=0, high=9, mean=0, spread=1)
    plan = replace(STACK, spacing=(None, None, None), mirror=(), normalisation=(as_it_is, as_it_is), patch=(88, 88, 10))
    wanted = {
        "sha256": "0" * 64, "channels": ("ED", "ES"), "tasks": tasks_from_mapping(TASKS), "plan": plan,
        "reference": {"spacing_mm": {"lowest": [1, 1, 3], "highest": [8, 8, 15]},
                      "extent_mm": {"lowest": [30, 50, 50], "highest": [200, 300, 300]}},
    }  # fmt: skip
    return unwritten_bundle(folder, **{**wanted, **changes})


class Oracles(Models):
    """Models whose engine reads the labels out of the images."""

    def model(self, bundle: Bundle, workers: int | None = None) -> Model:
        return Model(bundle=bundle, engine=LabelReader())


def answer(path: Path, out: Path, tmp_path: Path, **options: Any) -> Outcome:
    bundle = two_phases(tmp_path)
    wanted = {"formats": frozenset({"nii", "json", "csv", "seg", "sr"}), **options}
    [outcome] = run_batch(discover(path, names=bundle.channels), Oracles(bundle, "cpu"), BatchOptions(**wanted), out,
                          lambda _: None)  # fmt: skip
    return outcome


def heart(radius: float, grid: Grid = GRID, centre: tuple[float, float, float] = (47.5, 42.5, 25.0)) -> Any:
    """A label map: a cavity of `radius` mm in a wall of 10 mm."""
    index = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"), axis=-1)
    distance = np.linalg.norm(grid.to_lps(index) - np.asarray(centre), axis=-1)
    return np.select([distance <= radius, distance <= radius + 10.0], [1, 2], 0).astype(np.int16)


def volume(array: Any, grid: Grid = GRID, acquired: Volume | None = None) -> Volume:
    return Volume(array=array, grid=grid, modality="MR", content_hash="ab" * 32, acquired=acquired)


def test_the_largest_and_the_smallest_cavity_of_a_real_heart(shared: Path, tmp_path: Path) -> None:
    frames = beat(shared, CASE, phases=8, systole=3, kind="labels")
    cine = Cine(frames=tuple(volume(frame, grid_of(shared, CASE)) for frame in frames), times_ms=())
    model = Model(bundle=two_phases(tmp_path), engine=LabelReader())
    assert choose_phases(cine, model)[0] == (0, 3)
    turned = Cine(frames=cine.frames[3:] + cine.frames[:3])
    (first, last), (notice,) = choose_phases(turned, model)
    assert (first, last) == (5, 0)
    assert notice.code == Code.PHASES_CHOSEN
    assert notice.text.startswith("end-diastole is phase 6 of 8 and end-systole phase 1 of 8,")


def test_looking_is_bounded_and_by_one_network(tmp_path: Path) -> None:
    radii = 25.0 + 10.0 * np.cos(2 * np.pi * (np.arange(90) - 47) / 90)
    cine = Cine(frames=tuple(volume(heart(float(radius))) for radius in radii))
    engine = LabelReader()
    sizes = [int((frame.array == 1).sum()) for frame in cine.frames]
    (first, last), (notice,) = choose_phases(cine, Model(bundle=two_phases(tmp_path), engine=engine))
    assert (sizes[first], sizes[last]) == (max(sizes), min(sizes))
    a_phase = LabelReader()
    choose_phases(Cine(frames=cine.frames[45:47] + cine.frames[:1]), Model(bundle=two_phases(tmp_path), engine=a_phase))
    assert engine.runs <= 40 * a_phase.runs / 3
    assert "in 36 phases" in notice.text


@pytest.mark.parametrize("radii", [(30.0, 30.0, 30.0), (0.1, 0.1, 0.1)])
def test_what_does_not_beat_is_no_cine(tmp_path: Path, radii: tuple[float, ...]) -> None:
    cine = Cine(frames=tuple(volume(heart(radius)) for radius in radii))
    with pytest.raises(StudyError) as caught:
        choose_phases(cine, Model(bundle=two_phases(tmp_path), engine=LabelReader()))
    assert caught.value.code == Code.FOUR_DIMENSIONAL


def test_a_cine_gives_the_same_answers_however_it_comes(shared: Path, tmp_path: Path) -> None:
    whole = beat(shared, CASE, phases=7, systole=3, kind="labels")
    frames = [frame[40:128, 40:128] for frame in whole]
    grid = Grid(shape=frames[0].shape, affine=moved(grid_of(shared, CASE), (40 * 1.5625, 40 * 1.5625, 0.0)).affine)
    sources = {
        "classic": write_classic(tmp_path / "classic", frames, grid),
        "enhanced": write_enhanced(tmp_path / "enhanced/one.dcm", frames, grid).parent,
        "file": write_4d(tmp_path / "heart.nii.gz", frames, grid, step=STEP_MS, unit="msec"),
    }
    truth = [float((frames[n] == 1).sum()) * grid.voxel_ml for n in (0, 3)]
    for kind, source in sources.items():
        outcome = answer(source, tmp_path / f"out_{kind}", tmp_path)
        assert outcome.result is not None, outcome.error
        found = outcome.result.findings
        jsonschema.validate(plain(found), SCHEMA)
        values = found["tasks"]["organs"]["values"], found["tasks"]["organs_es"]["values"]
        assert [row["lv_cavity"]["ml"] for row in values] == pytest.approx(truth, abs=1e-3)
        [fraction] = found["tasks"]["organs_es"]["derived"]
        assert fraction["value"] == pytest.approx(100 * (truth[0] - truth[1]) / truth[0], abs=1e-3)
        muscle = float((frames[0] == 2).sum()) * grid.voxel_ml
        assert found["tasks"]["organs"]["derived"][0]["value"] == pytest.approx(1.05 * muscle, abs=1e-3)
        assert found["input"]["channels"] == ["ED", "ES"]
        assert found["input"]["frames" if kind == "file" else "parts"] == [1, 4]
        assert Code.PHASES_CHOSEN in [row["code"] for row in found["warnings"]]
        written = nib.load(tmp_path / f"out_{kind}" / outcome.line.case / "organs_es.nii.gz").get_fdata()
        assert np.array_equal(written, frames[3])
        codes = [row["code"] for row in found["warnings"]]
        assert len(codes) == len(set(codes))


def test_each_phase_has_its_segmentation_and_the_report_refers_to_both(tmp_path: Path) -> None:
    radii = (32.0, 26.0, 20.0, 24.0, 30.0)
    folder = write_classic(tmp_path / "study", [heart(radius) for radius in radii], GRID)
    outcome = answer(folder, tmp_path / "out", tmp_path)
    assert outcome.result is not None, outcome.error
    case = tmp_path / "out" / outcome.line.case
    phases = {"seg.dcm": 0, "seg_es.dcm": 2}
    for name, phase in phases.items():
        seg = pydicom.dcmread(case / name)
        wanted = {str(pydicom.dcmread(path).SOPInstanceUID) for path in folder.glob(f"5_{phase:02d}_*.dcm")}
        listed = seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence
        assert {str(row.ReferencedSOPInstanceUID) for row in listed} == wanted
        drawn = {str(item.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID)
                 for item in seg.PerFrameFunctionalGroupsSequence}  # fmt: skip
        assert drawn <= wanted
        assert ("segmentation ES" in seg.SeriesDescription) == (phase == 2)
    sr = pydicom.dcmread(case / "sr.dcm")
    told = {str(item.ReferencedSOPInstanceUID) for item in _all(sr, "ReferencedSOPSequence")}
    assert {str(pydicom.dcmread(case / name).SOPInstanceUID) for name in phases} <= told
    numbers = {
        str(item.ConceptNameCodeSequence[0].CodeValue): item.MeasuredValueSequence[0]
        for item in _all(sr, "ContentSequence")
        if "MeasuredValueSequence" in item
    }
    [fraction] = outcome.result.findings["tasks"]["organs_es"]["derived"]
    assert float(numbers["8811-2"].NumericValue) == pytest.approx(fraction["value"])
    assert numbers["8811-2"].MeasurementUnitsCodeSequence[0].CodeValue == "%"
    assert numbers["18087-7"].MeasurementUnitsCodeSequence[0].CodeValue == "g"
    table = summary_csv([{"case": outcome.line.case, "state": "warned"}], tmp_path / "out").decode("utf-8-sig")
    assert f"{fraction['value']}" in table
    assert "organs_es.lv_ejection_fraction" in table.splitlines()[0]


def test_a_mask_lies_on_the_voxels_of_its_own_series(tmp_path: Path) -> None:
    """End-systole was scanned finer, over another part: its map goes out there, at the same place in the patient."""
    finer = moved(Grid(shape=(44, 40, 12), affine=np.diag([2.5, 2.5, 5.0, 1.0])), (-3.0, 2.0, -1.0))
    folder = write_classic(tmp_path / "study", [heart(30.0)], GRID, number=5, description="sax ED")
    write_classic(folder, [heart(22.0, finer)], finer, number=6, description="sax ES")
    outcome = answer(folder, tmp_path / "out", tmp_path)
    assert outcome.result is not None, outcome.error
    case = tmp_path / "out" / outcome.line.case
    written = nib.load(case / "organs_es.nii.gz")
    assert written.shape == finer.shape
    assert np.allclose(np.diag([-1, -1, 1, 1]) @ written.affine, finer.affine)
    cavity = np.asarray(written.dataobj) == 1
    assert finer.to_lps(np.argwhere(cavity).mean(axis=0)) == pytest.approx([47.5, 42.5, 25.0], abs=2.0)
    true = heart(22.0, finer) == 1
    assert 2 * (cavity & true).sum() / (cavity.sum() + true.sum()) > 0.8  # voxels of 5 mm, resampled twice
    assert np.asarray(nib.load(case / "organs.nii.gz").dataobj).shape == GRID.shape
    values = outcome.result.findings["tasks"]["organs_es"]["values"]["lv_cavity"]
    assert values["voxels"] == cavity.sum()
    assert values["ml"] == pytest.approx(cavity.sum() * finer.voxel_ml, abs=1e-3)
    assert values["mean"] == pytest.approx(1.0, abs=0.1)  # of the intensities at end-systole
    seg = pydicom.dcmread(case / "seg_es.dcm")
    assert (seg.Columns, seg.Rows) == finer.shape[:2]
    series = pydicom.dcmread(next(folder.glob("6_*.dcm"))).SeriesInstanceUID
    assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == series
    again = read_result(case, outcome.result.channels, two_phases(tmp_path).tasks)
    assert again.channel_names == ("ED", "ES")
    one, other = (result.masks["organs_es"] == 1 for result in (again, outcome.result))
    assert 2 * (one & other).sum() / (one.sum() + other.sum()) > 0.9


@pytest.mark.parametrize("kind", ["series", "enhanced"])
def test_no_identity_leaves_by_the_second_channel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setenv("MEDMTL_DEIDENTIFY_KEY", str(tmp_path / "key"))
    finer = Grid(shape=(40, 36, 12), affine=np.diag([2.5, 2.5, 5.0, 1.0]))
    if kind == "series":
        folder = write_classic(tmp_path / "study", [heart(30.0)], GRID, number=5, description="sax ED")
        write_classic(folder, [heart(22.0, finer)], finer, number=6, description="sax ES")
    else:
        folder = write_enhanced(tmp_path / "study/one.dcm", [heart(radius) for radius in (30.0, 22.0)], GRID).parent
    images = [pydicom.dcmread(path) for path in folder.glob("*.dcm")]
    named = ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID")
    uids = {str(image[keyword].value) for image in images for keyword in named}
    outcome = answer(folder, tmp_path / "out", tmp_path, pseudonyms=Pseudonyms(key=site_key()))
    assert outcome.result is not None, outcome.error
    case = tmp_path / "out" / outcome.line.case
    written = [path for path in case.rglob("*") if path.is_file()]
    assert {"seg.dcm", "seg_es.dcm", "sr.dcm"} <= {path.name for path in written}
    assert len(list((case / "images").iterdir())) == len(images)
    for path in written:
        data = path.read_bytes()
        assert not [uid for uid in uids if uid.encode() in data], path.name


@pytest.mark.parametrize(
    ("first", "second", "code"),
    [(30.0, 20.0, None), (20.0, 30.0, Code.DERIVED_IMPLAUSIBLE), (-1.0, 20.0, Code.DERIVED_UNDEFINED)],
)
def test_a_fraction_that_cannot_be_is_said(tmp_path: Path, first: float, second: float, code: Code | None) -> None:
    model = Model(bundle=two_phases(tmp_path), engine=LabelReader())
    channels = (volume(heart(first)), volume(heart(second)))
    found = diagnose("case", channels, model, Request()).findings
    failed = {check["name"] for check in found["checks"] if not check["ok"]} - {Code.EMPTY_ORGAN}
    assert failed == ({code} if code else set())
    value = found["tasks"]["organs_es"]["derived"][0]["value"]
    assert (value is None) == (code == Code.DERIVED_UNDEFINED)
    if code:
        assert found["trust"]["level"] == "amber"
        assert any("LVEF" in reason["en"] and "左心室" in reason["zh"] for reason in found["trust"]["reasons"])
    alone = diagnose("case", channels, model, Request(tasks=("organs_es",))).findings
    assert alone["tasks"]["organs_es"]["derived"][0]["value"] is None  # end-diastole was not asked
    assert not {check["name"] for check in alone["checks"]} & {Code.DERIVED_UNDEFINED, Code.DERIVED_IMPLAUSIBLE}


def test_one_image_is_never_answered_by_a_model_of_two(tmp_path: Path) -> None:
    models = Models(None, "cpu")
    models.known = [two_phases(tmp_path, name="two", synthetic=False)]
    with pytest.raises(UsageError) as caught:
        models.bundle_for(volume(heart(30.0)))
    assert caught.value.code == Code.NO_MODEL_FITS
    reference = dict(models.known[0].reference)
    models.known.append(unwritten_bundle(tmp_path, name="one", synthetic=False, reference=reference))
    assert models.bundle_for(volume(heart(30.0))).name == "one"


def test_the_set_of_two_phases_has_formulas_that_are_coded(shared: Path) -> None:
    from medmtl.outputs.quantities import derived_concept

    head = yaml.safe_load((shared / "data/cardiac_cine_mr/dataset.yaml").read_text(encoding="utf-8"))
    codes = {
        derived.name: derived_concept(derived, "MR").scheme_designator
        for task in tasks_from_mapping(head["tasks"])
        for derived in task.derived
    }
    assert codes == {"myocardial_mass": "LN", "lv_ejection_fraction": "LN", "rv_ejection_fraction": "LN"}


def _all(item: Any, keyword: str) -> list[Any]:
    found = list(item.get(keyword, ()))
    for child in item.get("ContentSequence", ()):
        found += _all(child, keyword)
    return found
