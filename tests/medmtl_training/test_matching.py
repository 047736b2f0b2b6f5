import pytest

from medmtl.task import CodedConcept, Label
from medmtl_training.matching import match, same_concept

KIDNEY = CodedConcept(scheme="SCT", value="64033007", meaning="Kidney")
LIVER = CodedConcept(scheme="SCT", value="10200004", meaning="Liver")
LIVER_RT = CodedConcept(scheme="SRT", value="T-62000", meaning="Liver")


def label(name: str, code: CodedConcept | None = None, side: str | None = None, **titles: str) -> Label:
    return Label(name=name, value=1, titles=titles, code=code, laterality=side)


KNOWN = (
    label("kidney_right", KIDNEY, "right", en="Right kidney", zh="右肾"),
    label("kidney_left", KIDNEY, "left", en="Left kidney"),
    label("liver", LIVER, en="Liver"),
)


@pytest.mark.parametrize(
    ("wanted", "name", "by"),
    [
        (label("Kidney_Right"), "kidney_right", "name"),
        (label("right kidney"), "kidney_right", "name"),
        (label("右肾"), "kidney_right", "name"),
        (label("ren sinister", KIDNEY, "left"), "kidney_left", "code"),
        (label("hepar", LIVER_RT), "liver", "code"),
    ],
)
def test_names_come_first_then_codes_with_their_side(wanted: Label, name: str, by: str) -> None:
    found = match(wanted, KNOWN)
    assert found.label is not None
    assert (found.label.name, found.by) == (name, by)


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (label("ren", KIDNEY), "side or modifier"),  # which of the two?
        (label("kidney_right", KIDNEY, "left"), "different sides"),
        (label("spleen"), "no code"),
        (label("spleen", CodedConcept(scheme="SCT", value="78961009", meaning="Spleen")), "name or code"),
    ],
)
def test_what_is_not_clear_is_no_match(wanted: Label, words: str) -> None:
    found = match(wanted, KNOWN)
    assert found.label is None
    assert words in found.by


def test_older_snomed_codes_are_the_same_concepts() -> None:
    assert same_concept(LIVER, LIVER_RT)
    assert not same_concept(LIVER, CodedConcept(scheme="99LOCAL", value="10200004", meaning="Liver"))
