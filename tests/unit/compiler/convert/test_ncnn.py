"""ONNX to ncnn: the converter and the runtime themselves, on graphs made here, held to ONNX Runtime's answers."""

from __future__ import annotations

import json
import re
from collections import Counter
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeopt.compiler.convert.ncnn import program, to_ncnn
from edgeopt.compiler.convert.ncnn.files import parse_param
from edgeopt.compiler.convert.runner import open_converted
from edgeopt.compiler.quantize.emit import emit
from edgeopt.compiler.quantize.encoding import S8S8, TRT, U8S8, Encoding
from edgeopt.compiler.refuse import Refused
from edgeopt.compiler.runtime import open_session
from edgeopt.compiler.steps import clean, upgrade_opset
from edgeopt_agent.runtimes.ncnn import layers_of
from tests.models import make, value, weights
from tests.unit.compiler.quantize import nets

pytest.importorskip("ncnn")
pytest.importorskip("pnnx")

node = helper.make_node


def convert(model: onnx.ModelProto, folder: Path, samples: Any = None) -> tuple[Path, list[str]]:
    """Write what the recipe's last step gives into a folder: (the file that is opened, remarks)."""
    scratch = folder / "scratch"
    scratch.mkdir()
    bench = SimpleNamespace(samples=samples, scratch=scratch, notes=[])
    made = to_ncnn(model, {}, bench)
    for name, data in made.files.items():
        (folder / name).write_bytes(data)
    return folder / next(iter(made.files)), bench.notes


def agree(model: onnx.ModelProto, folder: Path, *, tolerance: float = 1e-4) -> Counter[str]:
    """Assert that the converted model answers random inputs as ONNX Runtime does, under the same names and in the same shapes; its layers."""
    path, _ = convert(model, folder)
    opened, session = open_converted(path), open_session(model.SerializeToString())
    assert opened.input_names == [v.name for v in session.get_inputs()]
    assert opened.output_names == [v.name for v in session.get_outputs()]
    random = np.random.default_rng(7)
    shapes = json.loads((folder / "model.json").read_text())["inputs"]
    for _ in range(2):
        feed = {
            item["name"]: random.normal(size=item["shape"]).astype(item["dtype"])
            if item["dtype"].startswith("float")
            else random.integers(0, 5, item["shape"]).astype(item["dtype"])
            for item in shapes
        }
        before = {name: array.copy() for name, array in feed.items()}
        for got, want in zip(opened.run(feed), session.run(None, feed), strict=True):
            assert (got.shape, got.dtype) == (want.shape, want.dtype)
            np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * max(1.0, float(np.abs(want).max())))
        assert all((feed[name] == array).all() for name, array in before.items())
    return Counter(layers_of(path.read_text()))


def numbers(name: str, values: list[int]) -> onnx.TensorProto:
    return numpy_helper.from_array(np.array(values, np.int64), name)


def net(nodes: list[onnx.NodeProto], inputs: dict[str, Any], *constants: onnx.TensorProto, **kinds: int) -> Any:
    """A graph from inputs by name and shape to `y`."""
    ins = [value(name, shape, kinds.get(name, TensorProto.FLOAT)) for name, shape in inputs.items()]
    outs = [value("y", None, kinds.get("y", TensorProto.FLOAT))]
    return make(nodes, ins, outs, constants, opset=13)


