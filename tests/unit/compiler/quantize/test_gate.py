"""What does not fuse is left in float; what is int8 in name only is refused."""

from __future__ import annotations

import msgspec
import pytest

from edgeopt.compiler.quantize import ladder
from edgeopt.compiler.quantize.budgets import BUDGETS
from edgeopt.compiler.quantize.encoding import S8S8, U8S8
from edgeopt.compiler.quantize.gate import to_leave_in_float, verdict
from edgeopt.compiler.refuse import Refused
from edgeopt.domain.coverage import Coverage, Product
from tests.unit.compiler.quantize import nets


def covered(**fused):
    """Products of the given sizes; negative ones do not fuse on x86, and all fuse on ARM."""
    products = tuple(
        Product(name=name, kind="Conv", multiply_adds=abs(size), x86=size > 0, arm=True) for name, size in fused.items()
    )
    return Coverage(products=products, x86_share=None, arm_share=None, runtime_version="1.32.0")


@pytest.mark.parametrize(
    ("found", "left"),
    [
        (covered(a=96, b=-4), frozenset()),
        (covered(a=95, b=-5), frozenset()),
        (covered(a=94, b=-6), {"b"}),
        (covered(a=-1, b=-1), {"a", "b"}),
    ],
)
def test_where_under_95_percent_fuse_the_others_are_left_in_float(found, left):
    assert to_leave_in_float(found, {"a", "b"}, arm=False) == left
    assert to_leave_in_float(found, {"a", "b"}, arm=True) == frozenset()


def test_what_was_to_be_float_does_not_count():
    found = covered(a=10, stem=-90)
    assert to_leave_in_float(found, {"a"}, arm=False) == frozenset()
    assert verdict(found, {"a"}, arm=False) == (True, None)


def test_between_half_and_enough_it_stays_with_a_sentence_and_under_half_it_does_not():
    both = {"a", "b"}
    assert verdict(covered(a=95, b=-5), both, arm=False) == (True, None)
    stays, words = verdict(covered(a=60, b=-40), both, arm=False)
    assert stays
    assert words == (
        "only 60 % of the multiplications that were to be int8 run in int8 by the x86 rules of onnxruntime 1.32.0; the rest computes in float"
    )
    stays, words = verdict(covered(a=40, b=-60), both, arm=False)
    assert not stays
    assert words.startswith("only 40 % of")
    assert verdict(covered(a=40, b=-60), both, arm=True) == (True, None)


def chain():
    return nets.Chain().conv(4).op("Relu").conv(4).op("Relu").conv(4).model()


def test_signed_activations_where_the_runtime_fuses_none_of_them_are_refused(tmp_path):
    """The real runtime by its x86 rules; by those of ARM the same file is sound."""
    options = {"float_first": 0, "budget": BUDGETS["instant"], "scratch": tmp_path}
    with pytest.raises(Refused, match=r"only 0 % of the multiplications .* by the x86 rules"):
        nets.quantise(chain(), nets.feeds(tmp_path), encoding=S8S8, arm=False, **options)
    made = nets.quantise(chain(), nets.feeds(tmp_path), encoding=S8S8, arm=True, **options)
    assert made.coverage.arm_share == 1.0


def test_a_layer_that_does_not_fuse_becomes_float_with_its_quantisers_gone(tmp_path, monkeypatch):
    """A runtime that has no kernel for one of the layers; everything else is real."""

    def without_the_last(model, scratch):
        real = coverage(model, scratch)
        return msgspec.structs.replace(
            real,
            products=tuple(
                msgspec.structs.replace(each, x86=each.x86 and each.name != "t4_conv") for each in real.products
            ),
        )

    coverage = ladder.coverage
    monkeypatch.setattr(ladder, "coverage", without_the_last)
    made = nets.quantise(
        chain(), nets.feeds(tmp_path), encoding=U8S8, float_first=0, budget=BUDGETS["instant"], scratch=tmp_path
    )
    codes = {tensor.name for tensor in made.model.graph.initializer if tensor.name.endswith("_w_codes")}
    assert codes == {"t0_conv_w_codes", "t2_conv_w_codes"}
    assert not any(node.name.startswith("t4") for node in made.model.graph.node if "Linear" in node.op_type)
    assert "float, because they do not fuse: t4_conv" in made.notes
    assert any("% of the multiplications that were to be int8" in note for note in made.notes)
