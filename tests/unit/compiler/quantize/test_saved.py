"""A calibrated network on disk: everything of it comes back, and what is written from it is the same."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from edgeopt.compiler.quantize.budgets import BUDGETS
from edgeopt.compiler.quantize.emit import Network, emit
from edgeopt.compiler.quantize.encoding import S8S8, U8S8, U8U8
from edgeopt.compiler.quantize.ladder import calibrate, leave_float, write
from edgeopt.compiler.quantize.layers import Layer
from edgeopt.compiler.quantize.saved import load_calibrated, save_calibrated
from tests.unit.compiler.quantize import nets


def silu():
    chain = nets.Chain().conv(8)
    linear = chain.tensor
    return chain.op("Sigmoid").op("Mul", linear).conv(8).op("LeakyRelu", alpha=0.1).conv(4, kernel=1).model()


MODELS = {"classifier": nets.classifier, "silu": silu}


def found(name, folder):
    return calibrate(MODELS[name](), nets.feeds(folder), encoding=U8S8, float_first=0, budget=BUDGETS["standard"])


@pytest.fixture(params=list(MODELS))
def calibrated(request, tmp_path):
    return found(request.param, tmp_path)


def test_everything_comes_back(calibrated, tmp_path):
    """Layers too, which are found again in the graph."""
    (tmp_path / "kept").mkdir()
    save_calibrated(calibrated, tmp_path / "kept")
    back = load_calibrated(tmp_path / "kept")
    for name in ("choice", "kind", "remarks", "float_layers", "tidy"):
        assert getattr(back, name) == getattr(calibrated, name)
    ours, theirs = calibrated.network, back.network
    assert theirs.placement == ours.placement
    assert theirs.graph.model == ours.graph.model
    for layer, other in zip(ours.layers, theirs.layers, strict=True):
        for field in fields(Layer):
            assert np.array_equal(getattr(layer, field.name), getattr(other, field.name)), field.name
            assert type(getattr(layer, field.name)) is type(getattr(other, field.name))
        assert np.array_equal(ours.codes[layer.name], theirs.codes[layer.name])
        assert np.array_equal(ours.weight_scales[layer.name], theirs.weight_scales[layer.name])
    assert ours.scales.keys() == theirs.scales.keys()
    for lead, scale in ours.scales.items():
        assert np.array_equal(scale.scale, theirs.scales[lead].scale)
        assert np.array_equal(scale.zero, theirs.scales[lead].zero)


def test_no_field_of_a_network_is_forgotten():
    """Who adds one has to save it."""
    assert {field.name for field in fields(Network)} == {
        "graph",
        "layers",
        "placement",
        "scales",
        "codes",
        "weight_scales",
    }


@pytest.mark.parametrize("encoding", [U8S8, S8S8, U8U8], ids=lambda each: each.name)
def test_every_encoding_of_what_was_read_is_that_of_what_was_found(calibrated, tmp_path, encoding):
    """Byte for byte."""
    (tmp_path / "kept").mkdir()
    save_calibrated(calibrated, tmp_path / "kept")
    first, second = (
        emit(network, encoding).SerializeToString(deterministic=True)
        for network in (calibrated.network, load_calibrated(tmp_path / "kept").network)
    )
    assert first == second


def test_equal_networks_are_equal_files(calibrated, tmp_path):
    """So that what is kept can be checked by its digest on any computer."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        save_calibrated(calibrated, tmp_path / name)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_layers_in_float_are_found_on_what_was_read_as_on_what_was_found(tmp_path):
    """int8-mixed begins where int8-static ended, and is what it would be by itself."""
    samples = nets.feeds(tmp_path)
    first = found("silu", tmp_path)
    (tmp_path / "kept").mkdir()
    save_calibrated(first, tmp_path / "kept")
    mixed = leave_float(load_calibrated(tmp_path / "kept"), samples, share=0.9, budget=BUDGETS["standard"])
    later = write(mixed, samples, encoding=U8S8, arm=None, budget=BUDGETS["standard"], scratch=tmp_path)
    at_once = nets.quantise(
        silu(),
        samples,
        encoding=U8S8,
        float_first=0,
        float_share=0.9,
        budget=BUDGETS["standard"],
        scratch=tmp_path,
    )
    assert later.model.SerializeToString(deterministic=True) == at_once.model.SerializeToString(deterministic=True)
    assert later.notes == at_once.notes