class TestBorder:
    def test_two_inputs_keep_their_order_and_names(self, tmp_path: Path) -> None:
        conv = node("Conv", ["a", "w"], ["c"], pads=[1, 1, 1, 1])
        model = net(
            [conv, node("Sub", ["c", "b"], ["y"])], {"b": [1, 4, 8, 8], "a": [1, 3, 8, 8]}, weights("w", 4, 3, 3, 3)
        )
        assert agree(model, tmp_path)["Convolution"] == 1

    def test_a_vector(self, tmp_path: Path) -> None:
        agree(net([node("Relu", ["x"], ["y"])], {"x": [12]}), tmp_path)

    def test_the_first_layer_may_write_over_its_input_but_not_over_the_callers(self, tmp_path: Path) -> None:
        """Relu works in place; `agree` looks at the feed afterwards."""
        model = net(
            [node("Relu", ["x"], ["r"]), node("Conv", ["r", "w"], ["y"])],
            {"x": ["n", 3, 8, 8]},
            weights("w", 4, 3, 3, 3),
        )
        agree(model, tmp_path)

    def test_a_matrix_that_is_no_batch(self, tmp_path: Path) -> None:
        agree(net([node("MatMul", ["x", "w"], ["y"])], {"x": [6, 8]}, weights("w", 8, 5)), tmp_path)

    def test_whole_numbers_are_looked_up(self, tmp_path: Path) -> None:
        nodes = [node("Gather", ["table", "x"], ["g"]), node("MatMul", ["g", "w"], ["y"])]
        model = net(nodes, {"x": [1, 6]}, weights("table", 20, 8), weights("w", 8, 5), x=TensorProto.INT64)
        agree(model, tmp_path)

    def test_float16_at_the_border_stays_float16_there(self, tmp_path: Path) -> None:
        nodes = [node("Cast", ["x"], ["c"], to=1), node("Tanh", ["c"], ["t"]), node("Cast", ["t"], ["y"], to=10)]
        half = TensorProto.FLOAT16
        agree(net(nodes, {"x": [1, 30]}, x=half, y=half), tmp_path, tolerance=2e-3)

    @pytest.mark.parametrize("kind", [TensorProto.INT8, TensorProto.UINT8])
    def test_codes_of_8_bits_are_its_own_affair(self, tmp_path: Path, kind: int) -> None:
        """The runtime has floats only: scales become arithmetic, and what leaves is rounded to codes again."""
        dtype = helper.tensor_dtype_to_np_dtype(kind)
        scales = [numpy_helper.from_array(np.float32(v), n) for n, v in (("s", 0.05), ("t", 0.08))]
        zero = numpy_helper.from_array(np.array(3, dtype), "z")
        nodes = [
            node("DequantizeLinear", ["x", "s", "z"], ["f"]),
            node("MatMul", ["f", "w"], ["m"]),
            node("QuantizeLinear", ["m", "t", "z"], ["y"]),
        ]
        model = net(nodes, {"x": [1, 12]}, *scales, zero, weights("w", 12, 40), x=kind, y=kind)
        opened = open_converted(convert(model, tmp_path)[0])
        session = open_session(model.SerializeToString())
        ends = np.iinfo(dtype)
        feed = {"x": np.random.default_rng(1).integers(ends.min, ends.max, (1, 12), dtype)}
        (got,), (want,) = opened.run(feed), session.run(None, feed)
        assert (got.shape, got.dtype) == (want.shape, dtype)
        assert np.abs(got.astype(int) - want).max() <= 1
        assert len(np.unique(got)) > 10

    def test_an_open_size_is_that_of_the_samples(self, tmp_path: Path) -> None:
        class Two:
            count = 2

            def first(self, count: int) -> list[dict[str, Any]]:
                return [{"x": np.ones((1, 3, 10, 12), np.float32)}] * count

        model = net([node("Conv", ["x", "w"], ["y"])], {"x": ["n", 3, "h", "w"]}, weights("w", 4, 3, 3, 3))
        convert(model, tmp_path, Two())
        border = json.loads((tmp_path / "model.json").read_text())
        assert (border["inputs"][0]["shape"], border["inputs"][0]["fed"]) == ([1, 3, 10, 12], [3, 10, 12])
        assert border["outputs"][0]["shape"] == [1, 4, 8, 10]

    def test_outputs_belong_to_the_caller(self, tmp_path: Path) -> None:
        path, _ = convert(net([node("Relu", ["x"], ["y"])], {"x": [1, 4]}), tmp_path)
        opened = open_converted(path)
        first = opened.run({"x": np.full((1, 4), 3, np.float32)})[0]
        opened.run({"x": np.full((1, 4), 5, np.float32)})
        assert first.tolist() == [[3, 3, 3, 3]]

    def test_another_size_is_refused_in_words(self, tmp_path: Path) -> None:
        path, _ = convert(net([node("Relu", ["x"], ["y"])], {"x": [1, 4]}), tmp_path)
        with pytest.raises(ValueError, match="reshape"):
            open_converted(path).run({"x": np.ones((2, 4), np.float32)})


class TestForms:
    def test_a_slice_in_steps(self, tmp_path: Path) -> None:
        """YOLOX begins with four of them."""
        constants = [numbers("s", [0, 1]), numbers("e", [99, 99]), numbers("a", [2, 3]), numbers("t", [2, 2])]
        model = net([node("Slice", ["x", "s", "e", "a", "t"], ["y"])], {"x": [1, 3, 8, 9]}, *constants)
        assert agree(model, tmp_path)["Pooling"] == 1

    def test_a_bias_with_two_axes(self, tmp_path: Path) -> None:
        model = net(
            [node("Gemm", ["x", "w", "b"], ["y"], transB=1)], {"x": [1, 8]}, weights("w", 5, 8), weights("b", 1, 5)
        )
        assert agree(model, tmp_path)["InnerProduct"] == 1

    def test_a_softmax_over_channels_of_one_pixel(self, tmp_path: Path) -> None:
        model = net(
            [node("GlobalAveragePool", ["x"], ["p"]), node("Softmax", ["p"], ["y"], axis=1)], {"x": [1, 7, 4, 4]}
        )
        agree(model, tmp_path)


