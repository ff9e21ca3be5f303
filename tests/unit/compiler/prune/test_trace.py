"""Which channels go together: operator by operator, and what becomes of answers when channels without effect go."""

from __future__ import annotations

import copy

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from edgeopt.compiler.prune.network import Network, groups_of
from edgeopt.compiler.prune.shapes import Split, reshaped
from edgeopt.compiler.quantize.observe import float_session
from tests.models import make, value, weights
from tests.unit.compiler.prune.nets import WIDTH, attention, between, conv, ints, op, residual


def made_by(network, name):
    """The classes that a layer makes and that may go."""
    axis = network.axis(network.layers[name].product)
    return [one for one in dict.fromkeys(axis.classes.tolist()) if not network.channels.union.is_locked(one)]


def silenced(network, classes):
    """The network with whatever reads the classes made deaf to them: the same answers as without them."""
    deaf = network.without((), {})
    for name, layer in network.layers.items():
        axis = network.axis(layer.source)
        if axis is None or layer.group > 1:
            continue
        deaf.layers[name] = copy.copy(layer)
        deaf.layers[name].weight = layer.weight.copy()
        gone = np.isin(axis.classes, classes)
        deaf.layers[name].weight[:, gone] = 0.0
    return deaf


def answers(model, shape, seed=3):
    sample = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    session = float_session(model)
    return session.run(None, {session.get_inputs()[0].name: sample})


def check_same_without(model, classes_of, shape=(1, 3, 6, 6)):
    """Take classes away that nothing listens to: answers are equal up to rounding, and less is left. Returns the smaller model."""
    network = Network.of(model)
    classes = classes_of(network)
    assert classes
    deaf = silenced(network, classes)
    smaller = deaf.without(classes, {}).model()
    onnx.checker.check_model(smaller, full_check=True)
    for expected, got in zip(answers(deaf.model(), shape), answers(smaller, shape), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)
    assert len(smaller.SerializeToString()) < len(deaf.model().SerializeToString())
    return smaller


