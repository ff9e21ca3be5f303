"""A float ONNX network from a quantised TFLite one of the MobileNet family: weights dequantised, activations free.

The benchmark needs a depthwise network whose float form is known. Covers CONV_2D, DEPTHWISE_CONV_2D, AVERAGE_POOL_2D, RESHAPE and SOFTMAX.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from ai_edge_litert import schema_py_generated as schema
from onnx import TensorProto, helper, numpy_helper

OPSET = 13
RELU, RELU6 = 1, 3


def float_onnx(source: Path, target: Path) -> None:
    """Write `target`. Its input is float32 [1, 3, H, W], the numbers that the quantised input stands for."""
    model = schema.ModelT.InitFromPackedBuf(source.read_bytes(), 0)
    graph = model.subgraphs[0]
    _Writer(model, graph).write(target)


class _Writer:
    def __init__(self, model: Any, graph: Any) -> None:
        self.model, self.graph = model, graph
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.sizes: dict[int, tuple[int, int]] = {}

    def write(self, target: Path) -> None:
        source = int(self.graph.inputs[0])
        _, height, width, channels = (int(n) for n in self.graph.tensors[source].shape)
        self.sizes[source] = (height, width)
        for operator in self.graph.operators:
            self._operator(operator)
        last = int(self.graph.outputs[0])
        classes = int(self.graph.tensors[last].shape[-1])
        graph = helper.make_graph(
            self.nodes,
            "float",
            [helper.make_tensor_value_info(f"t{source}", TensorProto.FLOAT, [1, channels, height, width])],
            [helper.make_tensor_value_info(f"t{last}", TensorProto.FLOAT, [1, classes])],
            self.constants,
        )
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
        onnx.checker.check_model(made, full_check=True)
        onnx.save(made, target)

    def _operator(self, operator: Any) -> None:
        code = self.model.operatorCodes[operator.opcodeIndex].builtinCode
        source, target = int(operator.inputs[0]), int(operator.outputs[0])
        options = operator.builtinOptions
        self.sizes[target] = self.sizes[source]
        match code:
            case schema.BuiltinOperator.CONV_2D | schema.BuiltinOperator.DEPTHWISE_CONV_2D:
                self._convolution(operator, options, depthwise=code == schema.BuiltinOperator.DEPTHWISE_CONV_2D)
            case schema.BuiltinOperator.AVERAGE_POOL_2D:
                self._node(
                    "AveragePool", [f"t{source}"], target, kernel_shape=[options.filterHeight, options.filterWidth]
                )
                self.sizes[target] = (1, 1)
            case schema.BuiltinOperator.RESHAPE:
                self._node("Flatten", [f"t{source}"], target)
            case schema.BuiltinOperator.SOFTMAX:
                self._node("Softmax", [f"t{source}"], target)
            case _:
                msg = f"operator {code} is not covered"
                raise ValueError(msg)

    def _convolution(self, operator: Any, options: Any, *, depthwise: bool) -> None:
        source, weight, bias = (int(n) for n in operator.inputs)
        target = int(operator.outputs[0])
        kernel = self._dequantised(weight)
        # TFLite: OHWI, and 1HWO for depthwise. ONNX: OIHW.
        kernel = kernel.transpose(3, 0, 1, 2) if depthwise else kernel.transpose(0, 3, 1, 2)
        strides = (int(options.strideH), int(options.strideW))
        self._constant(f"w{target}", kernel)
        self._constant(f"b{target}", self._dequantised(bias))
        self._convolve(source, target, kernel, strides, depthwise=depthwise, activation=options.fusedActivationFunction)

    def _convolve(
        self, source: int, target: int, kernel: Any, strides: tuple[int, int], *, depthwise: bool, activation: int
    ) -> None:
        sizes = self.sizes[source]
        pads = [_same(size, k, s) for size, k, s in zip(sizes, kernel.shape[2:], strides, strict=True)]
        self.sizes[target] = (-(-sizes[0] // strides[0]), -(-sizes[1] // strides[1]))
        clipped = activation in (RELU, RELU6)
        name = f"t{target}_linear" if clipped else f"t{target}"
        self.nodes.append(
            helper.make_node(
                "Conv",
                [f"t{source}", f"w{target}", f"b{target}"],
                [name],
                strides=list(strides),
                pads=[pads[0][0], pads[1][0], pads[0][1], pads[1][1]],
                group=kernel.shape[0] if depthwise else 1,
                kernel_shape=list(kernel.shape[2:]),
            )
        )
        if activation == RELU:
            self._node("Relu", [name], target)
        elif activation == RELU6:
            self._constant(f"low{target}", np.float32(0.0))
            self._constant(f"high{target}", np.float32(6.0))
            self._node("Clip", [name, f"low{target}", f"high{target}"], target)

    def _dequantised(self, index: int) -> Any:
        tensor = self.graph.tensors[index]
        dtype = {schema.TensorType.UINT8: np.uint8, schema.TensorType.INT8: np.int8, schema.TensorType.INT32: np.int32}
        raw = np.frombuffer(bytes(self.model.buffers[tensor.buffer].data), dtype[tensor.type]).reshape(tensor.shape)
        scale, zero = np.asarray(tensor.quantization.scale), np.asarray(tensor.quantization.zeroPoint)
        return ((raw.astype(np.float64) - zero) * scale).astype(np.float32)

    def _constant(self, name: str, value: Any) -> None:
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value, dtype=np.float32), name))

    def _node(self, kind: str, inputs: list[str], target: int, **attributes: Any) -> None:
        self.nodes.append(helper.make_node(kind, inputs, [f"t{target}"], **attributes))


def _same(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """TFLite's SAME padding: (before, after)."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2
