"""Findings and pictures as a PDF report in English and Chinese: what `report.html` says, on paper."""

import io
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from medmtl.outputs.numbers import amount, percent
from medmtl.outputs.pdf_font import report_font
from medmtl.outputs.pdf_page import HEIGHT, INK, WIDTH, Colour, Pages
from medmtl.outputs.picture import KeyPictures, Picture, rgb
from medmtl.outputs.sentences import LANGUAGES, RESEARCH_USE, full_title_of, report_sentences, text

_MARGIN, _GAP = 42.0, 10.0
_ROOM = WIDTH - 2 * _MARGIN
_TOP, _BOTTOM = 84.0, HEIGHT - 46.0
_BODY, _SMALL, _HEAD = 9.5, 8.0, 11.5
_LEADING = 1.5
_BAND: Colour = (0.05, 0.07, 0.11)
_WHITE: Colour = (1.0, 1.0, 1.0)
_SOFT: Colour = (0.38, 0.43, 0.51)
_LINE: Colour = (0.87, 0.89, 0.92)
_WARN: Colour = (1.0, 0.77, 0.25)
_TRUST: Mapping[str, Colour] = {"green": (0.18, 0.62, 0.43), "amber": (0.85, 0.57, 0.1), "red": (0.82, 0.27, 0.23)}
_MAIN_PT, _SIDE_PT, _HIGHEST_PT = 332.0, 166.0, 360.0

_UNIT = re.compile(r"(?<=\d) (?=mL|mm|g\b|%)")

_HEADS = {
    "findings": "Findings  所见",
    "diagnosis": "Diagnosis  诊断分类",
    "lesions": "Lesions  病灶",
    "organs": "Organs  器官",
    "checks": "Checks and warnings  检查与警告",
    "model": "Model  模型",
}


def report_pdf(findings: Mapping[str, Any], pictures: KeyPictures) -> bytes:
    """The report as a PDF of A4 pages; text can be searched and copied, and the font comes with it.

    Args:
        findings: the content of `findings.json`, as plain values.
        pictures: what is shown.
    """
    writer = _Writer(findings)
    writer.pictures(pictures)
    writer.legend()
    writer.sentences()
    writer.tables()
    writer.model()
    return writer.finish()


