"""`medmtl train` and `medmtl evaluate`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from medmtl_training.evaluate_cli import evaluate_command

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from medmtl_training.cases import Dataset
    from medmtl_training.config import Config
    from medmtl_training.run import RunRequest, TrainedNetwork


@click.command()
@click.argument("dataset", type=click.Path(path_type=Path))
@click.option("-o", "--output", "folder", metavar="RUN", required=True, type=click.Path(path_type=Path),
              help="Folder of the run.")  # fmt: skip
@click.option("--config", type=click.Path(path_type=Path), help="A plan.yaml; without it one is made from the data.")
@click.option("--folds", default="all", show_default=True,
              help="Held-out folds, one network each: 0, 0,2, 0-4 or all; none: one on all cases.")  # fmt: skip
@click.option("--max-steps", type=click.IntRange(min=1), help="Steps of each network.")
@click.option("--max-time", metavar="TIME", help="Wall time for everything, 90s, 30m or 2h; fixes the steps once.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--resume", is_flag=True, help="Go on with the run in RUN.")
@click.option("--init-from", metavar="MODEL", help="Start from the weights of this model, where they fit.")
@click.option("--compare", is_flag=True, help="Train single-task twins and equal weights too, and say what helped.")
@click.option("--add-task", metavar="NAME", help="Train only this task of DATASET, on the frozen model of --init-from.")
@click.option(
    "--fine-tune", is_flag=True, help="After --add-task, train all weights slowly and say what was forgotten."
)
@click.option("--dice-margin", type=click.FloatRange(min=0), default=0.01, show_default=True,
              help="Of Dice that a fine-tuned model may lose, by the lower end of its interval.")  # fmt: skip
@click.option("--auc-margin", type=click.FloatRange(min=0), default=0.02, show_default=True, help="The same of AUROC.")
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads of the network.")
@click.option("--seed", type=int, help="Of everything that is drawn.")
@click.option("--quiet", is_flag=True, help="No progress.")
@click.option("--debug", is_flag=True, help="Details and tracebacks.")
@click.pass_context
def train(context: click.Context, /, **options: Any) -> None:
    """Train one network for all tasks of DATASET, partly labelled or not, and make a bundle of it.

    RUN holds plan, checkpoints, curves, out-of-fold predictions and figures; RUN/bundle is the model that
    `medmtl predict -m RUN` uses. Under torchrun every process takes its share of each batch.
    """
    from medmtl_training.ranks import leave_ranks
    from medmtl_training.run import train_run

    _refuse_contradictions(options)
    request = _request(options)
    data, grown = request.dataset, None
    if options["compare"]:
        request = _with_twins(request)
    if options["add_task"]:
        from medmtl_training.growing.add_task import grown_run

        grown = grown_run(request, str(options["init_from"]), str(options["add_task"]))
        request, data = grown.request, grown.dataset
    if request.hardware.ranks.first:
        _say_costs(request)
    networks = train_run(request)
    leave_ranks()
    if not request.hardware.ranks.first:
        return
    folder = request.folder
    if data.prepared is not None:
        click.echo(f"trained from prepared arrays: copy {folder} to where the images are, and there run")
        folds = options["folds"]
        click.echo(f"medmtl train DATASET -o {folder} --config {folder / 'plan.yaml'} --folds {folds} --resume")
        return
    _finish(folder, data, networks, (request.config, request.folds, request.hardware.device.type))
    if options["compare"]:
        from medmtl_training.comparing.compare_run import compare_run

        for line in compare_run(request, data)["advice"]:
            click.echo(line)
        click.echo(f"{folder / 'compare' / 'comparison.html'}")
    if grown is not None and options["fine_tune"]:
        from medmtl_training.growing.grow_run import fine_tune, forgetting_report
        from medmtl_training.growing.promotion import Margins

        margins = Margins(dice=options["dice_margin"], auroc=options["auc_margin"])
        decision = fine_tune(grown, networks, str(options["add_task"]), margins)
        click.echo("\n".join(forgetting_report(decision)))
        if not decision.promoted:
            click.echo(decision.refusal().line("train"), err=True)
            context.exit(1)


def _refuse_contradictions(options: "Mapping[str, Any]") -> None:
    from medmtl.errors import Code, UsageError

    if options["add_task"] and not options["init_from"]:
        raise UsageError(Code.BAD_OPTION, "--add-task needs a trained model", "name it with --init-from MODEL")
    if options["add_task"] and options["compare"]:
        raise UsageError(Code.BAD_OPTION, "--compare trains from nothing", "leave out --add-task or --compare")
    if options["fine_tune"] and not (options["add_task"] and options["folds"] != "none"):
        what = "--fine-tune follows --add-task and is judged on held-out folds"
        raise UsageError(Code.BAD_OPTION, what, "give both, or leave it out")


def _request(options: "Mapping[str, Any]") -> "RunRequest":
    import logging

    import torch

    from medmtl.inference.engine import choose_device
    from medmtl_training.cases import read_dataset
    from medmtl_training.loop import Hardware
    from medmtl_training.options import fold_numbers, seconds_of
    from medmtl_training.ranks import join_ranks
    from medmtl_training.run import RunRequest

    level = logging.DEBUG if options["debug"] else logging.WARNING if options["quiet"] else logging.INFO
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("medmtl_training").setLevel(level)
    if options["threads"] is not None:
        torch.set_num_threads(options["threads"])
    data, notices = read_dataset(options["dataset"])
    for notice in notices:
        click.echo(f"{notice.code} {data.name}: {notice.text}", err=True)
    kind = choose_device(options["device"])
    ranks = join_ranks(kind)
    chosen = torch.device(kind, ranks.local) if kind == "cuda" and ranks.world > 1 else torch.device(kind)
    folder, config = options["folder"], options["config"]
    if config is None and options["resume"] and (folder / "plan.yaml").is_file():
        config = folder / "plan.yaml"  # as it was started, whatever would be planned today
    seconds, model = options["max_time"], None if options["add_task"] else options["init_from"]
    return RunRequest(
        folder=folder,
        dataset=data,
        config=_config(data, config, options["max_steps"], options["seed"]),
        folds=fold_numbers(options["folds"], data),
        hardware=Hardware(device=chosen, loaders=8 if chosen.type == "cuda" else 0, ranks=ranks),
        max_seconds=seconds_of(seconds) if seconds else None,
        resume=options["resume"],
        init=_initial(model) if model else None,
        extend_to=options["max_steps"],
    )


def _with_twins(request: "RunRequest") -> "RunRequest":
    """The joint training of a comparison: says how many follow, and gives it its share of `--max-time`.

    Raises:
        UsageError: without held-out folds, with images left out, or in several processes nothing can be compared.
    """
    from dataclasses import replace

    from medmtl.errors import Code, UsageError
    from medmtl_training.comparing.variants import trainings

    if not request.folds or request.dataset.prepared is not None or request.hardware.ranks.world > 1:
        what = "--compare needs held-out folds, the images, and one process"
        raise UsageError(Code.BAD_OPTION, what, "name folds, and start it where the data set is")
    number = trainings(request)
    click.echo(f"compare: {number} trainings of this kind, one after the other")
    seconds = None if request.max_seconds is None else request.max_seconds / number
    return replace(request, max_seconds=seconds, watched=True)


def _say_costs(request: "RunRequest") -> None:
    """Hours, memory and disk, before anything long starts."""
    from medmtl_training.preflight import preflight, refuse_full_disk
    from medmtl_training.run import networks_left

    on_cpu, left = request.hardware.device.type == "cpu", networks_left(request)
    costs = preflight(request.dataset, request.config, left, request.max_seconds, on_cpu=on_cpu)
    for line in costs.lines():
        click.echo(line)
    if not (request.folder / "run.json").exists():
        refuse_full_disk(request.folder, costs.disk_bytes)


def _finish(
    folder: Path, data: "Dataset", networks: "list[TrainedNetwork]", how: "tuple[Config, tuple[int, ...], str]"
) -> None:
    from dataclasses import replace

    from medmtl_training.config import read_config
    from medmtl_training.evaluate_cli import EvaluateRequest, evaluate_target
    from medmtl_training.evaluation.score import ScoreSettings
    from medmtl_training.heldout import CROSS_VALIDATION, answer_unseen
    from medmtl_training.publish import add_figures, write_bundle
    from medmtl_training.run import WHOLE

    config, folds, device = how
    trained = read_config(folder / "plan.yaml")
    config = replace(config, settings=trained.settings)
    proving = [network for network in networks if network.name != WHOLE]
    shipped = [network for network in networks if network.name == WHOLE] or proving
    bundle = write_bundle(folder / "bundle", data, config, shipped, device)
    click.echo(f"{folder / 'bundle'}: {len(shipped)} network(s)")
    if not folds:
        click.echo("no case was held out: the bundle has no figures of its own")
        return
    held_out = tuple(case for case in data.cases if case.fold in folds)
    judged = bundle if shipped == proving else write_bundle(folder / CROSS_VALIDATION, data, config, proving, device)
    answers = answer_unseen(judged, replace(data, cases=held_out), folder / "predictions")
    settings = ScoreSettings(
        by=(*ScoreSettings().by, "fold"),
        baseline_columns=tuple(tuple(group) for group in config.model.get("baselines") or ()),
        same_patient=tuple(tuple(group) for group in config.model.get("same_patient") or ()),
        cross_fit=True,
    )
    request = EvaluateRequest(
        target=str(answers), dataset=data.root, out=folder / "evaluation", settings=settings, folds=frozenset(folds)
    )
    add_figures(bundle, evaluate_target(request))
    click.echo((folder / "bundle" / "MODEL_CARD.md").read_text(encoding="utf-8"))


def _config(data: "Dataset", path: Path | None, max_steps: int | None, seed: int | None) -> "Config":
    from dataclasses import replace

    from medmtl_training.config import read_config
    from medmtl_training.prepared_set import config_of_prepared

    if data.prepared is not None:
        config = config_of_prepared(data, path)
    elif path is not None:
        config = read_config(path)
    else:
        from medmtl_training.planning import make_config

        config = make_config(data)
    settings = config.settings
    if max_steps is not None:
        settings = replace(settings, steps=max_steps)
    if seed is not None:
        settings = replace(settings, seed=seed)
    return replace(config, settings=settings)


def _initial(model: str) -> "dict[str, Tensor]":
    from medmtl.bundle.catalogue import find_bundle
    from medmtl.bundle.weights import load_networks

    return dict(load_networks(find_bundle(model))[0].state_dict())


def _evaluate() -> click.Command:
    def predict(model: str, data: "Dataset", out: Path, images: "Mapping[str, tuple[Path, ...]] | None" = None) -> Path:
        from medmtl_training.heldout import predict_heldout

        return predict_heldout(model, data, out, images)

    return evaluate_command(predict)


evaluate = _evaluate()
