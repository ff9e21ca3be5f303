"""What of a file runs in int8, in lines for people."""

from __future__ import annotations

from typing import Any

from edgeopt.domain.coverage import Coverage, Product
from edgeopt.report.documents import ExplainDocument
from edgeopt.report.explain import explain_lines


def product(name: str, *, x86: bool = True, arm: bool = True, **changes: Any) -> Product:
    reason = None if x86 and arm else "its input is float"
    values = {"kind": "Conv", "multiply_adds": 1_500_000, "reason": reason} | changes
    return Product(name=name, x86=x86, arm=arm, **values)


def test_counts_shares_and_a_reason_for_each_float_one() -> None:
    products = (
        product("stem", x86=False, arm=False),
        product("body"),
        product("only\x1barm", x86=False, multiply_adds=None),
        product("only-x86", arm=False, kind="MatMul"),
    )
    covered = Coverage(products=products, x86_share=0.75, arm_share=None)
    assert list(explain_lines(ExplainDocument(file="net.onnx", coverage=covered))) == [
        "net.onnx",
        "  by the x86 rules 2 of 4 products run in int8, 75.00 % of multiplications",
        "  by the ARM rules 2 of 4 products run in int8",
        "float:",
        "  stem (Conv, 1.50 M multiplications): its input is float",
        "  onlyarm (Conv, size unknown) by the x86 rules: its input is float",
        "  only-x86 (MatMul, 1.50 M multiplications) by the ARM rules: its input is float",
    ]


def test_it_says_where_data_leaves_int8_and_which_runtime_was_asked() -> None:
    covered = Coverage(
        products=(product("body"),), x86_share=1.0, arm_share=1.0, x86_islands=2, runtime_version="1.32.0"
    )
    assert list(explain_lines(ExplainDocument(file="net.onnx", coverage=covered)))[1:] == [
        "  by the x86 rules 1 of 1 products run in int8, 100.00 % of multiplications; 2 places between them compute in float",
        "  by the ARM rules 1 of 1 products run in int8, 100.00 % of multiplications",
        "  as onnxruntime 1.32.0 fuses them",
    ]


def test_a_variant_is_called_by_its_name_and_says_how_it_was_made() -> None:
    document = ExplainDocument(
        file="made/int8-static/model.onnx",
        variant="int8-static",
        encoding="int8 U8S8 per-channel",
        notes=("chosen: full ranges",),
        coverage=Coverage(products=(), x86_share=None, arm_share=None),
    )
    assert list(explain_lines(document)) == [
        "int8-static (int8 U8S8 per-channel)",
        "it has no convolution and no matrix product",
        "how it was made:",
        "  chosen: full ranges",
    ]
