"""Report sentences in English and Chinese, from templates over `findings.json` alone."""

from collections.abc import Mapping
from typing import Any

from medmtl.outputs.numbers import amount, percent

LANGUAGES = ("en", "zh")
LISTED_LESIONS = 3

RESEARCH_USE = {
    "en": "Research use only. Not a medical device; not for diagnosis or treatment.",
    "zh": "仅供科研使用。本软件不是医疗器械，不得用于诊断或治疗。",
}
_T = {
    "no_lesion": {"en": "No lesion was found.", "zh": "未发现病灶。"},
    "one_lesion": {"en": "One lesion was found, {ml}{share}.", "zh": "发现 1 个病灶，体积 {ml}{share}。"},
    "lesions": {
        "en": "{count} lesions were found, {ml} in total{share}.",
        "zh": "发现 {count} 个病灶，总体积 {ml}{share}。",
    },
    "share": {"en": " ({percent} of the {host})", "zh": "（占{host}的 {percent}）"},
    "lesion": {
        "en": "Lesion {id}: {ml}, long axis {long}, short axis {short}{parts}.",
        "zh": "病灶 {id}：{ml}，长径 {long}，短径 {short}{parts}。",
    },
    "parts": {"en": "; {parts}", "zh": "；其中{parts}"},
    "more": {"en": "Further lesions are listed in the table.", "zh": "其余病灶见表。"},
    "of_task": {"en": "{title}, {task}", "zh": "{title}（{task}）"},
    "organs": {"en": "Volumes: {parts}.", "zh": "体积：{parts}。"},
    "derived": {"en": "{title}: {value}.", "zh": "{title}：{value}。"},
    "diagnosis": {"en": "Class: {title}, {how} probability {p}.", "zh": "分类：{title}，{how}概率 {p}。"},
    "calibrated": {"en": "calibrated", "zh": "经校准的"},
    "uncalibrated": {"en": "uncalibrated", "zh": "未校准的"},
    "set": {"en": "Classes that cannot be excluded: {names}.", "zh": "不能排除的分类：{names}。"},
    "present": {"en": "{task}: {names}.", "zh": "{task}：{names}。"},
    "none_present": {"en": "{task}: none.", "zh": "{task}：无。"},
    "class_of": {"en": "{task}: {title}, {how} probability {p}.", "zh": "{task}：{title}，{how}概率 {p}。"},
    "truncated": {"en": "Cut by the edge of the image: {names}.", "zh": "被图像边缘截断：{names}。"},
    "trust": {"en": "Trust: {level}. {reasons}", "zh": "可信度：{level}。{reasons}"},
    "green": {"en": "green", "zh": "绿"},
    "amber": {"en": "amber, review with care", "zh": "黄，请仔细复核"},
    "red": {"en": "red, do not rely on this result", "zh": "红，请勿依赖此结果"},
    "allowed": {"en": "Guards passed on request: {codes}.", "zh": "应用户要求放行的检查：{codes}。"},
    "reviewed": {"en": "Reviewed by {reader}, version {version}.", "zh": "由 {reader} 复核，第 {version} 版。"},
    "rejected": {"en": "Rejected by the reader: {names}.", "zh": "复核者否定：{names}。"},
    "corrected": {"en": "Drawn by the reader: {names}.", "zh": "复核者勾画：{names}。"},
    "lesion_name": {"en": "lesion {id}", "zh": "病灶 {id}"},
    "own_class": {"en": "{task} of the reader: {title}.", "zh": "复核者的{task}：{title}。"},
    "class_rejected": {"en": "The reader rejected: {task}.", "zh": "复核者否定：{task}。"},
    "class_accepted": {"en": "The reader agrees: {task}.", "zh": "复核者同意：{task}。"},
    "not_again": {
        "en": "Probabilities of classes are the model's and were not computed again after the review.",
        "zh": "分类概率为模型原有结果，复核后未重新计算。",
    },
}  # fmt: skip


def report_sentences(findings: Mapping[str, Any], language: str) -> list[str]:
    """Sentences a clinician could copy, in `language` ("en" or "zh"); every number is one of `findings`, rounded."""
    return [
        *_lesions(findings, language),
        *_organs(findings, language),
        *_derived(findings, language),
        *_diagnosis(findings, language),
        *_further_tasks(findings, language),
        *review_sentences(findings, language),
        *_trust(findings, language),
        RESEARCH_USE[language],
    ]


