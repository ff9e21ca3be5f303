"""Where a window of a convolution or a pooling goes, and how TFLite says that. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgeopt.compiler.convert.tflite.network import Node, Shape


@dataclass(frozen=True, kw_only=True)
class Window:
    """Along height and width: sizes of the picture, the kernel and the answer, and what is missing at the beginning and the end of the picture."""

    sizes: tuple[int, ...]
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    answers: tuple[int, ...]
    before: tuple[int, ...]
    after: tuple[int, ...]

    @property
    def is_valid(self) -> bool:
        """Nothing is padded: TFLite's VALID."""
        return not any((*self.before, *self.after))

    @property
    def is_same(self) -> bool:
        """Padded as TFLite's SAME does: as much as it takes to have size / stride answers, the odd one at the end."""
        return all(
            answer == -(-size // stride) and begin == _same(size, kernel, stride, dilation) // 2
            for size, kernel, stride, dilation, answer, begin in zip(
                self.sizes, self.kernel, self.strides, self.dilations, self.answers, self.before, strict=True
            )
        )


def window_of(node: Node, size: Shape, kernel: Shape, answer: Shape) -> Window:
    """Of a Conv or a pooling, from sizes along height and width. What is padded at the end counts only as far as a window reaches."""
    axes = len(kernel)
    strides = tuple(node.attributes.get("strides", [1] * axes))
    dilations = tuple(node.attributes.get("dilations", [1] * axes))
    before = _before(node, size, kernel, strides, dilations)
    after = tuple(
        max((a - 1) * s + (k - 1) * d + 1 - n - b, 0)
        for a, s, k, d, n, b in zip(answer, strides, kernel, dilations, size, before, strict=True)
    )
    return Window(
        sizes=size, kernel=kernel, strides=strides, dilations=dilations, answers=answer, before=before, after=after
    )


def _before(node: Node, size: Shape, kernel: Shape, strides: Any, dilations: Any) -> tuple[int, ...]:
    auto = bytes(node.attributes.get("auto_pad", b"NOTSET"))
    if auto in (b"SAME_UPPER", b"SAME_LOWER"):
        totals = [_same(n, k, s, d) for n, k, s, d in zip(size, kernel, strides, dilations, strict=True)]
        return tuple((total + (auto == b"SAME_LOWER")) // 2 for total in totals)
    pads = node.attributes.get("pads") if auto == b"NOTSET" else None
    return tuple(pads[: len(kernel)]) if pads else (0,) * len(kernel)


def _same(size: int, kernel: int, stride: int, dilation: int) -> int:
    """What SAME adds along one axis (tensorflow/lite/kernels/padding.h)."""
    return max((-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
