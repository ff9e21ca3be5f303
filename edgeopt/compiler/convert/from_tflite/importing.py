"""From TFLite operators to an ONNX graph in float, pictures as ONNX has them; the other way round of `tflite.lowering`, with the same bookkeeping of how axes lie.

Quantised tensors become the numbers that they stand for. A quantised border stays as it is: codes in, codes out, with a quantiser behind and before the float graph.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from edgeopt.compiler.convert.from_tflite.lite import LiteModel, LiteOperator, LiteTensor
from edgeopt.compiler.convert.tflite.network import Array, Shape
from edgeopt.compiler.convert.tflite.orders import NCHW, Order, in_memory, plain, wide_axes

OPSET = 17
IR_VERSION = 8
"""What every runtime of a profile reads."""

CLIPPED = {1: (0.0, None), 2: (-1.0, 1.0), 3: (0.0, 6.0)}
"""The schema's ActivationFunctionType: RELU, RELU_N1_TO_1, RELU6."""

TANH = 4


class Importing:
    """The graph in the making; for each tensor of the file the ONNX tensors that hold it, by how their axes are those of the file."""

    def __init__(self, model: LiteModel) -> None:
        import onnx

        self.onnx = onnx
        self.model = model
        self.nodes: list[Any] = []
        self.constants: dict[str, Array] = {}
        self.forms: dict[int, dict[Order, str]] = {}
        self._count = 0

    def tensor(self, number: int) -> LiteTensor:
        """A tensor of the file."""
        return self.model.tensors[number]

    def shape(self, number: int) -> Shape:
        """As in the file."""
        return self.model.tensors[number].shape

    def rank(self, number: int) -> int:
        """Number of axes."""
        return len(self.shape(number))

    def value(self, operator: LiteOperator, place: int) -> Array:
        """A constant operand, in real numbers.

        Raises:
            Refused: it depends on the model's inputs.
        """
        number = operator.inputs[place]
        found = self.tensor(number).real
        if found is None:
            found = self.constants.get(self.forms.get(number, {}).get(plain(self.rank(number)), ""))
        if found is None:
            raise operator.refuse(f"its operand {place} depends on the model's inputs")
        return found

    def numbers(self, operator: LiteOperator, place: int) -> list[int]:
        """A constant operand of whole numbers."""
        return [int(number) for number in self.value(operator, place).reshape(-1)]

    # Reading

    def order(self, number: int) -> Order:
        """How a tensor lies where it was made."""
        return next(iter(self.forms[number])) if number in self.forms else plain(self.rank(number))

    def read(self, number: int, order: Order | None = None) -> str:
        """The ONNX tensor that holds a tensor of the file in an order."""
        order = self.order(number) if order is None else order
        tensor = self.tensor(number)
        if number not in self.forms and tensor.real is not None:
            return self.constant(tensor.real.transpose(order))
        forms = self.forms[number]
        if order not in forms:
            forms[order] = self._moved(number, order)
        return forms[order]

    def read_as(self, number: int, rank: int, order: Order) -> str:
        """The same for an operand of fewer axes than `order` has: they are the last ones."""
        missing = rank - self.rank(number)
        own = tuple(axis - missing for axis in order if axis >= missing)
        read, tensor = self.read(number, own), self.tensor(number)
        if not missing:
            return read
        shape = in_memory((1,) * missing + tensor.shape, order)
        return (
            self.constant(self.constants[read].reshape(shape)) if read in self.constants else self.reshape(read, shape)
        )

    def common_order(self, numbers: Sequence[int], rank: int) -> Order:
        """The order in which operands are joined: that of the largest that has all axes; the first of those that are not the file's."""
        found = [number for number in numbers if number in self.forms and self.rank(number) == rank]
        sizes = {number: int(np.prod(self.shape(number))) for number in found}
        largest = [self.order(number) for number in found if sizes[number] == max(sizes.values())]
        return next((order for order in largest if order != plain(rank)), largest[0] if largest else plain(rank))

    def _moved(self, number: int, order: Order) -> str:
        shape, forms = self.shape(number), self.forms[number]
        for known, name in forms.items():
            if wide_axes(shape, known) == wide_axes(shape, order):
                return self.reshape(name, in_memory(shape, order))
        known, name = next(iter(forms.items()))
        return self.node("Transpose", [name], perm=[known.index(axis) for axis in order])

    # Writing

    def node(self, kind: str, inputs: Sequence[str], **attributes: Any) -> str:
        """An ONNX node with one answer; its name."""
        self._count += 1
        made = f"{kind.lower()}_{self._count}"
        self.nodes.append(self.onnx.helper.make_node(kind, list(inputs), [made], name=made, **attributes))
        return made

    def constant(self, value: Array) -> str:
        """A new initialiser; its name."""
        self._count += 1
        name = f"constant_{self._count}"
        self.constants[name] = np.asarray(value)
        return name

    def ints(self, values: Sequence[int]) -> str:
        """A constant vector of int64, as ONNX gives shapes and axes."""
        return self.constant(np.asarray(values, np.int64))

    def reshape(self, name: str, shape: Shape) -> str:
        """Other axes."""
        return self.node("Reshape", [name, self.ints(shape)])

    def put(self, number: int, order: Order, name: str) -> None:
        """What was made holds a tensor of the file, lying in `order`."""
        self.forms.setdefault(number, {})[order] = name

    def answer(self, operator: LiteOperator, order: Order, name: str, *, computed: bool = True) -> None:
        """What was made is the operator's answer before its activation.

        Where a quantised answer has no code under 0 it was cut there, activation or not (`computed`: it is new, not moved).
        """
        number = operator.outputs[0]
        fused = int(operator.options.get("fusedActivationFunction", 0) or 0)
        if fused == TANH:
            name = self.node("Tanh", [name])
        elif fused in CLIPPED:
            name = self.clip(name, *CLIPPED[fused])
        elif fused:
            raise operator.refuse(f"its activation {fused} is none that ONNX has")
        elif computed and self._has_no_negatives(number):
            name = self.node("Relu", [name])
        self.put(number, order, name)

    def clip(self, name: str, low: float | None, high: float | None) -> str:
        """Between bounds; from 0 on it is Relu."""
        if low == 0.0 and high is None:
            return self.node("Relu", [name])
        bounds = ["" if bound is None else self.constant(np.asarray(bound, np.float32)) for bound in (low, high)]
        return self.node("Clip", [name, *bounds])

    def _has_no_negatives(self, number: int) -> bool:
        tensor = self.tensor(number)
        if tensor.quant is None or tensor.dtype not in ("int8", "uint8"):
            return False
        return bool((tensor.quant.zero == np.iinfo(tensor.dtype).min).all())

    # The whole

    def model_proto(self, table: Mapping[str, Import]) -> Any:
        """Everything, as an ONNX model with the file's border.

        Raises:
            Refused: an operator is not covered, or names at the border are not told apart.
        """
        inputs = [self._enter(number) for number in self.model.inputs]
        for operator in self.model.operators:
            if operator.kind not in table:
                raise operator.refuse("it is not covered")
            table[operator.kind](self, operator)
        outputs = [self._leave(number) for number in self.model.outputs]
        helper = self.onnx.helper
        constants = [
            self.onnx.numpy_helper.from_array(np.ascontiguousarray(v).reshape(v.shape), n)
            for n, v in self.constants.items()
        ]
        graph = helper.make_graph(self.nodes, "tflite", inputs, outputs, constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)

    def _enter(self, number: int) -> Any:
        tensor = self.tensor(number)
        self._check_name(number, self.model.inputs)
        self.put(number, plain(self.rank(number)), self._real(tensor, tensor.name))
        return self._described(tensor)

    def _real(self, tensor: LiteTensor, name: str) -> str:
        if tensor.quant is None:
            return name
        return self.node("DequantizeLinear", [name, *self._scale(tensor)])

    def _leave(self, number: int) -> Any:
        tensor = self.tensor(number)
        self._check_name(number, self.model.outputs)
        name = self.read(number, plain(self.rank(number)))
        kind, inputs = (
            ("Identity", [name]) if tensor.quant is None else ("QuantizeLinear", [name, *self._scale(tensor)])
        )
        self.nodes.append(self.onnx.helper.make_node(kind, inputs, [tensor.name], name=f"answer_{number}"))
        return self._described(tensor)

    def _scale(self, tensor: LiteTensor) -> list[str]:
        assert tensor.quant is not None  # noqa: S101 - only asked of quantised tensors
        zero = np.asarray(tensor.quant.zero[0], tensor.dtype)
        return [self.constant(np.asarray(tensor.quant.scale[0], np.float32)), self.constant(zero)]

    def _check_name(self, number: int, side: Sequence[int]) -> None:
        from edgeopt.compiler.refuse import Refused

        names = [self.tensor(other).name for other in side]
        name = self.tensor(number).name
        if not name or names.count(name) > 1:
            raise Refused(
                "step-failed", f"inputs or outputs of the file share the name {name!r}, which ONNX does not allow"
            )

    def _described(self, tensor: LiteTensor) -> Any:
        kind = self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(tensor.dtype))
        return self.onnx.helper.make_tensor_value_info(tensor.name, kind, list(tensor.shape))


Import = Callable[[Importing, LiteOperator], None]


def picture(importing: Importing, operator: LiteOperator, place: int = 0) -> str:
    """An operand [N, H, W, C] as ONNX has pictures.

    Raises:
        Refused: it has another number of axes.
    """
    number = operator.inputs[place]
    if importing.rank(number) != len(NCHW):
        raise operator.refuse("its operand is no picture [N, H, W, C]")
    return importing.read(number, NCHW)
