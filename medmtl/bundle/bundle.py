"""`Bundle`: what a trained model says of itself in `bundle.yaml`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from medmtl.bundle.digests import verify_sums, write_sums
from medmtl.errors import BundleError, Code, MedmtlError
from medmtl.findings.calibration import Calibration
from medmtl.preparation.plan import Plan, plan_from_mapping, plan_to_mapping
from medmtl.task import Task, tasks_from_mapping, tasks_to_mapping

SCHEMA = "medmtl-bundle/1"
_TEXTS = ("name", "title", "version", "description", "modality", "licence", "licence_url", "citation", "data")


@dataclass(frozen=True, kw_only=True, eq=False)
class Bundle:
    """A trained model, without its weights in memory.

    Attributes:
        folder: where it lies.
        sha256: digest over the files that decide an answer: one model, one name.
        name, title, version, description: in words.
        modality: "CT" or "MR" of the images it reads.
        channels: what each input image is.
        tasks: what it answers.
        plan: geometry, intensities, network.
        weights: safetensors files, one or an ensemble.
        calibration: what its held-out errors say of new answers.
        training: provenance: data set, hashes of the cases, settings, device, steps.
        reference: what the training inputs looked like, for guards.
        data: the data set it was trained on, in words.
        licence, licence_url, citation: of the weights.
        non_commercial: whether the licence forbids commercial use.
        synthetic: whether it was trained on phantoms and says nothing about patients.
        limits: sentences on known shortcuts and limits.
    """

    folder: Path
    sha256: str
    name: str
    title: str
    version: str
    description: str
    modality: str
    channels: tuple[str, ...]
    tasks: tuple[Task, ...]
    plan: Plan
    weights: tuple[Path, ...]
    calibration: Calibration
    training: Mapping[str, Any]
    reference: Mapping[str, Any]
    data: str
    licence: str
    licence_url: str
    citation: str
    non_commercial: bool
    synthetic: bool
    limits: tuple[str, ...]

    def task(self, name: str) -> Task:
        """The task called `name`.

        Raises:
            KeyError: there is none.
        """
        return {task.name: task for task in self.tasks}[name]

    @property
    def task_names(self) -> tuple[str, ...]:
        """Names of the tasks, in order; auxiliary ones left out."""
        return tuple(task.name for task in self.tasks if not task.auxiliary)


def read_bundle(folder: Path) -> Bundle:
    """The bundle in `folder`, every file verified.

    Raises:
        BundleError: no bundle, another version, or a file that is damaged or unsafe.
    """
    if (folder / "bundle" / "bundle.yaml").is_file():
        folder = folder / "bundle"  # a training run
    if not (folder / "bundle.yaml").is_file():
        raise BundleError(Code.NOT_A_BUNDLE, "the folder holds no bundle.yaml", "give a model's name or folder")
    weights = tuple(sorted((folder / "weights").glob("*")))
    for path in weights:
        refuse_unsafe(path)
    sha256 = verify_sums(folder)
    try:
        body = yaml.safe_load((folder / "bundle.yaml").read_text(encoding="utf-8"))
        if body.get("schema") != SCHEMA:
            what = f"bundle.yaml has schema {body.get('schema')!r}, not {SCHEMA}"
            raise BundleError(Code.BUNDLE_VERSION, what, "use the version of medmtl that made it")
        return Bundle(
            folder=folder,
            sha256=sha256,
            channels=tuple(body["channels"]),
            tasks=tasks_from_mapping(body["tasks"]),
            plan=plan_from_mapping(body["plan"]),
            weights=weights,
            calibration=Calibration.from_mapping(body.get("calibration") or {}),
            training=dict(body["training"]),
            reference=yaml.safe_load((folder / "reference.json").read_text(encoding="utf-8")),
            non_commercial=bool(body["non_commercial"]),
            synthetic=bool(body["synthetic"]),
            limits=tuple(body.get("limits") or ()),
            **{key: str(body[key]) for key in _TEXTS},
        )
    except (OSError, yaml.YAMLError, ValueError, KeyError, TypeError, AttributeError) as error:
        what = f"bundle.yaml cannot be read ({type(error).__name__})"
        raise BundleError(Code.BUNDLE_DAMAGED, what, "install the model again") from None
    except MedmtlError as error:
        if isinstance(error, BundleError):
            raise
        raise BundleError(Code.BUNDLE_DAMAGED, error.what, "install the model again") from None


def write_bundle_yaml(bundle: Bundle) -> Bundle:
    """Writes `bundle.yaml` and `SHA256SUMS` into the bundle's folder, beside the files already there."""
    body: dict[str, Any] = {"schema": SCHEMA}
    body |= {key: getattr(bundle, key) for key in _TEXTS}
    body |= {
        "non_commercial": bundle.non_commercial,
        "synthetic": bundle.synthetic,
        "limits": list(bundle.limits),
        "channels": list(bundle.channels),
        "tasks": tasks_to_mapping(bundle.tasks),
        "plan": plan_to_mapping(bundle.plan),
        "calibration": bundle.calibration.to_mapping(),
        "training": dict(bundle.training),
    }
    text = yaml.safe_dump(body, sort_keys=False, allow_unicode=True, width=110)
    (bundle.folder / "bundle.yaml").write_text(text, encoding="utf-8")
    write_sums(bundle.folder)
    return read_bundle(bundle.folder)


def refuse_unsafe(path: Path) -> None:
    """Refuses weights that are no safetensors file: a pickle runs code when it is loaded.

    Raises:
        BundleError: `unsafe-weights`.
    """
    head = b""
    if path.is_file():
        with path.open("rb") as file:
            head = file.read(9)
    size = int.from_bytes(head[:8], "little")
    if path.suffix != ".safetensors" or len(head) < 9 or head[8:] != b"{" or size > path.stat().st_size:
        what = f"weights/{path.name} is no safetensors file"
        raise BundleError(Code.UNSAFE_WEIGHTS, what, "do not load it; ask for the weights as safetensors")
