"""The network under OpenVINO: what a CPU is fastest with. Needs neither torch nor MONAI.

Each window runs on one thread, as many windows side by side as there are workers. Sums inside a layer are then taken in
one order, whatever the machine is busy with, so that the number of cores changes no bit of an answer.
"""

import threading
from collections.abc import Collection, Mapping
from queue import SimpleQueue
from typing import Any

import numpy as np
import openvino as ov

from medmtl.inference.engine import WindowAnswer, usable_cores
from medmtl.inference.openvino_graph import Weights, case_graph, refuse_foreign, window_graph
from medmtl.network.head import Head
from medmtl.preparation.plan import Plan
from medmtl.shapes import FloatArray, ImageArray, VoxelArray

_HINTS = {"float32": "f32", "bfloat16": "bf16"}


class OpenVinoEngine:
    """The network under OpenVINO, on the CPU.

    Args:
        networks: the weights of each network.
        channels: of the image.
        plan: of the network.
        heads: one per task.
        precision: "float32" or "bfloat16". Always set: OpenVINO's own choice differs from machine to machine.
        workers: windows side by side; None for one on each core.

    Raises:
        ForeignNetworkError: the weights are not those of the network described in `openvino_graph`.
    """

    def __init__(
        self,
        networks: list[Mapping[str, VoxelArray]],
        channels: int,
        plan: Plan,
        heads: tuple[Head, ...],
        *,
        precision: str = "float32",
        workers: int | None = None,
    ) -> None:
        for arrays in networks:
            refuse_foreign(arrays, channels, plan, heads)
        self.arrays, self.channels, self.plan, self.heads = networks, channels, plan, heads
        self.networks = len(networks)
        self.workers = workers or usable_cores()
        self.precision = precision
        self.core = ov.Core()
        self.lock = threading.Lock()
        self.requests: dict[tuple[str, int, tuple[str, ...]], SimpleQueue[Any]] = {}

    def describe(self) -> dict[str, Any]:
        """Name, version, device and precision."""
        version = ov.__version__.partition("-")[0]
        return {"name": "openvino", "version": version, "device": "cpu", "precision": self.precision}

    def run(self, image: ImageArray, weight: ImageArray, asked: Collection[str], network: int) -> WindowAnswer:
        """Answers of one network for a window."""
        names = tuple(head.name for head in self.heads if head.name in asked)
        free = self._requests("window", network, names)
        request = free.get()
        try:
            given = {"image": np.ascontiguousarray(image)[None]}
            if len(request.model_inputs) > 1:
                given["weight"] = np.ascontiguousarray(weight)[None, None]
            request.infer(given, share_inputs=True)
            found = {out.any_name: np.array(request.get_tensor(out).data[0]) for out in request.model_outputs}
        finally:
            free.put(request)
        sums, peak = found.pop("*sums", None), found.pop("*peak", None)
        if sums is None or peak is None:
            return WindowAnswer(dense=found, sums=None, peak=0.0)
        return WindowAnswer(dense=found, sums=sums.astype(np.float64), peak=float(peak))

    def case(self, sums: Mapping[int, FloatArray], voxel_ml: float, asked: Collection[str]) -> dict[str, FloatArray]:
        """Logits of the asked case-level tasks, averaged over the networks that have sums."""
        found: dict[str, Any] = {}
        ml = np.array([voxel_ml], dtype=np.float32)
        for network, row in sums.items():
            for head in self.heads:
                if head.dense or head.name not in asked:
                    continue
                free = self._requests("case", network, (head.name,))
                request = free.get()
                request.infer({"sums": row.astype(np.float32)[None], "voxel_ml": ml})
                logits = np.array(request.get_output_tensor(0).data[0], dtype=np.float64)
                free.put(request)
                found[head.name] = found.get(head.name, 0.0) + logits / len(sums)
        return found

    def _requests(self, part: str, network: int, names: tuple[str, ...]) -> "SimpleQueue[Any]":
        """Idle requests of a compiled graph, which is compiled when it is first needed."""
        key = (part, network, names)
        with self.lock:
            if key not in self.requests:
                weights = Weights(self.arrays[network])
                if part == "window":
                    graph = window_graph(weights, self.channels, self.plan, self.heads, names)
                    count, precision = self.workers, self.precision
                else:
                    head = next(head for head in self.heads if head.name == names[0])
                    graph = case_graph(weights, self.channels, head)
                    count, precision = 1, "float32"
                compiled = self.core.compile_model(graph, "CPU", _settings(precision, count))
                self.requests[key] = SimpleQueue()
                for _ in range(count):
                    self.requests[key].put(compiled.create_infer_request())
            return self.requests[key]


def _settings(precision: str, streams: int) -> dict[str, Any]:
    return {
        "INFERENCE_PRECISION_HINT": _HINTS[precision],
        "NUM_STREAMS": streams,
        "INFERENCE_NUM_THREADS": streams,
        "ENABLE_CPU_PINNING": False,  # several processes would sit on the same cores
    }


def has_native_bfloat16() -> bool:
    """Whether the CPU computes in bfloat16 itself."""
    return "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
