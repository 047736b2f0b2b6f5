"""The PDF report: readable by another program, in both languages, with the numbers of the findings, and as DICOM."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

from medmtl.errors import OutputError
from medmtl.outputs.dicom_check import part10_bytes
from medmtl.outputs.dicom_pdf import check_document, encapsulated_pdf
from medmtl.outputs.dicom_source import read_source
from medmtl.outputs.files import plain
from medmtl.outputs.pdf_font import report_font
from medmtl.outputs.pdf_page import Pages
from medmtl.outputs.picture import KeyPictures, key_pictures
from medmtl.outputs.report_pdf import report_pdf
from medmtl.outputs.sentences import LANGUAGES, RESEARCH_USE, report_sentences
from medmtl.outputs.write_case import write_case
from medmtl.result import CaseResult

needs_poppler = pytest.mark.skipif(
    shutil.which("pdftotext") is None, reason="needs pdftotext (apt package poppler-utils)"
)


@pytest.fixture(scope="module")
def pdf(spheres: CaseResult, pictures: KeyPictures) -> bytes:
    return report_pdf(plain(spheres.findings), pictures)


def run(tool: str, data: bytes, folder: Path, *more: str) -> str:
    path = folder / "report.pdf"
    path.write_bytes(data)
    done = subprocess.run([tool, *more, str(path), "-"], capture_output=True, text=True, check=True)
    assert done.stderr == ""  # poppler reports every fault of a file's structure
    return done.stdout


@needs_poppler
def test_another_program_reads_every_sentence_in_both_languages(
    pdf: bytes, spheres: CaseResult, tmp_path: Path
) -> None:
    text = "".join(run("pdftotext", pdf, tmp_path).split())
    for language in LANGUAGES:
        for sentence in report_sentences(plain(spheres.findings), language):
            assert "".join(sentence.split()) in text
        assert "".join(RESEARCH_USE[language].split()) in text


@needs_poppler
def test_every_glyph_is_drawn_with_the_font_that_comes_with_it(pdf: bytes, tmp_path: Path) -> None:
    (tmp_path / "report.pdf").write_bytes(pdf)
    fonts = subprocess.run(["pdffonts", str(tmp_path / "report.pdf")], capture_output=True, text=True, check=True)
    assert re.search(r"MicroHei\s+CID TrueType\s+Identity-H\s+yes yes yes", fonts.stdout)
    pages = Pages(report_font(), "glyphs")
    pages.turn()
    pages.text(50, 100, "梗死", 60)
    (tmp_path / "glyphs.pdf").write_bytes(pages.finish())
    subprocess.run(["pdftoppm", "-r", "72", "-png", "glyphs.pdf", "page"], cwd=tmp_path, check=True)
    drawn = np.array(Image.open(next(tmp_path.glob("page*.png"))).convert("L"))
    first, second = drawn[40:110, 50:110] < 128, drawn[40:110, 110:170] < 128
    assert min(first.mean(), second.mean()) > 0.1
    assert (first != second).mean() > 0.1  # two characters, not twice the box of a missing one


def test_the_same_findings_give_the_same_bytes(pdf: bytes, spheres: CaseResult, pictures: KeyPictures) -> None:
    assert report_pdf(plain(spheres.findings), pictures) == pdf
    assert b"CreationDate" not in pdf


def test_a_subset_keeps_outlines_and_drops_the_rest() -> None:
    font = report_font()
    glyphs = [font.glyph(char) for char in "é梗A"]
    assert 0 not in glyphs
    data = font.subset(glyphs)
    assert len(data) < 120_000
    assert b"cmap" not in data[:200]
    assert [font.width(glyph) for glyph in glyphs][1] == 1000.0


def test_lines_fit_and_lose_nothing() -> None:
    pages = Pages(report_font(), "lines")
    pages.turn()
    told = "Lesion 1: 12.3 mL, long axis 42.3 mm. 发现 1 个病灶，体积 12.3 mL（占左心室心肌的 14.2 %）。" * 4
    lines = pages.lines(told, 10.0, 200.0)
    assert all(pages.width(line, 10.0) <= 200.0 for line in lines)
    assert "".join("".join(lines).split()) == "".join(told.split())
    assert not [line for line in lines if line.startswith(("，", "。", "）"))]


def test_the_report_of_a_dicom_study_is_an_encapsulated_document(planted_ct: CaseResult, tmp_path: Path) -> None:
    assert write_case(planted_ct, tmp_path, frozenset({"pdf"})) == [f"{planted_ct.case}/report.dcm"]
    path = tmp_path / planted_ct.case / "report.dcm"
    document = pydicom.dcmread(path)
    assert document.SOPClassUID.name == "Encapsulated PDF Storage"
    assert document.SeriesDescription.startswith("RESEARCH medmtl ")
    assert document.EncapsulatedDocument.startswith(b"%PDF-1.7")
    assert len(document.SourceInstanceSequence) == 28
    if shutil.which("dciodvfy") is None:
        pytest.skip("needs dciodvfy (apt package dicom3tools)")
    said = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True, check=False).stderr
    assert "EncapsulatedPDF" in said
    assert [line for line in said.splitlines() if line.startswith("Error")] == []


def test_the_report_of_a_nifti_is_a_plain_file(spheres: CaseResult, tmp_path: Path) -> None:
    assert write_case(spheres, tmp_path, frozenset({"pdf"})) == ["Case_P001/report.pdf"]


def test_a_damaged_document_is_noticed(planted_ct: CaseResult) -> None:
    pdf = report_pdf(plain(planted_ct.findings), key_pictures(planted_ct))
    data = part10_bytes(encapsulated_pdf(planted_ct, read_source(planted_ct), pdf))
    check_document(data, pdf)
    place = data.index(b"%PDF") + 100
    with pytest.raises(OutputError):
        check_document(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :], pdf)


def test_pictures_are_those_of_the_report(pdf: bytes, pictures: KeyPictures) -> None:
    streams = re.findall(rb"/Subtype /Image /Width (\d+) .*?/Length (\d+) >>\nstream\n", pdf)
    sizes = {(int(width)) for width, _ in streams}
    assert pictures.main.size[0] in sizes
