import csv
import dataclasses
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from medmtl.outputs.manifest import LINES, ManifestLine, State, append_line, collect, is_finished, read_lines
from medmtl.outputs.write_case import write_case
from medmtl.result import CaseResult

LINE = ManifestLine(case="a", state=State.OK, seconds=1.5, input_sha256="1", bundle_sha256="2", options={"fast": False})


def test_a_torn_line_is_passed_over_and_the_next_one_is_whole(tmp_path: Path) -> None:
    append_line(tmp_path, LINE)
    with (tmp_path / LINES).open("ab") as file:
        file.write(b'{"case": "b", "sta')
    append_line(tmp_path, dataclasses.replace(LINE, case="c"))
    assert list(read_lines(tmp_path)) == ["a", "c"]


def test_the_newest_line_of_a_case_holds(tmp_path: Path) -> None:
    append_line(
        tmp_path, dataclasses.replace(LINE, state=State.FAILED, code="internal-error", message="internal-error a")
    )
    append_line(tmp_path, LINE)
    manifest = collect(tmp_path)
    assert manifest["counts"] == {"ok": 1, "warned": 0, "refused": 0, "failed": 0}
    assert json.loads((tmp_path / "manifest.json").read_bytes()) == manifest


def test_parallel_runs_do_not_mix_their_lines(tmp_path: Path) -> None:
    lines = [dataclasses.replace(LINE, case=f"case{n}", message="x" * 3000, shard=f"{n % 4 + 1}/4") for n in range(60)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda line: append_line(tmp_path, line), lines))
    assert len(read_lines(tmp_path)) == 60


def test_a_case_is_finished_only_for_the_same_input_model_and_options(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    line = dataclasses.replace(LINE, files=("a.txt",))
    append_line(tmp_path, line)
    row = read_lines(tmp_path)["a"]
    assert is_finished(row, tmp_path, line)
    assert not is_finished(None, tmp_path, line)
    for change in ({"input_sha256": "9"}, {"bundle_sha256": "9"}, {"options": {"fast": True}}):
        assert not is_finished(row, tmp_path, dataclasses.replace(line, **change))
    (tmp_path / "a.txt").unlink()
    assert not is_finished(row, tmp_path, line)


def test_a_refused_case_is_tried_again(tmp_path: Path) -> None:
    line = dataclasses.replace(LINE, state=State.REFUSED, code="missing-slice")
    append_line(tmp_path, line)
    assert not is_finished(read_lines(tmp_path)["a"], tmp_path, line)


def test_summary_has_a_row_per_case_with_the_numbers_of_the_findings(tmp_path: Path, spheres: CaseResult) -> None:
    files = write_case(spheres, tmp_path, frozenset({"json"}))
    append_line(tmp_path, dataclasses.replace(LINE, case=spheres.case, state=State.WARNED, files=tuple(files)))
    refused = ManifestLine(
        case="=1+1", state=State.REFUSED, code="not-an-image", message="not-an-image =1+1: text; give it"
    )
    append_line(tmp_path, refused)
    collect(tmp_path)
    text = (tmp_path / "summary.csv").read_bytes().decode("utf-8-sig")
    rows = {row["case"]: row for row in csv.DictReader(text.splitlines())}
    findings = json.loads((tmp_path / spheres.case / "findings.json").read_bytes())
    row = rows[spheres.case]
    assert float(row["lesion_ml"]) == findings["lesions"]["totals"]["ml"]
    assert float(row["organs.lv_cavity_ml"]) == findings["tasks"]["organs"]["values"]["lv_cavity"]["ml"]
    assert float(row["organs.myocardial_mass"]) == findings["tasks"]["organs"]["derived"][0]["value"]
    assert (row["class"], row["p_infarction"], row["trust"]) == ("infarction", "0.931", "amber")
    assert row["warnings"] == "slices-unverified"
    assert rows["'=1+1"]["code"] == "not-an-image"  # no spreadsheet takes it for a formula
    assert next(iter(row)) == "case"
