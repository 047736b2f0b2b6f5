"""A comparison as JSON, as markdown and as a page."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

NAME = "comparison"


def write_report(folder: Path, body: Mapping[str, Any]) -> None:
    """Writes `comparison.json`, `comparison.md` and `comparison.html` into `folder`."""
    from medmtl.outputs.files import json_bytes, write_atomic

    write_atomic(folder / f"{NAME}.json", json_bytes(dict(body)))
    write_atomic(folder / f"{NAME}.md", markdown(body).encode())
    write_atomic(folder / f"{NAME}.html", page(body).encode())


def markdown(body: Mapping[str, Any]) -> str:
    """The comparison as markdown."""
    parts = []
    for title, note, header, rows in tables(body):
        lines = table(header, rows) if rows else ["None."]
        parts.append("\n".join([f"## {title}", *([note, ""] if note else []), *lines]))
    said = "\n".join(f"- {line}" for line in _said(body))
    return f"# {_title(body)}\n{_how(body)}\n\n{said}\n\n" + "\n\n".join(parts) + "\n"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a markdown table."""
    return [f"| {' | '.join(header)} |", f"|{'---|' * len(header)}", *(f"| {' | '.join(row)} |" for row in rows)]


def page(body: Mapping[str, Any]) -> str:
    """The comparison as one self-contained page."""
    from jinja2 import Environment, PackageLoader

    environment = Environment(loader=PackageLoader("medmtl_training.comparing", "."), autoescape=True, trim_blocks=True)
    template = environment.get_template("comparison.html.j2")
    return template.render(title=_title(body), how=_how(body), said=list(_said(body)), tables=list(tables(body)))


def tables(body: Mapping[str, Any]) -> Iterator[tuple[str, str, list[str], list[list[str]]]]:
    """Title, note, header and rows of each table."""
    header = ["task", "figure", "difference (95 % interval)", "cases", "verdict"]
    note = "Joint minus single-task twin: same crops, encoder, steps, seeds. Of errors and Brier scores less is better."
    yield "Joint or alone", note, header, difference_rows(body["twins"])
    if body["equal"]:
        yield (
            f"{body['weighting']} or equal weights",
            "Joint minus equal weights.",
            header,
            difference_rows(body["equal"]),
        )
    for part in body["fractions"]:
        share = f"{part['fraction']:.0%}"
        yield (
            f"All cases or {share} of them",
            f"Joint minus joint on {share} of the patients.",
            header,
            difference_rows(part["rows"]),
        )
    names = list(body["affinity"])
    matrix = [[one, *(_number(body["affinity"][one][other], 2) for other in names)] for one in names]
    yield "Affinity", "Mean cosine of the tasks' gradients of the shared weights.", ["", *names], matrix
    cosines = [
        [layer, f"{row['one']}, {row['other']}", _number(row["cosine"], 2), f"{row['opposed']:.0%}", str(row["looks"])]
        for layer, rows in body["cosines"].items()
        for row in rows
    ]
    yield "Cosines by layer", "", ["layer", "tasks", "mean cosine", "opposed", "looks"], cosines
    yield "Costs", _COSTS, ["", "parameters", "seconds a step", "memory, GiB"], _costs(body["costs"])
    race = [
        [_to(task, row), _number(row["joint"], 0), _number(row["twin"], 0)]
        for task, row in body["costs"]["race"].items()
    ]
    yield "Seconds to the same Dice", _RACE, ["", "joint", "twin"], race


def _to(task: str, row: Mapping[str, Any]) -> str:
    if "figure" not in row:
        return "all of these; the twins one after the other"
    what = "Dice" if row["figure"] == "dice" else "training loss"
    return f"{task}, {what} {_number(row['target'], 3)}"


_RACE = "What the worse of the two ended with, on crops of held-out cases; of tasks without a Dice, the training loss."
_COSTS = "Seconds are measured, memory is counted. The sum is what all twins take together; of memory, the largest."


def _title(body: Mapping[str, Any]) -> str:
    return f"Joint training of {body['dataset']} and its single-task twins"


def _how(body: Mapping[str, Any]) -> str:
    folds = ", ".join(str(fold) for fold in body["folds"])
    return (
        f"Held-out folds {folds}; {body['steps']} steps each; seed {body['seed']}; weighting {body['weighting']}; "
        f"sharing {body['sharing']}. Intervals are paired, over patients; one seed says nothing of others."
    )


def _said(body: Mapping[str, Any]) -> Iterator[str]:
    yield from body["advice"]
    yield from body["conflicts"]


def difference_rows(rows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Task and label, figure, difference with its interval, cases, verdict."""
    return [
        [
            f"{row['task']}.{row['label']}" if row["label"] else row["task"], row["figure"].replace("_", " "),
            f"{_number(row['difference'], 3, '+')} ({_interval(row['interval'])})", str(row["n"]), row["verdict"],
        ]
        for row in rows
    ]  # fmt: skip


def _costs(costs: Mapping[str, Any]) -> list[list[str]]:
    named = {
        "joint": costs["joint"],
        **{f"only {t}": c for t, c in costs["twins"].items()},
        "sum of twins": costs["sum"],
    }
    return [
        [
            name, f"{found['parameters']:,}" if found["parameters"] else "–", _number(found["seconds_per_step"], 3),
            _number(found["memory_bytes"] / 2**30 if found["memory_bytes"] else None, 2),
        ]
        for name, found in named.items()
    ]  # fmt: skip


def _interval(interval: Sequence[float] | None) -> str:
    return "too few" if interval is None else f"{interval[0]:+.3f} to {interval[1]:+.3f}"


def _number(value: float | None, digits: int, sign: str = "") -> str:
    return "–" if value is None else f"{value:{sign}.{digits}f}"
