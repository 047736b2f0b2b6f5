"""`Config`: what a `plan.yaml` holds. Needs nothing beyond PyYAML: a machine with a bare PyTorch imports it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from medmtl.errors import Code, TrainingError
from medmtl.preparation.plan import Plan, plan_from_mapping, plan_to_mapping
from medmtl_training.settings import TrainSettings, settings_from_mapping, settings_to_mapping


@dataclass(frozen=True, kw_only=True)
class Config:
    """What a `plan.yaml` holds.

    Attributes:
        plan: geometry, intensities, network.
        settings: of the training.
        model: name, title, version, limits and keep_out (cases that no network may see) of the bundle.
    """

    plan: Plan
    settings: TrainSettings
    model: Mapping[str, Any]


def read_config(path: Path) -> Config:
    """The content of a `plan.yaml`.

    Raises:
        TrainingError, DatasetError: the file is missing or holds what is not known.
    """
    todo = "give a YAML file with the sections plan, training and model"
    try:
        body = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError):
        raise TrainingError(Code.NOT_FOUND, "the plan cannot be read", todo) from None
    if not isinstance(body, Mapping) or set(body) - {"plan", "training", "model"} or "plan" not in body:
        raise TrainingError(Code.BAD_OPTION, "the plan has other sections", todo)
    return Config(
        plan=plan_from_mapping(body["plan"]),
        settings=settings_from_mapping(body.get("training") or {}),
        model=body.get("model") or {},
    )


def config_text(config: Config, notes: Sequence[str] = ()) -> str:
    """The YAML that `read_config` reads back equal, under `notes` as comments."""
    body = {
        "plan": plan_to_mapping(config.plan),
        "training": settings_to_mapping(config.settings),
        "model": dict(config.model),
    }
    text = yaml.safe_dump(body, sort_keys=False, allow_unicode=True, default_flow_style=None, width=110)
    return "".join(f"# {note}\n" for note in notes) + text


def write_config(path: Path, config: Config) -> None:
    """Writes what `read_config` reads back equal."""
    path.write_text(config_text(config), encoding="utf-8")
