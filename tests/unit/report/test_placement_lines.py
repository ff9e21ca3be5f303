"""Nodes that ran elsewhere than they were asked to are told, and nothing else."""

from __future__ import annotations

import io

import msgspec
import pytest
from rich.console import Console

from edgeopt.domain.run import Run, Setting
from edgeopt.report.placement_lines import placement_lines
from edgeopt.report.table import candidate_table
from tests.builders import make_block, make_built, make_check, make_pick, make_run

CUDA = "CUDAExecutionProvider"
CPU = "CPUExecutionProvider"


def asked_for(provider: str, used: str | None, placement: dict[str, dict[str, int]] | None) -> Run:
    run = make_run({"int8": 5.0})
    candidate = msgspec.structs.replace(run.candidates[0], setting=Setting(provider=provider))
    block = make_block(candidate.id, provider_used=used)
    check = msgspec.structs.replace(make_check("int8"), placement=placement)
    return msgspec.structs.replace(run, candidates=(candidate,), blocks=(block,), output_checks=(check,))


@pytest.mark.parametrize(
    ("provider", "used", "placement"),
    [
        (CPU, CPU, {CPU: {"QLinearConv": 20, "Conv": 3}}),
        (CPU, None, None),
        (CUDA, CUDA, {CUDA: {"QLinearConv": 23}}),
        (CUDA, CUDA, {}),
        (CUDA, CUDA, None),
    ],
)
def test_what_ran_where_it_was_asked_to_is_not_told(
    provider: str, used: str | None, placement: dict[str, dict[str, int]] | None
) -> None:
    assert placement_lines(asked_for(provider, used, placement)) == ()


def test_a_provider_that_took_only_a_part_is_told_with_the_nodes_that_it_left() -> None:
    lines = placement_lines(asked_for(CUDA, CUDA, {CUDA: {"QLinearConv": 18}, CPU: {"Softmax": 5}}))
    assert lines == (f"int8@all: of 23 nodes, 5 on {CPU}, not on {CUDA}",)


def test_an_int8_that_computes_in_float_on_the_device_is_told() -> None:
    lines = placement_lines(asked_for(CPU, CPU, {CPU: {"QLinearConv": 2, "Conv": 24, "QuantizeLinear": 30}}))
    assert lines == ("int8@all: 2 of 26 products ran in int8 on the device, its runtime computes the others in float",)


def test_kernels_of_openvino_are_understood() -> None:
    """It names a layer and the precision that it computes in."""
    mostly = {"CPU": {"Convolution u8": 8, "MatMul i8": 1, "Convolution f32": 1, "Softmax f32": 1}}
    assert placement_lines(asked_for("CPU", "CPU", mostly)) == ()
    hardly = {"CPU": {"Convolution u8": 1, "Convolution f32": 8, "FullyConnected bf16": 1}}
    assert placement_lines(asked_for("CPU", "CPU", hardly)) == (
        "int8@all: 1 of 10 products ran in int8 on the device, its runtime computes the others in float",
    )


def test_a_float_variant_that_computes_in_float_is_not() -> None:
    run = asked_for(CPU, CPU, {CPU: {"Conv": 26}})
    as_float = [make_built("int8", encoding="fp32"), *run.variants[1:]]
    assert placement_lines(msgspec.structs.replace(run, variants=tuple(as_float))) == ()


def test_a_provider_that_is_not_there_is_told() -> None:
    lines = placement_lines(asked_for(CUDA, CPU, {CPU: {"QLinearConv": 20, "Conv": 3}}))
    assert lines == (f"int8@all: {CUDA} is not in the device's runtime, all of it ran on {CPU}",)


def test_a_run_without_answers_and_blocks_has_nothing_to_tell() -> None:
    run = asked_for(CUDA, None, None)
    assert placement_lines(msgspec.structs.replace(run, blocks=(), output_checks=())) == ()


def test_the_table_says_it() -> None:
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(candidate_table(asked_for(CUDA, CUDA, {CUDA: {"QLinearConv": 18}, CPU: {"Softmax": 5}}), make_pick()))
    assert f"placement: int8@all: of 23 nodes, 5 on {CPU}" in console.export_text()
