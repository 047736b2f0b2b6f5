from dataclasses import replace

import numpy as np
import pytest
import torch

from medmtl_training.build import build_network, start_at_means
from medmtl_training.prepared import PreparedCase
from tests.tiny import STACK, heart_tasks

TASKS = heart_tasks(age={"kind": "regression"}, weight={"kind": "regression"})


def test_one_seed_one_network() -> None:
    one, two, other = (build_network(1, STACK, TASKS, seed).state_dict() for seed in (3, 3, 4))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_a_regression_starts_at_the_mean_of_what_is_known() -> None:
    case = PreparedCase(
        name="a", patient="a", fold=None, image=np.zeros((1, 2, 2, 2), np.float32), labels={}, annotated={},
        case_labels={"age": 40.0, "weight": None, "diagnosis": 1}, spacing=(1.0, 1.0, 1.0), voxel_ml=0.001, hashes=(),
        foreground={}, box=None, deciding={}, filled=0,
    )  # fmt: skip
    cases = [case, replace(case, case_labels={"age": 60.0}), replace(case, case_labels={"age": None})]
    net, plain = (build_network(1, STACK, TASKS, 0).eval() for _ in range(2))
    start_at_means(net, TASKS, cases)
    assert net.state_dict()["case_heads.age.burden.3.bias"].tolist() == [50.0]
    changed = {n for n, v in net.state_dict().items() if not torch.equal(v, plain.state_dict()[n])}
    assert changed == {"case_heads.age.burden.3.bias"}
    sums = torch.zeros((1, net.pooling.maps, net.pooling.columns))  # type: ignore[union-attr]
    with torch.inference_mode():
        age = net.case_logits(sums, torch.ones(1), ["age"])["age"]
    assert float(age) == pytest.approx(50.0, abs=2.0)
