"""A run's networks to a bundle, its out-of-fold answers to `metrics.json`, both to a model card."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from medmtl import __version__
from medmtl.bundle.bundle import Bundle, write_bundle_yaml
from medmtl.bundle.digests import write_sums
from medmtl.bundle.weights import save_weights
from medmtl.findings.calibration import Calibration
from medmtl.outputs.files import json_bytes
from medmtl.reading.nifti import read_nifti
from medmtl_training.cases import Case, Dataset
from medmtl_training.config import Config
from medmtl_training.evaluation.provenance import image_hashes
from medmtl_training.model_card import model_card
from medmtl_training.run import TrainedNetwork
from medmtl_training.settings import settings_to_mapping


def write_bundle(
    folder: Path, dataset: Dataset, config: Config, networks: Sequence[TrainedNetwork], device: str
) -> Bundle:
    """Writes weights, `bundle.yaml`, `reference.json` and the licence into `folder`, replacing what was there."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    seen = {name for network in networks for name in network.seen}
    hashes = {case.name: list(image_hashes(case)) for case in dataset.cases if case.name in seen}
    rows = []
    for network in networks:
        save_weights(network.weights, folder / "weights" / f"{network.name}.safetensors")
        images = sorted({digest for name in network.seen for digest in hashes[name]} | set(network.inherited))
        rows.append({"weights": f"{network.name}.safetensors", "cases": len(network.seen), "images_sha256": images})
    reference = _reference([case for case in dataset.cases if case.name in seen])
    (folder / "reference.json").write_text(json.dumps(reference, indent=1), encoding="utf-8")
    (folder / "LICENCE").write_text(_licence(dataset), encoding="utf-8")
    model = config.model
    bundle = Bundle(
        folder=folder,
        sha256="",
        name=str(model.get("name") or dataset.name),
        title=str(model.get("title") or dataset.description or dataset.name),
        version=str(model.get("version") or "0"),
        description=dataset.description,
        modality=dataset.modality,
        channels=dataset.channels,
        tasks=dataset.tasks,
        plan=config.plan,
        weights=(),
        calibration=Calibration(),
        training={
            "medmtl": __version__,
            "dataset": dataset.name,
            "device": device,
            "settings": settings_to_mapping(config.settings),
            "networks": rows,
        },
        reference=reference,
        data=f"{len(seen)} cases of {dataset.name}. {dataset.description}".strip(),
        licence=str(dataset.licence or "as the training data"),
        licence_url=str(model.get("licence_url") or ""),
        citation=dataset.citation,
        non_commercial="NC" in dataset.licence.upper().replace("-", " ").split(),
        synthetic=bool(model.get("synthetic", False)),
        limits=tuple(" ".join(str(text).split()) for text in model.get("limits") or ()),
    )
    return write_bundle_yaml(bundle)


def add_figures(bundle: Bundle, metrics: Mapping[str, Any]) -> None:
    """Adds `metrics.json`, the card made from it, and the calibration that comes with them to the answers."""
    bundle = write_bundle_yaml(replace(bundle, calibration=Calibration.from_mapping(metrics.get("calibration") or {})))
    kept = {key: value for key, value in metrics.items() if key not in ("rows", "comparison", "calibration")}
    (bundle.folder / "metrics.json").write_bytes(json_bytes(kept))
    (bundle.folder / "MODEL_CARD.md").write_text(model_card(bundle, kept), encoding="utf-8")
    write_sums(bundle.folder)


def only_network(bundle: Bundle, name: str) -> Bundle:
    """The bundle with one of its networks."""
    return replace(bundle, weights=tuple(path for path in bundle.weights if path.name == name))


def _reference(cases: Sequence[Case]) -> dict[str, Any]:
    grids = [read_nifti(case.images[0]).grid for case in cases]
    body: dict[str, Any] = {"cases": len(grids)}
    for name, rows in (
        ("spacing_mm", np.sort([grid.spacing for grid in grids], axis=1)),
        ("extent_mm", np.sort([np.asarray(grid.shape) * np.asarray(grid.spacing) for grid in grids], axis=1)),
    ):
        body[name] = {
            "lowest": [round(float(v), 4) for v in rows.min(axis=0)],
            "highest": [round(float(v), 4) for v in rows.max(axis=0)],
        }
    return body


def _licence(dataset: Dataset) -> str:
    terms = dataset.licence or "not stated; ask whoever holds the training data"
    return (
        f"These weights were trained on {dataset.name} and are under the terms of that data set:\n\n  {terms}\n\n"
        f"Please cite:\n\n  {dataset.citation or 'the source of the training data'}\n\n"
        "For research only, not for clinical decisions.\n"
    )
