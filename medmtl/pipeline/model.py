"""`Model`: a bundle with its network in memory."""

from dataclasses import dataclass

import torch

from medmtl.bundle.bundle import Bundle
from medmtl.bundle.weights import load_networks
from medmtl.inference.engine import Engine, TorchEngine, choose_device


@dataclass(frozen=True, kw_only=True, eq=False)
class Model:
    """A bundle, and the engine that runs it."""

    bundle: Bundle
    engine: Engine


def load_model(bundle: Bundle, device: str) -> Model:
    """The bundle's weights on `device` ("auto", "cpu", "cuda").

    Raises:
        BundleError: weights that do not fit.
        UsageError: `no-device`.
    """
    engine = TorchEngine(load_networks(bundle), choose_device(device))
    if engine.workers > 1:
        torch.set_num_threads(1)
    return Model(bundle=bundle, engine=engine)
