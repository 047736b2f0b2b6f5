"""A heart at end-diastole and end-systole: two channels, each with the task that is drawn on it."""

from dataclasses import replace
from typing import Any

import numpy as np

from medmtl.answers import Answers
from medmtl.bundle.bundle import Bundle, read_bundle
from medmtl.geometry.grid import Grid
from medmtl.pipeline.findings_json import build_findings
from medmtl.result import CaseResult
from medmtl.task import Task, tasks_from_mapping
from medmtl.volume import Volume
from tests.tiny import ROOT

SHAPE, SPACING = (64, 56, 8), (2.0, 2.0, 8.0)
CENTRES = {"ED": (20.0, 28.0, 3.5), "ES": (44.0, 28.0, 3.5)}
"""Voxel around which each phase's cavity lies: far apart, so that a mask on the wrong channel is seen."""
RADIUS_MM = {"ED": 18.0, "ES": 12.0}
_CAVITY = {"value": 1, "name": "lv_cavity", "title": {"en": "Left ventricular cavity", "zh": "左心室腔"},
           "color": "#E0402A", "category": "organ"}  # fmt: skip
TASKS: dict[str, Any] = {
    "organs": {"kind": "segmentation", "title": {"en": "End-diastole", "zh": "舒张末期"}, "drawn_on": "ED",
               "labels": [_CAVITY]},
    "organs_es": {"kind": "segmentation", "title": {"en": "End-systole", "zh": "收缩末期"}, "drawn_on": "ES",
                  "labels": [{**_CAVITY, "color": "#3AC05A"}],
                  "derived": [{"name": "lv_ejection_fraction", "unit": "%",
                               "formula": "100 * (organs.lv_cavity - lv_cavity) / organs.lv_cavity"}]},
}  # fmt: skip


def two_phases() -> CaseResult:
    """Each channel is dark but for a bright ball round its centre; the mask of its task is that ball."""
    tasks = tasks_from_mapping(TASKS)
    grid = Grid(shape=SHAPE, affine=np.diag([*SPACING, 1.0]))
    index = np.indices(SHAPE).astype(np.float64)
    channels, masks, probabilities = [], {}, {}
    for number, (task, name) in enumerate(zip(tasks, CENTRES, strict=True)):
        offset = (index - np.array(CENTRES[name])[:, None, None, None]) * np.array(SPACING)[:, None, None, None]
        far = np.linalg.norm(offset, axis=0)
        ball = far < RADIUS_MM[name]
        noise = np.random.default_rng(number).integers(0, 40, SHAPE)
        array = (np.where(ball, 800 + 400 * number, 100) + noise).astype(np.int16)
        channels.append(Volume(array=array, grid=grid, modality="MR", content_hash=f"{number}f" * 32))
        masks[task.name] = ball.astype(np.uint8)
        inside = 1 / (1 + np.exp(np.clip((far - RADIUS_MM[name]) / 2, -30, 30)))
        probabilities[task.name] = np.stack([1 - inside, inside]).astype(np.float32)
    bundle = two_channel_bundle(tasks)
    answers = Answers(
        tasks=tasks, grid=grid, image=channels[0].array, masks=masks, foreground={}, case={},
        calibration=bundle.calibration, slice_axis=2, planned_stack=True, minimum_lesion_ml=0.0,
    )  # fmt: skip
    context = {
        "engine": {"name": "none", "device": "cpu", "version": "0", "precision": "float32"},
        "asked": tuple(task.name for task in tasks), "warnings": [], "allowed": [],
    }  # fmt: skip
    return CaseResult(
        case="two-phases", channels=tuple(channels), tasks=tasks, masks=masks, probabilities=probabilities,
        findings=build_findings("two-phases", bundle, tuple(channels), answers, context),
        channel_names=("ED", "ES"),
    )  # fmt: skip


def two_channel_bundle(tasks: tuple[Task, ...]) -> Bundle:
    """The phantoms' model as if it read two phases."""
    bundle = read_bundle(ROOT / "sample_data" / "models" / "phantom-ct")
    return replace(bundle, tasks=tasks, channels=("ED", "ES"))
