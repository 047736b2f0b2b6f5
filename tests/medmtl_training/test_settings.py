from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from medmtl.errors import Code, TrainingError
from medmtl_training.settings import Augmentation, TrainSettings, settings_from_mapping, settings_to_mapping


@given(st.integers(1, 10**6), st.floats(1e-6, 1.0), st.floats(-4, 0), st.sampled_from(["kendall", "equal"]))
def test_settings_written_as_yaml_read_back_equal(steps: int, rate: float, low: float, weighting: str) -> None:
    settings = TrainSettings(
        steps=steps,
        learning_rate=rate,
        log_variance_limits=(low, 2.0),
        weighting=weighting,
        augmentation=Augmentation(elastic_mm=rate, thick_slices=0.5),
    )
    assert settings_from_mapping(yaml.safe_load(yaml.safe_dump(settings_to_mapping(settings)))) == settings


@pytest.mark.parametrize(
    "body",
    [
        {"step": 10},
        {"steps": 0},
        {"steps": 2.5},
        {"steps": "many"},
        {"batch": 0},
        {"batch": None},
        {"weighting": "random"},
        {"log_variance_limits": 3},
        {"log_variance_limits": [1, 2, 3]},
        {"augmentation": {"rotate": 3}},
        {"augmentation": [1]},
        {"augmentation": {"scale": "large"}},
    ],
)
def test_what_is_not_known_or_no_number_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(TrainingError) as caught:
        settings_from_mapping(body)
    assert caught.value.code is Code.BAD_OPTION


def test_a_rate_that_yaml_reads_as_text_is_a_number() -> None:
    settings = settings_from_mapping(yaml.safe_load("{learning_rate: 2e-3, steps: 100, weight_decay: 0}"))
    assert settings.learning_rate == 0.002
    assert settings.weight_decay == 0.0
    assert settings_from_mapping({"augmentation": None}) == TrainSettings()
