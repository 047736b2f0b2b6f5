from dataclasses import replace
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from medmtl.errors import Code, DatasetError
from medmtl.preparation.plan import Normalisation, Scheme, plan_from_mapping, plan_to_mapping
from tests.tiny import CUBE, ROOT, STACK


@given(
    st.floats(0.0, 0.9),
    st.lists(st.text("abcdef_", min_size=1), max_size=3, unique=True),
    st.sampled_from(list(Scheme)),
    st.tuples(*[st.one_of(st.none(), st.floats(0.2, 12.0))] * 3),
)
def test_a_plan_written_as_yaml_reads_back_equal(
    overlap: float, keep: list[str], scheme: Scheme, spacing: tuple[float | None, float | None, float | None]
) -> None:
    rule = Normalisation(scheme=scheme, low=-160.0, high=240.0, mean=40.5, spread=0.1)
    plan = replace(STACK, overlap=overlap, keep_largest=tuple(keep), normalisation=(rule, rule), spacing=spacing)
    text = yaml.safe_dump(plan_to_mapping(plan))
    assert plan_from_mapping(yaml.safe_load(text)) == plan


def test_the_shipped_plan_is_one() -> None:
    body = yaml.safe_load((ROOT / "training" / "configs" / "cardiac-lge.yaml").read_text(encoding="utf-8"))
    plan = plan_from_mapping(body["plan"])
    assert plan.divisor == (16, 16, 2)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("patch", [15, 16, 4]),
        ("patch", [16, 16]),
        ("coarse_level", 0),
        ("coarse_level", 2),
        ("widths", [4, 8]),
        ("strides", [[1, 1, 1], [2, 2, 1]]),
        ("mirror", [0, 1, 2, 3]),
        ("orientation", "RAS"),
        ("normalisation", [{"scheme": "minmax"}]),
        ("normalisation", [{"low": 1.0}]),
        ("spacings", [1, 1, 1]),
        ("kernels", [["three", 3, 3]] * 3),
    ],
)
def test_a_plan_that_cannot_work_is_refused(key: str, value: Any) -> None:
    body = plan_to_mapping(STACK)
    plan_from_mapping(body)
    with pytest.raises(DatasetError) as caught:
        plan_from_mapping({**body, key: value})
    assert caught.value.code is Code.BAD_DATASET


def test_a_missing_key_is_named() -> None:
    body = plan_to_mapping(CUBE)
    del body["patch"]
    with pytest.raises(DatasetError, match="patch"):
        plan_from_mapping(body)


def test_the_divisor_is_the_product_of_the_strides() -> None:
    assert (STACK.divisor, CUBE.divisor) == ((4, 4, 2), (4, 4, 4))
