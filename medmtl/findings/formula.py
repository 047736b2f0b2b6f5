"""Formulas of derived values: numbers, names and the four operations, nothing that runs code."""

import ast
import math
import operator
from collections.abc import Callable, Mapping
from contextlib import suppress

from medmtl.errors import Code, DatasetError

_OPERATIONS: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}

_LONGEST = 500


def names_of(formula: str) -> frozenset[str]:
    """The names a formula reads: `label` or `task.label`.

    Raises:
        DatasetError: the formula holds anything but numbers, names, + - * / and parentheses.
    """
    names: set[str] = set()

    def collect(name: str) -> float:
        names.add(name)
        return 1.0

    with suppress(ZeroDivisionError):  # of the stand-in values
        _walk(_parse(formula), collect)
    return frozenset(names)


def evaluate(formula: str, values: Mapping[str, float | None]) -> float | None:
    """The formula's value; None where a name has none, a divisor is zero or the value is beyond all numbers.

    Raises:
        DatasetError: as `names_of`, or a name that `values` does not know.
    """
    missing = False

    def lookup(name: str) -> float:
        nonlocal missing
        if name not in values:
            raise _bad(formula, f"{name} is no label")
        value = values[name]
        missing = missing or value is None
        return 1.0 if value is None else value

    try:
        result = _walk(_parse(formula), lookup)
    except ZeroDivisionError:
        return None
    return None if missing or not math.isfinite(result) else result


def _parse(formula: str) -> ast.expr:
    if len(formula) > _LONGEST:  # thousands of brackets exhaust the parser's stack
        raise _bad(f"{formula[:20]} ...", f"it is longer than {_LONGEST} characters")
    try:
        return ast.parse(formula, mode="eval").body
    except (SyntaxError, ValueError):  # a null byte is a ValueError
        raise _bad(formula, "it is not arithmetic") from None


def _walk(node: ast.expr, lookup: Callable[[str], float]) -> float:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
        try:
            return float(node.value)
        except OverflowError:
            raise _bad(f"{str(node.value)[:20]} ...", "the number is too large") from None
    if isinstance(node, ast.Name):
        return lookup(node.id)
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return lookup(f"{node.value.id}.{node.attr}")
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_walk(node.operand, lookup)
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATIONS:
        return _OPERATIONS[type(node.op)](_walk(node.left, lookup), _walk(node.right, lookup))
    raise _bad(ast.unparse(node), "only numbers, labels, + - * / and parentheses are allowed")


def _bad(formula: str, why: str) -> DatasetError:
    return DatasetError(Code.BAD_DATASET, f"the formula {formula!r} cannot be computed: {why}", "correct `derived`")
