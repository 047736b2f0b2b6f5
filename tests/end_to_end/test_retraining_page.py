"""Every command of docs/retraining.md, in its order, on phantoms and for one step."""

import json
import re
import shlex
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
import pytest
import torch
from click.testing import CliRunner
from pydicom.sr.codedict import codes

from medmtl.cli.main import medmtl
from medmtl.outputs.nifti_map import nifti_bytes
from medmtl.reading.any_volume import discover, read_case
from medmtl_training.bare import main as bare
from medmtl_training.cases import read_dataset
from sample_data.dicom_study import StudyText, write_dicom_study
from sample_data.phantoms import phantom
from tests.medmtl_training.importing.test_workspace import make_workspace
from tests.tiny import HEART_SHAPE, HEART_SPACING, ROOT

PAGE = ROOT / "docs" / "retraining.md"
BRIEF = ["--folds", "0", "--device", "cpu"]
"""Told to every training beside what the page says: one of five networks."""

pytestmark = pytest.mark.slow


def commands() -> list[str]:
    """The commands of the page's shell blocks, in their order."""
    blocks = re.findall(r"```sh\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    return [line.strip() for block in blocks for line in block.splitlines() if line.strip()]


def drawn_study(folder: Path, number: int) -> None:
    """A study of a patient of its own; the first six have a SEG, of the odd ones with an infarct."""
    lesion = number % 2 == 1
    found = phantom("hearts", seed=100 + number, lesion=lesion, shape=HEART_SHAPE, spacing=HEART_SPACING)
    text = StudyText(study=f"retraining {number}", description="LGE", body_part="HEART")
    images = write_dicom_study(folder / "images", found.volume(), text)
    for path in images.iterdir():
        header = pydicom.dcmread(path)
        header.PatientID, header.AccessionNumber = f"ID{number}", f"A{number:03d}"
        header.save_as(path)
    masks = {name: found.maps["organs"] == value for value, name in ((1, "LV cavity"), (2, "Myocardium"))}
    if lesion:
        masks["Infarct"] = found.maps["lesions"] == 1
    if number < 6:
        write_seg(folder, masks)


def write_seg(folder: Path, masks: dict[str, Any]) -> None:
    grid = read_case(discover(folder)[0])[0].grid
    headers = [pydicom.dcmread(path) for path in sorted((folder / "images").iterdir())]
    places = [round(float(grid.to_index(np.array(h.ImagePositionPatient, dtype=float))[2])) for h in headers]
    stacked = np.stack([mask.transpose(2, 1, 0) for mask in masks.values()], axis=-1)[places]
    described = [
        hd.seg.SegmentDescription(
            n, name, codes.SCT.MorphologicallyAbnormalStructure if name == "Infarct" else codes.SCT.AnatomicalStructure,
            hd.sr.CodedConcept("22298006", "SCT", "Myocardial infarction") if name == "Infarct" else codes.SCT.Heart,
            hd.seg.SegmentAlgorithmTypeValues.MANUAL,
        )
        for n, name in enumerate(masks, start=1)
    ]  # fmt: skip
    seg = hd.seg.Segmentation(
        headers, stacked.astype(np.uint8), hd.seg.SegmentationTypeValues.BINARY, described, hd.UID(), 9, hd.UID(), 1,
        "x", "x", "1", "1",
    )  # fmt: skip
    seg.save_as(folder / "seg.dcm")


def other_makes(root: Path) -> None:
    """An nnU-Net folder with answers, a Decathlon task, a CSV with images and masks: four cases each."""
    raw, task, cohort = root / "nnUNet_raw" / "Dataset007_Heart", root / "Task02_Heart", root / "cohort"
    labels = {"background": 0, "myocardium": 1, "infarct": 2}
    entries = []
    for n in range(4):
        found = phantom("hearts", seed=n, lesion=True, shape=HEART_SHAPE, spacing=HEART_SPACING)
        volume, grid = found.volume(), found.volume().grid
        whole = np.where(found.maps["lesions"] > 0, 2, found.maps["organs"] == 2).astype(np.uint8)
        image, label, mask = (
            nifti_bytes(array, grid) for array in (volume.array, whole, (found.maps["lesions"] > 0).astype(np.uint8))
        )
        for path, content in (
            (raw / "imagesTr" / f"h{n}_0000.nii.gz", image), (raw / "labelsTr" / f"h{n}.nii.gz", label),
            (root / "nnunet-answers" / f"h{n}.nii.gz", label), (task / "imagesTr" / f"h{n}.nii.gz", image),
            (task / "labelsTr" / f"h{n}.nii.gz", label), (cohort / "images" / f"h{n}.nii.gz", image),
            (cohort / "masks" / f"h{n}.nii.gz", mask),
        ):  # fmt: skip
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        entries.append({"image": f"./imagesTr/h{n}.nii.gz", "label": f"./labelsTr/h{n}.nii.gz"})
    head = {"channel_names": {"0": "LGE"}, "labels": labels, "file_ending": ".nii.gz"}
    for path in (raw / "dataset.json", root / "nnunet-answers" / "dataset.json"):
        path.write_text(json.dumps(head), encoding="utf-8")
    listed = {"modality": {"0": "MRI"}, "labels": {"0": "background", "1": "left ventricle", "2": "wall"},
              "training": entries}  # fmt: skip
    (task / "dataset.json").write_text(json.dumps(listed), encoding="utf-8")
    table = "\n".join(["Name,Subtype", *(f"h{n},{n % 2}" for n in range(4))])
    (root / "classes.csv").write_text(table, encoding="utf-8")
    (cohort / "list.csv").write_text(table, encoding="utf-8")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the page starts from."""
    for number in range(8):
        drawn_study(tmp_path / "export" / f"study{number}", number)
    rows = [f"A{n:03d},{('normal', 'infarction')[n % 2]},{50 + n},{('north', 'south')[n // 4]}" for n in range(8)]
    (tmp_path / "diagnoses.csv").write_text("\n".join(["accession,diagnosis,age,site", *rows]), encoding="utf-8")
    found = phantom("hearts", seed=999, lesion=True, shape=HEART_SHAPE, spacing=HEART_SPACING)
    write_dicom_study(tmp_path / "new" / "a", found.volume(), StudyText(study="new", description="LGE", body_part=""))
    make_workspace(tmp_path)
    other_makes(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MEDMTL_MODELS", str(tmp_path / "installed"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    return tmp_path


def run(command: str) -> str:
    """What a command says; trainings take a few steps."""
    words = shlex.split(re.sub(r"--max-time \S+", "--max-steps 1", command) if " plan " not in command else command)
    if words[:3] == ["python", "-m", "medmtl_training.bare"]:
        assert bare([*words[3:], *BRIEF]) == 0
        return ""
    assert words[0] == "medmtl"
    if words[1] == "train":
        words += [*BRIEF, "--quiet"]
        if "--max-steps" not in words and "--resume" not in words:
            words += ["--max-steps", "1"]
    if words[1:3] == ["evaluate", "run"]:
        words += BRIEF[:2]
    result = CliRunner().invoke(medmtl, words[1:], catch_exceptions=False)
    # a step of training on two held-out cases proves nothing
    wanted = 1 if "--promote" in words else 0
    assert result.exit_code == wanted, f"{command}\n{result.output}"
    return result.output


def test_the_page_holds_commands() -> None:
    found = commands()
    assert len(found) > 20
    assert {line.split()[0] for line in found} == {"medmtl", "python"}


def test_every_command_of_the_page_runs(place: Path) -> None:
    threads = torch.get_num_threads()
    said = {command: run(command) for command in commands()}
    torch.set_num_threads(threads)
    hearts, _ = read_dataset("hearts")
    assert len(hearts.cases) == len({case.patient for case in hearts.cases}) == 8
    assert [len(case.voxel_labels) for case in hearts.cases].count(0) == 2  # a diagnosis alone
    assert all(case.case_labels["diagnosis"] for case in hearts.cases)
    assert "A00" not in Path("hearts/cases.csv").read_text(encoding="utf-8")
    assert json.loads(Path("run/run.json").read_text(encoding="utf-8"))["steps"] == 1
    assert Path("evaluation/report.html").is_file()
    assert "Against the other predictions" in Path("difference/report.html").read_text(encoding="utf-8")
    assert len(list(Path("answers").glob("study-*/findings.json"))) == 1
    [promoting] = [text for command, text in said.items() if "--promote" in command]
    assert "not-promoted evaluate: not promoted: " in promoting
    merged, _ = read_dataset("hearts-2")
    assert {case.columns["source"] for case in merged.cases} == {"hearts", "corrections"}
    assert [label.name for label in merged.task("organs").labels][:2] == ["lv_cavity", "myocardium"]
    assert (Path("shipped") / "bundle.yaml").is_file()
    assert "hearts" in said["medmtl models show hearts"]
    figures = json.loads(Path("nnunet-evaluation/metrics.json").read_text(encoding="utf-8"))
    assert figures["tasks"]["lesions"]["labels"]["infarct"]["dice"]["mean"] == 1.0
    assert figures["tasks"]["organs"]["labels"]["myocardium"]["dice"]["mean"] == 1.0
