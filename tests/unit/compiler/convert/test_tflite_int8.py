"""QDQ as int8 TFLite: what is computed in integers, in which scales, and that it answers as ONNX's own emulation does."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgeopt.compiler.convert.tflite.flatfile import INT8_VERSIONS
from edgeopt.compiler.quantize.emit import emit
from edgeopt.compiler.quantize.encoding import S8S8, U8S8
from edgeopt.compiler.quantize.ladder import sqnr_db
from edgeopt.compiler.quantize.observe import answers
from edgeopt.compiler.refuse import Refused
from tests import models
from tests.unit.compiler.convert.lite import convert, noise, operators, parsed, run, schema
from tests.unit.compiler.quantize import nets
from tests.unit.compiler.quantize.foreign import aimet_like

few = settings(max_examples=12, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def tensors_of(data: bytes, kind: str) -> list[tuple[list, list]]:
    """(inputs, outputs) as tensors of every operator of a kind."""
    model = parsed(data)
    graph, wanted = model.subgraphs[0], getattr(schema.BuiltinOperator, kind)
    return [
        ([graph.tensors[n] for n in each.inputs], [graph.tensors[n] for n in each.outputs])
        for each in graph.operators
        if model.operatorCodes[each.opcodeIndex].builtinCode == wanted
    ]


def is_int8(tensor) -> bool:
    return tensor.type == schema.TensorType.INT8


def constant(name: str, value, dtype=np.float32) -> TensorProto:
    return numpy_helper.from_array(np.asarray(value, dtype), name)


class Qdq:
    """A graph in which tensors are quantised one by one."""

    def __init__(self, *shape: int) -> None:
        self.inputs, self.nodes, self.constants = [models.value("x", shape)], [], []

    def quantise(self, name: str, scale: float, zero: int = 0, dtype=np.int8) -> str:
        parameters = [f"{name}_s", f"{name}_z"]
        self.constants += [constant(parameters[0], scale), constant(parameters[1], zero, dtype)]
        self.nodes.append(helper.make_node("QuantizeLinear", [name, *parameters], [f"{name}_q"]))
        self.nodes.append(helper.make_node("DequantizeLinear", [f"{name}_q", *parameters], [f"{name}_d"]))
        return f"{name}_d"

    def weights(self, name: str, codes, scale, axis: int = 0) -> str:
        scale = np.asarray(scale, np.float32)
        self.constants += [constant(f"{name}_c", codes, codes.dtype), constant(f"{name}_s", scale)]
        self.constants.append(constant(f"{name}_z", np.zeros(scale.shape), codes.dtype))
        options = {"axis": axis} if scale.ndim else {}
        self.nodes.append(
            helper.make_node("DequantizeLinear", [f"{name}_c", f"{name}_s", f"{name}_z"], [name], **options)
        )
        return name

    def op(self, kind: str, inputs: list[str], output: str | tuple[str, ...] = "t", **attributes) -> str:
        outputs = [output] if isinstance(output, str) else list(output)
        self.nodes.append(helper.make_node(kind, inputs, outputs, **attributes))
        return outputs[0]

    def model(self, output: str) -> onnx.ModelProto:
        return models.make(self.nodes, self.inputs, [models.value(output, None)], self.constants)


def steps_apart(model: onnx.ModelProto, feed: dict[str, np.ndarray], step: float) -> tuple[bytes, float]:
    """The file, and how far LiteRT's answer is from the emulation of QDQ in float, in steps of the answer's scale."""
    data = convert(model)
    want = answers(model, [feed], fused=False)[0][0]
    return data, float(np.abs(run(data, feed)[0] - want).max() / step)


@few
@given(links=st.lists(st.sampled_from(sorted(nets.LINKS)), min_size=1, max_size=5))
def test_what_our_compiler_writes_answers_alike(tmp_path_factory, links):
    folder = tmp_path_factory.mktemp("chain")
    chain = nets.chained(links)
    model = emit(nets.int8(chain.conv(4).model(), nets.feeds(folder), S8S8, correct=False), S8S8)
    data = convert(model)
    judges = nets.feeds(folder, count=6, seed=1)
    emulated = answers(model, judges, fused=False)
    assert sqnr_db(emulated, [run(data, feed) for feed in judges]) > 28
    products = [*tensors_of(data, "CONV_2D"), *tensors_of(data, "DEPTHWISE_CONV_2D")]
    assert all(is_int8(each) for inputs, outputs in products for each in (*inputs[:2], *outputs))


def test_codes_without_a_sign_are_the_same_numbers(tmp_path):
    network = nets.int8(nets.classifier(), nets.feeds(tmp_path), correct=False)
    signed, unsigned = convert(emit(network, S8S8)), convert(emit(network, U8S8))
    feed = {"x": noise(1, 3, 8, 8)}
    np.testing.assert_array_equal(run(signed, feed)[0], run(unsigned, feed)[0])


def test_scales_are_as_tflite_asks(tmp_path):
    """Weights around 0, biases in units of input times weight scale, one scale for each channel along the axis where these lie."""
    data = convert(emit(nets.int8(nets.classifier(), nets.feeds(tmp_path), correct=False), S8S8))
    for kind, axis in (("CONV_2D", 0), ("DEPTHWISE_CONV_2D", 3)):
        for (source, weight, bias), _ in tensors_of(data, kind):
            if not is_int8(source):
                continue
            assert weight.quantization.quantizedDimension == axis
            assert not np.any(weight.quantization.zeroPoint)
            assert len(weight.quantization.scale) == weight.shape[axis]
            np.testing.assert_allclose(
                bias.quantization.scale, weight.quantization.scale * source.quantization.scale[0], rtol=1e-6
            )
            assert source.quantization.quantizedDimension == 0


def test_a_matrix_product_that_answers_in_float_keeps_int8_weights(tmp_path):
    """The runtime finds the range of what it multiplies."""
    data = convert(emit(nets.int8(nets.classifier(), nets.feeds(tmp_path), correct=False), S8S8))
    mixed = [(i, o) for i, o in tensors_of(data, "CONV_2D") if not is_int8(i[0])]
    assert [is_int8(inputs[1]) for inputs, _ in mixed] == [True]


def test_relu_is_left_to_saturation(tmp_path):
    kinds = operators(convert(emit(nets.int8(nets.classifier(), nets.feeds(tmp_path), correct=False), S8S8)))
    assert not {"RELU", "RELU6", "MAXIMUM", "MINIMUM"} & kinds.keys()
    assert kinds["QUANTIZE"] == kinds["DEQUANTIZE"] == 1


def test_a_head_with_a_scale_for_each_channel(tmp_path):
    """Its channels differ by a factor of a hundred; TFLite has one scale, so the others are a product behind it."""
    chain = nets.Chain().conv(4).op("Relu").conv(2)
    model = chain.model()
    head = next(t for t in model.graph.initializer if t.name == f"{chain.tensor}_w")
    head.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(head) * np.float32([[[[1]]], [[[0.01]]]]), head.name))
    model = emit(nets.int8(model, nets.feeds(tmp_path), S8S8, correct=False), S8S8)
    data, judges = convert(model), nets.feeds(tmp_path, count=4, seed=1)
    assert operators(data)["MUL"] == 1
    want, got = answers(model, judges, fused=False), [run(data, feed) for feed in judges]
    for channel in (0, 1):
        assert sqnr_db([[a[0][:, channel]] for a in want], [[a[0][:, channel]] for a in got]) > 28


ONE = {
    "Add": (["x_d", "x_d"], {}),
    "Mul": (["x_d", "x_d"], {}),
    "Sub": (["x_d", "x_d"], {}),
    "MaxPool": (["x_d"], {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    "AveragePool": (["x_d"], {"kernel_shape": [2, 2], "strides": [2, 2]}),
    "GlobalAveragePool": (["x_d"], {}),
    "LeakyRelu": (["x_d"], {"alpha": 0.2}),
    "HardSwish": (["x_d"], {}),
    "Relu": (["x_d"], {}),
    "Sigmoid": (["x_d"], {}),
    "Tanh": (["x_d"], {}),
    "Softmax": (["x_d"], {"axis": 1}),
    "Transpose": (["x_d"], {"perm": [0, 2, 3, 1]}),
    "Flatten": (["x_d"], {}),
}


@pytest.mark.parametrize("kind", ONE)
def test_operators_between_quantisers_are_int8(kind):
    inputs, attributes = ONE[kind]
    graph = Qdq(1, 4, 6, 6)
    graph.quantise("x", 0.03, -7)
    made = graph.quantise(graph.op(kind, inputs, **attributes), 0.021, 3)
    data, apart = steps_apart(graph.model(made), {"x": noise(1, 4, 6, 6, low=-3, high=3)}, 0.021)
    assert apart <= 2.01
    assert operators(data)["DEQUANTIZE"] == 1
    assert all(
        is_int8(parsed(data).subgraphs[0].tensors[n])
        for each in parsed(data).subgraphs[0].operators[1:-1]
        for n in each.outputs
    )


def test_what_only_moves_codes_is_not_made_float():
    """Also where nothing quantises behind it: codes are moved, and what is left of them dequantised."""
    graph = Qdq(1, 4, 6, 6)
    graph.quantise("x", 0.03)
    graph.op("MaxPool", ["x_d"], "p", kernel_shape=[2, 2], strides=[2, 2])
    graph.op("Split", ["p"], ("a", "b"), axis=1)
    graph.op("Exp", ["b"], "e")
    data, apart = steps_apart(graph.model(graph.op("Sub", ["e", "a"])), {"x": noise(1, 4, 6, 6)}, 1.0)
    assert apart < 1e-5
    for kind in ("MAX_POOL_2D", "SPLIT"):
        ((_, outputs),) = tensors_of(data, kind)
        assert all(is_int8(each) for each in outputs)


@pytest.mark.parametrize("scales", [(0.02, 0.02), (0.02, 0.05)])
def test_joined_tensors_have_one_scale(scales):
    graph = Qdq(1, 4, 6, 6)
    graph.quantise("x", scales[0])
    graph.op("Relu", ["x_d"], "r")
    graph.quantise("r", scales[1])
    made = graph.quantise(graph.op("Concat", ["x_d", "r_d"], axis=1), 0.02)
    data, apart = steps_apart(graph.model(made), {"x": noise(1, 4, 6, 6, low=-2, high=2)}, 0.02)
    assert apart <= 1 + max(scales) / 0.02
    ((inputs, outputs),) = tensors_of(data, "CONCATENATION")
    assert len({float(each.quantization.scale[0]) for each in (*inputs, *outputs)}) == 1


def test_a_mean_in_a_finer_scale_keeps_its_digits():
    graph = Qdq(1, 3, 8, 8)
    graph.quantise("x", 0.05)
    made = graph.quantise(graph.op("AveragePool", ["x_d"], kernel_shape=[4, 4], strides=[4, 4]), 0.004)
    data, apart = steps_apart(graph.model(made), {"x": noise(1, 3, 8, 8, low=-2, high=2)}, 0.004)
    assert apart <= 1.01
    assert operators(data)["DEPTHWISE_CONV_2D"] == 1


def test_what_another_tool_quantised_is_int8_as_well(tmp_path):
    """Quantisers wherever it put them, codes without a sign; the products are computed in integers all the same."""
    feeds = nets.feeds(tmp_path)
    model = aimet_like(nets.chained(["relu", "residual", "max"]).conv(4).model(), feeds)
    data, judges = convert(model), list(nets.feeds(tmp_path, count=6, seed=1))
    assert sqnr_db(answers(model, judges, fused=False), [run(data, feed) for feed in judges]) > 28
    assert [is_int8(inputs[0]) for inputs, _ in tensors_of(data, "CONV_2D")] == [True, True, False], (
        "the last answers in float"
    )


def test_a_channel_of_zeros_does_not_send_the_layer_to_slow_kernels():
    """Its scale may be as small as one likes; the kernels' multipliers end at 2^-32."""
    graph = Qdq(1, 2, 6, 6)
    graph.quantise("x", 0.02)
    codes = np.stack([np.zeros((2, 1, 1)), np.full((2, 1, 1), 90)]).astype(np.int8)
    graph.weights("w", codes, [1e-30, 0.01])
    made = graph.quantise(graph.op("Conv", ["x_d", "w"]), 0.03)
    data, apart = steps_apart(graph.model(made), {"x": noise(1, 2, 6, 6, low=-2, high=2)}, 0.03)
    assert apart <= 1.01
    ((_, weight, _), _) = tensors_of(data, "CONV_2D")[0]
    assert min(weight.quantization.scale) * 0.02 / 0.03 > 2.0**-32


