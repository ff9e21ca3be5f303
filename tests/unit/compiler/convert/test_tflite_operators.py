"""Every operator that is written as TFLite, on small graphs of any shape, against ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgeopt.compiler.refuse import Refused
from tests import models
from tests.unit.compiler.convert.lite import agree, convert, noise

some = settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


def constant(name: str, value: Any, dtype: Any = np.float32) -> TensorProto:
    return numpy_helper.from_array(np.asarray(value, dtype), name)


def graph(
    nodes: list[Any], shape: tuple[int, ...], constants: Any = (), *, opset: int = 17, more: Any = ()
) -> onnx.ModelProto:
    """From x to y, shapes of what is in between inferred."""
    inputs = [models.value("x", shape), *more]
    return models.make(nodes, inputs, [models.value("y", None)], constants, opset=opset)


def one(
    kind: str, shape: tuple[int, ...], *constants: TensorProto, opset: int = 17, **attributes: Any
) -> onnx.ModelProto:
    node = helper.make_node(kind, ["x", *(each.name for each in constants)], ["y"], **attributes)
    return graph([node], shape, constants, opset=opset)


sides = st.integers(5, 12)


@some
@given(
    channels=st.sampled_from([1, 2, 4, 6]),
    per_group=st.integers(1, 3),
    group=st.sampled_from(["one", "two", "all"]),
    size=st.tuples(sides, sides),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    dilation=st.integers(1, 2),
    pads=st.lists(st.integers(0, 2), min_size=4, max_size=4),
    auto=st.sampled_from(["NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"]),
    bias=st.booleans(),
)
def test_convolutions_of_every_kind(  # noqa: PLR0917 - what there is to vary
    channels, per_group, group, size, kernel, stride, dilation, pads, auto, bias
):
    groups = {"one": 1, "two": 2, "all": channels}[group]
    assume(channels % groups == 0)
    assume(not (dilation > 1 and max(stride) > 1))
    assume(all(n >= (k - 1) * dilation + 1 for n, k in zip(size, kernel, strict=True)))
    weight = constant("w", noise(per_group * groups, channels // groups, *kernel, seed=1))
    padding = {"auto_pad": auto} if auto != "NOTSET" else {"pads": pads}
    rest = [constant("b", noise(per_group * groups, seed=2))] if bias else []
    model = one(
        "Conv", (1, channels, *size), weight, *rest, group=groups, strides=stride, dilations=[dilation] * 2, **padding
    )
    agree(model, {"x": noise(1, channels, *size)})


@some
@given(
    channels=st.integers(1, 4),
    length=st.integers(6, 20),
    kernel=st.integers(1, 4),
    stride=st.integers(1, 2),
    pad=st.integers(0, 2),
)
def test_convolutions_along_one_axis(channels, length, kernel, stride, pad):
    weight = constant("w", noise(5, channels, kernel, seed=1))
    agree(
        one("Conv", (1, channels, length), weight, strides=[stride], pads=[pad, pad]), {"x": noise(1, channels, length)}
    )


@some
@given(
    size=st.tuples(st.integers(2, 6), st.integers(2, 6)),
    kernel=st.integers(1, 4),
    stride=st.integers(1, 3),
    pad=st.integers(0, 1),
    more=st.integers(0, 1),
)
def test_transposed_convolutions(size, kernel, stride, pad, more):
    assume(kernel > pad + 1 and more < stride and more <= pad)
    weight = constant("w", noise(3, 4, kernel, kernel, seed=1))
    model = one("ConvTranspose", (1, 3, *size), weight, strides=[stride] * 2, pads=[pad] * 4, output_padding=[more] * 2)
    agree(model, {"x": noise(1, 3, *size)})


@some
@given(
    kind=st.sampled_from(["MaxPool", "AveragePool"]),
    size=st.tuples(sides, sides),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    stride=st.integers(1, 3),
    pads=st.lists(st.integers(0, 1), min_size=4, max_size=4),
    ceil=st.integers(0, 1),
    counted=st.integers(0, 1),
)
def test_pooling(kind, size, kernel, stride, pads, ceil, counted):
    assume(all(begin < k and end < k for begin, end, k in zip(pads[:2], pads[2:], kernel, strict=True)))
    options = {"count_include_pad": counted} if kind == "AveragePool" else {}
    model = one(
        kind, (1, 3, *size), kernel_shape=kernel, strides=[stride] * 2, pads=pads, ceil_mode=ceil, opset=19, **options
    )
    last = [-(-(n + b + e - k) // stride) for n, b, e, k in zip(size, pads[:2], pads[2:], kernel, strict=True)]
    empty = any(begin * stride >= n + b for begin, n, b in zip(last, size, pads[:2], strict=True))
    if ceil and empty:
        return  # ONNX's own shape inference and ONNX Runtime do not agree on these
    agree(model, {"x": noise(1, 3, *size)})


UNARY = {
    "Relu": {}, "Sigmoid": {}, "Tanh": {}, "Elu": {}, "LeakyRelu": {"alpha": 0.1}, "HardSigmoid": {"alpha": 0.3, "beta": 0.4}, "HardSwish": {},
    "Softplus": {}, "Exp": {}, "Neg": {}, "Abs": {}, "Floor": {}, "Ceil": {}, "Sin": {}, "Cos": {}, "Sign": {}, "Identity": {}, "Round": {},
    "GlobalAveragePool": {}, "GlobalMaxPool": {}, "Flatten": {}, "Dropout": {},
}  # fmt: skip


@pytest.mark.parametrize("kind", UNARY)
def test_functions_of_one_value(kind):
    agree(one(kind, (1, 3, 4, 5), **UNARY[kind]), {"x": noise(1, 3, 4, 5, low=-4, high=4)}, tolerance=2e-6)


@pytest.mark.parametrize("kind", ["Sqrt", "Log", "Reciprocal"])
def test_functions_of_a_positive_value(kind):
    agree(one(kind, (1, 3, 4, 5)), {"x": noise(1, 3, 4, 5, low=0.5, high=4)})


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu(approximate):
    agree(one("Gelu", (2, 7), opset=20, approximate=approximate), {"x": noise(2, 7, low=-3, high=3)})


@some
@given(low=st.sampled_from([None, 0.0, -1.0, 0.3]), high=st.sampled_from([None, 6.0, 1.0, 0.7]))
def test_clip_between_any_bounds(low, high):
    constants = [constant(name, value) for name, value in (("low", low), ("high", high)) if value is not None]
    names = ["low" if low is not None else "", "high" if high is not None else ""]
    node = helper.make_node("Clip", ["x", *names], ["y"])
    agree(graph([node], (1, 3, 4, 4), constants), {"x": noise(1, 3, 4, 4, low=-8, high=8)})


@st.composite
def stretched(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...]]:
    whole = draw(st.lists(st.integers(1, 4), min_size=1, max_size=5))
    other = [draw(st.sampled_from([1, size])) for size in whole][draw(st.integers(0, len(whole) - 1)) :]
    return tuple(whole), tuple(other)


@some
@given(
    kind=st.sampled_from(["Add", "Sub", "Mul", "Div", "Max", "Min"]),
    shapes=stretched(),
    turned=st.booleans(),
    fixed=st.booleans(),
)
def test_operators_of_two_values_stretch_them(kind, shapes, turned, fixed):
    whole, other = shapes
    value = noise(*other, seed=1, low=0.5, high=2)
    node = helper.make_node(kind, ["z", "x"] if turned else ["x", "z"], ["y"])
    feed = {"x": noise(*whole, low=0.5, high=2)}
    if fixed:
        agree(graph([node], whole, [constant("z", value)]), feed)
    else:
        agree(graph([node], whole, more=[models.value("z", other)]), feed | {"z": value})


def test_powers():
    for exponent in (2.0, 0.5, 1.0, 3.0, -0.5):
        agree(one("Pow", (2, 5), constant("e", exponent)), {"x": noise(2, 5, low=0.5, high=2)})


def test_a_slope_for_each_channel():
    agree(one("PRelu", (1, 3, 4, 4), constant("s", noise(3, 1, 1, seed=1))), {"x": noise(1, 3, 4, 4)})


@st.composite
def reshaped(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...]]:
    primes = draw(st.lists(st.sampled_from([1, 2, 3]), min_size=2, max_size=6))

    def grouped() -> tuple[int, ...]:
        cuts = sorted(draw(st.sets(st.integers(1, len(primes) - 1), max_size=4)))
        parts = [primes[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(primes)], strict=True)]
        return tuple(int(np.prod(part)) for part in parts)

    return grouped(), grouped()


@settings(some, max_examples=60)
@given(shapes=reshaped(), data=st.data())
def test_transposes_and_reshapes_in_a_row(shapes, data):
    """However axes are moved, split and joined: what is read out is what ONNX has."""
    first, second = shapes
    before, after = (data.draw(st.permutations(range(len(shape)))) for shape in (first, second))
    turned = tuple(first[axis] for axis in before)
    nodes = [
        helper.make_node("Transpose", ["x"], ["a"], perm=before),
        helper.make_node("Transpose", ["a"], ["b"], perm=list(np.argsort(before))),
        helper.make_node("Reshape", ["b", "s"], ["c"]),
        helper.make_node("Transpose", ["c"], ["d"], perm=after),
        helper.make_node("Reshape", ["d", "t"], ["e"]),
        helper.make_node("Add", ["e", "a"], ["y"]),
    ]
    constants = [constant("s", second, np.int64), constant("t", turned, np.int64)]
    agree(graph(nodes, first, constants), {"x": noise(*first)})


@some
@given(axis=st.integers(-3, 3), behind=st.booleans())
def test_concatenation_along_any_axis(axis, behind):
    """Also of pictures that lie differently: one from a convolution, one from outside."""
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Concat", ["c", "x"] if behind else ["x", "c"], ["y"], axis=axis),
    ]
    agree(graph(nodes, (1, 3, 4, 5), [constant("w", noise(3, 3, 1, 1))]), {"x": noise(1, 3, 4, 5)})


@some
@given(axis=st.integers(0, 3), parts=st.sampled_from([(2, 2), (1, 3), (1, 1, 2)]))
def test_splits(axis, parts):
    names = [f"p{number}" for number in range(len(parts))]
    nodes = [
        helper.make_node("Split", ["x", "n"], names, axis=axis),
        helper.make_node("Concat", names[::-1], ["y"], axis=axis),
    ]
    agree(graph(nodes, (4, 4, 4, 4), [constant("n", parts, np.int64)]), {"x": noise(4, 4, 4, 4)})


@some
@given(
    begin=st.integers(-7, 6), end=st.integers(-7, 9), step=st.sampled_from([1, 2, 3, -1, -2]), axis=st.integers(0, 2)
)
def test_slices(begin, end, step, axis):
    assume(len(range(6)[begin:end:step]) > 0)
    constants = [
        constant(name, [value], np.int64) for name, value in (("b", begin), ("e", end), ("a", axis), ("s", step))
    ]
    agree(one("Slice", (6, 6, 6), *constants), {"x": noise(6, 6, 6)})


@pytest.mark.parametrize("mode", ["constant", "reflect"])
@pytest.mark.parametrize("value", [0.0, 1.5])
def test_padding(mode, value):
    constants = [constant("p", [0, 0, 1, 2, 0, 0, 2, 1], np.int64), constant("v", value)]
    agree(one("Pad", (1, 2, 4, 5), *constants, mode=mode), {"x": noise(1, 2, 4, 5)})


@pytest.mark.parametrize("indices", [[0, 2, -1], 1, [[0, 1], [2, 0]]])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_look_ups(indices, axis):
    agree(one("Gather", (3, 4, 5), constant("i", indices, np.int64), axis=axis), {"x": noise(3, 4, 5)})


@some
@given(
    kind=st.sampled_from(["ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd", "ReduceL2", "ReduceSumSquare"]),
    axes=st.sets(st.integers(-3, 2), min_size=1, max_size=2),
    keep=st.integers(0, 1),
)
def test_reductions(kind, axes, keep):
    assume(len({axis % 3 for axis in axes}) == len(axes))
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=[1, 2, 0]),
        helper.make_node(kind, ["t"], ["y"], axes=list(axes), keepdims=keep),
    ]
    agree(graph(nodes, (3, 4, 5)), {"x": noise(3, 4, 5)})


def test_sums_along_axes_that_are_given_as_an_input():
    agree(one("ReduceSum", (3, 4, 5), constant("a", [1], np.int64)), {"x": noise(3, 4, 5)})


@pytest.mark.parametrize("opset", [11, 17])
@pytest.mark.parametrize("kind", ["Softmax", "LogSoftmax"])
@pytest.mark.parametrize("axis", [1, -1])
def test_softmax_in_its_old_and_new_meaning(opset, kind, axis):
    agree(one(kind, (2, 3, 4), opset=opset, axis=axis), {"x": noise(2, 3, 4)})


@pytest.mark.parametrize("keep", [0, 1])
@pytest.mark.parametrize("kind", ["ArgMax", "ArgMin"])
def test_places_of_the_largest(kind, keep):
    node = helper.make_node(kind, ["x"], ["y"], axis=1, keepdims=keep)
    model = models.make([node], [models.value("x", (2, 5, 3))], [models.value("y", None, TensorProto.INT64)])
    agree(model, {"x": noise(2, 5, 3)})


@some
@given(
    mode=st.sampled_from(["nearest", "linear"]),
    way=st.sampled_from(["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"]),
    rounding=st.sampled_from(["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]),
    size=st.tuples(st.integers(2, 6), st.integers(2, 6)),
    answer=st.tuples(st.integers(2, 13), st.integers(2, 13)),
)
def test_resizing_counts_pixels_as_onnx_does(mode, way, rounding, size, answer):
    options = {"nearest_mode": rounding} if mode == "nearest" else {}
    node = helper.make_node(
        "Resize", ["x", "", "", "s"], ["y"], mode=mode, coordinate_transformation_mode=way, **options
    )
    model = graph([node], (1, 2, *size), [constant("s", [1, 2, *answer], np.int64)])
    agree(model, {"x": noise(1, 2, *size)}, tolerance=1e-5)


@pytest.mark.parametrize("rounding", ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
@pytest.mark.parametrize("way", ["half_pixel", "align_corners", "asymmetric"])
@pytest.mark.parametrize("answer", [(6, 8), (2, 2), (5, 7)])
def test_nearest_pixels_are_onnx_s_own(way, rounding, answer):
    """Where none of LiteRT's ways of counting gives them, they are looked up."""
    options = {"coordinate_transformation_mode": way, "nearest_mode": rounding}
    node = helper.make_node("Resize", ["x", "", "", "s"], ["y"], mode="nearest", **options)
    model = graph([node], (1, 2, 3, 4), [constant("s", [1, 2, *answer], np.int64)])
    kinds = agree(model, {"x": noise(1, 2, 3, 4)}, tolerance=0.0)
    assert ("GATHER" in kinds) != ("RESIZE_NEAREST_NEIGHBOR" in kinds)


