"""Cases with known answers: spheres on a small oblique grid, and two boxes planted on a real CT series."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from medmtl.geometry.grid import Grid
from medmtl.outputs.picture import KeyPictures, key_pictures
from medmtl.result import CaseResult
from medmtl.task import Task, tasks_from_mapping
from medmtl.volume import DicomSource, Volume

TASKS = {
    "lesions": {
        "kind": "segmentation",
        "inside": "organs.myocardium",
        "labels": [
            {
                "value": 1,
                "name": "infarct",
                "title": {"en": "Infarct", "zh": "梗死"},
                "color": "#E8B23A",
                "code": {"scheme": "SCT", "value": "22298006", "meaning": "Myocardial infarction"},
                "category": "lesion",
            },
            {
                "value": 2,
                "name": "no_reflow",
                "title": {
                    "en": "Microvascular obstruction (no-reflow)",
                    "zh": "微血管阻塞（无复流）",
                },
                "color": "#E4572E",
                "code": {"scheme": "SCT", "value": "26036001", "meaning": "Obstruction"},
                "category": "lesion",
            },
        ],
        "derived": [
            {
                "name": "infarct_percent_of_myocardium",
                "unit": "%",
                "formula": "100 * (infarct + no_reflow) / organs.myocardium",
            }
        ],
    },
    "organs": {
        "kind": "segmentation",
        "labels": [
            {
                "value": 1,
                "name": "lv_cavity",
                "title": {"en": "Left ventricular cavity", "zh": "左心室腔"},
                "color": "#4F9DDE",
                "code": {"scheme": "SCT", "value": "87878005", "meaning": "Left ventricle"},
                "category": "organ",
                "laterality": "left",
            },
            {
                "value": 2,
                "name": "myocardium",
                "title": {"en": "Left ventricular myocardium", "zh": "左心室心肌"},
                "color": "#6CC08B",
                "code": {"scheme": "SCT", "value": "49848007", "meaning": "Left ventricle myocardium"},
                "category": "organ",
            },
            {
                "value": 3,
                "name": "spleen",
                "title": {"en": "Spleen", "zh": "脾"},
                "color": "#AA66CC",
                "category": "organ",
            },
        ],
        "derived": [{"name": "myocardial_mass", "unit": "g", "formula": "1.05 * myocardium"}],
    },
    "diagnosis": {
        "kind": "classification",
        "basis": "scan",
        "classes": [
            {
                "name": "normal",
                "title": {"en": "No infarct seen on LGE", "zh": "LGE 未见梗死"},
                "code": {"scheme": "SCT", "value": "17621005", "meaning": "Normal"},
            },
            {
                "name": "infarction",
                "title": {"en": "Infarct seen on LGE", "zh": "LGE 可见梗死"},
                "code": {"scheme": "SCT", "value": "22298006", "meaning": "Myocardial infarction"},
            },
        ],
    },
}


def build_findings(volume: Volume, tasks: tuple[Task, ...], masks: dict[str, Any], case: str) -> dict[str, Any]:
    grid = volume.grid
    told: dict[str, Any] = {}
    for task in tasks:
        rows = [
            {"name": x.name, "value": x.value, "title": {"en": x.title("en"), "zh": x.title("zh")}, "color": x.color}
            for x in task.labels
        ]
        told[task.name] = {
            "kind": str(task.kind),
            "title": {"en": task.title("en"), "zh": task.title("zh")},
            "labels": rows,
            "values": {},
            "derived": [],
        }
        if task.is_voxel:
            for label in task.labels:
                voxels = int((masks[task.name] == label.value).sum())
                told[task.name]["values"][label.name] = {
                    "ml": voxels * grid.voxel_ml,
                    "ml_interval": [0.9 * voxels * grid.voxel_ml, 1.1 * voxels * grid.voxel_ml],
                    "voxels": voxels,
                    "truncated": False,
                    "mean": float(volume.array[masks[task.name] == label.value].mean()) if voxels else None,
                }
    ml = {name: {k: v["ml"] for k, v in task["values"].items()} for name, task in told.items()}
    burden, host = ml["lesions"]["infarct"] + ml["lesions"]["no_reflow"], ml["organs"]["myocardium"]
    percent = 100 * burden / host if host else None
    derived_title = {"en": "Infarct, share of the myocardium", "zh": "梗死占心肌比例"}
    told["lesions"]["derived"] = [
        {"name": "infarct_percent_of_myocardium", "title": derived_title, "unit": "%", "value": percent}
    ]
    told["organs"]["derived"] = [
        {
            "name": "myocardial_mass",
            "title": {"en": "Myocardial mass", "zh": "心肌质量"},
            "unit": "g",
            "value": 1.05 * host,
        }
    ]
    told["diagnosis"]["values"] = {
        "class": "infarction",
        "probabilities": {"normal": 0.069, "infarction": 0.931},
        "calibrated": True,
        "prediction_set": ["infarction"],
    }
    where = np.argwhere(masks["lesions"] > 0)
    item = {
        "id": 1,
        "ml": burden,
        "ml_by_label": ml["lesions"],
        "long_axis_mm": 42.34567,
        "short_axis_mm": 17.25,
        "centroid_lps_mm": grid.to_lps(where.mean(axis=0)).tolist(),
        "slice_range": [int(where[:, 2].min()), int(where[:, 2].max())],
        "host": "organs.myocardium",
        "inside_host": 0.97,
        "mean_probability": 0.91,
        "confidence": 0.88,
    }
    return {
        "schema": "medmtl-findings/1",
        "case": case,
        "research_use_only": True,
        "model": {
            "name": "cardiac-lge",
            "title": "Late enhancement of the heart",
            "version": "1.0.0",
            "sha256": "ab" * 32,
            "licence": "CC BY-NC-SA 4.0",
            "non_commercial": True,
            "synthetic": False,
            "citation": "Lalande A, et al. Emidec. Data 2020;5(4):89, https://doi.org/10.3390/data5040089",
        },
        "engine": {"name": "torch", "version": "2.13.0", "device": "cpu", "precision": "float32", "mirroring": [0, 1]},
        "input": {
            "sha256": volume.content_hash,
            "modality": volume.modality,
            "shape": list(grid.shape),
            "spacing_mm": list(grid.spacing),
            "affine_lps": grid.affine.tolist(),
        },
        "tasks": told,
        "lesions": {
            "totals": {
                "count": 1,
                "ml": burden,
                "ml_interval": [0.5 * burden, 1.5 * burden],
                "host": "organs.myocardium",
                "percent_of_host": percent,
                "confidence_calibrated": True,
            },
            "items": [item],
        },
        "organs": [
            {
                "task": "organs",
                "name": x.name,
                "title": {"en": x.title("en"), "zh": x.title("zh")},
                "ml": ml["organs"][x.name],
                "ml_interval": [0.9 * ml["organs"][x.name], 1.1 * ml["organs"][x.name]],
                "g": 1.05 * host if x.name == "myocardium" else None,
                "truncated": False,
            }
            for x in tasks[1].labels
        ],
        "diagnosis": {
            "class": "infarction",
            "title": {"en": "Infarct seen on LGE", "zh": "LGE 可见梗死"},
            "probabilities": {"normal": 0.069, "infarction": 0.931},
            "calibrated": True,
            "prediction_set": ["infarction"],
            "influence": [
                {"structure": "lesions.infarct", "change": 0.71},
                {"structure": "organs.lv_cavity", "change": -0.02},
            ],
            "basis": "scan",
        },
        "checks": [
            {
                "name": "lesion-inside-host",
                "ok": True,
                "text": {"en": "The lesions lie inside the myocardium.", "zh": "病灶位于心肌内。"},
            }
        ],
        "trust": {"level": "amber", "reasons": [{"en": "Slices are 10 mm thick.", "zh": "层厚 10 mm。"}]},
        "warnings": [
            {"code": "slices-unverified", "text": "Whether the first or last slice is missing cannot be seen."}
        ],
        "allowed": [],
    }


@pytest.fixture(scope="session")
def tasks() -> tuple[Task, ...]:
    return tasks_from_mapping(TASKS)


@pytest.fixture(scope="session")
def spheres(tasks: tuple[Task, ...]) -> CaseResult:
    """A ring of myocardium round a cavity, with an infarct and its core, on an oblique 1.5 x 1.5 x 8 mm grid."""
    turn_x, turn_z = np.radians(35), np.radians(-40)
    rx = np.array([[1, 0, 0], [0, np.cos(turn_x), -np.sin(turn_x)], [0, np.sin(turn_x), np.cos(turn_x)]])
    rz = np.array([[np.cos(turn_z), -np.sin(turn_z), 0], [np.sin(turn_z), np.cos(turn_z), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = (rz @ rx) * np.array([1.5, 1.5, 8.0])
    affine[:3, 3] = (-61.3, 17.7, 105.1)
    affine = affine.astype(np.float32).astype(np.float64)  # as a NIfTI sform holds it
    grid = Grid(shape=(80, 72, 9), affine=affine)
    index = np.stack(np.meshgrid(*[np.arange(n) for n in grid.shape], indexing="ij"), axis=-1).astype(np.float64)
    mm = (index - np.array([40, 36, 4])) * np.array(grid.spacing)
    radius = np.linalg.norm(mm * np.array([1, 1, 0.8]), axis=-1)
    organs = np.where(radius < 22, 1, np.where(radius < 33, 2, 0)).astype(np.uint8)
    spot = np.linalg.norm(mm - np.array([27, 5, 0]), axis=-1)
    lesions = np.where((spot < 14) & (organs == 2), np.where(spot < 6, 2, 1), 0).astype(np.uint8)
    noise = np.random.default_rng(0).normal(0, 20, grid.shape)
    array = (120 + 380 * (organs == 1) + 20 * (organs == 2) + 560 * (lesions == 1) + noise).astype(np.float32)
    volume = Volume(array=array, grid=grid, modality="MR", content_hash="12" * 32)
    masks = {"lesions": lesions, "organs": organs}
    probabilities = {"lesions": np.stack([lesions == v for v in range(3)]).astype(np.float32) * 0.9}
    return CaseResult(
        case="Case_P001",
        channels=(volume,),
        tasks=tasks,
        masks=masks,
        probabilities=probabilities,
        findings=build_findings(volume, tasks, masks, "Case_P001"),
    )


@pytest.fixture(scope="session")
def pictures(spheres: CaseResult) -> KeyPictures:
    return key_pictures(spheres)


def read_series(folder: Path) -> Volume:
    """An axial series by pydicom alone, for tests that must not lean on the reading layer."""
    files = sorted(p for p in folder.iterdir() if p.is_file())
    pairs = [(path, pydicom.dcmread(path)) for path in files]
    orientation = np.array(pairs[0][1].ImageOrientationPatient, dtype=float)
    normal = np.cross(orientation[:3], orientation[3:])
    pairs.sort(key=lambda pair: float(np.dot(normal, np.array(pair[1].ImagePositionPatient, dtype=float))))
    headers = [header for _, header in pairs]
    first, last = (np.array(headers[n].ImagePositionPatient, dtype=float) for n in (0, -1))
    affine = np.eye(4)
    affine[:3, 0] = orientation[:3] * float(headers[0].PixelSpacing[1])
    affine[:3, 1] = orientation[3:] * float(headers[0].PixelSpacing[0])
    affine[:3, 2] = (last - first) / (len(headers) - 1)
    affine[:3, 3] = first
    planes = [h.pixel_array.T * float(h.get("RescaleSlope", 1)) + float(h.get("RescaleIntercept", 0)) for h in headers]
    array = np.stack(planes, axis=-1).astype(np.float32)
    digest = hashlib.sha256(b"".join(path.read_bytes() for path, _ in pairs)).hexdigest()
    source = DicomSource(
        study_uid=str(headers[0].StudyInstanceUID),
        series_uid=str(headers[0].SeriesInstanceUID),
        sop_class_uid=str(headers[0].SOPClassUID),
        frame_of_reference_uid=str(headers[0].get("FrameOfReferenceUID", "")),
        instances=tuple(str(path) for path, _ in pairs),
        instance_uids=tuple(str(h.SOPInstanceUID) for h in headers),
    )
    grid = Grid(shape=array.shape, affine=affine)
    return Volume(array=array, grid=grid, modality=str(headers[0].Modality), content_hash=digest, dicom=source)


@pytest.fixture(scope="session")
def plant(tasks: tuple[Task, ...]) -> Callable[[Path], CaseResult]:
    """Plants an infarct with a core, a ring and a cavity on the series in a folder."""

    def planted(folder: Path) -> CaseResult:
        volume = read_series(folder)
        n_i, n_j, n_k = volume.grid.shape
        lesions, organs = (np.zeros(volume.grid.shape, dtype=np.uint8) for _ in range(2))
        organs[n_i // 4 : n_i // 2, n_j // 4 : n_j // 2 + 7, 1 : n_k - 1] = 2
        organs[n_i // 4 + 20 : n_i // 2 - 20, n_j // 4 + 20 : n_j // 2 - 20, 1 : n_k - 1] = 1
        lesions[n_i // 4 : n_i // 4 + 15, n_j // 4 : n_j // 4 + 40, 1:4] = 1
        lesions[n_i // 4 + 3 : n_i // 4 + 9, n_j // 4 + 5 : n_j // 4 + 25, 2] = 2
        masks = {"lesions": lesions, "organs": organs}
        findings = build_findings(volume, tasks, masks, "study-0badcafe")
        findings["input"]["series_uids"] = [volume.dicom.series_uid] if volume.dicom else []
        return CaseResult(
            case="study-0badcafe", channels=(volume,), tasks=tasks, masks=masks, probabilities={}, findings=findings
        )

    return planted


@pytest.fixture(scope="session")
def planted_ct(plant: Callable[[Path], CaseResult], shared: Path) -> CaseResult:
    return plant(shared / "dicom" / "ct_axial_28")


@pytest.fixture(scope="session")
def answered(tasks: tuple[Task, ...]) -> Callable[[Volume, dict[str, Any]], CaseResult]:
    """A case with given masks of the tasks lesions and organs on any volume."""

    def result(volume: Volume, masks: dict[str, Any]) -> CaseResult:
        findings = build_findings(volume, tasks, masks, "study-0badcafe")
        return CaseResult(
            case="study-0badcafe", channels=(volume,), tasks=tasks, masks=masks, probabilities={}, findings=findings
        )

    return result
