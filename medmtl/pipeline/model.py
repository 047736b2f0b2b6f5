"""`Model`: a bundle with its network in memory."""

import logging
from dataclasses import dataclass, replace
from importlib.util import find_spec

from medmtl.bundle.arrays import load_arrays, network_heads
from medmtl.bundle.bundle import Bundle
from medmtl.errors import BundleError, Code
from medmtl.inference.engine import Engine, choose_device

_FAST_OVERLAP = 0.25

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, eq=False)
class Model:
    """A bundle, and the engine that runs it."""

    bundle: Bundle
    engine: Engine


def lighter(bundle: Bundle) -> Bundle:
    """The light way through a model: its first network, no mirrored passes, windows that overlap by a quarter."""
    plan = replace(bundle.plan, mirror=(), overlap=min(_FAST_OVERLAP, bundle.plan.overlap))
    return replace(bundle, plan=plan, weights=bundle.weights[:1])


def load_model(
    bundle: Bundle, device: str, *, engine: str = "auto", precision: str = "float32", workers: int | None = None
) -> Model:
    """The bundle's weights on `device` ("auto", "cpu", "cuda").

    Args:
        bundle: the model.
        device: where it runs.
        engine: "openvino", "torch", or "auto": OpenVINO on a CPU, torch where that is missing or does not know the
            network, torch on a GPU.
        precision: "float32" or "bfloat16".
        workers: windows side by side on a CPU; None for one on each core.

    Raises:
        BundleError: weights that do not fit.
        UsageError: `no-device`.
    """
    if not bundle.weights:
        raise BundleError(Code.BUNDLE_DAMAGED, "the bundle holds no weights", "install the model again")
    chosen = choose_device(device)
    if engine == "openvino" or (engine == "auto" and chosen == "cpu" and find_spec("openvino") is not None):
        found = _openvino(bundle, precision, workers, fall_back=engine == "auto")
        if found is not None:
            return Model(bundle=bundle, engine=found)
    return Model(bundle=bundle, engine=_torch(bundle, chosen, precision, workers))


def _openvino(bundle: Bundle, precision: str, workers: int | None, *, fall_back: bool) -> Engine | None:
    try:
        from medmtl.inference.openvino_engine import OpenVinoEngine, has_native_bfloat16

        arrays = [load_arrays(path) for path in bundle.weights]
        heads = network_heads(bundle.tasks)
        if precision == "bfloat16" and not has_native_bfloat16():
            precision = "float32"
        return OpenVinoEngine(arrays, len(bundle.channels), bundle.plan, heads, precision=precision, workers=workers)
    except (ImportError, RuntimeError, ValueError) as error:
        if not fall_back:
            raise
        log.warning("OpenVINO cannot run this model (%s); torch does", type(error).__name__)
        log.debug("why", exc_info=True)
        return None


def _torch(bundle: Bundle, device: str, precision: str, workers: int | None) -> Engine:
    import torch

    from medmtl.bundle.weights import load_networks
    from medmtl.inference.torch_engine import TorchEngine

    kind = "float32" if precision == "float32" else "autocast"
    engine = TorchEngine(load_networks(bundle), device, kind, workers)
    if engine.workers > 1:
        torch.set_num_threads(1)
    return engine
