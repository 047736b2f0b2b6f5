"""A bundle's networks as ONNX or OpenVINO files for other runtimes, each read back by its own before it is kept.

A network is one file from a window to probabilities, and where the model answers case-level tasks to the sums that are
added over windows, together with a file per case-level task from these sums to logits; see `medmtl.inference.engine`.
"""

import logging
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from medmtl.bundle.arrays import load_arrays, network_heads
from medmtl.bundle.bundle import Bundle
from medmtl.errors import Code, OutputError, UsageError
from medmtl.shapes import VoxelArray
from medmtl.task import Kind, Task

_SAME_VOXELS = 0.9999  # of a window of noise, where classes lie closer together than in any patient
_CLOSE = 1e-3

Answer = Mapping[str, VoxelArray]


def export_openvino(bundle: Bundle, folder: Path) -> list[str]:
    """Writes OpenVINO IR in float32 to `folder` and gives the files' names.

    Raises:
        UsageError: `extra-missing`.
        OutputError: a file does not answer as the model does.
    """
    try:
        import openvino as ov

        from medmtl.inference.openvino_graph import Weights, case_graph, window_graph
    except ImportError:
        raise _missing("openvino") from None
    heads, channels = network_heads(bundle.tasks), len(bundle.channels)
    core = ov.Core()
    written = []
    for number, path in enumerate(bundle.weights):
        weights = Weights(load_arrays(path))
        graphs = {f"network_{number}": window_graph(weights, channels, bundle.plan, heads, [h.name for h in heads])}
        graphs |= {f"network_{number}_{h.name}": case_graph(weights, channels, h) for h in heads if not h.dense}
        for name, graph in graphs.items():
            ov.save_model(graph, folder / f"{name}.xml", compress_to_fp16=False)
            written += [f"{name}.xml", f"{name}.bin"]

        def answer(given: Answer, number: int = number) -> Answer:
            model = core.read_model(folder / f"network_{number}.xml")
            request = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}).create_infer_request()
            request.infer({name: given[name] for name in (x.any_name for x in model.inputs)})
            return {x.any_name.lstrip("*"): np.array(request.get_tensor(x.any_name).data) for x in model.outputs}

        _check(bundle, number, answer)
    return written


def export_onnx(bundle: Bundle, folder: Path) -> list[str]:
    """Writes ONNX in float32 to `folder` and gives the files' names.

    Raises:
        UsageError: `extra-missing`.
        OutputError: a file does not answer as the model does.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise _missing(error.name or "onnx") from None
    import torch

    from medmtl.bundle.weights import load_networks
    from medmtl.inference.traceable import TraceableCase, TraceableWindow

    written = []
    for number, net in enumerate(load_networks(bundle)):
        window = TraceableWindow(net.eval(), [task.name for task in bundle.tasks])
        image, weight = (torch.from_numpy(x) for x in _noise(bundle).values())
        names = window.output_names()
        parts: list[tuple[str, Any, tuple[Any, ...], list[str], list[str]]] = [
            (f"network_{number}", window, (image, weight) if window.pooled else (image,),
             ["image", "weight"][: 1 + window.pooled], names)
        ]  # fmt: skip
        for task in bundle.tasks:
            if not task.is_voxel:
                sums = torch.rand(1, *window.sums_shape)
                part = TraceableCase(net, task.name)
                parts.append(
                    (f"network_{number}_{task.name}", part, (sums, torch.ones(1)), ["sums", "voxel_ml"], [task.name])
                )
        for name, module, given, inputs, outputs in parts:
            _torch_to_onnx(module, given, folder / f"{name}.onnx", inputs, outputs)
            written.append(f"{name}.onnx")

        def answer(given: Answer, number: int = number) -> Answer:
            session = onnxruntime.InferenceSession(str(folder / f"network_{number}.onnx"))
            found = session.run(None, {x.name: given[x.name] for x in session.get_inputs()})
            return dict(zip((x.name for x in session.get_outputs()), found, strict=True))

        _check(bundle, number, answer)
    return written


def _torch_to_onnx(module: Any, given: tuple[Any, ...], path: Path, inputs: list[str], outputs: list[str]) -> None:
    import torch

    noisy = [logging.getLogger(name) for name in ("onnxscript", "torch.onnx")]
    levels = [logger.level for logger in noisy]
    for logger in noisy:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the exporter, about its own workings
            torch.onnx.export(
                module.eval(), given, str(path), input_names=inputs, output_names=outputs, dynamo=True,
                external_data=False, verbose=False,
            )  # fmt: skip
    finally:
        for logger, level in zip(noisy, levels, strict=True):
            logger.setLevel(level)


def _noise(bundle: Bundle) -> dict[str, VoxelArray]:
    rng = np.random.default_rng(0)
    shape = bundle.plan.patch
    image = rng.normal(size=(1, len(bundle.channels), *shape)).astype(np.float32)
    return {"image": image, "weight": rng.random((1, 1, *shape)).astype(np.float32)}


def _check(bundle: Bundle, number: int, answer: Callable[[Answer], Answer]) -> None:
    """Refuses an export whose masks or sums are not those of the network under torch."""
    from medmtl.bundle.weights import load_networks
    from medmtl.inference.torch_engine import TorchEngine

    given = _noise(bundle)
    names = [task.name for task in bundle.tasks]
    engine = TorchEngine([load_networks(bundle)[number]], "cpu")
    wanted, found = engine.run(given["image"][0], given["weight"][0, 0], names, 0), answer(given)
    for task in bundle.tasks:
        if task.is_voxel:
            one, two = (_mask(p, task) for p in (found[task.name][0], wanted.dense[task.name]))
            if float((one == two).mean()) < _SAME_VOXELS:
                raise _differs(task.name)
    if wanted.sums is not None and not np.allclose(found["sums"][0], wanted.sums, rtol=_CLOSE, atol=1.0):
        raise _differs("sums")


def _mask(values: VoxelArray, task: Task) -> VoxelArray:
    return np.asarray(values.argmax(axis=0) if task.kind is Kind.SEGMENTATION else values >= 0.5)


def _missing(name: str) -> UsageError:
    return UsageError(
        Code.EXTRA_MISSING, f"this needs the package {name}", "install the extra: pip install 'medmtl[export]'"
    )


def _differs(what: str) -> OutputError:
    todo = "report it with the model's name"
    return OutputError(Code.OUTPUT_CHECK_FAILED, f"the exported network answers {what} otherwise than the model", todo)