PARAMETERS = [weights(name, WIDTH) for name in ("scale", "shift", "mean")] + [
    numpy_helper.from_array(np.linspace(0.5, 2.0, WIDTH, dtype=np.float32), "variance")
]
GATE = [weights("g1_w", 2, WIDTH, 1, 1), weights("g1_b", 2), weights("g2_w", WIDTH, 2, 1, 1), weights("g2_b", WIDTH)]
OPERATORS = {
    "nothing": ([op("Identity", ["a"], "m")], []),
    "activation": ([op("Relu", ["a"], "m")], []),
    "batch norm": ([op("BatchNormalization", ["a", "scale", "shift", "mean", "variance"], "m")], PARAMETERS),
    "slope of each channel": ([op("PRelu", ["a", "slope"], "m")], [weights("slope", WIDTH, 1, 1)]),
    "constant of each channel": ([op("Mul", ["factor", "a"], "m")], [weights("factor", 1, WIDTH, 1, 1)]),
    "one constant": ([op("Add", ["a", "one"], "m")], [weights("one", 1)]),
    "depthwise": conv("a", "m", WIDTH, WIDTH, group=WIDTH),
    "pooling": ([op("MaxPool", ["a"], "m", kernel_shape=[2, 2])], []),
    "average": ([op("GlobalAveragePool", ["a"], "m")], []),
    "mean": ([op("ReduceMean", ["a"], "m", axes=[2, 3], keepdims=1)], []),
    "padding": ([op("Pad", ["a", "pads"], "m")], [ints("pads", 0, 0, 1, 1, 0, 0, 1, 1)]),
    "concat with itself": ([op("Concat", ["a", "a"], "m", axis=2)], []),
    "there and back": (
        [op("Transpose", ["a"], "t", perm=[0, 2, 3, 1]), op("Transpose", ["t"], "m", perm=[0, 3, 1, 2])],
        [],
    ),
    "flat and back": (
        [op("Reshape", ["a", "flat"], "f"), op("Reshape", ["f", "whole"], "m")],
        [ints("flat", 1, WIDTH, 36), ints("whole", 1, WIDTH, 6, 6)],
    ),
    "gate": (
        [
            op("GlobalAveragePool", ["a"], "p"),
            op("Conv", ["p", "g1_w", "g1_b"], "g1"),
            op("Relu", ["g1"], "g1r"),
            op("Conv", ["g1r", "g2_w", "g2_b"], "g2"),
            op("Sigmoid", ["g2"], "g3"),
            op("Mul", ["a", "g3"], "m"),
        ],
        GATE,
    ),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_channels_pass_through(name):
    middle, constants = OPERATORS[name]
    smaller = check_same_without(between(middle, constants), lambda network: made_by(network, "a")[:3])
    shapes = {tensor.name: tuple(tensor.dims) for tensor in smaller.graph.initializer}
    assert any(shape[:2] == (4, WIDTH - 3) for shape in shapes.values())


def test_names_of_what_is_left_stay():
    model = between([op("Relu", ["a"], "m")])
    smaller = check_same_without(model, lambda network: made_by(network, "a")[:2])
    assert [node.output[0] for node in smaller.graph.node] == [node.output[0] for node in model.graph.node]


def test_channels_side_by_side_are_taken_one_by_one():
    other, constants = conv("x", "b", 3, 4, seed=5)
    model = between([*other, op("Concat", ["b", "a"], "m", axis=1)], constants, left=WIDTH + 4)
    check_same_without(model, lambda network: made_by(network, "b")[:2] + made_by(network, "a")[1:4])


@pytest.mark.parametrize("sizes", [(3, 5), None])
def test_parts_of_a_split_keep_what_is_left_of_them(sizes):
    middle = op("Split", ["a", "sizes"] if sizes else ["a"], "u", axis=1)
    middle.output.append("v")
    constants = [ints("sizes", *sizes)] if sizes else []
    model = between([middle, op("Concat", ["v", "u"], "m", axis=1)], constants)
    check_same_without(model, lambda network: made_by(network, "a")[1:4])


def test_a_flattened_picture_goes_with_its_channel():
    nodes, constants = conv("x", "a", 3, WIDTH)
    nodes += [op("Flatten", ["a"], "f"), op("Gemm", ["f", "d_w", "d_b"], "y", transB=1)]
    constants += [weights("d_w", 5, WIDTH * 36), weights("d_b", 5)]
    model = make(nodes, [value("x", [1, 3, 6, 6])], [value("y", [1, 5])], constants)
    smaller = check_same_without(model, lambda network: made_by(network, "a")[2:5])
    assert any(tuple(tensor.dims) == (5, (WIDTH - 3) * 36) for tensor in smaller.graph.initializer)


def test_what_is_added_up_goes_together():
    network = Network.of(residual())
    assert made_by(network, "stem") == made_by(network, "d0") == made_by(network, "d1")
    assert not set(made_by(network, "c0")) & set(made_by(network, "stem"))
    check_same_without(residual(), lambda net: made_by(net, "stem")[:3] + made_by(net, "c1")[:2])


def test_heads_go_whole_and_the_width_behind_them_channel_by_channel():
    network = Network.of(attention())
    heads = made_by(network, "q_m")
    assert len(heads) == 4
    assert heads == made_by(network, "k_m") == made_by(network, "v_m")
    assert len(made_by(network, "f_m")) == 32
    smaller = check_same_without(
        attention(), lambda net: made_by(net, "q_m")[1:2] + made_by(net, "f_m")[:8], (1, 6, 16)
    )
    targets = {tuple(numpy_helper.to_array(t)) for t in smaller.graph.initializer if t.data_type == 7}
    assert {(1, 6, 3, 4), (1, 6, 12)} <= targets


def test_heads_of_four_channels_count_as_four():
    units = {group.name: group.unit for group in groups_of(Network.of(attention()), block=8)}
    assert units == {"q_m": 2, "f_m": 8}


def test_heads_are_found_where_the_target_of_a_reshape_is_put_together():
    """As exported with open axes: [sizes of what is read, -1, 4]."""
    model = attention()
    sizes = [op("Shape", ["x"], "whole", end=2)]
    for number, node in enumerate(n for n in model.graph.node if n.op_type == "Reshape"):
        rest = ["open", "size"] if node.input[1] == "split" else ["open"]
        parts = [op("Slice", ["whole", f"from{i}", f"to{i}"], f"axis{number}{i}") for i in (0, 1)]
        joined = op("Concat", [f"axis{number}0", f"axis{number}1", *rest], f"target{number}", axis=0)
        sizes += [*parts, joined]
        node.input[1] = f"target{number}"
    constants = [ints("open", -1), ints("size", 4)] + [
        ints(f"{w}{i}", i + (w == "to")) for w in ("from", "to") for i in (0, 1)
    ]
    model.graph.initializer.extend(constants)
    nodes = [*sizes, *(copied(node) for node in model.graph.node)]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "length"
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_param = "length"
    sample = np.zeros((1, 6, 16), np.float32)
    assert not made_by(Network.of(model), "q_m")
    assert len(made_by(Network.of(model, {"x": sample}), "q_m")) == 4
    network = Network.of(model, {"x": sample})
    classes = made_by(network, "q_m")[:2]
    deaf = silenced(network, classes)
    for length in (6, 9):
        expected, got = (answers(each.model(), (1, length, 16))[0] for each in (deaf, deaf.without(classes, {})))
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-5)