def test_weights_that_are_not_around_zero_are_computed_in_float():
    graph = Qdq(1, 2, 6, 6)
    graph.quantise("x", 0.02)
    graph.weights("w", np.full((3, 2, 1, 1), 200, np.uint8), np.float32(0.01))
    made = graph.quantise(graph.op("Conv", ["x_d", "w"]), 0.03)
    data, apart = steps_apart(graph.model(made), {"x": noise(1, 2, 6, 6)}, 0.03)
    assert apart <= 1.01
    assert not is_int8(tensors_of(data, "CONV_2D")[0][0][0])


def test_rows_by_int8_weights_have_a_range_each(tmp_path):
    """A matrix product over several rows, as in a transformer."""
    graph = Qdq(1, 5, 8)
    graph.quantise("x", 0.02)
    graph.weights(
        "w", np.random.default_rng(0).integers(-127, 128, (8, 6)).astype(np.int8), np.linspace(0.001, 0.01, 6), axis=1
    )
    model = graph.model(graph.op("MatMul", ["x_d", "w"], "y"))
    data = convert(model)
    feed = {"x": noise(1, 5, 8)}
    want = answers(model, [feed], fused=False)
    assert sqnr_db(want, [run(data, feed)]) > 30
    assert dict(operators(data)) == {"FULLY_CONNECTED": 1}


def test_sixteen_bits_and_blocks_are_refused():
    graph = Qdq(1, 4)
    made = graph.quantise("x", 0.02, 0, np.uint16)
    model = graph.model(made)
    model.opset_import[0].version = 21
    with pytest.raises(Refused, match="uint16"):
        convert(model)


def test_versions_name_operators_of_the_schema():
    assert all(hasattr(schema.BuiltinOperator, kind) for kind in INT8_VERSIONS)
