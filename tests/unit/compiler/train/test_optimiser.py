"""Steps: orthogonal for matrices, Adam's for the rest."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

import torch

from edgeopt.compiler.train.optimiser import ROUNDS, Optimiser, is_matrix, macs_of_a_step, orthogonal


@pytest.mark.parametrize("shape", [(8, 4), (4, 8), (16, 27), (6, 6)])
def test_singular_values_are_brought_together(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0)) @ torch.diag(
        torch.logspace(0, -1, shape[1])
    )
    made = orthogonal(matrix)
    values = torch.linalg.svdvals(made) / max(shape) ** 0.5
    assert 0.5 < float(values.min()) <= float(values.max()) < 1.3
    assert float(made.square().mean().sqrt()) == pytest.approx(1.0, rel=0.3)


def test_it_points_where_the_matrix_does():
    matrix = torch.randn(8, 5, generator=torch.Generator().manual_seed(1))
    assert float((orthogonal(matrix) * matrix).sum()) > 0
    torch.testing.assert_close(orthogonal(7 * matrix), orthogonal(matrix))


def test_nothing_stays_nothing():
    assert not orthogonal(torch.zeros(4, 6)).any()


@pytest.mark.parametrize(
    ("shape", "found"),
    [((8, 4), True), ((8, 4, 3, 3), True), ((8,), False), ((), False), ((8, 1, 3, 3), False), ((30522, 384), False)],
)
def test_what_is_a_matrix(shape, found):
    """No biases, no depthwise kernels, no tables of words."""
    assert is_matrix(shape) is found


def test_what_a_step_multiplies_is_counted_as_torch_does():
    from torch.utils.flop_counter import FlopCounterMode

    shapes = [(8, 4, 3, 3), (48, 16), (7,), (8, 1, 3, 3)]
    optimiser = Optimiser(dict.fromkeys((torch.nn.Parameter(torch.ones(shape)) for shape in shapes), 1.0))
    for parameter in optimiser.sizes:
        parameter.grad = torch.ones_like(parameter)
    with FlopCounterMode(display=False) as counter:
        optimiser.step(0.1)
    assert counter.get_total_flops() == 2 * macs_of_a_step(shapes) > 0
    assert macs_of_a_step([(3, 3)]) == ROUNDS * 3 * 27


@pytest.mark.parametrize("orthogonal", [True, False])
def test_it_finds_the_least_error(orthogonal):
    random = torch.Generator().manual_seed(2)
    inputs, true = torch.randn(64, 6, generator=random), torch.randn(6, 4, generator=random)
    weight, bias = torch.nn.Parameter(torch.zeros(6, 4)), torch.nn.Parameter(torch.zeros(4))
    optimiser = Optimiser({weight: 1.0, bias: 1.0}, orthogonal=orthogonal)
    for step in range(300):
        optimiser.forget()
        (inputs @ weight + bias - inputs @ true - 1.0).square().mean().backward()
        optimiser.step(0.1 * (1 - step / 300))
    torch.testing.assert_close(weight.detach(), true, atol=0.02, rtol=0)
    torch.testing.assert_close(bias.detach(), torch.ones(4), atol=0.02, rtol=0)
    assert set(optimiser.state[bias]) == {"step", "mean", "square"}


def test_without_a_gradient_nothing_moves():
    weight = torch.nn.Parameter(torch.ones(3, 3))
    Optimiser({weight: 1.0}).step(0.1)
    assert bool((weight == 1).all())


def test_adam_is_torchs():
    random = torch.Generator().manual_seed(3)
    start, gradients = torch.randn(5, generator=random), torch.randn(20, 5, generator=random)
    ours, theirs = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
    optimiser, reference = Optimiser({ours: 1.0}), torch.optim.Adam([theirs], lr=0.01)
    for gradient in gradients:
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        optimiser.step(0.01)
        reference.step()
    torch.testing.assert_close(ours, theirs)
