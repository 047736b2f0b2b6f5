"""Which label is which: by name, then by code with side and modifier. Integers are never compared."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from medmtl.task import CodedConcept, Label


@dataclass(frozen=True, kw_only=True)
class Match:
    """What a label was found to be.

    Attributes:
        label: the known label, None where there is none or it is not clear which.
        by: "name", "code", or why there is no label.
    """

    label: Label | None
    by: str


def match(wanted: Label, known: Sequence[Label], further_names: Iterable[str] = ()) -> Match:
    """The label among `known` that `wanted` is.

    Names and titles are compared without case and punctuation. A code counts only together with side and modifier;
    where it fits several labels, it fits none.

    Args:
        wanted: what is to be found.
        known: where.
        further_names: by which `wanted` goes too.
    """
    names = {_plain(text) for text in (wanted.name, *wanted.titles.values(), *further_names) if _plain(text)}
    for label in known:
        if names & {_plain(text) for text in (label.name, *label.titles.values())}:
            if not _sides_agree(wanted, label):
                return Match(label=None, by=f"{wanted.name} and {label.name} share a name and lie on different sides")
            return Match(label=label, by="name")
    if wanted.code is None:
        return Match(label=None, by="no label has this name, and it has no code")
    same = [label for label in known if label.code is not None and same_concept(wanted.code, label.code)]
    fitting = [label for label in same if label.laterality == wanted.laterality and _modified_alike(wanted, label)]
    if len(fitting) == 1:
        return Match(label=fitting[0], by="code")
    if len(same) > 1 or same:
        return Match(label=None, by=f"its code fits {', '.join(label.name for label in same)}, side or modifier do not")
    return Match(label=None, by="no label has this name or code")


def same_concept(first: CodedConcept, second: CodedConcept) -> bool:
    """Whether two codes name one concept; SNOMED-RT codes (SRT) equal their SNOMED CT successors (PS3.16 8)."""
    if (first.scheme, first.value) == (second.scheme, second.value):
        return True
    if {first.scheme, second.scheme} <= {"SCT", "SRT"}:
        from pydicom.sr.coding import Code as Concept

        return bool(Concept(first.value, first.scheme, "") == Concept(second.value, second.scheme, ""))
    return False


def _modified_alike(first: Label, second: Label) -> bool:
    if first.modifier is None or second.modifier is None:
        return first.modifier is second.modifier
    return same_concept(first.modifier, second.modifier)


def _sides_agree(first: Label, second: Label) -> bool:
    return first.laterality is None or second.laterality is None or first.laterality == second.laterality


def _plain(text: str) -> str:
    return re.sub(r"[\W_]+", "", text).casefold()
