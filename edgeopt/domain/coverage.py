"""Which of a model's products a runtime computes in int8."""

from __future__ import annotations

import msgspec


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
    """All products of a file. Shares are of multiply-adds, None when a product's size is not known."""

    products: tuple[Product, ...]
    x86_share: float | None
    arm_share: float | None

    def fused(self, *, arm: bool) -> int:
        """Return how many products run in int8."""
        return sum(product.arm if arm else product.x86 for product in self.products)
