import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from medmtl_training.cases import read_dataset
from medmtl_training.evaluation import plots
from medmtl_training.evaluation.overlap import bland_altman
from medmtl_training.evaluation.pictures import worst_pictures
from medmtl_training.evaluation.predictions import open_predictions
from medmtl_training.evaluation.report_html import estimate, report_html
from medmtl_training.evaluation.score import ScoreSettings, score


@pytest.fixture
def page(toy: Path) -> str:
    dataset, _ = read_dataset(toy)
    predictions = open_predictions(toy / "organs", dataset, "organs")
    metrics = score(predictions, dataset, dataset.cases, ScoreSettings(draws=50))
    return report_html(metrics, dataset.tasks, worst_pictures(metrics["rows"], dataset, predictions))


def test_page_needs_nothing_from_elsewhere(page: str) -> None:
    assert "1.000 (1.000 to 1.000)" in page
    assert "Research use only" in page
    assert page.count("data:image/png;base64,iVBOR") == 4
    assert not re.search(r"https?://|<script|<link|@import", page)


def test_page_is_the_same_twice(toy: Path, page: str) -> None:
    dataset, _ = read_dataset(toy)
    predictions = open_predictions(toy / "organs", dataset, "organs")
    metrics = score(predictions, dataset, dataset.cases, ScoreSettings(draws=50))
    assert report_html(metrics, dataset.tasks, worst_pictures(metrics["rows"], dataset, predictions)) == page


def test_a_classifier_stands_beside_its_shortcuts(toy: Path) -> None:
    dataset, _ = read_dataset(toy)
    for index, case in enumerate(dataset.cases):
        p = 0.04 + 0.08 * index
        findings = {"diagnosis": {"class": "ill", "probabilities": {"well": 1 - p, "ill": p}}}
        (toy / "out" / case.name).mkdir(parents=True)
        (toy / "out" / case.name / "findings.json").write_text(json.dumps(findings), encoding="utf-8")
    settings = ScoreSettings(draws=50, by=("sex",), baseline_columns=(("age",),))
    metrics = score(open_predictions(toy / "out", dataset), dataset, dataset.cases, settings)
    page = report_html(metrics, dataset.tasks)
    assert metrics["tasks"]["diagnosis"]["auroc"]["value"] == pytest.approx(21 / 36)
    for words in (
        "Shortcuts",
        "<th>geometry</th>",
        "<th>age</th>",
        "True class (rows)",
        ">ROC<",
        ">Calibration<",
        "By sex",
    ):
        assert words in page


def test_plots_are_well_formed_and_escape_names() -> None:
    points = [("<a>", 10.0, 12.0), ("b&c", 20.0, 21.0)]
    agreement = bland_altman([12.0, 21.0], [10.0, 20.0])
    assert agreement is not None
    drawn = [
        plots.bland_altman_svg(points, agreement),
        plots.bland_altman_svg([("a", 0.0, 0.0), ("b", 0.0, 0.0)], bland_altman([0, 0], [0, 0])),  # nothing to spread
        plots.roc_svg({"a<b": ([0.0, 1.0], [0.0, 1.0])}),
        plots.strip_svg({"x&y": [("c", 0.5), ("d", 0.7)], "none": []}),
        plots.reliability_svg([(0.6, 0.5, 4), (0.9, 1.0, 4)]),
    ]
    for svg in drawn:
        assert ET.fromstring(svg).tag == "svg"
    assert len(re.findall("<circle", drawn[0])) == 2


def test_estimates_as_text() -> None:
    assert estimate({"value": 0.9123, "interval": [0.88, 0.94]}) == "0.912 (0.880 to 0.940)"
    assert estimate({"mean": 3.21, "interval": None}, 1) == "3.2"
    assert estimate(None) == "–"
