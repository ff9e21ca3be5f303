"""What transformers need of the int8 compiler: channels that are far larger than others, look-up tables, weights in 4 bits."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgeopt.compiler.quantize import int4
from edgeopt.compiler.quantize.budgets import BUDGETS
from edgeopt.compiler.quantize.calibrate import prepare
from edgeopt.compiler.quantize.encoding import U8S8
from edgeopt.compiler.quantize.fusion import coverage
from edgeopt.compiler.quantize.ladder import sqnr_db
from edgeopt.compiler.quantize.observe import answers, float_session
from edgeopt.compiler.quantize.smooth import Channels, best_factors, expected_noise, smooth, smoothing_factors
from edgeopt.compiler.quantize.spots import find_spots
from edgeopt.compiler.quantize.tables import row_codes, shrink_tables
from edgeopt.compiler.running import Feeds
from tests import models
from tests.unit.compiler.quantize import nets

WIDTH, HEADS, WORDS, LENGTH = 32, 4, 600, 12
LARGE = [3, 11, 20]
NORMS = ("layer", "decomposed", "rms")


class Encoder:
    """A transformer block by block. Three channels of every normalisation are `outlier` times larger than the others."""

    def __init__(self, *, norm: str = "layer", outlier: float = 60.0) -> None:
        self.norm, self.outlier = norm, outlier
        self.nodes = [helper.make_node("Gather", ["words", "ids"], ["h0"], name="look_up")]
        self.constants = [models.weights("words", WORDS, WIDTH, scale=1.0)]
        self.tensor = "h0"
        self.normalised: set[str] = set()

    def op(self, kind: str, *inputs: str, **attributes: object) -> str:
        name = f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=f"{kind}_{name}", **attributes))
        return name

    def constant(self, value: object, dtype: type = np.float32) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def matrix(self, inputs: int, outputs: int, *, tamed: bool) -> str:
        """Random weights. `tamed`: what reads large channels weighs them little, as in networks that were trained."""
        weight = numpy_helper.to_array(models.weights(f"w{len(self.constants)}", inputs, outputs, scale=inputs**-0.5))
        return self.constant(
            np.where(np.isin(np.arange(inputs), LARGE)[:, None] & tamed, weight / self.outlier, weight)
        )

    def dense(self, source: str, inputs: int, outputs: int) -> str:
        return self.op(
            "Add",
            self.op("MatMul", source, self.matrix(inputs, outputs, tamed=source in self.normalised)),
            self.constant(np.linspace(-0.2, 0.2, outputs)),
        )

    def normalise(self, source: str) -> str:
        self.normalised.add(made := self._normalise(source))
        return made

    def _normalise(self, source: str) -> str:
        gamma = np.ones(WIDTH)
        gamma[LARGE] = self.outlier
        scale, shift = self.constant(gamma), self.constant(np.linspace(-0.1, 0.1, WIDTH))
        if self.norm == "layer":
            return self.op("LayerNormalization", source, scale, shift, axis=-1)
        centred = source if self.norm == "rms" else self.op("Sub", source, self.op("ReduceMean", source, axes=[-1]))
        square = self.op("ReduceMean", self.op("Mul", centred, centred), axes=[-1])
        unit = self.op("Div", centred, self.op("Sqrt", self.op("Add", square, self.constant(1e-6))))
        scaled = self.op("Mul", unit, scale)
        return scaled if self.norm == "rms" else self.op("Add", scaled, shift)

    def heads(self, source: str, *, perm: tuple[int, ...] = (0, 2, 1, 3)) -> str:
        shape = self.constant([0, 0, HEADS, WIDTH // HEADS], np.int64)
        return self.op("Transpose", self.op("Reshape", source, shape), perm=perm)

    def block(self, *, post: bool = False) -> Encoder:
        """Attention and two dense layers. `post`: normalised behind each sum (BERT), so that sums read what the layers read; else in front of the layers (GPT, ViT)."""
        source = self.tensor
        seen = source if post else self.normalise(source)
        q, k, v = (self.dense(seen, WIDTH, WIDTH) for _ in range(3))
        scores = self.op("MatMul", self.heads(q), self.heads(k, perm=(0, 2, 3, 1)))
        mixed = self.op("MatMul", self.op("Softmax", scores, axis=-1), self.heads(v))
        rows = self.op(
            "Reshape", self.op("Transpose", mixed, perm=(0, 2, 1, 3)), self.constant([0, 0, WIDTH], np.int64)
        )
        summed = self.op("Add", source, self.dense(rows, WIDTH, WIDTH))
        middle = self.normalise(summed)
        wide = self.op("Relu", self.dense(middle, WIDTH, 2 * WIDTH))
        last = self.op("Add", middle if post else summed, self.dense(wide, 2 * WIDTH, WIDTH))
        self.tensor = self.normalise(last) if post else last
        return self

    def model(self) -> onnx.ModelProto:
        """With a last layer: an answer of large channels would be judged by these alone."""
        self.tensor = self.dense(self.tensor, WIDTH, 8)
        inputs = [models.value("ids", [1, "length"], TensorProto.INT64)]
        return models.make(self.nodes, inputs, [models.value(self.tensor, None)], self.constants)


def texts(folder: Path, count: int = 48, seed: int = 0) -> Feeds:
    generator = np.random.default_rng(seed)
    path = folder / f"texts-{seed}.npz"
    np.savez(path, **{f"s{i}.0": generator.integers(0, WORDS, (1, LENGTH)) for i in range(count)})
    return Feeds(path, ["ids"], count)


def smoothed_net(model: onnx.ModelProto, samples: Feeds) -> tuple[onnx.ModelProto, onnx.ModelProto, int]:
    """(the float graph before, after, how many tensors were scaled)."""
    before, after = prepare(model), prepare(model)
    count = smooth(after.graph, after.layers, samples)
    return before.graph.model, after.graph.model, count


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("post", [False, True])
def test_smoothing_changes_no_answer(tmp_path, norm, post):
    samples = texts(tmp_path, 8)
    before, after, count = smoothed_net(Encoder(norm=norm).block(post=post).block(post=post).model(), samples)
    assert count >= 3
    assert sqnr_db(answers(before, samples, fused=False), answers(after, samples, fused=False)) > 100


@pytest.mark.parametrize("norm", NORMS)
def test_where_only_layers_read_a_normalisation_smoothing_adds_no_operator(tmp_path, norm):
    model = Encoder(norm=norm).block().model()
    spots = find_spots(prepare(model).graph, prepare(model).layers)
    assert [len(spot.readers) for spot in spots if spot.folds] == [3, 1]
    before, after, _ = smoothed_net(model, texts(tmp_path, 8))
    made = {node.output[0] for node in before.graph.node}
    added = [node for node in after.graph.node if node.output[0] not in made]
    assert not {node.input[0] for node in added} & {spot.tensor for spot in spots if spot.folds}


def test_what_a_residual_sum_reads_is_left_as_it_is(tmp_path):
    """As in BERT: one product by 1 / s stands in front of query, key and value together."""
    model = Encoder().block(post=True).block(post=True).model()
    prepared = prepare(model)
    behind = [spot for spot in find_spots(prepared.graph, prepared.layers) if spot.constants]
    assert [spot.folds for spot in behind] == [False, False, False, True]  # only the last layer reads the last one
    before, after, count = smoothed_net(model, texts(tmp_path, 8))
    norms = [[n for n in each.graph.node if n.op_type == "LayerNormalization"] for each in (before, after)]
    assert [list(n.input) for n in norms[0][:3]] == [list(n.input) for n in norms[1][:3]]
    assert sum(n.op_type == "Mul" for n in after.graph.node) == count - 1


def test_a_network_without_normalisation_has_nothing_to_smooth():
    prepared = prepare(nets.classifier())
    assert find_spots(prepared.graph, prepared.layers) == []


@pytest.mark.parametrize("post", [False, True])
def test_planted_outliers_cost_an_int8_transformer_far_less_when_it_is_smoothed(tmp_path, monkeypatch, post):
    model = Encoder(outlier=80.0).block(post=post).block(post=post).model()
    samples, held_out = texts(tmp_path), texts(tmp_path, 16, seed=1)
    truth = answers(model, held_out, fused=False)

    def made() -> tuple[float, list[str], int]:
        result = nets.quantise(
            model, samples, encoding=U8S8, float_first=0, budget=BUDGETS["instant"], scratch=tmp_path
        )
        covered = result.coverage.fused(arm=False)
        return sqnr_db(truth, answers(result.model, held_out, fused=False)), result.notes, covered

    smooth_db, notes, fused = made()
    monkeypatch.setattr("edgeopt.compiler.quantize.ladder.smoothed_if_better", lambda prepared, *_: (prepared, []))
    plain_db, _, fused_without = made()
    assert smooth_db > plain_db + 6
    assert fused == fused_without == 13
    assert any("tensors smoothed" in note for note in notes)


def test_smoothing_that_does_not_help_is_not_kept(tmp_path):
    """Every channel alike: the draft decides, and says so."""
    model = Encoder(outlier=1.0).block().model()
    notes = nets.quantise(
        model, texts(tmp_path), encoding=U8S8, float_first=0, budget=BUDGETS["instant"], scratch=tmp_path
    ).notes
    words = [note for note in notes if "smoothed" in note]
    assert all(_gain(note) > 0 or note.startswith("not kept") for note in words)


def _gain(note: str) -> float:
    after, before = re.findall(r"-?[\d.]+(?= dB| without)", note)
    return float(after) - float(before)


@settings(max_examples=40, derandomize=True, deadline=None)
@given(seed=st.integers(0, 10_000), alpha=st.sampled_from([0.3, 0.5, 0.65, 0.8]))
def test_factors_are_finite_positive_and_centred(seed, alpha):
    """Also with channels that are always 0 and with inputs that nobody weighs."""
    channels, weights = _channels(seed)
    factors = smoothing_factors(weights, channels, alpha)
    assert np.isfinite(factors).all()
    assert (factors > 0).all()
    assert factors[0] == factors[1] == 1.0
    np.testing.assert_allclose(np.log(factors[2:]).mean(), 0.0, atol=1e-6)
    for each in weights:
        x = np.random.default_rng(seed).standard_normal(each.shape[1])
        np.testing.assert_allclose((each * factors) @ (x / factors), each @ x, rtol=1e-6, atol=1e-9)


@settings(max_examples=40, derandomize=True, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_the_chosen_factors_promise_what_was_asked_for(seed):
    channels, weights = _channels(seed)
    factors = best_factors(weights, channels, 1.0)
    plain = expected_noise(weights, channels, np.ones(len(channels.low)))
    if factors is not None:
        assert expected_noise(weights, channels, factors) < plain * 10**-0.1
    assert best_factors(weights, channels, 100.0) is None


def _channels(seed: int) -> tuple[Channels, list[np.ndarray]]:
    """Channels of very different size; the first is always 0, the second nobody weighs."""
    generator = np.random.default_rng(seed)
    size = np.exp(generator.normal(0, 2, 16))
    size[0] = 0.0
    weights = [generator.standard_normal((8, 16)) for _ in range(2)]
    for each in weights:
        each[:, 1] = 0.0
    return Channels(low=-size * 0.7, high=size, power=np.square(size) / 4), weights


def test_a_large_table_becomes_int8_and_the_answers_stay(tmp_path):
    model = Encoder(outlier=1.0).block().model()
    small = onnx.ModelProto()
    small.CopyFrom(model)
    saved = shrink_tables(small)
    assert saved == {"words": WORDS * WIDTH * 3 - WORDS * 4}
    assert len(model.SerializeToString()) - len(small.SerializeToString()) > 0.95 * saved["words"]
    samples = texts(tmp_path, 8)
    assert sqnr_db(answers(model, samples, fused=False), answers(small, samples, fused=True)) > 35


def test_the_runtime_does_not_make_the_table_float_again(tmp_path):
    """It would, were the table itself dequantised."""
    model = Encoder().block().model()
    shrink_tables(model)
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    tables = [t for t in onnx.load(tmp_path / "optimised.onnx").graph.initializer if list(t.dims) == [WORDS, WIDTH]]
    assert [t.data_type for t in tables] == [TensorProto.INT8]


@pytest.mark.parametrize("why", ["small", "read otherwise", "along columns", "an output"])
def test_other_tables_stay_as_they_are(why):
    rows = 40 if why == "small" else WORDS
    table = models.weights("t", rows, WIDTH)
    nodes = [helper.make_node("Gather", ["t", "ids"], ["y"], axis=1 if why == "along columns" else 0)]
    outputs = [models.value("y", None)]
    if why == "read otherwise":
        nodes.append(helper.make_node("ReduceMax", ["t"], ["z"], keepdims=0))
        outputs.append(models.value("z", None))
    if why == "an output":
        outputs.append(models.value("t", [rows, WIDTH]))
    model = models.make(nodes, [models.value("ids", [3], TensorProto.INT64)], outputs, [table])
    before = model.SerializeToString()
    assert shrink_tables(model) == {}
    assert model.SerializeToString() == before


@settings(max_examples=30, derandomize=True, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_rows_are_rounded_by_half_a_step_at_most(seed):
    table = np.random.default_rng(seed).standard_normal((20, 8)).astype(np.float32) * 3
    table[4] = 0.0
    codes, scales = row_codes(table)
    assert (np.abs(codes * scales - table) <= scales * 0.5001).all()


@pytest.mark.parametrize("level", [1, 4])
@pytest.mark.parametrize("inputs", [64, 72])
def test_the_runtime_reads_4_bits_as_they_were_meant(level, inputs):
    """Also where the last block is not full, and for a Gemm with a bias."""
    weight = numpy_helper.to_array(models.weights("w", inputs, 96))
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["y"], name="product"),
        helper.make_node("Gemm", ["x", "wt", "b"], ["z"], name="gemm", transB=1),
    ]
    constants = [
        models.weights("w", inputs, 96),
        numpy_helper.from_array(weight.T.copy(), "wt"),
        models.weights("b", 96),
    ]
    outputs = [models.value(name, [5, 96]) for name in "yz"]
    model = models.make(nodes, [models.value("x", [5, inputs])], outputs, constants)
    assert set(int4.pack_products(model, accuracy_level=level)) == {"product", "gemm"}
    codes, scales = int4.block_codes(weight.T)
    meant = ((codes.astype(np.float32) - 8) * scales[..., None]).reshape(96, -1)[:, :inputs].T
    value = np.random.default_rng(0).standard_normal((5, inputs)).astype(np.float32)
    y, z = float_session(model).run(None, {"x": value})
    tolerance = 1e-4 if level == 1 else 0.03 * np.abs(value @ meant).max()
    np.testing.assert_allclose(y, value @ meant, atol=tolerance)
    np.testing.assert_allclose(z, value @ meant + numpy_helper.to_array(models.weights("b", 96)), atol=tolerance)


@settings(max_examples=30, derandomize=True, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_searched_scales_are_never_worse_than_those_of_the_largest_value(seed):
    weight = np.random.default_rng(seed).standard_t(4, (6, 64)).astype(np.float32)
    codes, scales = int4.block_codes(weight)
    error = np.square((codes.astype(np.float32) - 8) * scales[..., None] - weight.reshape(6, 2, 32)).sum(axis=2)
    blocks = weight.reshape(6, 2, 32)
    plain = np.abs(blocks).max(axis=2, keepdims=True) / 7
    largest = np.square(np.clip(np.rint(blocks / plain), -8, 7) * plain - blocks).sum(axis=2)
    assert error.sum() < largest.sum()
    assert codes.max() <= 15


def test_small_and_computed_factors_stay_float():
    nodes = [helper.make_node("MatMul", ["x", "s"], ["y"]), helper.make_node("MatMul", ["y", "other"], ["z"])]
    inputs = [models.value("x", [4, 32]), models.value("other", [8, 600])]
    model = models.make(nodes, inputs, [models.value("z", None)], [models.weights("s", 32, 8)])
    assert int4.pack_products(model, accuracy_level=4) == {}


def test_an_int8_transformer_keeps_its_products_on_integer_kernels_with_int8_tables(tmp_path):
    model = Encoder().block().model()
    made = nets.quantise(
        model, texts(tmp_path), encoding=U8S8, float_first=0, budget=BUDGETS["instant"], scratch=tmp_path
    ).model
    shrink_tables(made)
    assert coverage(made, tmp_path).fused(arm=False) == 7
