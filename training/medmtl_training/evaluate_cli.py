"""`medmtl evaluate`: figures of predictions or of a model on a data set."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medmtl.errors import Code, OutputError, UsageError
from medmtl_training.options import parse_folds

if TYPE_CHECKING:
    from medmtl_training.cases import Case, Dataset
    from medmtl_training.evaluation.score import ScoreSettings

PredictHeldout = Callable[[str, "Dataset", Path, "Mapping[str, tuple[Path, ...]] | None"], Path]
"""Model (name, bundle or run), data set with the cases to answer, folder to write to, images in place of the cases' own
(None for these); gives the predictions folder.

Each case is answered by a network that was not trained on it; a case that all of them saw is refused with
`seen-in-training` (see `evaluation.provenance`).
"""

_METRICS, _CASES, _REPORT, _PREDICTIONS = "metrics.json", "cases.csv", "report.html", "predictions"


@dataclass(frozen=True, kw_only=True)
class EvaluateRequest:
    """One call of `medmtl evaluate`.

    Attributes:
        target: a predictions folder, or a model: a name, a bundle or a run.
        dataset: folder of the data set.
        against: further predictions or a further model on the same cases.
        out: folder for `metrics.json` and `report.html`.
        folds: folds whose cases are scored, None for all cases.
        task: the task of flat folders.
        altered: whether a model is asked again on images without what could betray a class.
        settings: how to score.
    """

    target: str
    dataset: Path
    out: Path
    settings: "ScoreSettings"
    against: str | None = None
    altered: bool = False
    folds: frozenset[int] | None = None
    task: str | None = None


def evaluate_target(
    request: EvaluateRequest,
    predict_heldout: PredictHeldout | None = None,
    progress: Callable[[str], None] = lambda case: None,
) -> dict[str, Any]:
    """Score, write `metrics.json`, `cases.csv` and `report.html` to `request.out`, and give what the first holds.

    Args:
        request: what to do.
        predict_heldout: answers for a model; without it only predictions folders can be scored.
        progress: called with the name of each case that was scored.

    Raises:
        MedmtlError: whatever stands in the way.
    """
    from medmtl.outputs.files import json_bytes, write_atomic
    from medmtl_training.cases import read_dataset, with_images
    from medmtl_training.evaluation.compare import compare, largest_losses
    from medmtl_training.evaluation.per_case import per_case_csv
    from medmtl_training.evaluation.pictures import Picture, change_pictures, worst_pictures
    from medmtl_training.evaluation.predictions import Predictions, open_predictions
    from medmtl_training.evaluation.report_html import report_html
    from medmtl_training.evaluation.score import score

    dataset = with_images(read_dataset(request.dataset)[0])
    cases = _chosen(dataset, request.folds)

    def answers(target: str, name: str) -> Predictions:
        folder = _predictions_folder(target, replace(dataset, cases=cases), request.out / name, predict_heldout)
        found = open_predictions(folder, dataset, request.task)
        if found.cases.isdisjoint({case.name for case in cases}):
            raise UsageError(Code.NOT_FOUND, "none of the chosen cases has a prediction", "choose other --folds")
        found.refuse_seen(cases)
        return found

    first = answers(request.target, _PREDICTIONS)
    metrics = score(first, dataset, cases, request.settings, progress)
    changes: list[Picture] = []
    if request.against is not None:
        second = answers(request.against, f"{_PREDICTIONS}_against")
        other = score(second, dataset, cases, request.settings, progress)
        settings = request.settings
        compared = compare(metrics["rows"], other["rows"], dataset.tasks, settings.draws, settings.seed)
        losses = largest_losses(metrics["rows"], other["rows"])
        metrics["comparison"] = {**compared, "largest_losses": losses, "rows": other["rows"]}
        changes = change_pictures(losses, dataset, first, second)
    if request.altered:
        metrics["altered"] = _altered(request, replace(dataset, cases=cases), metrics["rows"], predict_heldout)
    pictures = worst_pictures(metrics["rows"], dataset, first)
    write_atomic(request.out / _METRICS, json_bytes(metrics))
    write_atomic(request.out / _CASES, per_case_csv(metrics["rows"], dataset.tasks))
    write_atomic(request.out / _REPORT, report_html(metrics, dataset.tasks, pictures, changes).encode())
    return metrics


def _chosen(dataset: "Dataset", folds: frozenset[int] | None) -> "tuple[Case, ...]":
    if folds is None:
        return dataset.cases
    foreign = sorted(folds - set(dataset.folds))
    if foreign:
        known = ", ".join(str(fold) for fold in dataset.folds) or "none"
        raise UsageError(Code.BAD_OPTION, f"no case is in fold {foreign[0]}", f"folds in cases.csv: {known}")
    return tuple(case for case in dataset.cases if case.fold in folds)


def _is_model(target: str) -> bool:
    folder = Path(target)
    return not folder.is_dir() or any((folder / name).is_file() for name in ("bundle.yaml", "bundle/bundle.yaml"))


def _predictions_folder(target: str, dataset: "Dataset", out: Path, predict_heldout: PredictHeldout | None) -> Path:
    if not _is_model(target):
        return Path(target)
    if predict_heldout is None:
        raise UsageError(Code.NOT_FOUND, "the target is no folder of predictions", "give OUT of medmtl predict")
    return predict_heldout(target, dataset, out, None)


def _altered(
    request: EvaluateRequest,
    dataset: "Dataset",
    rows: Sequence[Mapping[str, Any]],
    predict_heldout: PredictHeldout | None,
) -> dict[str, Any]:
    """What each alteration changes in the figures of case-level tasks, see `evaluation.altered`."""
    from medmtl_training.evaluation.altered import ALTERATIONS, altered_images, judge_alteration
    from medmtl_training.evaluation.predictions import open_predictions
    from medmtl_training.evaluation.score import score

    if predict_heldout is None or not _is_model(request.target):
        raise UsageError(Code.BAD_OPTION, "--altered asks a model again", "give a model or a run as TARGET")
    found: dict[str, Any] = {}
    for alteration in ALTERATIONS:
        folder = request.out / "altered" / alteration.name.replace(" ", "_")
        images = altered_images(dataset, dataset.cases, alteration, folder / "images")
        part = replace(dataset, cases=tuple(case for case in dataset.cases if case.name in images))
        answers = open_predictions(predict_heldout(request.target, part, folder / _PREDICTIONS, images), part)
        case_level = tuple(task for task in part.tasks if not task.is_voxel)
        again = score(answers, replace(part, tasks=case_level), part.cases, request.settings)["rows"]
        found[alteration.name] = {"what": alteration.what, **judge_alteration(rows, again, case_level)}
    return found


def evaluate_command(predict_heldout: PredictHeldout | None = None) -> click.Command:
    """The command `evaluate`, with `predict_heldout` for models as targets."""

    @click.command("evaluate")
    @click.argument("target")
    @click.argument("dataset", type=click.Path(path_type=Path))
    @click.option("--against", metavar="OTHER", help="Other predictions or another model on the same cases.")
    @click.option("--promote", is_flag=True, help="May TARGET replace OTHER? not-promoted and exit status 1 if not.")
    @click.option("--dice-margin", type=click.FloatRange(min=0), default=0.01, show_default=True,
                  help="Of Dice that --promote lets go, by the lower end of the paired interval.")  # fmt: skip
    @click.option("--auc-margin", type=click.FloatRange(min=0), default=0.02, show_default=True, help="Same of AUROC.")
    @click.option("--altered", is_flag=True, help="Ask a model again: padding blanked, cropped, slices dropped.")
    @click.option("-o", "--out", type=click.Path(path_type=Path), help="Folder to write; default TARGET_evaluation.")
    @click.option("--folds", default="all", show_default=True, help="Cases to score: 0, 0,2, 0-4 or all.")
    @click.option("--by", multiple=True, metavar="COLUMN", help="Give every figure by this column of cases.csv too.")
    @click.option("--baseline", multiple=True, metavar="COLUMN,…", help="Columns as one shortcut baseline: age,sex.")
    @click.option("--same-patient", multiple=True, metavar="CASE,…", help="Cases that are one patient.")
    @click.option("--task", help="Task of a flat folder of label maps.")
    @click.option("--tolerance-mm", type=click.FloatRange(min=0), default=2.0, show_default=True, help="Surface Dice.")
    @click.option("--overwrite", is_flag=True, help="Replace an earlier evaluation in the same folder.")
    @click.option("--quiet", is_flag=True, help="Say nothing while it runs.")
    @click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON, without the cases.")
    @click.pass_context
    def evaluate(context: click.Context, /, **options: Any) -> None:
        """Score TARGET on DATASET: Dice, surfaces, lesions, volumes, classes, each with its 95 % interval.

        TARGET is a folder of predictions (OUT of medmtl predict, or flat label maps as nnU-Net writes them) or a
        model: a name, a bundle or a run. Writes metrics.json, cases.csv (a row a case) and report.html.
        """
        request = _request(options)
        metrics = evaluate_target(request, predict_heldout, _Progress(quiet=options["quiet"]).step)
        click.echo(_as_json(metrics) if options["as_json"] else "\n".join(_lines(metrics)))
        if not options["as_json"]:
            click.echo(f"{request.out / _REPORT}")
        refused = options["promote"] and _promotion_refused(metrics, request, options)
        if refused or (metrics["missing"] and request.folds is not None):
            context.exit(1)

    return evaluate


evaluate = evaluate_command()


def _promotion_refused(metrics: Mapping[str, Any], request: EvaluateRequest, options: Mapping[str, Any]) -> bool:
    """Says whether the target may take the place of the other, and why not."""
    from medmtl_training.cases import read_dataset
    from medmtl_training.growing.promotion import Margins, decide

    margins = Margins(dice=options["dice_margin"], auroc=options["auc_margin"])
    tasks = [task for task in read_dataset(request.dataset)[0].tasks if not task.auxiliary]
    tasks = [task for task in tasks if request.task in (None, task.name)]
    decision = decide(metrics["rows"], metrics["comparison"]["rows"], tasks, margins)
    if decision.promoted:
        click.echo("may be promoted", err=True)
    else:
        click.echo(decision.refusal().line("evaluate"), err=True)
    return not decision.promoted


def _request(options: Mapping[str, Any]) -> EvaluateRequest:
    from medmtl_training.evaluation.score import ScoreSettings

    target = str(options["target"])
    if options["promote"] and options["against"] is None:
        raise UsageError(Code.BAD_OPTION, "--promote needs the model before", "name it with --against OTHER")
    out = options["out"] or Path(f"{target.rstrip('/')}_evaluation")
    if not options["overwrite"] and any((out / name).exists() for name in (_METRICS, _REPORT)):
        raise OutputError(Code.CANNOT_WRITE, "there is an evaluation already", "give --overwrite or another -o")
    settings = ScoreSettings(
        by=tuple(options["by"]) or ScoreSettings().by,
        baseline_columns=_groups(options["baseline"]),
        same_patient=_groups(options["same_patient"]),
        tolerance_mm=options["tolerance_mm"],
    )
    return EvaluateRequest(
        target=target,
        dataset=options["dataset"],
        against=options["against"],
        out=out,
        altered=options["altered"],
        folds=parse_folds(options["folds"]),
        task=options["task"],
        settings=settings,
    )


def _groups(values: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(part.strip() for part in value.split(",") if part.strip()) for value in values)


class _Progress:
    """Plain lines on stderr, one for every ten cases."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet, self._done = quiet, 0

    def step(self, case: str) -> None:
        self._done += 1
        if not self._quiet and self._done % 10 == 0:
            click.echo(f"scored {self._done} cases", err=True)