def title_of(findings: Mapping[str, Any], path: str, language: str) -> str:
    """Display text of `task.label`; the label's name where the findings hold no title."""
    task, _, name = path.partition(".")
    for label in findings["tasks"].get(task, {}).get("labels", []):
        if label["name"] == name:
            return text(label["title"], language) or name
    return name.replace("_", " ")


def full_title_of(findings: Mapping[str, Any], path: str, language: str) -> str:
    """`title_of`, with the task's title where a label of another task is called the same (two phases of a heart)."""
    task, _, name = path.partition(".")
    title = title_of(findings, path, language)
    others = [
        title_of(findings, f"{other}.{name}", language)
        for other, body in findings["tasks"].items()
        if other != task and any(label["name"] == name for label in body["labels"])
    ]
    if title not in others or task not in findings["tasks"]:
        return title
    of = inside_sentence(text(findings["tasks"][task]["title"], language), language)
    return _say("of_task", language, title=title, task=of)


def text(titles: Mapping[str, str], language: str) -> str:
    """The entry of `titles` in `language`, else the English one, else nothing."""
    return titles.get(language) or titles.get("en") or ""


def inside_sentence(title: str, language: str) -> str:
    """An English title with a small first letter, unless it is an abbreviation; others as they are."""
    if language != "en" or len(title) < 2 or title[1].isupper():
        return title
    return title[0].lower() + title[1:]


def _say(key: str, language: str, **values: object) -> str:
    return _T[key][language].format(**values)


def _join(parts: list[str], language: str) -> str:
    return ("、" if language == "zh" else ", ").join(parts)


def _lesions(findings: Mapping[str, Any], language: str) -> list[str]:
    lesions = findings.get("lesions")
    if lesions is None:
        return []
    totals = lesions["totals"]
    if totals["count"] == 0:
        return [_say("no_lesion", language)]
    share = ""
    if totals["percent_of_host"] is not None and totals["host"]:
        host = inside_sentence(title_of(findings, totals["host"], language), language)
        share = _say("share", language, percent=amount(totals["percent_of_host"], "%"), host=host)
    key = "one_lesion" if totals["count"] == 1 else "lesions"
    said = [_say(key, language, count=totals["count"], ml=amount(totals["ml"], "mL"), share=share)]
    ranked = sorted(lesions["items"], key=lambda item: (-item["ml"], item["id"]))
    said.extend(_lesion(findings, item, language) for item in ranked[:LISTED_LESIONS])
    if len(ranked) > LISTED_LESIONS:
        said.append(_say("more", language))
    return said


def _lesion(findings: Mapping[str, Any], item: Mapping[str, Any], language: str) -> str:
    held = [(name, ml) for name, ml in item["ml_by_label"].items() if ml > 0.0]
    parts = ""
    if len(held) > 1:
        named = [
            f"{inside_sentence(_lesion_title(findings, n, language), language)} {amount(ml, 'mL')}" for n, ml in held
        ]
        parts = _say("parts", language, parts=_join(named, language))
    long, short = amount(item["long_axis_mm"], "mm"), amount(item["short_axis_mm"], "mm")
    return _say("lesion", language, id=item["id"], ml=amount(item["ml"], "mL"), long=long, short=short, parts=parts)


def _lesion_title(findings: Mapping[str, Any], name: str, language: str) -> str:
    for task_name, task in findings["tasks"].items():
        if any(label["name"] == name for label in task["labels"]) and "ml" in str(task["values"].get(name, "")):
            return title_of(findings, f"{task_name}.{name}", language)
    return name.replace("_", " ")


