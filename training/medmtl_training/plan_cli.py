"""`medmtl data plan` and `medmtl data prepare`."""

from pathlib import Path

import click


@click.command("plan")
@click.argument("dataset", type=click.Path(path_type=Path))
@click.option("-o", "--output", "path", default="plan.yaml", show_default=True, type=click.Path(path_type=Path),
              help="Where to write the plan.")  # fmt: skip
@click.option("--memory", metavar="SIZE", help="What a training step may take: 8G, 500M.")
@click.option("--max-time", metavar="TIME", help="For all networks together: 30m, 12h.")
@click.option("--folds", default="all", show_default=True, help="As for train: how many networks there will be.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True, help="What will train.")
@click.option("--overwrite", is_flag=True, help="Replace a plan that is there.")
def plan(
    dataset: Path, path: Path, memory: str | None, max_time: str | None, folds: str, device: str, overwrite: bool
) -> None:
    """Look at DATASET and write what will be trained: spacing, window, network, intensities.

    The same data and options give the same plan. Edit it and give it to `medmtl train --config`.
    """
    from medmtl.errors import Code, OutputError
    from medmtl.outputs.files import write_atomic
    from medmtl_training.cases import read_dataset, with_images
    from medmtl_training.config import config_text
    from medmtl_training.options import bytes_of, fold_numbers, seconds_of
    from medmtl_training.planning import Limits, describe, make_plan
    from medmtl_training.preflight import preflight

    if path.exists() and not overwrite:
        raise OutputError(Code.CANNOT_WRITE, "there is a plan already", "give --overwrite or another -o")
    data = with_images(read_dataset(dataset)[0])
    networks = max(1, len(fold_numbers(folds, data)))
    seconds = seconds_of(max_time) if max_time else None
    limits = Limits(
        memory_bytes=bytes_of(memory) if memory else None, seconds=seconds, networks=networks, cuda=device == "cuda"
    )
    planned = make_plan(data, limits)
    lines = list(describe(data, planned))
    lines += preflight(data, planned.config, networks, None, on_cpu=device == "cpu").lines()
    write_atomic(path, config_text(planned.config, ["made by medmtl data plan", *lines]).encode())
    click.echo("\n".join([*lines, str(path)]))


@click.command("prepare")
@click.argument("dataset", type=click.Path(path_type=Path))
@click.option("-o", "--output", "folder", metavar="PREPARED", required=True, type=click.Path(path_type=Path))
@click.option("--config", type=click.Path(path_type=Path), help="A plan.yaml; without it one is made from the data.")
def prepare(dataset: Path, folder: Path, config: Path | None) -> None:
    """Write DATASET as plain arrays, to train from on a machine with a bare PyTorch.

    There: `python -m medmtl_training.bare PREPARED -o RUN`, or `medmtl train PREPARED -o RUN`.
    """
    from medmtl_training.cases import read_dataset, with_images
    from medmtl_training.config import read_config
    from medmtl_training.planning import make_config
    from medmtl_training.preflight import preflight, refuse_full_disk
    from medmtl_training.prepared_set import write_prepared_set

    data = with_images(read_dataset(dataset)[0])
    settled = read_config(config) if config else make_config(data)
    needed = preflight(data, settled, 1, None, on_cpu=True).prepared_bytes
    click.echo(f"disk: {needed / 2**30:.2f} GiB for {len(data.cases)} cases")
    refuse_full_disk(folder, needed)
    write_prepared_set(data, settled, folder)
    click.echo(str(folder))
