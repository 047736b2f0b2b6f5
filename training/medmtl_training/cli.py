"""`medmtl train` and `medmtl evaluate`."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from medmtl_training.evaluate_cli import evaluate_command

if TYPE_CHECKING:
    from torch import Tensor

    from medmtl_training.cases import Dataset
    from medmtl_training.planning import Config
    from medmtl_training.run import TrainedNetwork

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


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
@click.option("--threads", type=click.IntRange(min=1), help="CPU threads of the network.")
@click.option("--seed", type=int, help="Of everything that is drawn.")
@click.option("--quiet", is_flag=True, help="No progress.")
@click.option("--debug", is_flag=True, help="Details and tracebacks.")
def train(
    dataset: Path,
    folder: Path,
    config: Path | None,
    folds: str,
    max_steps: int | None,
    max_time: str | None,
    device: str,
    resume: bool,
    init_from: str | None,
    threads: int | None,
    seed: int | None,
    quiet: bool,
    debug: bool,
) -> None:
    """Train one network for all tasks of DATASET, partly labelled or not, and make a bundle of it.

    RUN holds plan, checkpoints, curves, out-of-fold predictions and figures; RUN/bundle is the model that
    `medmtl predict -m RUN` uses.
    """
    import logging

    import torch

    from medmtl.inference.engine import choose_device
    from medmtl_training.cases import read_dataset
    from medmtl_training.loop import Hardware
    from medmtl_training.run import RunRequest, train_run

    level = logging.DEBUG if debug else logging.WARNING if quiet else logging.INFO
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("medmtl_training").setLevel(level)
    if threads is not None:
        torch.set_num_threads(threads)
    data, notices = read_dataset(dataset)
    for notice in notices:
        click.echo(f"{notice.code} {data.name}: {notice.text}", err=True)
    chosen = torch.device(choose_device(device))
    settled = _config(data, config, max_steps, seed)
    numbers = _folds(folds, data)
    request = RunRequest(
        folder=folder,
        dataset=data,
        config=settled,
        folds=numbers,
        hardware=Hardware(device=chosen, loaders=8 if chosen.type == "cuda" else 0),
        max_seconds=_seconds(max_time) if max_time else None,
        resume=resume,
        init=_initial(init_from) if init_from else None,
    )
    networks = train_run(request)
    _finish(request.folder, data, networks, (settled, numbers, chosen.type))


def _finish(
    folder: Path, data: "Dataset", networks: "list[TrainedNetwork]", how: "tuple[Config, tuple[int, ...], str]"
) -> None:
    from dataclasses import replace

    from medmtl_training.evaluate_cli import EvaluateRequest, evaluate_target
    from medmtl_training.evaluation.score import ScoreSettings
    from medmtl_training.heldout import answer_unseen
    from medmtl_training.planning import read_config
    from medmtl_training.publish import add_figures, write_bundle

    config, folds, device = how
    trained = read_config(folder / "plan.yaml")
    bundle = write_bundle(folder / "bundle", data, replace(config, settings=trained.settings), networks, device)
    click.echo(f"{folder / 'bundle'}: {len(networks)} network(s), sha256 {bundle.sha256[:12]}")
    if not folds:
        click.echo("no case was held out: the bundle has no figures of its own")
        return
    held_out = tuple(case for case in data.cases if case.fold in folds)
    answers = answer_unseen(bundle, replace(data, cases=held_out), folder / "predictions")
    settings = ScoreSettings(
        by=(*ScoreSettings().by, "fold"),
        baseline_columns=tuple(tuple(group) for group in config.model.get("baselines") or ()),
        same_patient=tuple(tuple(group) for group in config.model.get("same_patient") or ()),
    )
    request = EvaluateRequest(
        target=str(answers), dataset=data.root, out=folder / "evaluation", settings=settings, folds=frozenset(folds)
    )
    add_figures(bundle, evaluate_target(request))
    click.echo((folder / "bundle" / "MODEL_CARD.md").read_text(encoding="utf-8"))


def _config(data: "Dataset", path: Path | None, max_steps: int | None, seed: int | None) -> "Config":
    from dataclasses import replace

    from medmtl_training.planning import make_config, read_config

    config = read_config(path) if path else make_config(data)
    settings = config.settings
    if max_steps is not None:
        settings = replace(settings, steps=max_steps)
    if seed is not None:
        settings = replace(settings, seed=seed)
    return replace(config, settings=settings)


def _folds(text: str, data: "Dataset") -> tuple[int, ...]:
    from medmtl_training.evaluate_cli import parse_folds

    if text.strip() == "none" or not data.folds:
        return ()
    numbers = parse_folds(text)
    folds = data.folds if numbers is None else tuple(sorted(numbers))
    for number in folds:
        data.fold(number)  # refuses one that is not there
    return folds


def _seconds(text: str) -> float:
    from medmtl.errors import Code, UsageError

    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text.strip())
    if match is None:
        raise UsageError(Code.BAD_OPTION, f"--max-time {text} is no time", "write 90s, 30m or 2h")
    return float(match[1]) * _UNITS[match[2]]


def _initial(model: str) -> "dict[str, Tensor]":
    from medmtl.bundle.catalogue import find_bundle
    from medmtl.bundle.weights import load_networks

    return dict(load_networks(find_bundle(model))[0].state_dict())


def _evaluate() -> click.Command:
    def predict(model: str, data: "Dataset", out: Path) -> Path:
        from medmtl_training.heldout import predict_heldout

        return predict_heldout(model, data, out)

    return evaluate_command(predict)


evaluate = _evaluate()
