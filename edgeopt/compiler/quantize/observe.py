"""Run a float or an int8 graph over samples and keep statistics, never the tensors: memory does not grow with the samples. Child side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgeopt.compiler.progress import tell
from edgeopt.compiler.quantize.graph import Array, captured
from edgeopt.compiler.runtime import EXACT

Feed = dict[str, Array]
Visit = Callable[[int, dict[str, Array]], None]
"""(number of the sample, tensors by name); the arrays are gone afterwards."""

THREADS = 2


def tapped(model: Any, names: Sequence[str]) -> Any:
    """A copy whose outputs are the tensors `names`, without what does not lead to them."""
    import onnx

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    wanted, kept = set(names), []
    for node in reversed(copy.graph.node):
        if any(name in wanted for name in node.output):
            wanted |= {name for name in (*node.input, *captured(node)) if name}
            kept.append(node)
    nodes = [_copied(node) for node in reversed(kept)]
    constants = [_copied(tensor) for tensor in copy.graph.initializer if tensor.name in wanted]
    del copy.graph.node[:], copy.graph.initializer[:], copy.graph.output[:], copy.graph.value_info[:]
    copy.graph.node.extend(nodes)
    copy.graph.initializer.extend(constants)
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return copy


def _copied(message: Any) -> Any:
    copy = type(message)()
    copy.CopyFrom(message)
    return copy


def run_taps(
    model: Any,
    names: Sequence[str],
    feeds: Iterable[Feed],
    visit: Visit,
    *,
    doing: str = "",
    threads: int = THREADS,
) -> None:
    """Run every sample in float arithmetic (quantisers are computed, not fused) and show the tensors to `visit`. `doing`: told as progress."""
    session = float_session(tapped(model, names), threads=threads)
    known = {value.name for value in session.get_inputs()}
    for number, feed in enumerate(feeds):
        values = session.run(list(names), {name: value for name, value in feed.items() if name in known})
        visit(number, dict(zip(names, values, strict=True)))
        if doing:
            tell(doing, number + 1, getattr(feeds, "count", 0))


def answers(model: Any | Path, feeds: Iterable[Feed], *, fused: bool) -> list[list[Array]]:
    """All outputs of every sample: on the runtime's int8 kernels, exact ones whatever this CPU has, or in float emulation."""
    session = _session(model, dict([EXACT])) if fused else float_session(model)
    return [list(session.run(None, feed)) for feed in feeds]


def float_session(model: Any | Path, *, threads: int = THREADS) -> Any:
    """A session that computes quantisers one by one: float emulation, the same on every CPU."""
    return _session(model, {"session.disable_quant_qdq": "1"}, threads=threads)


def fused_session(model: Any | Path, *, arm_rules: bool = False, dump: Path | None = None) -> Any:
    """A session as the target would open it. `arm_rules`: fuse what ARM would fuse. `dump`: write the optimised graph there."""
    return _session(model, {"session.qdqisint8allowed": "1"} if arm_rules else {}, dump)


def _session(model: Any | Path, entries: dict[str, str], dump: Path | None = None, *, threads: int = THREADS) -> Any:
    import onnxruntime as ort

    ort.set_default_logger_severity(4)
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    for key, value in entries.items():
        options.add_session_config_entry(key, value)
    if dump is not None:
        options.optimized_model_filepath = str(dump)
    source = str(model) if isinstance(model, Path) else model.SerializeToString()
    return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])


class ChannelRanges:
    """Smallest and largest value of each channel (axis 1) of tensors, and how many elements a tensor has on average over the samples."""

    def __init__(self) -> None:
        self.low: dict[str, Array] = {}
        self.high: dict[str, Array] = {}
        self.elements: dict[str, float] = {}
        self._samples = 0

    def visit(self, _number: int, tensors: dict[str, Array]) -> None:
        """Take one sample."""
        self._samples += 1
        for name, value in tensors.items():
            mean = self.elements.get(name, 0.0)
            self.elements[name] = mean + (value.size - mean) / self._samples
            rows = by_channel(value)
            low, high = rows.min(axis=1), rows.max(axis=1)
            if name in self.low and len(self.low[name]) == len(low):
                self.low[name] = np.minimum(self.low[name], low)
                self.high[name] = np.maximum(self.high[name], high)
            elif name in self.low:  # a channel axis of changing length: one range for all
                self.low[name] = np.minimum(self.low[name].min(), low.min())[None]
                self.high[name] = np.maximum(self.high[name].max(), high.max())[None]
            else:
                self.low[name], self.high[name] = low, high

    def range(self, names: Iterable[str]) -> tuple[float, float]:
        """Over several tensors; always contains 0."""
        found = [name for name in names if name in self.low]
        low = min((float(self.low[name].min()) for name in found), default=0.0)
        high = max((float(self.high[name].max()) for name in found), default=0.0)
        return min(low, 0.0), max(high, 0.0)


def by_channel(value: Array) -> Array:
    """[N, C, ...] as [C, everything else]; what has fewer axes is one channel."""
    if value.size == 0:
        return np.zeros((1, 1), np.float32)
    if value.ndim < 2:
        return value.reshape(1, -1)
    return np.asarray(value.swapaxes(0, 1).reshape(value.shape[1], -1))
