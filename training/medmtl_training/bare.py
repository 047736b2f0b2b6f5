"""`python -m medmtl_training.bare PREPARED -o RUN`: training where torch, numpy, safetensors, PyYAML and MONAI are all.

Under torchrun it trains on several GPUs. PREPARED comes from `medmtl data prepare`. The run goes on anywhere: copy RUN
to where the images are; `medmtl train DATASET -o RUN --config RUN/plan.yaml --resume` answers the held-out cases there
and writes the bundle.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from medmtl.errors import Code, MedmtlError, UsageError
from medmtl_training.cases import read_dataset
from medmtl_training.loop import Hardware
from medmtl_training.options import fold_numbers, seconds_of
from medmtl_training.preflight import preflight
from medmtl_training.prepared_set import config_of_prepared
from medmtl_training.ranks import join_ranks, leave_ranks
from medmtl_training.run import RunRequest, networks_left, train_run


def main(arguments: Sequence[str] | None = None) -> int:
    """Trains, and gives the exit code: 0, 2 for a wrong call, 3 where nothing could be done."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    logging.getLogger("medmtl_training").setLevel(logging.INFO)
    try:
        request = _request(options)
        on_cpu, left = request.hardware.device.type == "cpu", networks_left(request)
        costs = preflight(request.dataset, request.config, left, request.max_seconds, on_cpu=on_cpu)
        for line in costs.lines() if request.hardware.ranks.first else ():
            sys.stderr.write(f"{line}\n")
        train_run(request)
        leave_ranks()
    except MedmtlError as error:
        sys.stderr.write(f"{error.line('train')}\n")
        return 2 if isinstance(error, UsageError) else 3
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m medmtl_training.bare", description="Train from prepared arrays.")
    parser.add_argument("dataset", type=Path, metavar="PREPARED")
    parser.add_argument("-o", "--output", type=Path, metavar="RUN", required=True)
    parser.add_argument("--config", type=Path, help="a plan.yaml of the same spacing and intensities")
    parser.add_argument("--folds", default="all", help="0, 0,2, 0-4, all, or none")
    parser.add_argument("--max-steps", type=int)
    parser.add_argument("--max-time", metavar="TIME", help="90s, 30m or 2h")
    parser.add_argument("--device", choices=["auto", "cpu", "cuda"], default="auto")
    parser.add_argument("--resume", action="store_true")
    return parser


def _request(options: argparse.Namespace) -> RunRequest:
    dataset, _ = read_dataset(options.dataset)
    if dataset.prepared is None:
        raise UsageError(Code.BAD_OPTION, "the folder holds no prepared arrays", "make it with medmtl data prepare")
    config = config_of_prepared(dataset, options.config)
    if options.max_steps is not None:
        config = replace(config, settings=replace(config.settings, steps=options.max_steps))
    kind = options.device if options.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    ranks = join_ranks(kind)
    device = torch.device(kind, ranks.local) if kind == "cuda" and ranks.world > 1 else torch.device(kind)
    return RunRequest(
        folder=options.output,
        dataset=dataset,
        config=config,
        folds=fold_numbers(options.folds, dataset),
        hardware=Hardware(device=device, loaders=8 if kind == "cuda" else 0, ranks=ranks),
        max_seconds=seconds_of(options.max_time) if options.max_time else None,
        resume=options.resume,
        extend_to=options.max_steps,
    )


if __name__ == "__main__":
    raise SystemExit(main())
