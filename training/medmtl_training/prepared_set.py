"""A prepared data set: what a machine needs that only trains.

FOLDER/dataset.yaml, cases.csv   as in the data set
       plan.yaml                 by which the arrays were made
       prepared/CASE/            the arrays
"""

from pathlib import Path

from medmtl.errors import Code, TrainingError
from medmtl.preparation.plan import Plan
from medmtl_training.cases import Dataset
from medmtl_training.config import Config, read_config

PLAN = "plan.yaml"


def config_of_prepared(dataset: Dataset, path: Path | None) -> Config:
    """The configuration in `path`, or the one the arrays of `dataset` were made by.

    Raises:
        TrainingError: `checkpoint-mismatch`, the arrays were made with another spacing or other intensities.
    """
    made = read_config(dataset.root / PLAN)
    if path is None:
        return made
    wanted = read_config(path)
    if _arrays(wanted.plan) != _arrays(made.plan):
        what = "the arrays were prepared with another orientation, spacing or normalisation than the plan has"
        raise TrainingError(Code.CHECKPOINT_MISMATCH, what, "prepare them again with this plan")
    return wanted


def _arrays(plan: Plan) -> tuple[object, ...]:
    padded = plan.patch if plan.edge_padding else None
    return plan.orientation, plan.spacing, plan.cubic, plan.normalisation, padded


def write_prepared_set(dataset: Dataset, config: Config, folder: Path) -> None:
    """Prepares every case of `dataset` into `folder`, going on where an interrupted call stopped.

    Raises:
        DatasetError: a case cannot be read; the message names it.
        TrainingError: the folder holds arrays of another plan.
        OutputError: the folder cannot be written.
    """
    from medmtl.outputs.files import write_atomic
    from medmtl_training.cases import PREPARED
    from medmtl_training.config import config_text
    from medmtl_training.preparing import prepare_case

    if (folder / PLAN).exists() and _arrays(read_config(folder / PLAN).plan) != _arrays(config.plan):
        raise TrainingError(Code.RUN_EXISTS, "the folder holds arrays of another plan", "choose another folder")
    write_atomic(folder / PLAN, config_text(config).encode())
    for case in dataset.cases:
        prepare_case(case, dataset, config.plan, folder / PREPARED)
    for name in ("dataset.yaml", "cases.csv"):  # last: without them the folder is no data set
        write_atomic(folder / name, (dataset.root / name).read_bytes())
