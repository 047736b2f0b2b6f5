"""The network as OpenVINO graphs, built from its weights: what `MultiTaskNet` computes, without torch.

Names of weights are those of the network's state. A weight that is missing or that nothing uses means that the network
is not the one described here; it is refused, so that a change of the network cannot pass unseen.
"""

from collections.abc import Collection, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset13 as op

from medmtl.network.head import Head
from medmtl.preparation.plan import Plan
from medmtl.shapes import VoxelArray

_SLOPE, _EPSILON = 0.01, 1e-5  # of leaky units and of instance normalisation
_LITTLE_ML, _LITTLE_SPREAD, _LITTLE_SQUARE = 0.05, 1e-4, 1e-4  # as in `CaseHead`


class ForeignNetworkError(ValueError):
    """The weights are not those of the network that is built here."""


class Weights:
    """Arrays by name, float32, and which of them were used."""

    def __init__(self, arrays: Mapping[str, VoxelArray]) -> None:
        self.arrays = arrays
        self.used: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self.arrays

    def __getitem__(self, name: str) -> VoxelArray:
        if name not in self.arrays:
            raise ForeignNetworkError(f"there is no weight {name}")
        self.used.add(name)
        return self.arrays[name].astype(np.float32)


def refuse_foreign(arrays: Mapping[str, VoxelArray], channels: int, plan: Plan, heads: Sequence[Head]) -> None:
    """Refuses a network of which some weight would not be used, all tasks asked.

    Raises:
        ForeignNetworkError: weights are missing, left over or of a shape that does not fit.
    """
    weights = Weights(arrays)
    try:
        window_graph(weights, channels, plan, heads, [head.name for head in heads])
        for head in heads:
            if not head.dense:
                case_graph(weights, channels, head)
    except RuntimeError as error:  # shapes that do not fit each other
        raise ForeignNetworkError(str(error)) from None
    left = sorted(set(arrays) - weights.used)
    if left:
        raise ForeignNetworkError(f"nothing uses the weight {left[0]}")


def window_graph(weights: Weights, channels: int, plan: Plan, heads: Sequence[Head], asked: Collection[str]) -> Any:
    """Model from `image (1, channel, i, j, k)` to an output per asked map, named as the task: its probabilities.

    Where a case-level task is asked there is a second input `weight (1, 1, i, j, k)` and two more outputs, `*sums`
    `(1, map, column)` and `*peak` `(1,)`; see `WindowAnswer`.

    Raises:
        ForeignNetworkError: a weight is missing.
    """
    pooled = any(head.name in asked and not head.dense for head in heads)
    dense = [head for head in heads if head.dense]
    hearing = f"exchange.own.{dense[0].name}.query.weight" in weights if dense else False
    guiding = {head.name for head in dense if pooled and (not plan.guides or head.name in plan.guides)}
    together = hearing and (pooled or any(head.name in asked for head in dense))
    image = op.parameter([1, channels, *plan.patch], np.float32, name="image")
    features = _encoder(weights, image, plan)
    lowest = (len(features) - 2, plan.coarse_level)
    climbed = {
        head.name: _climb(weights, f"decoders.{head.name}", features[-1], features, plan, lowest)
        for head in dense
        if together or head.name in guiding or head.name in asked
    }
    if hearing:
        climbed = {name: _listen(weights, f"exchange.own.{name}", name, climbed) for name in climbed}
    guides: list[Any] = []
    results: dict[str, Any] = {}
    for head in dense:
        prefix = f"decoders.{head.name}"
        if head.name not in guiding:  # its coarse map was for training alone
            weights.used.update((f"{prefix}.coarse_head.weight", f"{prefix}.coarse_head.bias"))
        else:
            coarse = _probabilities(_point(weights, f"{prefix}.coarse_head", climbed[head.name]), head)
            guides.append(_part(coarse, 1, int(head.exclusive), head.outputs))
        if head.name in asked:
            full = _climb(weights, prefix, climbed[head.name], features, plan, (plan.coarse_level - 1, 0))
            results[head.name] = _probabilities(_point(weights, f"{prefix}.head", full), head)
    inputs = [image]
    if pooled:
        weight = op.parameter([1, 1, *plan.patch], np.float32, name="weight")
        inputs.append(weight)
        results |= _pooling(weights, (image, weight), features, guides, plan)
    return ov.Model([_named(name, node) for name, node in results.items()], inputs, "window")