def _as_json(metrics: Mapping[str, Any]) -> str:
    from medmtl.outputs.files import json_bytes

    kept = {key: value for key, value in metrics.items() if key != "rows"}
    if "comparison" in kept:
        kept["comparison"] = {key: value for key, value in kept["comparison"].items() if key != "rows"}
    return json_bytes(kept).decode().rstrip("\n")


def _lines(metrics: Mapping[str, Any]) -> list[str]:
    from medmtl_training.evaluation.report_html import estimate, figure

    lines = [f"{metrics['dataset']}: {metrics['cases']} cases of {metrics['patients']} patients, 95 % intervals"]
    if metrics["missing"]:
        lines.append(f"{len(metrics['missing'])} cases have no prediction and enter no figure")
    for task, summary in metrics["tasks"].items():
        for name, label in summary.get("labels", {}).items():
            lines.append(
                f"{task}.{name}: Dice {estimate(label['dice'])}, n {label['n']}; "
                f"surface Dice {figure(label['nsd']['mean'])}; HD95 {figure(label['hd95_mm']['mean'], 1)} mm; "
                f"volume error {figure(label['error_percent']['median'], 1)} % (median)"
            )
            if label["n_empty_truth"]:
                lines.append(f"{task}.{name}: {figure(label['false_ml']['mean'], 2)} mL found where there is none")
        for name, value in summary.get("derived", {}).items():
            errors = f"absolute error {estimate(value['mean_absolute_error'], 2)} {value['unit']}".rstrip()
            correlation = estimate(value["correlation"])
            lines.append(f"{task}.{name}: {errors}, correlation {correlation}, n {value['n']}")
        for key in ("auroc", "accuracy", "balanced_accuracy", "brier", "ece", "mean_absolute_error"):
            if summary.get(key):
                lines.append(f"{task}: {key.replace('_', ' ')} {estimate(summary[key])}, n {summary['n']}")
        lines.extend(
            f"{task}: AUROC of {name} alone {estimate(baseline['auroc'])}"
            for name, baseline in summary.get("baselines", {}).items()
            if baseline["auroc"]
        )
    for name, altered in metrics.get("altered", {}).items():
        lines.extend(
            f"{name} ({altered['cases']} cases), {task}: AUROC differs by {estimate(figures['auroc'])}"
            for task, figures in altered["tasks"].items()
            if figures.get("auroc")
        )
    for task, found in metrics.get("comparison", {}).get("tasks", {}).items():
        for label, values in found.get("labels", {"": found}).items():
            name = f"{task}.{label}" if label else task
            lines.extend(
                f"{name}: {key} differs by {estimate(value)}: {value['verdict']}" for key, value in values.items()
            )
    return lines