def test_a_way_of_counting_that_litert_has_not_is_refused_for_linear():
    constants = [constant("r", [], np.float32), constant("s", [1, 1, 2.3, 2.3])]
    with pytest.raises(Refused, match="not among the runtime's"):
        convert(one("Resize", (1, 1, 4, 4), *constants, mode="linear", coordinate_transformation_mode="asymmetric"))


def test_old_ways_of_enlarging():
    agree(one("Upsample", (1, 2, 3, 4), constant("s", [1, 1, 2, 2]), opset=9, mode="nearest"), {"x": noise(1, 2, 3, 4)})
    agree(one("Resize", (1, 2, 3, 4), constant("s", [1, 1, 2, 2]), opset=10, mode="nearest"), {"x": noise(1, 2, 3, 4)})


@some
@given(
    inner=st.integers(1, 5),
    rows=st.integers(1, 4),
    columns=st.integers(1, 5),
    turned=st.booleans(),
    rank=st.integers(2, 4),
)
def test_matrix_products(inner, rows, columns, turned, rank):
    shape = (*(2, 3)[: rank - 2], rows, inner)
    fixed = constant("w", noise(inner, columns, seed=1))
    agree(one("MatMul", shape, fixed), {"x": noise(*shape)})
    other = (*shape[:-2], columns, inner) if turned else (*shape[:-2], inner, columns)
    perm = [*range(rank - 2), rank - 1, rank - 2]
    nodes = [helper.make_node("Transpose", ["z"], ["t"], perm=perm)] if turned else []
    nodes.append(helper.make_node("MatMul", ["x", "t" if turned else "z"], ["y"]))
    agree(graph(nodes, shape, more=[models.value("z", other)]), {"x": noise(*shape), "z": noise(*other, seed=1)})