class TestRefused:
    @pytest.mark.parametrize(
        ("model", "words"),
        [
            (net([node("Det", ["x"], ["y"])], {"x": [1, 3, 3]}), "ncnn has no layer for Det"),
            (
                net([node("ArgMax", ["x"], ["y"])], {"x": [1, 9]}, y=TensorProto.INT64),
                "ncnn has no int64, which the output y is",
            ),
            (
                net([node("Conv", ["x", "w"], ["y"])], {"x": [2, 3, 8, 8]}, weights("w", 4, 3, 3, 3)),
                "one sample at a time, and the input x is",
            ),
            (net([node("Relu", ["x"], ["y"])], {"x": [1, 2, 3, 4, 5]}), "1 to 4 axes, and the input x is"),
        ],
    )
    def test_what_ncnn_cannot_is_a_sentence(self, tmp_path: Path, model: onnx.ModelProto, words: str) -> None:
        with pytest.raises(Refused, match=words):
            convert(model, tmp_path)

    def test_a_layer_that_ncnn_has_but_not_like_this_is_named(self, tmp_path: Path) -> None:
        lstm = node("LSTM", ["x", "w", "r"], ["y"], hidden_size=4)
        model = net([lstm], {"x": [5, 1, 3]}, weights("w", 1, 16, 3), weights("r", 1, 16, 4))
        with pytest.raises(Refused, match=r"ncnn cannot read model\.ncnn\.param .*: layer load_param .* LSTM_0 failed"):
            convert(model, tmp_path)

    def test_a_converter_that_says_nothing_useful(self) -> None:
        assert program.words("get inputshape\nok\n", -11) == "it ended with status -11 and does not say why"
        assert program.words("fold\nort CreateSession failed Fatal error: X(-1) is not a registered op\nbye", 1) == (
            "ort CreateSession failed Fatal error: X(-1) is not a registered op"
        )

    def test_a_converter_that_hangs_is_ended(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(program, "TIME_S", 1)
        stuck = tmp_path / "pnnx"
        stuck.write_text("#!/bin/sh\nexec sleep 60\n")
        stuck.chmod(0o755)
        monkeypatch.setattr(program, "_program", lambda: stuck)
        with pytest.raises(Refused, match="was not done after 1 s"):
            program.convert(tmp_path / "model.onnx", [("float32", [1, 4])])


class TestInt8:
    @pytest.mark.parametrize("encoding", [U8S8, S8S8, TRT], ids=lambda each: each.name)
    def test_the_calibrated_network_runs_in_int8(self, tmp_path: Path, encoding: Encoding) -> None:
        """And answers nearly as QDQ's arithmetic says: ncnn rounds at the same places, or at fewer. Codes go from layer to layer where nothing stands between."""
        model = nets.classifier()
        samples = nets.feeds(tmp_path)
        quantised = emit(nets.int8(model, samples, encoding), encoding)
        path, notes = convert(quantised, tmp_path, samples)
        assert notes == ["4 of 4 products run in int8 in ncnn; what stands between them is float"]
        layers = parse_param(path.read_text())
        terms = {layer.kind: layer.parameters["8"] for layer in layers if "8" in layer.parameters}
        assert terms == {"Convolution": "2", "ConvolutionDepthWise": "101", "InnerProduct": "2"}
        assert [layer.parameters["8"] for layer in layers if layer.kind == "Convolution"] == ["102", "2"]
        assert path.with_suffix(".bin").stat().st_size < 0.5 * len(to_float(model, tmp_path))
        assert_as_faithful(path, model, quantised, samples)

    def test_zero_points_go_into_weights_and_biases(self, tmp_path: Path) -> None:
        """Through Concat and pooling, so that nothing is added to the network."""
        chain = nets.Chain().conv(8).op("Relu")
        squeezed = chain.tensor
        one = chain.conv(8, kernel=1).op("Relu").tensor
        chain.tensor, chain.channels = squeezed, 8
        chain.conv(8).op("Relu").op("Concat", one, axis=1).op("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
        chain.channels = 16
        layers = self._int8_layers(chain.conv(8, kernel=1).op("Relu").op("GlobalAveragePool").model(), tmp_path)
        assert layers["Convolution int8"] == 4
        assert layers["BinaryOp"] == 0

    def test_where_they_cannot_one_more_layer_subtracts(self, tmp_path: Path) -> None:
        """Behind a sum, and where a maximum stands before a padded border."""
        chain = nets.Chain().conv(8).op("Relu")
        nets.residual(chain)
        chain.op("Relu").conv(8).op("Relu").op("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
        layers = self._int8_layers(chain.conv(8).op("GlobalAveragePool").model(), tmp_path)
        assert layers["Convolution int8"] == 4
        assert layers["BinaryOp"] == 1 + 3

    def test_a_head_that_became_a_matrix_product_is_a_convolution_again(self, tmp_path: Path) -> None:
        chain = (
            nets.Chain().conv(8).op("Relu").conv(6, kernel=1).op("Relu").op("GlobalAveragePool").op("Softmax", axis=1)
        )
        layers = self._int8_layers(chain.model(), tmp_path)
        assert layers["Convolution int8"] == 2
        assert layers["Permute"] == layers["Gemm"] == 0

    @pytest.mark.parametrize(
        "links",
        [
            ("depthwise", "relu", "max", "pointwise", "relu", "conv"),
            ("relu", "average", "concat", "relu", "conv"),
            ("clip", "residual", "relu", "depthwise", "clip", "conv"),
            ("leaky", "conv", "sigmoid", "conv"),
        ],
    )
    def test_chains(self, tmp_path: Path, links: tuple[str, ...]) -> None:
        self._int8_layers(nets.chained(links).model(), tmp_path)

    def _int8_layers(self, model: onnx.ModelProto, folder: Path) -> Counter[str]:
        samples = nets.feeds(folder)
        quantised = emit(nets.int8(model, samples, U8S8), U8S8)
        path, _ = convert(quantised, folder, samples)
        assert_as_faithful(path, model, quantised, samples)
        numbers = re.findall(r"[=,]([^=,\s\"]+)", path.read_text())
        assert max(map(len, numbers)) <= 15  # what older versions read
        return Counter(layers_of(path.read_text()))

    def test_winograd_which_wants_fewer_bits_is_off_for_int8(self, tmp_path: Path) -> None:
        samples = nets.feeds(tmp_path)
        model = nets.Chain().conv(16).op("Relu").conv(16).op("Relu").conv(16, stride=2).model()
        path, _ = convert(emit(nets.int8(model, samples, U8S8), U8S8), tmp_path, samples)
        masks = [layer.parameters.get("31") for layer in parse_param(path.read_text()) if layer.kind == "Convolution"]
        assert masks == ["64", "64", None]

    def test_a_file_with_nothing_that_ncnn_has_in_int8_is_refused(self, tmp_path: Path) -> None:
        samples = nets.feeds(tmp_path)
        model = nets.Chain(channels=4).conv(8, group=2).model()
        samples = nets.feeds(tmp_path, shape=(1, 4, nets.SIZE, nets.SIZE), seed=2)
        with pytest.raises(Refused, match="none of its int8 layers"):
            convert(emit(nets.int8(model, samples, U8S8), U8S8), tmp_path, samples)


def assert_as_faithful(path: Path, model: onnx.ModelProto, quantised: onnx.ModelProto, samples: Any) -> None:
    """To the float network nearly as the QDQ file, or more: within half a bit; and to the QDQ file, since both round at the same places."""
    opened, session, emulated = open_converted(path), *(open_session(m.SerializeToString()) for m in (model, quantised))
    answers = [
        [run(feed)[0] for run in (opened.run, partial(emulated.run, None), partial(session.run, None))]
        for feed in samples
    ]
    ours, qdq, truth = (np.stack(each).astype(np.float64) for each in zip(*answers, strict=True))
    assert sqnr(ours, truth) > sqnr(qdq, truth) - 3.0
    assert sqnr(ours, qdq) > 20


def sqnr(got: Any, want: Any) -> float:
    return float(10 * np.log10(np.square(want).sum() / np.square(got - want).sum()))


def to_float(model: onnx.ModelProto, folder: Path) -> bytes:
    """The float file's weights."""
    inner = folder / "float"
    inner.mkdir()
    path, _ = convert(model, inner)
    return path.with_suffix(".bin").read_bytes()


@pytest.mark.parametrize(
    "name", ["face/ultraface_RFB_320.onnx", "face/yunet_n_320_320.onnx", "mlperf_tiny/ic_resnet8_float.derived.onnx"]
)
def test_real_networks(shared_testdata: Path, tmp_path: Path, name: str) -> None:
    model = onnx.load(shared_testdata / "models" / name)
    bench = SimpleNamespace(samples=None, scratch=tmp_path, notes=[], max_opset=21)
    agree(upgrade_opset(clean(model, {}, bench), {"at_least": 13}, bench), tmp_path)
