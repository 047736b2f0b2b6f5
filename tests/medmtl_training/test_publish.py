import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from medmtl.bundle.bundle import Bundle, read_bundle
from medmtl.bundle.weights import load_networks
from medmtl_training.cases import Dataset, read_dataset
from medmtl_training.config import Config
from medmtl_training.evaluation.provenance import image_hashes
from medmtl_training.publish import add_figures, only_network, write_bundle
from medmtl_training.run import TrainedNetwork
from medmtl_training.settings import TrainSettings
from tests.tiny import STACK, heart_dataset, network


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return read_dataset(heart_dataset(tmp_path / "data", 4))[0]


def publish(folder: Path, dataset: Dataset, **model: object) -> Bundle:
    config = Config(plan=STACK, settings=TrainSettings(steps=3), model={"name": "hearts", "version": "0.1", **model})
    names = [case.name for case in dataset.cases]
    networks = [
        TrainedNetwork(name="fold_0", seen=tuple(names[1:]), weights=dict(network(seed=0).state_dict())),
        TrainedNetwork(name="fold_1", seen=(names[0], names[2]), weights=dict(network(seed=1).state_dict())),
    ]
    return write_bundle(folder / "bundle", dataset, config, networks, "cpu")


def test_a_bundle_says_what_it_was_trained_on(tmp_path: Path, dataset: Dataset) -> None:
    bundle = publish(tmp_path, dataset, limits=["One\n  hospital."], title="Hearts")
    assert bundle.sha256 == read_bundle(bundle.folder).sha256
    assert (bundle.name, bundle.version, bundle.title, bundle.modality) == ("hearts", "0.1", "Hearts", "MR")
    assert bundle.tasks == dataset.tasks
    assert bundle.limits == ("One hospital.",)
    rows = {row["weights"]: row for row in bundle.training["networks"]}
    assert set(rows) == {"fold_0.safetensors", "fold_1.safetensors"}
    for name, indices in (("fold_0", (1, 2, 3)), ("fold_1", (0, 2))):
        wanted = sorted(digest for n in indices for digest in image_hashes(dataset.cases[n]))
        assert rows[f"{name}.safetensors"]["images_sha256"] == wanted
    text = (bundle.folder / "bundle.yaml").read_text(encoding="utf-8")
    assert not any(case.name in text or case.patient in text for case in dataset.cases)
    assert bundle.training["settings"]["steps"] == 3
    nets = load_networks(bundle)
    name = "encoder.stages.0.conv1.conv.weight"
    assert torch.equal(nets[1].state_dict()[name], network(seed=1).state_dict()[name].half().float())


def test_the_reference_is_what_the_training_images_measure(tmp_path: Path, dataset: Dataset) -> None:
    reference = publish(tmp_path, dataset).reference
    assert reference["cases"] == 4
    assert reference["spacing_mm"] == {"lowest": [5.0, 5.0, 12.0], "highest": [5.0, 5.0, 12.0]}
    assert reference["extent_mm"] == {"lowest": [72.0, 160.0, 160.0], "highest": [72.0, 160.0, 160.0]}


@pytest.mark.parametrize(
    ("licence", "non_commercial"),
    [("CC BY-NC-SA 4.0", True), ("CC-BY-NC-4.0", True), ("Apache-2.0", False), ("CC BY 4.0", False), ("", False)],
)
def test_the_licence_of_the_data_is_that_of_the_weights(
    tmp_path: Path, dataset: Dataset, licence: str, non_commercial: bool
) -> None:
    bundle = publish(tmp_path, replace(dataset, licence=licence))
    assert bundle.non_commercial == non_commercial
    assert (licence or "not stated") in (bundle.folder / "LICENCE").read_text(encoding="utf-8")


def test_figures_are_added_under_the_same_name(tmp_path: Path, dataset: Dataset) -> None:
    bundle = publish(tmp_path, dataset)
    estimate = {"mean": 0.5, "low": 0.4, "high": 0.6}
    metrics = {
        "cases": 4, "patients": 4, "rows": [{"case": "HEARTS_000"}],
        "tasks": {"diagnosis": {"n": 4, "accuracy": estimate, "baselines": {}}},
    }  # fmt: skip
    add_figures(bundle, metrics)
    again = read_bundle(bundle.folder)
    assert again.sha256 == bundle.sha256
    written = json.loads((bundle.folder / "metrics.json").read_text(encoding="utf-8"))
    assert written["tasks"]["diagnosis"]["n"] == 4
    assert "rows" not in written  # names of cases stay with who trained
    card = (bundle.folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert card.startswith("# hearts 0.1")
    assert "diagnosis: accuracy" in card
    assert "0.500" in card
    assert "Not established." in card


def test_one_network_of_several(tmp_path: Path, dataset: Dataset) -> None:
    bundle = publish(tmp_path, dataset)
    assert [path.name for path in only_network(bundle, "fold_1.safetensors").weights] == ["fold_1.safetensors"]


def test_a_bundle_replaces_the_one_before(tmp_path: Path, dataset: Dataset) -> None:
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "old.txt").write_text("x", encoding="utf-8")
    first = publish(tmp_path, dataset)
    assert not (first.folder / "old.txt").exists()
    assert publish(tmp_path, dataset).sha256 == first.sha256