@some
@given(
    alpha=st.sampled_from([1.0, 0.5]),
    beta=st.sampled_from([1.0, 2.0]),
    turned=st.integers(0, 1),
    bias=st.sampled_from([None, (4,), (1, 4), (2, 4), ()]),
)
def test_gemm(alpha, beta, turned, bias):
    constants = [constant("w", noise(*((4, 3) if turned else (3, 4)), seed=1))]
    constants += [] if bias is None else [constant("b", noise(*bias, seed=2))]
    agree(one("Gemm", (2, 3), *constants, alpha=alpha, beta=beta, transB=turned), {"x": noise(2, 3)})


@pytest.mark.parametrize(("first", "second"), [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_gemm_of_computed_matrices(first, second):
    shapes = [(3, 2) if first else (2, 3), (4, 3) if second else (3, 4)]
    node = helper.make_node("Gemm", ["x", "z", "b"], ["y"], transA=first, transB=second, alpha=0.5, beta=2.0)
    model = graph([node], shapes[0], [constant("b", noise(4, seed=2))], more=[models.value("z", shapes[1])])
    agree(model, {"x": noise(*shapes[0]), "z": noise(*shapes[1], seed=1)})


def test_normalisations():
    scale, shift = constant("s", noise(3, seed=1)), constant("b", noise(3, seed=2))
    mean, variance = constant("m", noise(3, seed=3)), constant("v", noise(3, seed=4, low=0.5, high=2))
    picture = {"x": noise(1, 3, 4, 5)}
    agree(one("BatchNormalization", (1, 3, 4, 5), scale, shift, mean, variance), picture)
    agree(one("InstanceNormalization", (1, 3, 4, 5), scale, shift), picture)
    agree(one("LRN", (1, 3, 4, 5), size=3, alpha=0.3, beta=0.6, bias=1.5), picture)
    rows = constant("s", noise(5, seed=1)), constant("b", noise(5, seed=2))
    agree(one("LayerNormalization", (2, 4, 5), *rows, axis=-1), {"x": noise(2, 4, 5)})


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_blocks(mode):
    agree(one("DepthToSpace", (1, 8, 3, 4), blocksize=2, mode=mode), {"x": noise(1, 8, 3, 4)})
    agree(one("SpaceToDepth", (1, 3, 4, 6), blocksize=2), {"x": noise(1, 3, 4, 6)})


def test_where_and_comparisons():
    nodes = [helper.make_node("Greater", ["x", "z"], ["c"]), helper.make_node("Where", ["c", "x", "z"], ["y"])]
    agree(graph(nodes, (2, 3), more=[models.value("z", (1, 3))]), {"x": noise(2, 3), "z": noise(1, 3, seed=1)})


def test_stretched_and_repeated():
    agree(one("Expand", (1, 3, 1), constant("s", [2, 3, 4], np.int64)), {"x": noise(1, 3, 1)})
    agree(one("Tile", (1, 3, 2), constant("r", [2, 1, 3], np.int64)), {"x": noise(1, 3, 2)})


def hard_swish(way: str) -> onnx.ModelProto:
    constants = [constant("three", 3.0), constant("zero", 0.0), constant("six", 6.0)]
    ramp = [helper.make_node("Add", ["x", "three"], ["a"]), helper.make_node("Clip", ["a", "zero", "six"], ["r"])]
    last = {
        "gate": [helper.make_node("Div", ["r", "six"], ["g"]), helper.make_node("Mul", ["x", "g"], ["y"])],
        "product": [helper.make_node("Mul", ["r", "x"], ["g"]), helper.make_node("Div", ["g", "six"], ["y"])],
    }
    return graph([*ramp, *last[way]], (1, 3, 4, 4), constants)


@pytest.mark.parametrize("way", ["gate", "product"])
def test_hard_swish_is_recognised(way):
    kinds = agree(hard_swish(way), {"x": noise(1, 3, 4, 4, low=-5, high=5)})
    assert dict(kinds) == {"HARD_SWISH": 1}


def test_the_square_of_a_ramp_is_no_hard_swish():
    model = hard_swish("product")
    model.graph.node[2].input[1] = "r"
    assert "HARD_SWISH" not in agree(model, {"x": noise(1, 3, 4, 4, low=-5, high=5)})


@pytest.mark.parametrize("first", ["half", "x"])
def test_gelu_is_recognised(first):
    constants = [constant("root", 2**0.5), constant("one", 1.0), constant("half", 0.5)]
    nodes = [
        helper.make_node("Div", ["x", "root"], ["s"]),
        helper.make_node("Erf", ["s"], ["e"]),
        helper.make_node("Add", ["e", "one"], ["a"]),
        helper.make_node("Mul", ["a", first], ["m"]),
        helper.make_node("Mul", ["m", "x" if first == "half" else "half"], ["y"]),
    ]
    assert dict(agree(graph(nodes, (2, 5), constants), {"x": noise(2, 5, low=-3, high=3)})) == {"GELU": 1}


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (one("Erf", (2, 3)), r"Erf \(y\).*GELU"),
        (one("Elu", (2, 3), alpha=0.5), "ELU has an alpha of 1"),
        (one("Conv", (1, 1, 4, 4, 4), constant("w", noise(1, 1, 2, 2, 2))), "one axis or two"),
        (
            one("Resize", (1, 1, 4, 4), constant("r", [], np.float32), constant("s", [1, 1, 2, 2]), mode="cubic"),
            "cubic",
        ),
        (one("Pad", (2, 3), constant("p", [0, 1, 0, 1], np.int64), mode="edge"), "edge"),
        (one("Det", (2, 2)), r"Det \(y\)"),
    ],
)
def test_what_is_not_covered_is_named(model, words):
    with pytest.raises(Refused, match=words) as caught:
        convert(model)
    assert caught.value.code == "step-failed"
