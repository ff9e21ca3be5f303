"""From nodes to TFLite operators, with the order in which axes lie in memory as part of the state.

ONNX's pictures are [N, C, H, W], TFLite's [N, H, W, C]. Here a tensor keeps ONNX's axes, and every form of it that is in the file has an *order*: which of ONNX's axes each axis
in memory is. So a Transpose costs nothing, operators that work value by value take what they get, and only what needs an order moves data, once for each tensor and order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from edgeopt.compiler.convert.tflite.flatfile import FlatFile
from edgeopt.compiler.convert.tflite.network import Array, Network, Node, Quant, Shape
from edgeopt.compiler.convert.tflite.orders import Order, in_memory, plain, wide_axes


class Lowering:
    """The file in the making, and for each tensor of the network the forms of it that are in the file."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.file = FlatFile()
        self.forms: dict[str, dict[Order, int]] = {}
        self.columns: dict[str, Array] = {}
        """Of a matrix that was flattened as it lay: which of ONNX's columns each column in memory is."""
        self.readers, self.makers = network.readers(), network.producers()

    # What is known

    def shape(self, name: str) -> Shape:
        """ONNX's shape."""
        return self.network.shapes[name]

    def rank(self, name: str) -> int:
        """Number of axes."""
        return len(self.network.shapes[name])

    def quant(self, name: str) -> Quant | None:
        """The quantiser of an int8 tensor."""
        return self.network.quants.get(name)

    def value(self, name: str) -> Array | None:
        """A constant, in real numbers."""
        return self.network.value(name) if name else None

    def numbers(self, node: Node, place: int) -> list[int] | None:
        """A constant input of whole numbers, None where it is left out.

        Raises:
            Refused: it depends on the model's inputs.
        """
        if len(node.inputs) <= place or not node.inputs[place]:
            return None
        found = self.value(node.inputs[place])
        if found is None:
            raise node.refuse(f"its input {place} depends on the model's inputs")
        return [int(number) for number in found.reshape(-1)]

    def order(self, name: str) -> Order:
        """How a tensor lies where it was made."""
        return next(iter(self.forms[name])) if name in self.forms else plain(self.rank(name))

    # Reading

    def read(self, name: str, order: Order | None = None) -> int:
        """The tensor of the file that holds `name` in an order; moved if need be, once."""
        order = self.order(name) if order is None else order
        if name in self.network.constants:
            return self._constant(name, self.network.constants[name].transpose(order))
        forms = self.forms[name]
        if order not in forms:
            forms[order] = self._moved(name, order)
        return forms[order]

    def read_as(self, name: str, rank: int, order: Order) -> int:
        """The same for an operand of fewer axes than `order` has: they are ONNX's last ones."""
        missing = rank - self.rank(name)
        own = tuple(axis - missing for axis in order if axis >= missing)
        shape = in_memory((1,) * missing + self.shape(name), order)
        if name in self.network.constants:
            return self._constant(name, self.network.constants[name].transpose(own).reshape(shape))
        return self.reshape(self.read(name, own), shape)

    def common_order(self, names: Sequence[str], rank: int) -> Order:
        """The order in which operands are joined: that of the largest which has all axes; the first of those that are not ONNX's."""
        found = [name for name in names if name in self.forms and self.rank(name) == rank]
        sizes = {name: int(np.prod(self.shape(name))) for name in found}
        largest = [self.order(name) for name in found if sizes[name] == max(sizes.values())]
        return next((order for order in largest if order != plain(rank)), largest[0] if largest else plain(rank))

    def _constant(self, name: str, value: Array) -> int:
        return self.file.constant(name, value, self.quant(name))

    def _moved(self, name: str, order: Order) -> int:
        shape, forms = self.shape(name), self.forms[name]
        wide = wide_axes(shape, order)
        for known, index in forms.items():
            if wide_axes(shape, known) == wide:
                return self.reshape(index, in_memory(shape, order))
        known, index = next(iter(forms.items()))
        return self.transpose(index, [known.index(axis) for axis in order])

    # Writing

    def make(self, kind: str, inputs: Sequence[int], like: int | str, shape: Shape, **options: Any) -> int:
        """An operator with one answer of a shape in memory, its dtype and quantiser as another tensor's; the answer's number."""
        dtype, quant, stem = self._type(like)
        made = self.file.tensor(stem, shape, dtype, quant)
        self.file.operator(kind, inputs, [made], options)
        return made

    def write(self, name: str, order: Order, kind: str, inputs: Sequence[int], **options: Any) -> int:
        """An operator that makes `name`, lying in `order`."""
        made = self.make(kind, inputs, name, in_memory(self.shape(name), order), **options)
        self.put(name, order, made)
        return made

    def put(self, name: str, order: Order, made: int) -> None:
        """What was made is `name`, lying in `order`."""
        self.forms.setdefault(name, {})[order] = made

    def reshape(self, index: int, shape: Shape) -> int:
        """The same values in other axes; what was only reshaped before is taken where it comes from."""
        maker = self.file.makers.get(index)
        if maker is not None and maker.kind == "RESHAPE":
            index = maker.inputs[0]
        if self.file.shape(index) == tuple(shape):
            return index
        return self.make(
            "RESHAPE", [index, self.ints(shape)], index, tuple(shape), newShape=[int(axis) for axis in shape]
        )

    def transpose(self, index: int, permutation: Sequence[int]) -> int:
        """Move the data; neighbours that stay together are moved as one axis."""
        shape = self.file.shape(index)
        groups: list[list[int]] = []
        for axis in permutation:
            if groups and axis == groups[-1][-1] + 1:
                groups[-1].append(axis)
            else:
                groups.append([axis])
        target = tuple(shape[axis] for axis in permutation)
        if len(permutation) <= 4:
            return self.make("TRANSPOSE", [index, self.ints(permutation)], index, target)
        ordered = sorted(groups)
        joined = self.reshape(index, tuple(int(np.prod([shape[axis] for axis in group])) for group in ordered))
        moves = [ordered.index(group) for group in groups]
        sizes = tuple(self.file.shape(joined)[move] for move in moves)
        return self.reshape(self.make("TRANSPOSE", [joined, self.ints(moves)], index, sizes), target)

    def ints(self, values: Sequence[int]) -> int:
        """A constant vector of int32, as shapes and axes are given."""
        return self.file.constant("numbers", np.asarray(values, np.int32))

    def table(self, values: Sequence[Sequence[int]]) -> int:
        """A constant matrix of int32, as paddings are given."""
        return self.file.constant("numbers", np.asarray(values, np.int32))

    def floats(self, value: Any) -> int:
        """A constant of float32."""
        return self.file.constant("constant", np.asarray(value, np.float32))

    def _type(self, like: int | str) -> tuple[str, Quant | None, str]:
        if isinstance(like, str):
            return self.network.dtypes[like], self.quant(like), like
        tensor = self.file.tensors[like]
        return self.file.dtype(like), self.file.quant(like), str(tensor.name)


Lower = Callable[[Lowering, Node], None]
