"""Findings and pictures to one self-contained `report.html`, in English and Chinese."""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from medmtl.outputs.numbers import amount, percent
from medmtl.outputs.picture import KeyPictures, Picture
from medmtl.outputs.sentences import LANGUAGES, report_sentences, review_sentences, text, title_of

TEMPLATE = "report.html.j2"


def report_html(findings: Mapping[str, Any], pictures: KeyPictures) -> str:
    """The report as one HTML page that loads nothing: styles inline, pictures as data URIs, no script.

    Args:
        findings: the content of `findings.json`.
        pictures: what is shown.
    """
    # the one place that builds HTML from values: autoescape stays on
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.globals.update(t=_both, titled=lambda path: _both(*(title_of(findings, path, x) for x in LANGUAGES)))
    environment.filters.update(
        both=lambda titles: _both(*(text(titles, language) for language in LANGUAGES)),
        amount=amount, percent=percent, uri=_data_uri, shown=_shown,
    )  # fmt: skip
    diagnosis = findings.get("diagnosis")
    return environment.get_template(TEMPLATE).render(
        f=findings,
        pictures=pictures,
        ranked=sorted(diagnosis["probabilities"].items(), key=lambda pair: -pair[1]) if diagnosis else [],
        further={name: task for name, task in findings["tasks"].items() if _is_further(name, task)},
        derived=[_capital(value) for task in findings["tasks"].values() for value in task["derived"]],
        legend=_legend(findings),
        several=len({organ["task"] for organ in findings["organs"] or ()}) > 1,
        reviewed=[(x, review_sentences(findings, x)) for x in LANGUAGES] if findings.get("review") else [],
        sentences=[(language, report_sentences(findings, language)) for language in LANGUAGES],
    )


def _is_further(name: str, task: Mapping[str, Any]) -> bool:
    return name != "diagnosis" and bool({"value", "present", "class"} & set(task["values"]))


def _capital(value: Mapping[str, Any]) -> dict[str, Any]:
    return {**value, "title": {x: title[:1].upper() + title[1:] for x, title in value["title"].items()}}


def _legend(findings: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Labels that hold a voxel, lesions first as the reader looks for them."""
    rows: list[Mapping[str, Any]] = []
    for name, task in findings["tasks"].items():
        held = [x for x in task["labels"] if "ml" in task["values"].get(x["name"], {})] if task["values"] else []
        rows += [{**x, "task": name} for x in held if task["values"][x["name"]]["voxels"] > 0]
    # what is drawn on two channels in one colour stands there once
    return list({(row["color"], *row["title"].values()): row for row in reversed(rows)}.values())[::-1]


def _both(en: str, zh: str = "") -> Markup:
    if not zh or zh == en:
        return escape(en)
    return Markup('<span class="en" lang="en">{}</span><span class="zh" lang="zh-Hans">{}</span>').format(en, zh)


def _data_uri(picture: Picture) -> str:
    return "data:image/png;base64," + base64.b64encode(picture.png).decode("ascii")


def _shown(picture: Picture) -> str:
    """A picture in words."""
    return f"{picture.plane} {picture.index + 1} / {picture.count} {picture.channel}".rstrip()
