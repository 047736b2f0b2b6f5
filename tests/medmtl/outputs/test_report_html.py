import copy
import re
from html.parser import HTMLParser

import pytest

from medmtl.outputs.files import plain
from medmtl.outputs.picture import KeyPictures
from medmtl.outputs.report_html import report_html
from medmtl.outputs.sentences import LANGUAGES, report_sentences
from medmtl.result import CaseResult


class Loads(HTMLParser):
    """Collects what a page loads, and checks that tags close."""

    def __init__(self) -> None:
        super().__init__()
        self.references: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.references += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]
        if tag in ("meta", "img", "input", "circle", "path", "link", "br"):
            return
        self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page(spheres: CaseResult, pictures: KeyPictures) -> str:
    return report_html(plain(spheres.findings), pictures)


def test_the_page_loads_nothing_and_runs_nothing(page: str) -> None:
    loads = Loads()
    loads.feed(page)
    assert loads.open == []
    assert len(loads.references) >= 8
    assert all(reference.startswith("data:image/png;base64,") for reference in loads.references)
    assert not {"script", "link", "iframe", "object"} & set(loads.tags)
    assert not re.search(r"@import|url\(", page)


def test_the_page_says_research_non_commercial_and_trust(page: str) -> None:
    assert page.count("Research use only") >= 2
    assert "Non-commercial use only" in page
    assert "Trust: amber" in page
    assert "Synthetic model" not in page


def test_the_page_holds_the_report_text_of_both_languages(spheres: CaseResult, page: str) -> None:
    for language in LANGUAGES:
        for line in report_sentences(spheres.findings, language):
            assert f"<p>{line}</p>" in page


def test_texts_from_a_bundle_cannot_become_markup(spheres: CaseResult, pictures: KeyPictures) -> None:
    findings = copy.deepcopy(plain(spheres.findings))
    findings["diagnosis"]["title"]["en"] = findings["model"]["licence"] = "<script>alert(1)</script>"
    findings["tasks"]["organs"]["labels"][0]["title"] = {"en": "<img src=http://a.b/c>", "zh": "<b>"}
    loads = Loads()
    loads.feed(report_html(findings, pictures))
    assert "script" not in loads.tags
    assert not any("http" in reference for reference in loads.references)


def test_a_case_with_nothing_but_masks_still_has_a_page(spheres: CaseResult, pictures: KeyPictures) -> None:
    findings = {
        **plain(spheres.findings),
        "lesions": None,
        "diagnosis": None,
        "organs": [],
        "checks": [],
        "warnings": [],
    }
    findings["model"] = {**findings["model"], "synthetic": True, "non_commercial": False, "citation": None}
    page = report_html(findings, pictures)
    assert "Synthetic model" in page
    assert "Non-commercial" not in page
