"""A review becomes a version: complete, beside the model's own, and everything that leaves is of it."""

import gzip
import io
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from click.testing import CliRunner

from medmtl.errors import UsageError
from medmtl.geometry.orientation import to_lps
from medmtl.outputs.sentences import report_sentences
from medmtl.outputs.write_case import DEFAULT_FORMATS, FORMATS
from medmtl.reading.any_volume import discover, read_case
from medmtl.reading.nifti import read_label_map
from medmtl_app.case_job import run_case
from medmtl_app.review_job import export, save
from medmtl_app.reviews import Reviews
from medmtl_app.stored_study import case_folder, newest_version, open_study, version_folder, view_of, view_path
from medmtl_app.study_page import export_zip, study_page
from medmtl_app.workspace import Study, StudyState, Workspace
from medmtl_training.import_cli import import_set
from sample_data.dicom_study import StudyText, write_dicom_study
from tests.tiny import heart_volume, write_bundle

SESSION = "a session"


@dataclass(frozen=True)
class Site:
    """A workspace with one answered study, and an empty lesion map to draw on."""

    reviews: Reviews
    study: Study
    folder: Path

    @property
    def grid_shape(self) -> tuple[int, ...]:
        return tuple(view_of(self.folder, 0)["shape"])

    def draw(self, name: str, array: Any) -> None:
        """Sends a map, in the view's axes."""
        packed = gzip.compress(np.asarray(array, dtype=np.uint8).tobytes(order="F"))
        self.reviews.draft_path(SESSION, self.study.id, name).write_bytes(packed)

    def map_of(self, version: int, task: str) -> Any:
        """A task's map as the page has it."""
        view = view_of(self.folder, version)
        row = next(row for row in view["structures"] if row["task"] == task)
        path = view_path(self.folder, view["maps"][row["map"]]["file"])
        assert path is not None
        return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8).reshape(view["shape"], order="F").copy()

    def save(self, **body: Any) -> int:
        now = self.reviews.workspace.study(self.study.id)
        whole = {"reader": "Dr A", "comment": "", "based_on": newest_version(self.folder), "drawn": [], **body}
        return self.reviews.save(SESSION, now, whole)

    def saved(self, version: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """`review.json` and `findings.json` of a version."""
        case = case_folder(self.folder, version)
        return json.loads((case / "review.json").read_text()), json.loads((case / "findings.json").read_text())

    def exported(self, version: int, *formats: str) -> dict[str, bytes]:
        target = self.reviews.export(self.study, version, formats)
        with zipfile.ZipFile(io.BytesIO(b"".join(export_zip(target)))) as archive:
            return {name: archive.read(name) for name in archive.namelist()}


def in_process(request: dict[str, Any]) -> dict[str, Any]:
    """What the process of a job does, without its seconds of imports."""
    return {"save": save, "export": export}[request["do"]](request)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """An untrained model's answers to a heart phantom that was sent as a zip of DICOM files."""
    root = tmp_path_factory.mktemp("reviews")
    workspace = Workspace(root / "workspace")
    write_bundle(root / "models" / "tiny")
    upload = workspace.new_upload()
    text = StudyText(study="reviews", description="heart phantom", body_part="HEART")
    write_dicom_study(workspace.upload_folder(upload) / "heart.zip", heart_volume(), text)
    study = workspace.add(upload, model="tiny")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDMTL_MODELS", str(root / "models"))
        patch.setattr("medmtl_app.case_job.FORMATS", frozenset({"nii", "json", "prob"}))
        run_case(workspace.upload_folder(upload), workspace.folder(study.id), 0, "tiny")
    workspace.change(study.id, {"state": StudyState.READY})
    return Site(Reviews(workspace), workspace.study(study.id), workspace.folder(study.id))


@pytest.fixture(scope="module")
def site(finished: Site) -> Iterator[Site]:
    """Version 1: two lesions drawn where the model has one, one of them rejected, an organ corrected."""
    lesions = np.zeros(finished.grid_shape)
    lesions[2:8, 2:8, 1:3] = 1
    lesions[20:24, 20:24, 2:4] = 1
    finished.draw("lesions", lesions)
    finished.save(drawn=["lesions"])  # the one that goes through a process
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("medmtl_app.reviews.run_job", in_process)
        organs = finished.map_of(1, "organs")
        organs[:, :, 0] = 0
        finished.draw("organs", organs)
        words = {"2": {"decision": "rejected", "comment": "an artefact"}, "1": {"decision": "accepted"}}
        own = {"diagnosis": {"decision": "corrected", "class": "normal", "comment": "seen"}}
        structures = {"organs.myocardium": {"decision": "accepted", "comment": ""}}
        finished.save(lesions=words, classes=own, structures=structures, drawn=["organs"], comment="a comment")
        yield finished


def test_a_version_is_complete_and_the_model_stays(site: Site) -> None:
    review, findings = site.saved(2)
    assert (review["schema"], review["version"], review["based_on"]) == ("medmtl-review/1", 2, 1)
    assert (review["reader"], review["comment"]) == ("Dr A", "a comment")
    assert review["time"].endswith("+00:00")
    assert [(row["id"], row["decision"]) for row in review["lesions"]] == [(1, "corrected"), (2, "rejected")]
    assert review["structures"]["organs.myocardium"]["decision"] == "corrected"
    assert review["annotated"]["lesions"] is True
    assert "myocardium" in review["annotated"]["organs"]
    assert review["annotated"]["diagnosis"] == "normal"
    grid = open_study(site.folder, Path(), 0).model.volume.grid
    assert [row["id"] for row in findings["lesions"]["items"]] == [1]
    assert findings["lesions"]["totals"]["ml"] == pytest.approx(6 * 6 * 2 * grid.voxel_ml, abs=1e-3)
    labels, _ = read_label_map(case_folder(site.folder, 2) / "lesions.nii.gz")
    assert int((labels > 0).sum()) == 72
    first = json.loads((case_folder(site.folder, 0) / "findings.json").read_text())
    assert "review" not in first
    assert first["lesions"]["totals"]["count"] == 1
    assert [path.name for path in (site.folder / "reviews").iterdir() if path.name.startswith(".")] == []
    row = site.reviews.workspace.study(site.study.id)
    assert (row.state, row.summary["lesions"], row.summary["reader"]) == (StudyState.REVIEWED, 1, "Dr A")


def test_training_finds_the_image_of_a_version(site: Site) -> None:
    """As docs/viewer.md says: the case of that name in the upload, with the hash of the input."""
    review, findings = site.saved(2)
    image = review["image"]
    root = site.reviews.workspace.root
    case = next(case for case in discover(root / image["upload"]) if case.name == image["case"])
    volume = read_case(case, series_uid=image["series_uid"])[0]
    assert volume.content_hash == image["sha256"] == findings["input"]["sha256"]
    labels, grid = read_label_map(version_folder(site.folder, 2) / review["case"] / "organs.nii.gz")
    assert grid.same_as(volume.grid)
    assert labels.max() <= len(review["tasks"]["organs"]["labels"])
    assert set(review["annotated"]) == set(review["tasks"])


def test_medmtl_data_import_makes_a_data_set_of_it(site: Site, tmp_path: Path) -> None:
    done = CliRunner().invoke(import_set, [str(site.reviews.workspace.root), "-o", str(tmp_path / "set"), "--quiet"])
    assert done.exit_code == 0, done.output
    [image] = (tmp_path / "set" / "images").glob("*.nii.gz")
    found, grid = read_label_map(tmp_path / "set" / "lesions" / image.name)
    saved, own = read_label_map(case_folder(site.folder, 2) / "lesions.nii.gz")
    assert np.array_equal(found, saved)
    assert grid.same_as(own)
    assert "normal" in (tmp_path / "set" / "cases.csv").read_text()


def test_what_was_drawn_lies_where_it_was_drawn(site: Site) -> None:
    drawn = site.map_of(2, "organs")
    organs, grid = read_label_map(case_folder(site.folder, 2) / "organs.nii.gz")
    assert np.array_equal(to_lps(grid).apply(organs), drawn)
    model, _ = read_label_map(case_folder(site.folder, 0) / "organs.nii.gz")
    assert np.array_equal(organs[:, :, 1:], model[:, :, 1:])
    assert not organs[:, :, 0].any()
    assert model[:, :, 0].any()


def test_the_page_shows_every_version(site: Site) -> None:
    row = site.reviews.workspace.study(site.study.id)
    newest, first, own = (study_page(row, site.folder, version) for version in (None, 1, 0))
    assert [row["version"] for row in newest["review"]["versions"]] == [1, 2]
    assert [page["review"]["version"] for page in (newest, first, own)] == [2, 1, 0]
    assert [item["id"] for item in newest["findings"]["lesions"]["items"]] == [
        1,
        2,
    ]  # the rejected one can be taken back
    assert newest["findings"]["lesions"]["count"] == 1
    assert newest["review"]["lesions"]["2"] == {"decision": "rejected", "comment": "an artefact"}
    assert own["findings"]["lesions"]["count"] == 1
    assert own["review"]["lesions"] == {}
    structures = {row["name"]: row for row in newest["view"]["structures"]}
    assert "edited" in structures["myocardium"]
    assert "field" in structures["myocardium"], "the model's field smooths what was not drawn"
    assert len(newest["view"]["lesions"]) == 2
    model_maps = {row["file"] for row in own["view"]["maps"]}
    assert not model_maps & {row["file"] for row in newest["view"]["maps"]}
    files = [row["file"] for row in newest["view"]["maps"]]
    assert all(view_path(site.folder, name) is not None for name in files)


def test_a_rejected_lesion_leaves_every_export(site: Site) -> None:
    files = site.exported(2, "nii", "csv", "html", "seg", "sr", "rtstruct")
    names = {Path(name).name for name in files}
    assert {"seg.dcm", "sr.dcm", "rtstruct.dcm", "summary.csv", "report.html", "lesions.nii.gz", "review.json"} <= names
    held = {Path(name).name: data for name, data in files.items()}
    findings = json.loads(held["findings.json"])
    assert findings["lesions"]["totals"]["count"] == 1
    seg = pydicom.dcmread(io.BytesIO(held["seg.dcm"]))
    number = next(row.SegmentNumber for row in seg.SegmentSequence if "nfarct" in row.SegmentLabel)
    frames = [n for n, item in enumerate(seg.PerFrameFunctionalGroupsSequence)
              if item.SegmentIdentificationSequence[0].ReferencedSegmentNumber == number]  # fmt: skip
    assert int(seg.pixel_array[frames].sum()) == 72
    kinds = {row.SegmentLabel: row.SegmentAlgorithmType for row in seg.SegmentSequence}
    assert set(kinds.values()) == {"SEMIAUTOMATIC"}
    report = held["report.html"].decode()
    assert "Rejected by the reader: lesion 2." in report
    assert "were not computed again" in report
    text = "\n".join(report_sentences(findings, "en"))
    assert "Lesion 2:" not in text
    sr = pydicom.dcmread(io.BytesIO(held["sr.dcm"])).to_json()
    assert "lesions.2" not in sr
    assert "lesion 2" not in sr.lower()
    cells = dict(zip(*(line.split(",") for line in held["summary.csv"].decode("utf-8-sig").splitlines()), strict=True))
    assert (cells["lesion_count"], cells["reader"], cells["reader_class"]) == ("1", "Dr A", "normal")


def test_the_models_own_answers_can_still_be_exported(site: Site) -> None:
    files = {Path(name).name: data for name, data in site.exported(0, "json", "seg").items()}
    assert set(files) == {"findings.json", "seg.dcm"}
    stored = json.loads((case_folder(site.folder, 0) / "findings.json").read_text())
    assert json.loads(files["findings.json"]) == stored


def test_formats_are_those_of_the_library(site: Site) -> None:
    formats = study_page(site.reviews.workspace.study(site.study.id), site.folder)["review"]["formats"]
    assert {row["name"] for row in formats} == FORMATS
    assert {row["name"] for row in formats if row["chosen"]} == DEFAULT_FORMATS
    with pytest.raises(UsageError, match="unknown format"):
        site.reviews.export(site.study, 0, ["nii", "exe"])


@pytest.mark.parametrize(
    "body",
    [
        {"reader": " "},
        {"reader": "x" * 81},
        {"based_on": 9},
        {"based_on": "1"},
        {"lesions": {"one": {}}},
        {"lesions": {"1": "rejected"}},
        {"structures": []},
        {"drawn": ["lesions"]},  # was not sent
        {"drawn": ["../../lesions"]},
    ],
)
def test_what_is_no_review_is_refused(site: Site, body: dict[str, Any]) -> None:
    before = newest_version(site.folder)
    with pytest.raises(UsageError):
        site.save(**body)
    assert newest_version(site.folder) == before


def test_a_reviewed_study_is_not_run_again(site: Site) -> None:
    from medmtl_app.jobs import Jobs

    assert Jobs(site.reviews.workspace).again(site.study.id, "") is False