def case_graph(weights: Weights, channels: int, head: Head) -> Any:
    """Model from `sums (1, map, column)` over all windows of a case and `voxel_ml (1,)` to logits `(1, output)`.

    Raises:
        ForeignNetworkError: a weight is missing.
    """
    prefix = f"case_heads.{head.name}"
    maps = weights[f"{prefix}.burden.0.weight"].shape[1] // (2 + 2 * channels)
    projected = weights[f"{prefix}.appearance.1.weight"].shape[1] // maps
    columns = 1 + 2 * channels + projected
    sums = op.parameter([1, maps, columns], np.float32, name="sums")
    voxel_ml = op.parameter([1], np.float32, name="voxel_ml")
    scaled = op.multiply(sums, voxel_ml)
    ml = _part(scaled, 2, 0, 1)
    share = op.divide(ml, op.add(op.reduce_sum(ml, _ints(1), keep_dims=True), _number(_LITTLE_ML)))
    means = op.divide(_part(scaled, 2, 1, columns), op.add(ml, _number(_LITTLE_ML)))
    intensity, square = _part(means, 2, 0, channels), _part(means, 2, channels, 2 * channels)
    variance = op.relu(op.subtract(square, op.multiply(intensity, intensity)))
    spread = op.sqrt(op.add(variance, _number(_LITTLE_SPREAD)))
    known = [share, op.log(op.add(ml, _number(1.0))), intensity, spread]
    columns_known = op.concat([_flat(part) for part in known], 1)
    if f"{prefix}.standardise.mean" in weights:
        mean, square = (weights[f"{prefix}.standardise.{part}"].reshape(1, -1) for part in ("mean", "square"))
        spread_seen = np.sqrt(square + np.float32(_LITTLE_SQUARE))
        columns_known = op.divide(op.subtract(columns_known, op.constant(mean)), op.constant(spread_seen))
    burden = _leaky(_linear(weights, f"{prefix}.burden.0", columns_known))
    burden = _linear(weights, f"{prefix}.burden.3", burden)
    appearance = _linear(weights, f"{prefix}.appearance.1", _flat(_part(means, 2, 2 * channels, columns - 1)))
    return ov.Model([_named(head.name, op.add(burden, appearance))], [sums, voxel_ml], "case")


def _encoder(weights: Weights, image: Any, plan: Plan) -> list[Any]:
    """Features of each level, finest first: the blocks of `Encoder`."""
    features, x = [], image
    for level, (kernel, stride) in enumerate(zip(plan.kernels, plan.strides, strict=True)):
        prefix = f"encoder.stages.{level}"
        out = _convolution(weights, f"{prefix}.conv1.conv", x, kernel, stride)
        out = _leaky(_norm(weights, f"{prefix}.norm1", out))
        out = _norm(weights, f"{prefix}.norm2", _convolution(weights, f"{prefix}.conv2.conv", out, kernel, (1, 1, 1)))
        if f"{prefix}.conv3.conv.weight" in weights:
            x = _norm(weights, f"{prefix}.norm3", _convolution(weights, f"{prefix}.conv3.conv", x, (1, 1, 1), stride))
        x = _leaky(op.add(out, x))
        features.append(x)
    return features


def _climb(weights: Weights, prefix: str, x: Any, features: Sequence[Any], plan: Plan, levels: tuple[int, int]) -> Any:
    """From one level of a decoder up to another, both included: the steps of `Decoder`."""
    for level in range(levels[0], levels[1] - 1, -1):
        step = len(features) - 2 - level
        stride = plan.strides[level + 1]
        kernel = op.constant(weights[f"{prefix}.ups.{step}.weight"])
        none = [0, 0, 0]
        x = op.convolution_backprop_data(x, kernel, list(stride), None, none, none, [1, 1, 1])
        x = op.concat([x, features[level]], 1)
        x = _convolution(weights, f"{prefix}.blocks.{step}.conv", x, plan.kernels[level], (1, 1, 1))
        x = _leaky(_norm(weights, f"{prefix}.blocks.{step}.adn.N", x))
    return x


def _listen(weights: Weights, prefix: str, name: str, climbed: Mapping[str, Any]) -> Any:
    """A decoder's features and what it takes from all of them at the same place: the steps of `CrossTaskAttention`."""
    own = climbed[name]
    known = [own, *(x for other, x in climbed.items() if other != name)]
    one = (1, 1, 1)
    query = _convolution(weights, f"{prefix}.query", own, one, one)
    keys = [_convolution(weights, f"{prefix}.key", x, one, one) for x in known]
    scores = op.concat([op.reduce_sum(op.multiply(query, key), _ints(1), keep_dims=True) for key in keys], 1)
    shares = op.softmax(op.multiply(scores, _number(own.shape[1] ** -0.5)), 1)
    heard: Any = None
    for n, x in enumerate(known):
        part = op.multiply(_part(shares, 1, n, n + 1), _convolution(weights, f"{prefix}.value", x, one, one))
        heard = part if heard is None else op.add(heard, part)
    return op.add(own, op.multiply(heard, op.constant(weights[f"{prefix}.scale"])))


