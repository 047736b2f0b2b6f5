import copy
import re
from collections.abc import Iterator
from typing import Any

import pytest

from medmtl.outputs.files import plain
from medmtl.outputs.numbers import amount, figure, percent
from medmtl.outputs.sentences import LANGUAGES, RESEARCH_USE, full_title_of, report_sentences
from medmtl.result import CaseResult
from tests.two_phases import two_phases


def leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        for item in value.values():
            yield from leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from leaves(item)
    else:
        yield value


def sayable(findings: dict[str, Any]) -> set[str]:
    """Every way a number of the findings may be written, and every number inside its texts."""
    said: set[str] = set()
    for leaf in leaves(findings):
        if isinstance(leaf, str):
            said.update(re.findall(r"\d+(?:\.\d+)?", leaf))
        elif isinstance(leaf, int | float):
            said |= {figure(leaf, unit) for unit in ("mL", "mm", "%")} | {percent(leaf).split()[0], str(leaf)}
    return said


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_number_of_the_text_stands_in_the_findings(spheres: CaseResult, language: str) -> None:
    findings = plain(spheres.findings)
    text = "\n".join(report_sentences(findings, language))
    numbers = re.findall(r"\d+(?:\.\d+)?", text)
    assert len(numbers) >= 10
    unknown = set(numbers) - sayable(findings) - {"1"}  # "发现 1 个病灶"
    assert not unknown


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_wrong_number_would_be_noticed(spheres: CaseResult, language: str) -> None:
    text = "\n".join(report_sentences(spheres.findings, language))
    other = copy.deepcopy(plain(spheres.findings))
    other["lesions"]["totals"]["ml"] = 987.6
    other_text = "\n".join(report_sentences(other, language))
    assert amount(987.6, "mL") in other_text
    assert amount(987.6, "mL") not in text


def test_text_says_what_a_reader_needs(spheres: CaseResult) -> None:
    text = " ".join(report_sentences(spheres.findings, "en"))
    assert "of the left ventricular myocardium" in text
    assert "calibrated probability 93.1 %" in text
    assert text.endswith(RESEARCH_USE["en"])
    assert "Spleen" not in text  # not found, so no volume is claimed
    assert "左心室心肌" in " ".join(report_sentences(spheres.findings, "zh"))


def test_tasks_that_were_not_asked_are_not_spoken_of(spheres: CaseResult) -> None:
    findings = {**spheres.findings, "lesions": None, "diagnosis": None, "organs": []}
    findings["tasks"] = {}
    lines = report_sentences(findings, "en")
    assert len(lines) == 2  # trust and research use


def test_no_lesion_is_said(spheres: CaseResult) -> None:
    totals = {"count": 0, "ml": 0.0, "host": "organs.myocardium", "percent_of_host": 0.0}
    findings = {**spheres.findings, "lesions": {"totals": totals, "items": []}}
    assert report_sentences(findings, "en")[0] == "No lesion was found."


def test_further_tasks_are_spoken_by_kind(spheres: CaseResult) -> None:
    title = {"en": "Age of bone", "zh": "骨龄"}
    rows = [{"name": "oedema", "title": {"en": "Oedema"}}, {"name": "effusion", "title": {"en": "Effusion"}}]
    findings = copy.deepcopy(plain(spheres.findings))
    findings["tasks"] |= {
        "age": {
            "kind": "regression",
            "title": title,
            "labels": [],
            "values": {"value": 12.34, "unit": "a"},
            "derived": [],
        },
        "signs": {
            "kind": "multilabel",
            "title": {"en": "Signs"},
            "labels": rows,
            "values": {"probabilities": {"oedema": 0.9, "effusion": 0.1}, "present": ["oedema"]},
            "derived": [],
        },
        "grade": {
            "kind": "ordinal",
            "title": {"en": "Grade"},
            "labels": rows,
            "values": {"class": "effusion", "probabilities": {"oedema": 0.2, "effusion": 0.8}, "calibrated": False},
            "derived": [],
        },
    }
    text = "\n".join(report_sentences(findings, "en"))
    assert "Age of bone: 12.3 a." in text
    assert "Signs: Oedema." in text
    assert "Grade: Effusion, uncalibrated probability 80.0 %." in text


@pytest.mark.parametrize(
    ("value", "unit", "said"),
    [
        (0.0, "mL", "0.00 mL"),
        (9.994, "mL", "9.99 mL"),
        (9.996, "mL", "10.0 mL"),
        (99.96, "mL", "100 mL"),
        (17.25, "mm", "17.2 mm"),
    ],
)
def test_amounts(value: float, unit: str, said: str) -> None:
    assert amount(value, unit) == said


def test_a_probability_is_never_rounded_to_certainty() -> None:
    assert percent(0.99999) == "> 99.9 %"
    assert percent(0.00001) == "< 0.1 %"
    assert percent(1.0) == "100.0 %"


def test_two_phases_of_a_heart_are_told_apart() -> None:
    findings = two_phases().findings
    said = report_sentences(findings, "en")
    assert said[0] == "End-diastole: left ventricular cavity 24.2 mL."
    assert said[1] == "End-systole: left ventricular cavity 6.21 mL."
    assert report_sentences(findings, "zh")[2] == "左心室射血分数：74.3 %。"
    assert full_title_of(findings, "organs_es.lv_cavity", "zh") == "左心室腔（收缩末期）"
    assert full_title_of(findings, "organs.lv_cavity", "en") == "Left ventricular cavity, end-diastole"


def test_a_title_that_no_other_task_has_stands_alone(spheres: CaseResult) -> None:
    assert full_title_of(spheres.findings, "organs.myocardium", "en") == "Left ventricular myocardium"
