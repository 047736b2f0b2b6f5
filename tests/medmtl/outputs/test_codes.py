"""Codes of the data sets and models at hand against SNOMED CT and the context groups that pydicom carries."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom
import yaml
from pydicom.sr._concepts_dict import concepts
from pydicom.sr.codedict import codes

from medmtl.outputs import dicom_seg
from medmtl.outputs.dicom_check import part10_bytes
from medmtl.outputs.dicom_seg import segmentation
from medmtl.outputs.dicom_source import read_source
from medmtl.outputs.dicom_sr import report
from medmtl.outputs.structures import structures_of
from medmtl.result import CaseResult

SNOMED = {value: meaning for entries in concepts["SCT"].values() for value, (meaning, _groups) in entries.items()}
# said otherwise here than in pydicom, for the same concept
SYNONYMS = {"26036001": ("obstruction", "occlusion")}


def files(root: Path) -> list[Path]:
    found = [*root.glob("medmtl/models/*/bundle.yaml"), *root.glob("sample_data/**/dataset.yaml")]
    shared = root.parent / "shared/data"
    return sorted([*found, *shared.glob("*/dataset.yaml")])


def labels(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for name, task in (yaml.safe_load(path.read_text(encoding="utf-8")).get("tasks") or {}).items():
        for label in [*(task.get("labels") or ()), *(task.get("classes") or ())]:
            yield name, label


def stem(text: str) -> str:
    """The words of a meaning without what SNOMED CT's full names add."""
    words = text.lower().replace("(body structure)", "").replace("structure of ", "").split()
    return " ".join(sorted(word for word in words if word not in ("structure", "of")))


def test_every_code_means_what_it_says(root: Path) -> None:
    seen = 0
    for path in files(root):
        for task, label in labels(path):
            for key in ("code", "modifier"):
                code = label.get(key)
                if code is None or code["scheme"] != "SCT":
                    assert code is None or code["scheme"].startswith("99"), path
                    continue
                seen += 1
                where, value = f"{path.parent.name} {task}.{label['name']} {key}", str(code["value"])
                assert value in SNOMED, where
                mine, theirs = stem(code["meaning"]), stem(SNOMED[value])
                same = mine == theirs or (mine, theirs) == SYNONYMS.get(value)
                assert same or mine[:4] == theirs[:4], f"{where}: {code['meaning']!r} is {SNOMED[value]!r}"
    assert seen >= 10


def test_sides_are_told_as_sides(root: Path) -> None:
    for path in files(root):
        for task, label in labels(path):
            if label["name"].endswith(("_left", "_right")):
                assert label["laterality"] == label["name"].rsplit("_", 1)[1], f"{path.parent.name} {task}"


def test_categories_and_sides_belong_to_the_context_groups_of_the_standard() -> None:
    allowed = {code.value for code in codes.cid7150.concepts.values()}  # Segmentation Property Categories
    assert {dicom_seg.ORGAN_CATEGORY.value, dicom_seg.LESION_CATEGORY.value} <= allowed
    sides = {code.value for code in codes.cid244.concepts.values()}  # Laterality
    assert {concept.value for concept in dicom_seg.LATERALITY.values()} <= sides
    for concept in (dicom_seg.ORGAN_CATEGORY, dicom_seg.LESION_CATEGORY, dicom_seg.ANY_LESION):
        assert stem(SNOMED[concept.value]) == stem(concept.meaning)


def test_a_no_reflow_segment_does_not_read_as_any_obstruction(planted_ct: CaseResult) -> None:
    source = read_source(planted_ct)
    seg = segmentation(planted_ct, source, structures_of(planted_ct))
    read = pydicom.dcmread(io.BytesIO(part10_bytes(seg)))
    core = next(s for s in read.SegmentSequence if s.SegmentedPropertyTypeCodeSequence[0].CodeValue == "26036001")
    assert core.SegmentLabel == "Microvascular obstruction (no-reflow)"
    assert "no-reflow" in core.SegmentDescription
    sr = report(planted_ct, source, seg, structures_of(planted_ct))
    told = str(pydicom.dcmread(io.BytesIO(part10_bytes(sr))))
    group = told[told.index("26036001") :]
    assert group.index("49848007") < group.index("118565006")  # where, before how much: the myocardium