def _pooling(
    weights: Weights, given: tuple[Any, Any], features: Sequence[Any], guides: list[Any], plan: Plan
) -> dict[str, Any]:
    """Sums under each guide map: what `GuidedPooling` computes."""
    image, weight = given
    level = plan.coarse_level
    size = list(features[level].shape)[2:]
    stacked = [features[level]]
    for x in features[level + 1 :]:
        repeated = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor", "axes": _ints(2, 3, 4)}
        stacked.append(op.interpolate(x, _ints(*size), "nearest", "sizes", **repeated))
    projected = _leaky(_point(weights, "pooling.project", op.concat(stacked, 1)))
    maps = [op.sigmoid(_point(weights, "pooling.attend", projected))]
    peak: Any = op.constant(np.ones(1, dtype=np.float32))
    if guides:
        guide = op.concat(guides, 1)
        surely = op.relu(op.subtract(op.multiply(guide, _number(2.0)), _number(1.0)))
        maps = [guide, surely, *maps]
        peak = op.reduce_max(guide, _ints(1, 2, 3, 4))
    factor = [prod(stride[axis] for stride in plan.strides[: level + 1]) for axis in range(3)]
    small = _mean(image, factor)
    ones = op.constant(np.ones((1, 1, *size), dtype=np.float32))
    columns = op.concat([ones, small, op.multiply(small, small), projected], 1)
    share = op.multiply(_mean(weight, factor), _number(float(prod(factor))))
    weighted = op.multiply(op.concat(maps, 1), share)
    voxels = prod(size)
    rows = [op.reshape(x, _ints(1, x.shape[1], voxels), special_zero=False) for x in (weighted, columns)]
    return {"*sums": op.matmul(rows[0], rows[1], False, True), "*peak": op.reshape(peak, _ints(1), special_zero=False)}


def _convolution(weights: Weights, prefix: str, x: Any, kernel: Sequence[int], stride: Sequence[int]) -> Any:
    margin = [(k - s + 1) // 2 for k, s in zip(kernel, stride, strict=True)]  # as MONAI's blocks pad
    filters = op.constant(weights[f"{prefix}.weight"])
    return op.convolution(x, filters, list(stride), margin, margin, [1, 1, 1])


def _point(weights: Weights, prefix: str, x: Any) -> Any:
    out = _convolution(weights, prefix, x, (1, 1, 1), (1, 1, 1))
    return op.add(out, op.constant(weights[f"{prefix}.bias"].reshape(1, -1, 1, 1, 1)))


def _linear(weights: Weights, prefix: str, x: Any) -> Any:
    out = op.matmul(x, op.constant(weights[f"{prefix}.weight"]), False, True)
    return op.add(out, op.constant(weights[f"{prefix}.bias"].reshape(1, -1)))


def _norm(weights: Weights, prefix: str, x: Any) -> Any:
    scale, shift = (op.constant(weights[f"{prefix}.{part}"].reshape(1, -1, 1, 1, 1)) for part in ("weight", "bias"))
    even = op.mvn(x, _ints(2, 3, 4), True, _EPSILON, "inside_sqrt")
    return op.add(op.multiply(even, scale), shift)


def _leaky(x: Any) -> Any:
    return op.prelu(x, op.constant(np.array([_SLOPE], dtype=np.float32)))


def _probabilities(logits: Any, head: Head) -> Any:
    return op.softmax(logits, 1) if head.exclusive else op.sigmoid(logits)


def _mean(x: Any, factor: Sequence[int]) -> Any:
    none = [0, 0, 0]
    return op.avg_pool(x, list(factor), none, none, list(factor), True)


def _part(x: Any, axis: int, first: int, end: int) -> Any:
    return op.slice(x, _ints(first), _ints(end), _ints(1), _ints(axis))


def _flat(x: Any) -> Any:
    return op.reshape(x, _ints(1, prod(list(x.shape))), special_zero=False)


def _number(value: float) -> Any:
    return op.constant(np.float32(value))


def _ints(*values: int) -> Any:
    return op.constant(np.array(values, dtype=np.int64))


def _named(name: str, node: Any) -> Any:
    result = op.result(node)
    result.output(0).get_tensor().set_names({name})
    return result
