"""Makes docs/results.md from the `metrics.json` of the shipped models.

.venv/bin/python scripts/make_results_doc.py
"""

import json
from pathlib import Path
from typing import Any

from medmtl.bundle.bundle import Bundle, read_bundle
from medmtl.bundle.catalogue import shipped_folder
from medmtl_training.model_card import figure_rows

ROOT = Path(__file__).resolve().parent.parent
HEAD = """# Results

Made by `scripts/make_results_doc.py` from the `metrics.json` of the shipped models. Every figure is on cases that the
answering network did not see, through `medmtl predict` at its defaults; intervals are 95 %, by bootstrap over patients.
An absent structure has no Dice; what was found there is given in mL. No figure here holds for other hospitals.
"""


def main() -> None:
    """Writes the page."""
    parts = [HEAD]
    for path in sorted(shipped_folder().glob("*/metrics.json")):
        parts.append(section(read_bundle(path.parent), json.loads(path.read_text(encoding="utf-8"))))
    (ROOT / "docs" / "results.md").write_text("\n".join(parts), encoding="utf-8")


def section(bundle: Bundle, metrics: dict[str, Any]) -> str:
    """Tables of one model: all held-out cases, then by fold and by slice distance."""
    settings, networks = bundle.training["settings"], bundle.training["networks"]
    lines = [
        f"## {bundle.name} {bundle.version}",
        "",
        f"{bundle.title}. {metrics['cases']} held-out cases of {metrics['patients']} patients, folds "
        f"{', '.join(str(fold) for fold in metrics['folds'])}. Each network: {settings['steps']} steps of "
        f"{settings['batch']} crops on {bundle.training['device']}, seed {settings['seed']}, weighting "
        f"{settings['weighting']}, {', '.join(str(row['cases']) for row in networks)} training cases.",
        "",
        "```",
        f"medmtl train DATASET -o RUN --config training/configs/{bundle.name}.yaml --folds "
        f"{','.join(str(fold) for fold in metrics['folds'])}",
        "medmtl evaluate RUN DATASET --folds 0",
        "```",
        "",
        *table(metrics["tasks"]),
    ]
    for column, groups in metrics["subgroups"].items():
        for name, group in groups.items():
            lines += ["", f"### {column.replace('_', ' ')} {name}: {group['cases']} cases", "", *table(group["tasks"])]
    return "\n".join(lines) + "\n"


def table(tasks: dict[str, Any]) -> list[str]:
    """A Markdown table of figures."""
    return ["| what | figure | n |", "|---|---|---|", *figure_rows(tasks)]


if __name__ == "__main__":
    main()