def _organs(findings: Mapping[str, Any], language: str) -> list[str]:
    found = [organ for organ in findings["organs"] if organ["ml"] > 0.0]
    if not found:
        return []
    parts: dict[str, list[str]] = {}
    for o in found:
        named = f"{inside_sentence(text(o['title'], language), language)} {amount(o['ml'], 'mL')}"
        parts.setdefault(o["task"], []).append(named)
    said = [_say("organs", language, parts=_join(rows, language)) for rows in parts.values()]
    if len(parts) > 1:
        titles = {name: text(findings["tasks"][name]["title"], language) for name in parts}
        said = [_say("present", language, task=titles[n], names=_join(rows, language)) for n, rows in parts.items()]
    paths = [f"{o['task']}.{o['name']}" for o in found if o["truncated"]]
    cut = [inside_sentence(full_title_of(findings, path, language), language) for path in paths]
    return [*said, _say("truncated", language, names=_join(cut, language))] if cut else said


def _derived(findings: Mapping[str, Any], language: str) -> list[str]:
    return [
        _say(
            "derived",
            language,
            title=_capital(text(d["title"], language) or d["name"]),
            value=amount(d["value"], d["unit"]),
        )
        for task in findings["tasks"].values()
        for d in task["derived"]
        if d["value"] is not None
    ]


def _capital(title: str) -> str:
    return title[:1].upper() + title[1:]


def _diagnosis(findings: Mapping[str, Any], language: str) -> list[str]:
    found = findings.get("diagnosis")
    if found is None:
        return []
    how = _say("calibrated" if found["calibrated"] else "uncalibrated", language)
    p = percent(found["probabilities"][found["class"]])
    said = [_say("diagnosis", language, title=text(found["title"], language), how=how, p=p)]
    held = found["prediction_set"]
    if held and held != [found["class"]]:
        names = [title_of(findings, f"diagnosis.{name}", language) for name in held]
        said.append(_say("set", language, names=_join(names, language)))
    return said


def _further_tasks(findings: Mapping[str, Any], language: str) -> list[str]:
    """Case-level tasks other than the diagnosis, by what their values hold."""
    said = []
    for name, task in findings["tasks"].items():
        values, title = task["values"], text(task["title"], language)
        if name == "diagnosis":
            continue
        if "value" in values:
            said.append(_say("derived", language, title=title, value=amount(values["value"], values.get("unit", ""))))
        elif "present" in values:
            names = [title_of(findings, f"{name}.{label}", language) for label in values["present"]]
            key = "present" if names else "none_present"
            said.append(_say(key, language, task=title, names=_join(names, language)))
        elif "class" in values:
            how = _say("calibrated" if values["calibrated"] else "uncalibrated", language)
            p = percent(values["probabilities"][values["class"]])
            label = title_of(findings, f"{name}.{values['class']}", language)
            said.append(_say("class_of", language, task=title, title=label, how=how, p=p))
    return said


def review_sentences(findings: Mapping[str, Any], language: str) -> list[str]:
    """Who reviewed the case, what was rejected and drawn, and the reader's own classes; nothing without a review."""
    review = findings.get("review")
    if review is None:
        return []
    said = [_say("reviewed", language, reader=review["reader"], version=review["version"])]
    for key, drawn in (("rejected", ("rejected",)), ("corrected", ("corrected", "added"))):
        numbers = sorted(number for kind in drawn for number in review["lesions"][kind])
        names = [_say("lesion_name", language, id=number) for number in numbers]
        paths = review["structures"][key]
        names += [inside_sentence(full_title_of(findings, path, language), language) for path in paths]
        said += [_say(key, language, names=_join(names, language))] if names else []
    for name, word in review["classes"].items():
        task = text(findings["tasks"][name]["title"], language)
        key = {"corrected": "own_class", "rejected": "class_rejected"}.get(word["decision"], "class_accepted")
        title = title_of(findings, f"{name}.{word['class']}", language)
        said.append(
            _say(key, language, task=task if key == "own_class" else inside_sentence(task, language), title=title)
        )
    if any("probabilities" in task["values"] for task in findings["tasks"].values()):
        said.append(_say("not_again", language))
    return [*said, review["comment"]] if review["comment"] else said


def _trust(findings: Mapping[str, Any], language: str) -> list[str]:
    trust = findings["trust"]
    reasons = ("" if language == "zh" else " ").join(text(reason, language) for reason in trust["reasons"])
    said = [_say("trust", language, level=_say(trust["level"], language), reasons=reasons).strip()]
    if findings["allowed"]:
        said.append(_say("allowed", language, codes=_join(list(findings["allowed"]), language)))
    return said
