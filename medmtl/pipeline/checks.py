"""Answers held against each other, and the trust line that follows."""

from collections.abc import Collection
from typing import Any

from medmtl.answers import Answers
from medmtl.errors import Code, Notice
from medmtl.findings.formula import evaluate, names_of
from medmtl.outputs.numbers import amount, percent
from medmtl.task import Derived, Kind, Task

NORMAL_CODE = "17621005"  # SNOMED CT "Normal": the class that says nothing was found
_INSIDE = 0.5
_SURE = 0.8

INFORMATIVE = frozenset({Code.SUPERSEDES, Code.INVERTED_DISPLAY, Code.DUPLICATE_DROPPED})
"""Notices that leave nothing to doubt or to compare: they are told and lower no trust."""


def run_checks(
    answers: Answers,
    lesions: dict[str, Any] | None,
    *,
    asked: Collection[str] | None = None,
    known: tuple[Task, ...] | None = None,
) -> list[dict[str, Any]]:
    """A row per check that applies: name (a warning code), ok, and a sentence in English and Chinese.

    Args:
        answers: what was found.
        lesions: the view of that name, None where lesions were not asked for.
        asked: names of tasks whose derived values are reported, None for all that were answered.
        known: all tasks of the model, None where all were answered.
    """
    checks = [*_lesions_in_host(lesions), *_class_and_burden(answers, lesions), *_empty_organs(answers)]
    for task in answers.tasks:
        if asked is None or task.name in asked:
            checks += _derived(task, answers, known if known is not None else answers.tasks)
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


def derived_value(task: Task, derived: Derived, answers: Answers, known: tuple[Task, ...]) -> float | None:
    """A derived value of the found volumes; None where it divides by nothing or reads a task that was not asked."""
    volumes: dict[str, float | None] = {f"{t.name}.{label.name}": None for t in known for label in t.labels}
    volumes |= answers.ml
    volumes |= {label.name: answers.ml.get(f"{task.name}.{label.name}") for label in task.labels}
    value = evaluate(derived.formula, volumes)
    return None if value is None else round(value, 3)


def _derived(task: Task, answers: Answers, known: tuple[Task, ...]) -> list[tuple[Code, bool, str, str]]:
    """What cannot be computed, and shares that cannot be: a cavity that grows in systole, more infarct than muscle."""
    rows = []
    own = {label.name: f"{task.name}.{label.name}" for label in task.labels}
    for derived in task.derived:
        read = {own.get(name, name) for name in names_of(derived.formula)}
        if not all(name in answers.ml for name in read):
            continue  # of a task that was not asked
        value = derived_value(task, derived, answers, known)
        en, zh = derived.title("en"), derived.title("zh")
        en = en[:1].upper() + en[1:]
        if value is None:
            text = (
                f"{en} cannot be computed: a structure it is divided by was not found.",
                f"无法计算{zh}：未找到所需结构。",
            )
            rows.append((Code.DERIVED_UNDEFINED, False, *text))
        elif derived.unit == "%" and not 0.0 <= value <= 100.0:
            shown = amount(value, "%")
            text = f"{en} of {shown} cannot be: compare the outlines.", f"{zh} {shown} 不合理：请核对轮廓。"
            rows.append((Code.DERIVED_IMPLAUSIBLE, False, *text))
    return rows


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