class _Writer:
    """Fills pages from top to bottom."""

    def __init__(self, findings: Mapping[str, Any]) -> None:
        self._f = findings
        self._pages = Pages(report_font(), f"medmtl {findings['case']}")
        self._y = 0.0
        self._turn()

    def pictures(self, pictures: KeyPictures) -> None:
        """The main picture, and beside it the slice on further channels, its field of view and two reformats."""
        main = _pixels(pictures.main)
        width, height = _within(main, _MAIN_PT, _HIGHEST_PT)
        self._pages.picture(_MARGIN, self._y, (width, height), main)
        side = (*pictures.others, pictures.field, *pictures.reformats)
        tallest = (max(height, _HIGHEST_PT / 1.5) - _GAP * (len(side) - 1)) / len(side)
        y = self._y
        for picture in side:
            pixels = _pixels(picture)
            small = _within(pixels, _SIDE_PT, tallest)
            self._pages.picture(_MARGIN + _MAIN_PT + _GAP, y, small, pixels)
            y += small[1] + _GAP
        self._y = max(self._y + height + _GAP, y)
        shown = pictures.main
        self._line(f"{shown.plane} {shown.index + 1} / {shown.count}  {shown.channel}".rstrip(), _SMALL, _SOFT)

    def legend(self) -> None:
        """Structures that were found, with their colours."""
        x, drawn = _MARGIN, set()
        for task in self._f["tasks"].values():
            for label in task["labels"]:
                if not task["values"].get(label["name"], {}).get("voxels"):
                    continue
                told = " ".join(dict.fromkeys(text(label["title"], language) for language in LANGUAGES))
                if (told, label["color"]) in drawn:
                    continue  # the same on another channel
                drawn.add((told, label["color"]))
                wide = self._pages.width(told, _SMALL) + 26
                if x + wide > WIDTH - _MARGIN:
                    x, self._y = _MARGIN, self._y + _SMALL * _LEADING + 2
                red, green, blue = rgb(label["color"])
                self._pages.box(x, self._y + 2, (8, 8), (red / 255, green / 255, blue / 255))
                self._pages.text(x + 12, self._y + 9.5, told, _SMALL)
                x += wide
        self._y += 22

    def sentences(self) -> None:
        """The text of the report in both languages."""
        self._head("findings")
        for language in LANGUAGES:
            for sentence in report_sentences(self._f, language):
                self._paragraph(sentence)
            self._y += 5

    def tables(self) -> None:
        """Classes, lesions, organs, and what to be careful about."""
        for key, rows in (
            ("diagnosis", list(self._classes())),
            ("lesions", list(self._lesions())),
            ("organs", list(self._organs())),
        ):
            if rows:
                self._head(key)
                for left, right in rows:
                    self._row(left, right)
                self._y += 6
        told = [("✓" if check["ok"] else "✕", _both(check["text"])) for check in self._f["checks"]]
        told += [("!", f"{warning['text']} ({warning['code']})") for warning in self._f["warnings"]]
        told += [("!", f"Guard passed on request 应用户要求放行的检查: {code}") for code in self._f["allowed"]]
        if told:
            self._head("checks")
            for mark, sentence in told:
                self._paragraph(f"{mark}  {sentence}")
            self._y += 5

    def model(self) -> None:
        """What made the report."""
        model, engine = self._f["model"], self._f["engine"]
        marks = [
            word
            for word, key in (("synthetic 合成", "synthetic"), ("non-commercial 非商业", "non_commercial"))
            if model[key]
        ]
        self._head("model")
        self._paragraph(", ".join([f"{model['title'] or model['name']} ({model['name']} {model['version']})", *marks]))
        self._paragraph(f"{model['licence']}. {model['citation']}".strip())
        self._paragraph(f"{engine['name']} {engine['version']}, {engine['device']}, {engine['precision']}")
        self._paragraph(f"SHA-256 {model['sha256'][:16]} model, {self._f['input']['sha256'][:16]} input")

    def finish(self) -> bytes:
        """The file."""
        return self._pages.finish()

    def _classes(self) -> Iterator[tuple[str, str]]:
        found = self._f.get("diagnosis")
        for name, p in sorted((found or {}).get("probabilities", {}).items(), key=lambda pair: -pair[1]):
            yield self._title(f"diagnosis.{name}"), percent(p)

    def _lesions(self) -> Iterator[tuple[str, str]]:
        for item in (self._f.get("lesions") or {}).get("items", []):
            host = f"  {self._title(item['host'])}" if item.get("host") else ""
            axes = f"{amount(item['long_axis_mm'], 'mm')} × {amount(item['short_axis_mm'], 'mm')}"
            yield f"{item['id']}{host}", f"{axes}    {amount(item['ml'], 'mL')}"

    def _organs(self) -> Iterator[tuple[str, str]]:
        for organ in self._f["organs"]:
            cut = "  (cut by the edge of the image 被图像边缘截断)" if organ["truncated"] else ""
            grams = f"{amount(organ['g'], 'g')}    " if organ["g"] else ""
            ml = amount(organ["ml"], "mL") if organ["ml"] > 0.0 else "not found 未见"
            yield self._title(f"{organ['task']}.{organ['name']}") + cut, grams + ml

    def _title(self, path: str) -> str:
        return "  ".join(dict.fromkeys(full_title_of(self._f, path, language) for language in LANGUAGES))

    def _turn(self) -> None:
        pages = self._pages
        pages.turn()
        pages.box(0, 0, (WIDTH, 46), _BAND)
        pages.text(_MARGIN, 29, "medmtl", 17, _WHITE)
        warning = "RESEARCH USE ONLY, NOT FOR DIAGNOSIS   仅供科研使用"
        pages.text(WIDTH - _MARGIN - pages.width(warning, _BODY), 28, warning, _BODY, _WARN)
        level = self._f["trust"]["level"]
        pages.box(_MARGIN, 57, (9, 9), _TRUST[level])
        pages.text(_MARGIN + 14, 65, f"{self._f['case']}    trust {level}    page {pages.count}", _SMALL, _SOFT)
        y = HEIGHT - 26
        pages.box(_MARGIN, y - 11, (_ROOM, 0.6), _LINE)
        pages.text(_MARGIN, y, f"{RESEARCH_USE['en']} {RESEARCH_USE['zh']}", 7.0, _SOFT)
        self._y = _TOP

    def _need(self, height: float) -> None:
        if self._y + height > _BOTTOM:
            self._turn()

    def _head(self, key: str) -> None:
        self._need(_HEAD * _LEADING + 2 * _BODY * _LEADING)
        self._pages.text(_MARGIN, self._y + _HEAD, _HEADS[key], _HEAD)
        self._pages.box(_MARGIN, self._y + _HEAD + 5, (_ROOM, 0.6), _LINE)
        self._y += _HEAD * _LEADING + 5

    def _paragraph(self, sentence: str) -> None:
        kept = _UNIT.sub("\u00a0", sentence)  # a number stays with its unit
        for line in self._pages.lines(kept, _BODY, _ROOM):
            self._need(_BODY * _LEADING)
            self._line(line, _BODY, INK)

    def _row(self, left: str, right: str) -> None:
        self._need(_BODY * _LEADING)
        self._pages.text(WIDTH - _MARGIN - self._pages.width(right, _BODY), self._y + _BODY, right, _BODY)
        self._line(left, _BODY, INK)

    def _line(self, line: str, size: float, colour: Colour) -> None:
        self._pages.text(_MARGIN, self._y + size, line, size, colour)
        self._y += size * _LEADING


def _both(titles: Mapping[str, str]) -> str:
    return "  ".join(dict.fromkeys(text(titles, language) for language in LANGUAGES))


def _pixels(picture: Picture) -> npt.NDArray[np.uint8]:
    return np.array(Image.open(io.BytesIO(picture.png)).convert("RGB"))


def _within(pixels: npt.NDArray[np.uint8], width: float, height: float) -> tuple[float, float]:
    scale = min(width / pixels.shape[1], height / pixels.shape[0])
    return pixels.shape[1] * scale, pixels.shape[0] * scale