def copied(node):
    return type(node).FromString(node.SerializeToString())


@pytest.mark.parametrize(
    ("middle", "constants"),
    [
        ([op("CumSum", ["a", "axis"], "m")], [numpy_helper.from_array(np.array(1, np.int64), "axis")]),
        ([op("Softmax", ["a"], "m", axis=1)], []),
        ([op("Reshape", ["a", "mixed"], "m")], [ints("mixed", 1, WIDTH, 9, 4)]),
        ([op("Transpose", ["a"], "m", perm=[0, 1, 3, 2])], []),
    ],
    ids=["unknown operator", "softmax over channels", "reshape of the picture", "transpose of the picture"],
)
def test_only_what_mixes_channels_locks_them(middle, constants):
    free = middle[0].op_type in ("Reshape", "Transpose")
    assert bool(made_by(Network.of(between(middle, constants)), "a")) == free


def test_what_reaches_an_output_stays():
    network = Network.of(between([op("Relu", ["a"], "m")]))
    assert not made_by(network, "z")


def test_grouped_convolutions_keep_what_they_read():
    assert not made_by(Network.of(between(*conv("a", "m", WIDTH, WIDTH, group=2))), "a")


def test_a_body_of_control_flow_locks_what_it_reads():
    branch = helper.make_graph([op("Relu", ["a"], "yes")], "then", [], [value("yes", None)])
    other = helper.make_graph([op("Neg", ["a"], "no")], "else", [], [value("no", None)])
    node = helper.make_node("If", ["flag"], ["m"], then_branch=branch, else_branch=other, name="if")
    flag = numpy_helper.from_array(np.array(True), "flag")
    assert not made_by(Network.of(between([node], [flag])), "a")


@pytest.mark.parametrize(
    ("before", "after", "axis", "found"),
    [
        ((None, 8, 3, 3), (None, 72), 1, Split(1, 8, 9)),
        ((None, None, 12), (None, None, 3, 4), 2, Split(2, 3, 1)),
        ((2, 5, 3, 4), (2, 5, 12), 2, Split(2, 3, 4)),
        ((1, 8, 1, 1), (1, 8), 1, Split(1, 8, 1)),
        ((1, 8), (1, 8, 1, 1), 1, Split(1, 8, 1)),
        ((1, 8, 3, 3), (8, 9), 1, Split(0, 8, 1)),
        ((4, 8, 9), (2, 16, 9), 1, None),
        ((1, 8, None), (1, 8, None), 1, None),
    ],
)
def test_where_channels_are_behind_a_reshape(before, after, axis, found):
    assert reshaped(before, after, axis) == found


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_random_networks_answer_alike_without_what_has_no_effect(data):
    """A chain of random operators, a residual sum or a concat now and then; any choice of channels that may go."""
    nodes, constants = conv("x", "a", 3, WIDTH)
    last, width = "a", WIDTH
    for number in range(data.draw(st.integers(1, 4))):
        kind, new = data.draw(st.sampled_from(["conv", "depthwise", "relu", "add", "concat", "pad"])), f"t{number}"
        if kind in ("conv", "add", "concat"):
            outputs = width if kind == "add" else data.draw(st.integers(2, WIDTH))
            made, more = conv(last, f"{new}c", width, outputs, kernel=1, seed=number)
            nodes, constants = nodes + made, constants + more
            joined = {"conv": [f"{new}c"], "add": [last, f"{new}c"], "concat": [last, f"{new}c"]}[kind]
            how = {"conv": "Tanh", "add": "Add", "concat": "Concat"}[kind]
            nodes.append(op(how, joined, new, **({"axis": 1} if kind == "concat" else {})))
            width = width + outputs if kind == "concat" else outputs
        elif kind == "depthwise":
            made, more = conv(last, new, width, width, group=width, seed=number)
            nodes, constants = nodes + made, constants + more
        elif kind == "pad":
            nodes.append(op("Pad", [last, f"{new}_p"], new))
            constants.append(ints(f"{new}_p", 0, 0, 1, 0, 0, 0, 0, 1))
        else:
            nodes.append(op("Relu", [last], new))
        last = new
    made, more = conv(last, "z", width, 3)
    model = make([*nodes, *made], [value("x", [1, 3, 6, 6])], [value("z", [1, 3, None, None])], constants + more)
    network = Network.of(model)
    free = sorted({one for name in network.layers for one in made_by(network, name)})
    classes = data.draw(st.lists(st.sampled_from(free), min_size=1, unique=True))
    removed = set(classes)
    for axis in network.channels.axes.values():
        if removed.issuperset(axis.classes.tolist()):
            return  # a tensor without channels is nobody's wish
    check_same_without(model, lambda _: classes)
