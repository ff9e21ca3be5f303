"""TFLite files read as ONNX: there and back again, what was quantised, dilations, damaged files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from edgeopt.compiler.convert.from_tflite.convert import TABLE, to_onnx
from edgeopt.compiler.convert.from_tflite.dilation import with_dilations
from edgeopt.compiler.convert.from_tflite.lite import LiteModel, LiteOperator, LiteTensor
from edgeopt.compiler.convert.from_tflite.reading import is_tflite, open_interpreter, read_tflite
from edgeopt.compiler.quantize.emit import emit
from edgeopt.compiler.quantize.encoding import S8S8
from edgeopt.compiler.quantize.ladder import sqnr_db
from edgeopt.compiler.refuse import Refused
from tests import models
from tests.unit.compiler.convert.lite import convert, noise, run, schema, truth
from tests.unit.compiler.quantize import nets

few = settings(max_examples=10, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


def read(data: bytes, folder: Path) -> LiteModel:
    path = folder / "net.tflite"
    path.write_bytes(data)
    return read_tflite(path, open_interpreter(path))


def back(model: onnx.ModelProto, folder: Path) -> onnx.ModelProto:
    """To TFLite and back."""
    made = to_onnx(read(convert(model), folder))
    onnx.checker.check_model(made, full_check=True)
    return made


def alike(model: onnx.ModelProto, feed: dict[str, np.ndarray], folder: Path) -> onnx.ModelProto:
    made = back(model, folder)
    for one, other in zip(truth(made, feed), truth(model, feed), strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        np.testing.assert_allclose(one, other, atol=2e-5 * max(1.0, float(np.abs(other).max())))
    return made


def line(
    kind: str, shape: tuple[int, ...], *constants: onnx.TensorProto, opset: int = 17, **attributes
) -> onnx.ModelProto:
    node = helper.make_node(kind, ["x", *(each.name for each in constants)], ["y"], **attributes)
    return models.make([node], [models.value("x", shape)], [models.value("y", None)], constants, opset=opset)


def ints(name: str, *values: int) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(values, np.int64), name)


@few
@given(links=st.lists(st.sampled_from(sorted(nets.LINKS)), max_size=5))
def test_there_and_back_again(tmp_path_factory, links):
    model = nets.chained(links).conv(4, stride=2).model()
    made = alike(model, {"x": noise(1, 3, 8, 8)}, tmp_path_factory.mktemp("chain"))
    assert sum(node.op_type == "Transpose" for node in made.graph.node) <= 2


LINES = {
    "transposed": line("ConvTranspose", (1, 3, 5, 5), models.weights("w", 3, 4, 3, 3), strides=[2, 2], pads=[1] * 4, output_padding=[1, 1]),
    "depth to space": line("DepthToSpace", (1, 8, 3, 4), blocksize=2),
    "space to depth": line("SpaceToDepth", (1, 3, 4, 6), blocksize=2),
    "mean": line("ReduceMean", (1, 3, 4, 5), axes=[1], keepdims=0),
    "sum": line("ReduceSum", (2, 3, 4), ints("a", 1)),
    "largest": line("ReduceMax", (2, 3, 4), axes=[2]),
    "softmax": line("Softmax", (2, 3, 4), axis=1),
    "log softmax": line("LogSoftmax", (2, 5)),
    "slice": line("Slice", (6, 6, 6), ints("b", 1, 5), ints("e", 5, 1), ints("a", 0, 2), ints("s", 2, -2)),
    "cut": line("Slice", (6, 6), ints("b", 1), ints("e", 4), ints("a", 1)),
    "pad": line("Pad", (1, 2, 4, 5), ints("p", 0, 0, 1, 2, 0, 0, 2, 1)),
    "pad with a value": line("Pad", (2, 3), ints("p", 1, 0, 0, 2), numpy_helper.from_array(np.float32(1.5), "v")),
    "mirror": line("Pad", (1, 2, 4, 5), ints("p", 0, 0, 1, 2, 0, 0, 2, 1), mode="reflect"),
    "gather": line("Gather", (3, 4, 5), ints("i", 2, 0, -1), axis=1),
    "expand": line("Expand", (1, 3, 1), ints("s", 2, 3, 4)),
    "tile": line("Tile", (1, 3, 2), ints("r", 2, 1, 3)),
    "nearest": line("Resize", (1, 2, 3, 4), numpy_helper.from_array(np.float32([]), "r"), numpy_helper.from_array(np.float32([1, 1, 2, 2]), "s"), mode="nearest"),
    "linear": line(
        "Resize", (1, 2, 3, 4), numpy_helper.from_array(np.float32([]), "r"), numpy_helper.from_array(np.float32([1, 1, 2, 3]), "s"), mode="linear"
    ),
    "hard swish": line("HardSwish", (1, 3, 4, 4)),
    "elu": line("Elu", (2, 3)),
    "instance norm": line("InstanceNormalization", (1, 3, 4, 5), models.weights("s", 3), models.weights("b", 3)),
    "prelu": line("PRelu", (1, 3, 4, 4), models.weights("s", 3, 1, 1)),
    "rows": line("MatMul", (2, 3, 4), models.weights("w", 4, 5)),
    "clip": line("Clip", (2, 3), numpy_helper.from_array(np.float32(-0.5), "l"), numpy_helper.from_array(np.float32(0.5), "h")),
}  # fmt: skip


@pytest.mark.parametrize("name", LINES)
def test_operators_there_and_back_again(name, tmp_path):
    model = LINES[name]
    shape = [axis.dim_value for axis in model.graph.input[0].type.tensor_type.shape.dim]
    alike(model, {"x": noise(*shape)}, tmp_path)


def whole(kind: str, inputs: list[np.ndarray], outputs: list[np.ndarray], **options) -> None:
    """One operator of which `to_tflite` makes none: the first input is given, the others are constants."""
    first, *others = inputs
    tensors = [LiteTensor(name="x", shape=first.shape, dtype=str(first.dtype), quant=None, data=None)]
    tensors += [LiteTensor(name="c", shape=c.shape, dtype=str(c.dtype), quant=None, data=c) for c in others]
    places = range(len(tensors), len(tensors) + len(outputs))
    tensors += [
        LiteTensor(name=f"y{n}", shape=y.shape, dtype=str(y.dtype), quant=None, data=None)
        for n, y in enumerate(outputs)
    ]
    operator = LiteOperator(kind=kind, inputs=tuple(range(len(inputs))), outputs=tuple(places), options=options)
    made = to_onnx(LiteModel(tensors=tuple(tensors), operators=(operator,), inputs=(0,), outputs=tuple(places)))
    onnx.checker.check_model(made, full_check=True)
    for got, want in zip(truth(made, {"x": first}), outputs, strict=True):
        assert got.dtype == want.dtype
        np.testing.assert_allclose(got, want, atol=1e-6)


def test_operators_that_only_files_of_others_have():
    x = noise(2, 3, 4)
    whole("PACK", [x, x * 2], [np.stack([x, x * 2], axis=1)], axis=1)
    whole("UNPACK", [x], [x[:, 0], x[:, 1], x[:, 2]], axis=1, num=3)
    whole("SPLIT_V", [x, np.int32([1, 3]), np.int32(2)], [x[..., :1], x[..., 1:]])
    whole("ARG_MAX", [x, np.int32(1)], [x.argmax(axis=1).astype(np.int32)])
    whole("ARG_MIN", [x, np.int32(-1)], [x.argmin(axis=-1)])
    whole("GATHER_ND", [x, np.int32([[0, 1], [1, 2]])], [x[[0, 1], [1, 2]]])
    whole("FLOOR_DIV", [x, np.float32([0.3])], [np.floor(x / np.float32(0.3))])
    whole("SQUARE", [x], [x * x])
    whole("RSQRT", [x * x + 1], [1 / np.sqrt(x * x + 1)])
    whole("SQUARED_DIFFERENCE", [x, np.float32([0.5])], [np.square(x - np.float32(0.5))])
    whole("RELU_0_TO_1", [x], [np.clip(x, 0, 1)])
    whole("LEAKY_RELU", [x], [np.where(x < 0, x * np.float32(0.1), x)], alpha=0.1)
    whole("CAST", [x * 5], [(x * 5).astype(np.int32)])
    whole("SHAPE", [x], [np.int32([2, 3, 4])])
    whole("EXPAND_DIMS", [x, np.int32(1)], [x[:, None]])


@pytest.mark.parametrize("divisor", [3, -3])
def test_whole_numbers_are_divided_downwards(divisor):
    numbers = np.arange(-7, 8, dtype=np.int32)
    whole("FLOOR_DIV", [numbers, np.int32([divisor])], [numbers // np.int32(divisor)])
    whole("FLOOR_MOD", [numbers, np.int32([divisor])], [numbers % np.int32(divisor)])


def test_strided_slices_with_masks():
    x = noise(4, 5, 6)
    columns = [np.int32([1, 0, 4]), np.int32([3, 0, 0]), np.int32([1, 1, -2])]
    whole("STRIDED_SLICE", [x, *columns], [x[1:3, :, 4::-2]], beginMask=2, endMask=6)
    whole("STRIDED_SLICE", [x, *columns], [x[1, :, 4:0:-2]], beginMask=2, endMask=2, shrinkAxisMask=1)


def test_what_was_quantised_becomes_the_float_network(tmp_path):
    """Its weights are those that the codes stand for; nothing in it is quantised any more."""
    model = emit(nets.int8(nets.classifier(), nets.feeds(tmp_path), correct=False), S8S8)
    lite = read(convert(model), tmp_path)
    made = to_onnx(lite)
    assert lite.is_quantised
    assert not {"QuantizeLinear", "DequantizeLinear"} & {node.op_type for node in made.graph.node}
    judges = list(nets.feeds(tmp_path, count=6, seed=1))
    truths = [truth(nets.classifier(), feed) for feed in judges]
    assert sqnr_db(truths, [truth(made, feed) for feed in judges]) > 40


def test_a_quantised_border_stays_one(tmp_path):
    """Codes in, codes out, in the scales of the file."""
    model = models.make(
        [
            helper.make_node("DequantizeLinear", ["x", "s", "z"], ["d"]),
            helper.make_node("Conv", ["d", "w"], ["c"]),
            helper.make_node("QuantizeLinear", ["c", "t", "z"], ["y"]),
        ],
        [models.value("x", (1, 2, 5, 5), onnx.TensorProto.INT8)],
        [models.value("y", None, onnx.TensorProto.INT8)],
        [
            models.weights("w", 3, 2, 3, 3),
            *(
                numpy_helper.from_array(np.asarray(value), name)
                for name, value in (("s", np.float32(0.05)), ("t", np.float32(0.02)), ("z", np.int8(3)))
            ),
        ],
    )
    made = back(model, tmp_path)
    feed = {"x": np.random.default_rng(0).integers(-128, 128, (1, 2, 5, 5)).astype(np.int8)}
    got, want = truth(made, feed)[0], truth(model, feed)[0]
    assert got.dtype == np.int8
    assert np.abs(got.astype(int) - want).max() <= 1


def dilated(block: int, shape: tuple[int, ...]) -> LiteModel:
    """As TensorFlow wrote dilated convolutions: the picture in interleaved parts."""
    height, width, channels = shape
    pad = block
    inner = (block * block, (height + 2 * pad) // block, (width + 2 * pad) // block, channels)
    small = (*inner[:1], inner[1] - 2, inner[2] - 2, 4)

    def constant(value) -> LiteTensor:
        return LiteTensor(name="c", shape=value.shape, dtype=str(value.dtype), quant=None, data=value)

    def made(name: str, *size: int) -> LiteTensor:
        return LiteTensor(name=name, shape=size, dtype="float32", quant=None, data=None)

    tensors = (
        made("x", 1, *shape),
        constant(np.int32([block, block])),
        constant(np.int32([[pad, pad], [pad, pad]])),
        made("cut", *inner),
        constant(noise(4, 3, 3, channels)),
        constant(noise(4, seed=1)),
        made("small", *small),
        constant(np.int32([[0, 0], [0, 0]])),
        made("y", 1, height, width, 4),
    )
    plain = {
        "padding": 1,
        "strideH": 1,
        "strideW": 1,
        "dilationHFactor": 1,
        "dilationWFactor": 1,
        "fusedActivationFunction": 0,
    }
    operators = (
        LiteOperator(kind="SPACE_TO_BATCH_ND", inputs=(0, 1, 2), outputs=(3,), options={}),
        LiteOperator(kind="CONV_2D", inputs=(3, 4, 5), outputs=(6,), options=plain),
        LiteOperator(kind="BATCH_TO_SPACE_ND", inputs=(6, 1, 7), outputs=(8,), options={}),
    )
    return LiteModel(tensors=tensors, operators=operators, inputs=(0,), outputs=(8,))


def test_dilated_convolutions_are_recognised():
    model = dilated(2, (8, 6, 3))
    made = to_onnx(model)
    weight, bias = model.tensors[4].data, model.tensors[5].data
    picture = noise(1, 8, 6, 3)
    direct = models.make(
        [helper.make_node("Conv", ["x", "w", "b"], ["y"], dilations=[2, 2], pads=[2] * 4)],
        [models.value("x", (1, 3, 8, 6))],
        [models.value("y", None)],
        [numpy_helper.from_array(weight.transpose(0, 3, 1, 2), "w"), numpy_helper.from_array(bias, "b")],
    )
    got = truth(made, {"x": picture})[0]
    want = truth(direct, {"x": picture.transpose(0, 3, 1, 2)})[0].transpose(0, 2, 3, 1)
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_parts_that_are_no_dilated_convolution_are_named():
    model = dilated(2, (8, 6, 3))
    seen = replace(model, outputs=(8, 6))
    assert with_dilations(seen).operators == seen.operators
    with pytest.raises(Refused, match="SPACE_TO_BATCH_ND cannot be read"):
        to_onnx(seen)


def test_operators_are_those_of_the_schema():
    assert all(hasattr(schema.BuiltinOperator, kind) for kind in TABLE)


class Shapes:
    """Says of tensors what LiteRT said of the sound file: nobody runs a damaged one in this process."""

    def __init__(self, interpreter) -> None:
        self.details = interpreter.get_tensor_details()

    def get_tensor_details(self):
        return self.details


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sound")
    data = convert(emit(nets.int8(nets.classifier(), nets.feeds(folder), correct=False), S8S8))
    path = folder / "net.tflite"
    path.write_bytes(data)
    return path, data, Shapes(open_interpreter(path))


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(places=st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), max_size=8), length=st.floats(0, 1))
def test_damaged_files_end_in_a_sentence(sound, places, length):
    path, data, shapes = sound
    broken = bytearray(data[: int(len(data) * length)] if length < 0.9 else data)
    for place, byte in places:
        if broken:
            broken[place % len(broken)] = byte
    damaged = path.with_name("damaged.tflite")
    damaged.write_bytes(bytes(broken))
    assert outcome(damaged, shapes) in ("read", "model-unreadable", "model-unsupported", "model-too-large")


def outcome(path: Path, shapes: Shapes) -> str:
    try:
        read_tflite(path, shapes)
    except Refused as refused:
        return refused.code
    return "read"


def test_files_are_told_by_their_mark(sound, tmp_path):
    assert is_tflite(sound[0])
    other = tmp_path / "net.tflite"
    other.write_bytes(b"onnx, really")
    assert not is_tflite(other)
    with pytest.raises(Refused, match="not a TensorFlow Lite file"):
        read_tflite(other, sound[2])


REAL = {
    "audio/micro_speech_int8.tflite": 20,
    "face/mediapipe_face_detection_short_range.tflite": 100,
    "face/mediapipe_face_landmark.tflite": 100,
    "face/ultraface_RFB_320_without_postprocessing.tflite": 100,
    "imagenet/mobilenet_v1_0.25_128_quant.tflite": 20,
    "mlperf_tiny/ad01_fcae_float.tflite": 100,
    "mlperf_tiny/ad01_fcae_int8.tflite": 10,
    "mlperf_tiny/ic_resnet8_float.tflite": 100,
    "mlperf_tiny/ic_resnet8_int8.tflite": 20,
    "mlperf_tiny/vww_96_float.tflite": 100,
    "mlperf_tiny/vww_96_int8.tflite": 20,
}
"""Signal to noise of the float network against the file itself, in dB, on noise; of quantised files that is their own rounding."""


@pytest.mark.parametrize("name", REAL)
def test_real_files_answer_alike(shared_testdata, name):
    path = shared_testdata / "models" / name
    lite = read_tflite(path, open_interpreter(path))
    generator, feed = np.random.default_rng(0), {}
    for number in lite.inputs:
        tensor = lite.tensors[number]
        low, high = (0, 1) if tensor.dtype == "float32" else (np.iinfo(tensor.dtype).min, np.iinfo(tensor.dtype).max)
        feed[tensor.name] = generator.uniform(low, high, tensor.shape).astype(tensor.dtype)
    answers = [run(path.read_bytes(), feed)], [truth(to_onnx(lite), feed)]
    wide = [[[a.astype(np.float64) for a in row] for row in side] for side in answers]
    assert sqnr_db(*wide) > REAL[name]
