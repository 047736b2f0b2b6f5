"""Coded concepts of derived values and of their units, for structured reports."""

import highdicom as hd
from pydicom.sr.coding import Code as Concept

from medmtl.findings.formula import names_of
from medmtl.result import CaseResult
from medmtl.task import Derived, Label, Task

PRIVATE_SCHEME = "99MEDMTL"
_CODES = {
    # CID 3833 of PS3.16; what is derived from images of another modality has the general concept
    ("lv_ejection_fraction", "MR"): Concept("8811-2", "LN", "Left ventricular ejection fraction by MR"),
    ("lv_ejection_fraction", "CT"): Concept("8810-4", "LN", "Left ventricular ejection fraction by CT"),
    ("rv_ejection_fraction", "MR"): Concept("8818-7", "LN", "Right ventricular ejection fraction by MR"),
    ("rv_ejection_fraction", "CT"): Concept("8817-9", "LN", "Right ventricular ejection fraction by CT"),
    ("myocardial_mass", None): Concept("18087-7", "LN", "Left Ventricle Mass"),
}
_UNITS = {
    "%": "percent",
    "g": "gram",
    "mL": "milliliter",
    "mm": "millimeter",
    "cm2": "square centimeter",
    "": "no units",
}


def derived_concept(derived: Derived, modality: str | None) -> Concept:
    """What a derived value is: its own code, else the one that its name has in DICOM, else a private one."""
    if derived.code is not None:
        return Concept(derived.code.value, derived.code.scheme, derived.code.meaning)
    known = _CODES.get((derived.name, modality)) or _CODES.get((derived.name, None))
    return known or Concept(derived.name[:16], PRIVATE_SCHEME, derived.title("en")[:64])


def unit_concept(unit: str) -> Concept:
    """The unit in UCUM."""
    return Concept(unit or "1", "UCUM", _UNITS.get(unit, unit))


def finding_site(task: Task, derived: Derived, result: CaseResult) -> list[hd.sr.FindingSite] | None:
    """The structure that a derived value is of, where all that its formula reads is one structure."""
    tasks = {one.name: one for one in result.tasks}
    labels: list[Label] = []
    for name in sorted(names_of(derived.formula)):
        home, _, label = name.rpartition(".")
        owner = tasks.get(home) if home else task
        if owner is None:
            return None
        labels.append(owner.label(label))
    codes = {label.code for label in labels if label.code is not None}
    if len(codes) != 1 or any(label.code is None for label in labels):
        return None
    code = codes.pop()
    return [hd.sr.FindingSite(anatomic_location=Concept(code.value, code.scheme, code.meaning))]
