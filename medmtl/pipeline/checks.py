"""Answers held against each other, and the trust line that follows."""

from typing import Any

from medmtl.answers import Answers
from medmtl.errors import Code, Notice
from medmtl.outputs.numbers import percent
from medmtl.task import Kind, Task

NORMAL_CODE = "17621005"  # SNOMED CT "Normal": the class that says nothing was found
_INSIDE = 0.5
_SURE = 0.8

INFORMATIVE = frozenset({Code.SUPERSEDES, Code.INVERTED_DISPLAY, Code.DUPLICATE_DROPPED})
"""Notices that leave nothing to doubt or to compare: they are told and lower no trust."""


def run_checks(answers: Answers, lesions: dict[str, Any] | None) -> list[dict[str, Any]]:
    """A row per check that applies: name (a warning code), ok, and a sentence in English and Chinese."""
    checks = [*_lesions_in_host(lesions), *_class_and_burden(answers, lesions), *_empty_organs(answers)]
    return [{"name": str(code), "ok": ok, "text": {"en": en, "zh": zh}} for code, ok, en, zh in checks]


def trust(checks: list[dict[str, Any]], answers: Answers, warnings: list[Notice], allowed: list[str]
          ) -> dict[str, Any]:  # fmt: skip
    """Level and reasons: red where a guard was passed or answers contradict each other, amber where one is unsure."""
    red: list[dict[str, str]] = []
    amber: list[dict[str, str]] = []
    for code in allowed:
        red.append({"en": f"A guard was passed on request: {code}.", "zh": f"按要求越过了一项保护：{code}。"})
    for check in checks:
        if not check["ok"]:
            (red if check["name"] == Code.CLASS_AGAINST_BURDEN else amber).append(check["text"])
    for task in answers.tasks:
        if task.kind in (Kind.CLASSIFICATION, Kind.ORDINAL) and task.name in answers.case:
            best = float(answers.case[task.name].max())
            if best < _SURE:
                shown = percent(best)
                amber.append({"en": f"The probability of the named class is only {shown}.",
                              "zh": f"所报类别的概率仅为 {shown}。"})  # fmt: skip
    amber += [
        {"en": f"{notice.text[:1].upper()}{notice.text[1:]}.", "zh": f"读取时有提示：{notice.code}。"}
        for notice in warnings
        if notice.code not in allowed and notice.code not in INFORMATIVE
    ]
    level = "red" if red else "amber" if amber else "green"
    return {"level": level, "reasons": red + amber}


def _lesions_in_host(lesions: dict[str, Any] | None) -> list[tuple[Code, bool, str, str]]:
    if not lesions or not lesions["totals"]["host"] or not lesions["items"]:
        return []
    outside = [item["id"] for item in lesions["items"] if item["inside_host"] < _INSIDE]
    code = Code.LESION_OUTSIDE_HOST
    if not outside:
        return [
            (code, True, "Every lesion lies mostly inside its host structure.", "所有病灶均大部分位于其所属结构内。")
        ]
    shown = ", ".join(str(number) for number in outside)
    en, zh = f"Lesion {shown} lies mostly outside its host structure.", f"病灶 {shown} 大部分位于所属结构之外。"
    return [(code, False, en, zh)]


def _class_and_burden(answers: Answers, lesions: dict[str, Any] | None) -> list[tuple[Code, bool, str, str]]:
    task = answers.task("diagnosis")
    if lesions is None or task is None or task.name not in answers.case:
        return []
    normal = [label.name for label in task.labels if label.code is not None and label.code.value == NORMAL_CODE]
    if not normal:
        return []
    best = task.labels[int(answers.case[task.name].argmax())].name
    count = int(lesions["totals"]["count"])
    code = Code.CLASS_AGAINST_BURDEN
    if (best in normal) == (count == 0):
        return [(code, True, "Diagnosis and lesions agree.", "诊断与病灶一致。")]
    if count:
        return [(code, False, "The diagnosis is normal, yet lesions were outlined.", "诊断为正常，但勾画出了病灶。")]
    return [(code, False, "The diagnosis is not normal, yet no lesion was outlined.", "诊断为异常，但未勾画出病灶。")]


def _empty_organs(answers: Answers) -> list[tuple[Code, bool, str, str]]:
    rows = []
    for task in answers.tasks:
        empty = [label for label in task.labels if _is_empty_organ(answers, task, label.name, label.category)]
        if empty:
            en = ", ".join(label.title("en") for label in empty)
            zh = "、".join(label.title("zh") for label in empty)
            rows.append((Code.EMPTY_ORGAN, False, f"Not found: {en}.", f"未找到：{zh}。"))
    return rows


def _is_empty_organ(answers: Answers, task: Task, name: str, category: str | None) -> bool:
    return task.is_voxel and category == "organ" and answers.ml[f"{task.name}.{name}"] == 0.0
