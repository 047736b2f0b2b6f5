from typing import Any

import pytest
import yaml

from medmtl.errors import Code, DatasetError
from medmtl.task import Derived, Kind, tasks_from_mapping, tasks_to_mapping
from tests.tiny import heart_head, heart_tasks

FURTHER: dict[str, Any] = {
    "parts": {
        "kind": "regions",
        "labels": [{"name": "front", "value": 9}, "back"],
        "drawn_on": "LGE",
        "title": "Parts",
    },
    "grade": {"kind": "ordinal", "classes": ["low", "high"], "basis": "readers"},
    "signs": {"kind": "multilabel", "classes": ["effusion", "thrombus"]},
    "ejection": {"kind": "regression", "unit": "%", "auxiliary": True, "title": {"en": "Ejection", "zh": "射血"}},
    "sides": {
        "kind": "segmentation",
        "labels": [
            {
                "name": "left_atrium",
                "laterality": "left",
                "category": "organ",
                "color": "#102030",
                "modifier": {"scheme": "SCT", "value": "255549009", "meaning": "Anterior"},
            }
        ],
        "derived": [{"name": "share", "unit": "%", "formula": "left_atrium / organs.lv_cavity", "title": "Share"}],
    },
}


def test_tasks_written_as_yaml_read_back_equal() -> None:
    tasks = heart_tasks(**FURTHER)
    assert {task.kind for task in tasks} == set(Kind)
    text = yaml.safe_dump(tasks_to_mapping(tasks), allow_unicode=True, sort_keys=False)
    assert tasks_from_mapping(yaml.safe_load(text)) == tasks


def test_channels_of_a_head_follow_from_the_kind() -> None:
    outputs = {task.name: task.outputs for task in heart_tasks(**FURTHER)}
    assert outputs == {
        "lesions": 3, "organs": 3, "diagnosis": 2, "parts": 2, "grade": 2, "signs": 2, "ejection": 1, "sides": 2,
    }  # fmt: skip


def test_hosts_titles_and_labels() -> None:
    lesions, organs, diagnosis = heart_tasks()
    assert (lesions.host_task, organs.host_task) == ("organs", None)
    assert organs.label("myocardium").value == 2
    assert [label.value for label in diagnosis.labels] == [0, 1]
    assert organs.label("myocardium").title("zh") == "左心室心肌"
    assert organs.label("myocardium").title("fr") == "Left ventricular myocardium"
    assert lesions.derived[0].title("zh") == "梗死占心肌的百分比"
    own = Derived(name="myocardial_mass", unit="g", formula="1", titles={"en": "Mass"})
    assert (own.title("zh"), own.title("en")) == ("Mass", "Mass")
    assert Derived(name="wall_mass", unit="g", formula="1").title("zh") == "wall mass"
    assert diagnosis.title() == "Diagnosis"
    with pytest.raises(KeyError):
        organs.label("spleen")


def changed(task: str, **changes: Any) -> dict[str, Any]:
    tasks = heart_head()["tasks"]
    return {**tasks, task: {**tasks.get(task, {}), **changes}}


@pytest.mark.parametrize(
    "tasks",
    [
        changed("organs", kind="outline"),
        changed("organs", colour="#ffffff"),
        changed("organs", labels=[]),
        changed("organs", labels=["lv_cavity", "lv_cavity", "myocardium"]),
        changed("organs", labels=[{"name": "lv_cavity", "value": 1}, {"name": "myocardium", "value": 3}]),
        changed("organs", labels=[{"name": "lv_cavity", "value": 255}, "myocardium"]),
        changed("organs", labels=[{"name": "lv_cavity", "value": "first"}, "myocardium"]),
        changed("organs", labels=[{"value": 1}]),
        changed("organs", labels=[{"name": "lv_cavity", "size": 1}]),
        changed("organs", labels=[{"name": "lv_cavity", "code": {"scheme": "SCT"}}, "myocardium"]),
        changed("organs", labels=[{"name": "lv_cavity", "title": 5}, "myocardium"]),
        changed("organs", labels=[{"name": "../../lv_cavity"}, "myocardium"]),
        changed("organs", derived=[{"name": "mass", "formula": "1.05 * wall"}]),
        changed("organs", derived=[{"name": "mass", "formula": "organs.wall"}]),
        changed("organs", derived=[{"name": "mass", "formula": "open('x')"}]),
        changed("organs", derived=[{"formula": "myocardium"}]),
        changed("lesions", inside="organs.wall"),
        changed("lesions", inside="diagnosis.normal"),
        changed("diagnosis", classes=[]),
        changed("diagnosis", classes=[{"name": "normal", "value": 1}, {"name": "infarction", "value": 0}]),
        changed("../diagnosis", kind="regression"),
        changed("a/b", kind="regression"),
        changed("", kind="regression"),
        {**heart_head()["tasks"], 5: {"kind": "regression"}},
        {**heart_head()["tasks"], "age": "regression"},
    ],
)
def test_what_is_wrong_in_dataset_yaml_is_refused(tasks: dict[str, Any]) -> None:
    with pytest.raises(DatasetError) as caught:
        tasks_from_mapping(tasks)
    assert caught.value.code is Code.BAD_DATASET
