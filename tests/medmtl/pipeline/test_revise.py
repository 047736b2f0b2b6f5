"""What a reader says changes what follows from it and nothing else."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

import medmtl.outputs
from medmtl.answers import Answers
from medmtl.findings.components import components
from medmtl.outputs.files import plain
from medmtl.outputs.sentences import report_sentences
from medmtl.outputs.write_case import write_case
from medmtl.pipeline.diagnose import Request, diagnose
from medmtl.pipeline.findings_json import measure
from medmtl.pipeline.model import load_model
from medmtl.pipeline.revise import Decision, Review, Revision, Word, revise
from medmtl.pipeline.stored import Rules, read_result, rules_of
from medmtl.result import CaseResult
from tests.tiny import heart_volume, write_bundle

REJECTED = Word(decision=Decision.REJECTED, comment="an artefact")


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> tuple[CaseResult, Rules]:
    """A heart phantom as an untrained network answers it, but with three round lesions in it."""
    bundle = write_bundle(tmp_path_factory.mktemp("bundle") / "tiny")
    result = diagnose("heart", (heart_volume(),), load_model(bundle, "cpu"), Request())
    rules = rules_of(bundle, result.volume.grid)
    lesions = np.zeros_like(result.masks["lesions"])
    lesions[4:12, 4:12, 1:3] = 1
    lesions[18:23, 18:23, 2:4] = 1
    lesions[24:28, 4:8, 4:5] = 2
    masks = {**result.masks, "lesions": lesions}
    values = {name: body["values"] for name, body in result.findings["tasks"].items()}
    answers = Answers(
        tasks=result.tasks, grid=result.volume.grid, image=result.volume.array, masks=masks,
        foreground={"lesions": np.choose(lesions, (0.0, 0.75, 0.5))},
        case={"diagnosis": np.array(list(values["diagnosis"]["probabilities"].values()))},
        calibration=rules.calibration, slice_axis=rules.slice_axis, planned_stack=rules.planned_stack,
        minimum_lesion_ml=rules.minimum_lesion_ml,
    )  # fmt: skip
    return replace(result, masks=masks, findings={**result.findings, **measure(answers, [], [])}), rules


def said(case: tuple[CaseResult, Rules], drawn: Any = None, base: Any = None, **words: Any) -> Revision:
    model, rules = case
    review = Review(version=2, reader="Dr A", **words)
    return revise(model, rules, drawn or model.masks, base or model.masks, review)


def test_without_a_word_everything_is_as_the_model_measured_it(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Findings of a reader who changes nothing are those of `diagnose`, number for number, from its files alone."""
    bundle = write_bundle(tmp_path_factory.mktemp("bundle") / "tiny")
    result = diagnose("heart", (heart_volume(),), load_model(bundle, "cpu"), Request())
    write_case(result, tmp_path, frozenset({"nii", "json"}))
    rules = Rules.from_mapping(json.loads(json.dumps(rules_of(bundle, result.volume.grid).to_mapping())))
    stored = read_result(tmp_path / "heart", result.channels, rules.tasks)
    assert stored.findings["lesions"]["totals"]["count"] > 0
    found = revise(stored, rules, stored.masks, stored.masks, Review(version=1, reader="R")).result.findings
    assert plain({key: value for key, value in found.items() if key != "review"}) == plain(result.findings)


def test_a_rejected_lesion_leaves_masks_totals_and_text_and_no_other_changes_its_number(
    case: tuple[CaseResult, Rules],
) -> None:
    model = case[0]
    revision = said(case, lesions={2: REJECTED, 1: Word(decision=Decision.ACCEPTED)})
    before, after = model.findings["lesions"], revision.result.findings["lesions"]
    gone = before["items"][1]
    assert [row["id"] for row in after["items"]] == [1, 3]
    assert after["totals"]["count"] == 2
    assert after["totals"]["ml"] == pytest.approx(before["totals"]["ml"] - gone["ml"], abs=1e-3)
    assert [row for row in before["items"] if row["id"] != 2] == after["items"]
    assert not revision.result.masks["lesions"][18:23, 18:23, 2:4].any()
    assert (revision.result.masks["lesions"] > 0).sum() == (model.masks["lesions"] > 0).sum() - 50
    values = revision.result.findings["tasks"]["lesions"]["values"]
    assert sum(row["voxels"] for row in values.values()) == (revision.result.masks["lesions"] > 0).sum()
    assert [(row["id"], word) for row, word in revision.lesions][1] == (2, REJECTED)
    text = "\n".join(report_sentences(revision.result.findings, "en"))
    assert "2 lesions were found" in text
    assert "Lesion 2:" not in text
    assert "Rejected by the reader: lesion 2." in text
    assert model.masks["lesions"][20, 20, 3] == 1, "the model's own mask has changed"


