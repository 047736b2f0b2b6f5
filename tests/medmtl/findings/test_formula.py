import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medmtl.errors import Code, DatasetError
from medmtl.findings.formula import evaluate, names_of

VALUES = {"a": 2.0, "b": 8.0, "organs.liver": 1500.0, "none": None, "zero": 0.0}


@pytest.mark.parametrize(
    ("formula", "value"),
    [
        ("1.05 * b", 8.4),
        ("100 * (a + b) / organs.liver", 2 / 3),
        ("a - b - a", -8.0),
        ("-a * -b", 16.0),
        ("b / a / a", 2.0),
        ("a / zero", None),
        ("none + a", None),
        ("0 * none", None),
        ("1e308 * 10 * a", None),
        ("a / (a - 2)", None),
    ],
)
def test_values(formula: str, value: float | None) -> None:
    found = evaluate(formula, VALUES)
    assert found == (None if value is None else pytest.approx(value))


@given(*[st.floats(-1e3, 1e3)] * 3)
def test_as_python_has_it(a: float, b: float, c: float) -> None:
    found = evaluate("a + b * c - (a - c) * 2", {"a": a, "b": b, "c": c})
    assert found is not None
    assert math.isclose(found, a + b * c - (a - c) * 2, abs_tol=1e-9)


def test_names() -> None:
    assert names_of("100 * (a + b) / organs.liver - a") == {"a", "b", "organs.liver"}
    assert names_of("a / (b - b)") == {"a", "b"}


@pytest.mark.parametrize(
    "formula",
    [
        "__import__('os').system('true')", "abs(a)", "a ** 2", "a.b.c", "a[0]", "a if a else b", "a < b", "'a'", "True",
        "lambda: a", "[a]", "a // b", "a % b", "a @ b", "~a", "+a", "a; b", "", "a +", "1j", "(a := 3)", "f'{a}'",
        "a\x00b", "(" * 5000 + "a" + ")" * 5000, "-" * 200000 + "a", "a\n+b", "None",
    ],
)  # fmt: skip
def test_anything_else_is_refused(formula: str) -> None:
    for call in (names_of, lambda text: evaluate(text, VALUES)):
        with pytest.raises(DatasetError) as caught:
            call(formula)
        assert caught.value.code is Code.BAD_DATASET
        assert len(caught.value.what) < 400


def test_an_unknown_name_is_said() -> None:
    with pytest.raises(DatasetError, match=r"organs\.spleen is no label"):
        evaluate("a / organs.spleen", VALUES)


def test_a_number_too_large_for_a_float_is_refused() -> None:
    with pytest.raises(DatasetError):
        evaluate("1" + "0" * 400, VALUES)
