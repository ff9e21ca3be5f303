"""Which of a model's products a runtime computes in int8."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

import msgspec

FLOAT_PRODUCTS = frozenset(
    {"Conv", "FusedConv", "Gemm", "FusedGemm", "MatMul", "FusedMatMul", "ConvTranspose", "LSTM", "GRU"}
)
"""Operators of ONNX Runtime that multiply in float."""

INTEGER_PRODUCTS = frozenset(
    {"QLinearConv", "QLinearMatMul", "QGemm", "MatMulInteger", "MatMulIntegerToFloat", "ConvInteger"}
    | {"DynamicQuantizeMatMul", "MatMulNBits", "QAttention", "DynamicQuantizeLSTM"}
)
"""Operators of ONNX Runtime that multiply integers, or at least weights that are."""


class Product(msgspec.Struct, frozen=True, kw_only=True):
    """One convolution or matrix product of the file, and whether it runs in int8 under each set of rules. `reason` says why not.

    `multiply_adds` is for one sample, None when the size is not known.
    """

    name: str
    kind: str
    multiply_adds: int | None
    x86: bool
    arm: bool
    reason: str | None = None


class Coverage(msgspec.Struct, frozen=True, kw_only=True):
    """All products of a file. Shares are of multiply-adds, None when a product's size is not known.

    Islands are connected parts that compute in float between two integer products. `runtime_version` is that of the runtime which was asked.
    """

    products: tuple[Product, ...]
    x86_share: float | None
    arm_share: float | None
    x86_islands: int = 0
    arm_islands: int = 0
    runtime_version: str | None = None

    def fused(self, *, arm: bool) -> int:
        """Return how many products run in int8."""
        return sum(product.arm if arm else product.x86 for product in self.products)

    def share(self, *, arm: bool, of: AbstractSet[str] | None = None) -> float:
        """Return how much of the products' work runs in int8, 0 to 1 (1 without products): of multiplications, or of products where a size is not known.

        `of`: names of the products that count; None for all.
        """
        products = [product for product in self.products if of is None or product.name in of]
        known = all(product.multiply_adds is not None for product in products)
        sizes = [(product.multiply_adds or 0) if known else 1 for product in products]
        fused = sum(size for size, p in zip(sizes, products, strict=True) if (p.arm if arm else p.x86))
        return fused / sum(sizes) if sum(sizes) else 1.0
