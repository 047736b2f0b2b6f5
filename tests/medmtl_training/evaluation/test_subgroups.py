import pytest

from medmtl.errors import UsageError
from medmtl_training.evaluation.subgroups import subgroups
from medmtl_training.evaluation.voxels import slice_step_mm


def rows(*cells: str) -> list[dict[str, object]]:
    return [{"case": str(index), "columns": {"x": cell}} for index, cell in enumerate(cells)]


def test_few_values_are_groups_of_their_own_in_order() -> None:
    groups = subgroups(rows("13", "8", "", "8"), "x")
    assert {name: len(members) for name, members in groups.items()} == {"8": 2, "13": 1, "not stated": 1}
    assert list(groups) == ["8", "13", "not stated"]


def test_many_numbers_are_cut_into_thirds() -> None:
    groups = subgroups(rows(*(str(number) for number in range(30))), "x")
    assert {name: len(members) for name, members in groups.items()} == {"0 to 9": 10, "10 to 19": 10, "20 to 29": 10}


def test_text_is_never_cut() -> None:
    assert len(subgroups(rows(*"abcdefghij"), "x")) == 10


def test_unknown_column_is_refused() -> None:
    with pytest.raises(UsageError, match="colour"):
        subgroups(rows("1"), "colour")


def test_slice_step_is_the_odd_spacing_out() -> None:
    assert slice_step_mm((1.4, 1.4, 8.0)) == 8.0
    assert slice_step_mm((5.0, 0.9, 0.9)) == 5.0
    assert slice_step_mm((1.0, 1.0, 1.0)) == 1.0
    assert slice_step_mm((0.7, 0.7, 0.45)) == 0.45
