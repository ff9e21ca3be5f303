"""ncnn's two files: what is read is written as it was, and damage is a FormatError."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeopt.compiler.convert.ncnn.files import (
    INT8_TAG,
    FormatError,
    Layer,
    Weights,
    format_param,
    join_weights,
    parse_param,
    split_weights,
)

CONVOLUTION = {"0": "2", "1": "3", "5": "1", "6": "54"}

words = st.from_regex(r"[A-Za-z0-9_.]{1,12}", fullmatch=True)
values = st.one_of(st.integers(-300, 10**6).map(str), st.just('"1,1,//(1000,0n),0n"'), st.just("3,1.0,2.0,3.0"))
layers = st.builds(
    Layer,
    kind=words,
    name=words,
    bottoms=st.lists(words, max_size=3),
    tops=st.lists(words, max_size=3),
    parameters=st.dictionaries(st.integers(-23330, 40).map(str), values, max_size=4),
)


@given(st.lists(layers, max_size=6))
def test_a_param_file_comes_back(made: list[Layer]) -> None:
    assert parse_param(format_param(made)) == made


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    for candidate in (text, f"7767517\n1 1\n{text}"):
        try:
            parse_param(candidate)
        except FormatError:
            continue


@given(st.binary(max_size=300))
def test_any_weights_are_split_or_refused(data: bytes) -> None:
    network = [
        Layer(kind="Convolution", name="c", parameters=CONVOLUTION),
        Layer(kind="PReLU", name="p", parameters={"0": "2"}),
    ]
    try:
        parts = split_weights(network, data)
    except (FormatError, ValueError):
        return
    assert join_weights(parts) == data


def test_each_layers_weights_are_found() -> None:
    """Sizes as their own readers in ncnn's src/layer have them; a tag stands before a product's weights and before MemoryData of load type 0."""
    network = [
        Layer(kind="Input", name="in0"),
        Layer(kind="Convolution", name="c", parameters=CONVOLUTION),
        Layer(kind="ConvolutionDepthWise", name="dynamic", parameters={"6": "9", "19": "1"}),
        Layer(kind="InnerProduct", name="i", parameters={"0": "3", "1": "0", "2": "12"}),
        Layer(kind="MemoryData", name="plain", parameters={"0": "5"}),
        Layer(kind="MemoryData", name="tagged", parameters={"0": "2", "1": "3", "21": "0"}),
        Layer(kind="BatchNorm", name="b", parameters={"0": "4"}),
        Layer(kind="Scale", name="s", parameters={"0": "4", "1": "1"}),
        Layer(kind="LayerNorm", name="l", parameters={"0": "6"}),
        Layer(kind="LayerNorm", name="plain-norm", parameters={"0": "6", "2": "0"}),
        Layer(kind="Gemm", name="g", parameters={"5": "1", "6": "1", "8": "3", "9": "2", "10": "4"}),
        Layer(kind="Embed", name="e", parameters={"0": "2", "2": "1", "3": "8"}),
    ]
    sizes = [0, 4 + 4 * 54 + 8, 0, 4 + 48, 20, 4 + 24, 64, 32, 48, 0, 4 + 24 + 4 + 12, 4 + 32 + 8]
    parts = split_weights(network, bytes(sum(sizes)))
    found = [len(part.rest) + (0 if part.values is None else 4 + part.values.nbytes) for part in parts]
    assert found == sizes


def test_int8_weights_are_padded_to_words() -> None:
    data = join_weights([Weights(values=np.array([1, -2, 3], np.int8), rest=b"rest")])
    assert data == INT8_TAG + b"\x01\xfe\x03\x00" + b"rest"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "12345\n1 1\n",
        "7767517\n1 1\nConvolution",
        "7767517\n1 1\nConvolution c x y",
        "7767517\n1 1\nConvolution c 2 1 a",
    ],
)
def test_what_is_no_param_file(text: str) -> None:
    with pytest.raises(FormatError):
        parse_param(text)


def test_weights_that_are_not_float32_are_refused() -> None:
    network = [Layer(kind="InnerProduct", name="i", parameters={"0": "1", "2": "2"})]
    with pytest.raises(FormatError, match="not where they should be"):
        split_weights(network, b"\x47\x6b\x30\x01" + bytes(8))