def test_a_drawn_lesion_is_measured_and_has_no_confidence(case: tuple[CaseResult, Rules]) -> None:
    model = case[0]
    lesions = model.masks["lesions"].copy()
    lesions[4:12, 4:12, 3] = 1  # the first lesion grows by a slice
    lesions[15:18, 28:31, 0:2] = 2  # and a new one is drawn
    revision = said(
        case, {**model.masks, "lesions": lesions}, lesions={1: Word(decision=Decision.ACCEPTED, comment="c")}
    )
    words = {row["id"]: word for row, word in revision.lesions}
    items = {row["id"]: row for row in revision.result.findings["lesions"]["items"]}
    voxel_ml = model.volume.grid.voxel_ml
    assert items[1]["ml"] == pytest.approx(8 * 8 * 3 * voxel_ml, abs=1e-4)
    assert [words[n].decision for n in (1, 2, 3, 4)] == [
        Decision.CORRECTED, Decision.OPEN, Decision.ADDED, Decision.OPEN]  # fmt: skip
    assert words[1].comment == "c"
    assert [items[n]["confidence"] for n in (1, 2, 3, 4)] == [None, 0.75, None, 0.5]
    marked = revision.result.findings["review"]["lesions"]
    assert (marked["corrected"], marked["added"]) == ([1], [3])


def test_a_rejection_is_carried_over_only_where_the_lesion_is_still_that_one(case: tuple[CaseResult, Rules]) -> None:
    model = case[0]
    lesions = model.masks["lesions"].copy()
    lesions[18:23, 18:23, 2] = 0  # half of the rejected one
    revision = said(case, {**model.masks, "lesions": lesions}, lesions={2: REJECTED})
    assert [word.decision for _, word in revision.lesions] == [Decision.OPEN, Decision.REJECTED, Decision.OPEN]
    lesions[14:27, 14:28, 2:5] = 1  # now it is a small part of what the reader drew
    revision = said(case, {**model.masks, "lesions": lesions}, lesions={2: REJECTED})
    assert revision.lesions[0][1].decision is Decision.CORRECTED
    assert (revision.result.masks["lesions"] > 0).sum() == (lesions > 0).sum()


def test_a_further_version_starts_from_the_former_one(case: tuple[CaseResult, Rules]) -> None:
    """A rejected lesion stays drawn, so that it can be taken back; numbers are those of the version before."""
    model = case[0]
    lesions = model.masks["lesions"].copy()
    lesions[0:3, 20:32, 0:5] = 1
    first = {**model.masks, "lesions": lesions}
    one = said(case, first, lesions={2: REJECTED})
    numbers = {tuple(row["centroid_lps_mm"]): row["id"] for row, _ in one.lesions}
    words = {row["id"]: word for row, word in one.lesions}
    old = tuple(model.findings["lesions"]["items"][1]["centroid_lps_mm"])
    assert words[numbers[old]].decision is Decision.REJECTED
    again = said(case, first, first, lesions={**words, numbers[old]: Word(decision=Decision.ACCEPTED)})
    assert again.result.findings["lesions"]["totals"]["count"] == components(lesions > 0)[1]
    assert again.result.findings["review"]["lesions"]["rejected"] == []


def test_a_corrected_and_a_rejected_structure(case: tuple[CaseResult, Rules]) -> None:
    model = case[0]
    organs = model.masks["organs"].copy()
    names = [label.name for task in model.tasks if task.name == "organs" for label in task.labels]
    organs[0:2, 0:2, 0:2] = 1
    words = {f"organs.{names[1]}": REJECTED}
    revision = said(case, {**model.masks, "organs": organs}, structures=words)
    marked = revision.result.findings["review"]["structures"]
    assert marked == {"accepted": [], "corrected": [f"organs.{names[0]}"], "rejected": [f"organs.{names[1]}"]}
    values = revision.result.findings["tasks"]["organs"]["values"]
    assert values[names[0]]["voxels"] == (organs == 1).sum()
    assert values[names[1]]["voxels"] == 0
    assert not (revision.result.masks["organs"] == 2).any()


def test_the_diagnosis_stays_the_models_and_the_readers_stands_beside_it(case: tuple[CaseResult, Rules]) -> None:
    model = case[0]
    other = min(model.findings["diagnosis"]["probabilities"], key=model.findings["diagnosis"]["probabilities"].get)
    word = Word(decision=Decision.CORRECTED, chosen=other)
    found = said(case, lesions={1: REJECTED, 2: REJECTED, 3: REJECTED}, classes={"diagnosis": word}).result.findings
    assert found["diagnosis"] == model.findings["diagnosis"]
    assert found["tasks"]["diagnosis"]["values"] == model.findings["tasks"]["diagnosis"]["values"]
    assert found["lesions"]["totals"] == {**found["lesions"]["totals"], "count": 0, "ml": 0.0}
    assert found["review"]["classes"] == {"diagnosis": {"decision": "corrected", "class": other}}
    for language, sentence in (("en", "were not computed again"), ("zh", "未重新计算")):
        assert sentence in "\n".join(report_sentences(found, language))


def test_findings_of_a_review_hold_to_the_schema(case: tuple[CaseResult, Rules]) -> None:
    path = Path(medmtl.outputs.__file__).parent / "findings.schema.json"
    schema = json.loads(path.read_text(encoding="utf-8"))
    words = {"diagnosis": Word(decision=Decision.REJECTED)}
    found = plain(said(case, lesions={1: REJECTED}, classes=words, comment="seen").result.findings)
    jsonschema.validate(found, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**found, "review": {"version": 0}}, schema)
