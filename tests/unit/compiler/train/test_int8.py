"""A calibrated int8 network learns from the float network that it was made from, with the rounding in it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from edgeopt.compiler.quantize.budgets import BUDGETS  # noqa: E402
from edgeopt.compiler.quantize.emit import Network, emit  # noqa: E402
from edgeopt.compiler.quantize.encoding import ENCODINGS, U8S8  # noqa: E402
from edgeopt.compiler.quantize.ladder import calibrate, write  # noqa: E402
from edgeopt.compiler.quantize.observe import answers  # noqa: E402
from edgeopt.compiler.quantize.saved import Calibrated  # noqa: E402
from edgeopt.compiler.refuse import Refused  # noqa: E402
from edgeopt.compiler.running import Feeds  # noqa: E402
from edgeopt.compiler.train import int8, loop  # noqa: E402
from edgeopt.compiler.train.learned_step import LEAST, LearnedStep  # noqa: E402
from edgeopt.compiler.train.recover import Place, Wishes  # noqa: E402
from edgeopt.compiler.train.soft import Soft  # noqa: E402
from tests.unit.compiler.quantize.nets import Chain, classifier, doubled  # noqa: E402
from tests.unit.compiler.quantize.nets import feeds as noise  # noqa: E402
from tests.unit.compiler.quantize.nets import int8 as quantised  # noqa: E402
from tests.unit.compiler.train.networks import pictures, small_net  # noqa: E402

QUICK = Wishes(steps=40, learning_rate=1e-2)


def transformer_like() -> Any:
    """Products on three axes, whose weights stand on their side, and a float normalisation between."""
    from onnx import helper, numpy_helper

    from tests.models import make, value, weights

    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["a"], name="up"),
        helper.make_node("Add", ["a", "b1"], ["h"], name="bias"),
        helper.make_node("Relu", ["h"], ["r"], name="relu"),
        helper.make_node("MatMul", ["r", "w2"], ["m"], name="down"),
        helper.make_node("Add", ["m", "b2"], ["s"], name="bias2"),
        helper.make_node("LayerNormalization", ["s", "g", "o"], ["y"], axis=-1, name="norm"),
    ]
    constants = [
        *(weights("w1", 8, 16), weights("b1", 16), weights("w2", 16, 8), weights("b2", 8), weights("o", 8)),
        numpy_helper.from_array(np.ones(8, np.float32), "g"),
    ]
    made = make(nodes, [value("x", [1, 4, 8])], [value("y", [1, 4, 8])], constants)
    made.opset_import[0].version = 17
    return made


NETWORKS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "classifier": (classifier, (1, 3, 8, 8)),
    "joined, sigmoid": (lambda: doubled_chain().model(), (1, 3, 8, 8)),
    "products": (transformer_like, (1, 4, 8)),
    "a head of its own scales": (lambda: Chain().conv(4).op("Relu").conv(6).model(), (1, 3, 8, 8)),
}


def doubled_chain() -> Chain:
    chain = Chain().conv(4).op("Relu")
    doubled(chain)
    return chain.conv(5).op("Sigmoid").conv(4).op("Relu")


@pytest.fixture(params=NETWORKS)
def network(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Network, list[Any]]:
    """Calibrated, and what it was calibrated on."""
    make, shape = NETWORKS[request.param]
    samples = noise(tmp_path, shape=shape)
    return quantised(make(), samples, ranges="least-error ranges"), list(samples)


def test_before_training_it_answers_as_the_file_does(network: tuple[Network, list[Any]]) -> None:
    """Down to sums that round to the next code now and then."""
    made, feeds = network
    assert int8.check_rounded(Soft(made).twin, emit(made), made.graph.model, feeds, "it") < 0.02


def test_what_was_not_trained_is_written_as_it_was(network: tuple[Network, list[Any]]) -> None:
    """Codes that were not rounded to nearest among it."""
    made, _ = network
    assert emit(Soft(made).hardened()).SerializeToString() == emit(made).SerializeToString()


@pytest.mark.parametrize("encoding", ["u8s8-7bit", "trt", "qnn-a16"])
def test_other_encodings_round_as_they_are_written(encoding: str, tmp_path: Path) -> None:
    samples = noise(tmp_path)
    made = quantised(classifier(), samples, ENCODINGS[encoding])
    soft = Soft(made)
    few = list(samples)
    assert int8.check_rounded(soft.twin, emit(made), made.graph.model, few, "it") < 0.02
    with torch.no_grad():
        for step in soft.steps.values():
            step.ratio.mul_(0.8)
    again = soft.hardened()
    assert int8.check_rounded(soft.twin, emit(again), made.graph.model, few, "it") < 0.02
    assert max(int(np.abs(codes).max()) for codes in again.codes.values()) <= ENCODINGS[encoding].weight_limit


def test_steps_have_the_gradients_of_the_paper() -> None:
    """Inside: round(v) - v; outside: the code at the end; over the root of as many values as there are, times the highest code."""
    step = LearnedStep([0.5], [-2], [5], axis=0)
    x = torch.tensor([0.6, -0.2, 100.0, -100.0], requires_grad=True)
    made = step(x)
    assert made.tolist() == [0.5, 0.0, 2.5, -1.0]
    made.sum().backward()
    assert x.grad.tolist() == [1.0, 1.0, 0.0, 0.0]
    towards = (1.0 - 1.2) + (0.0 + 0.4) + 5.0 - 2.0
    # Of a step as a share of what it was, a tenth as fast.
    assert float(step.ratio.grad) == pytest.approx(towards / (4 * 5) ** 0.5 * 0.5 * 0.1, rel=1e-5)


def test_a_step_stays_near_what_the_samples_showed_and_comes_back() -> None:
    step = LearnedStep([0.5], [-2], [5], axis=0)
    with torch.no_grad():
        step.ratio.fill_(-100.0)
    assert float(step.steps().detach()) == pytest.approx(0.5 * LEAST)
    (-step.steps()).sum().backward()
    assert float(step.ratio.grad) < 0
    step.ratio.grad = None
    step.steps().sum().backward()
    assert float(step.ratio.grad) == 0


def test_a_step_whose_end_is_a_clip_does_not_grow(tmp_path: Path) -> None:
    """Else the Clip would stand between a product and its quantiser, and nothing would fuse."""
    model = Chain().conv(8, scale=3.0).clip(2.0).conv(6).model()
    made = quantised(model, noise(tmp_path))
    soft = Soft(made)
    with torch.no_grad():
        for step in soft.steps.values():
            step.ratio.fill_(100.0)
    written = emit(soft.hardened())
    assert "Clip" not in {node.op_type for node in emit(made).graph.node}
    assert "Clip" not in {node.op_type for node in written.graph.node}


@pytest.fixture
def worn(tmp_path: Path) -> tuple[Calibrated, Feeds]:
    """A calibrated network whose codes somebody stirred: there is something to learn."""
    samples = pictures(96, tmp_path)
    found = calibrate(small_net(), samples, encoding=U8S8, float_first=0, budget=BUDGETS["instant"])
    generator = np.random.default_rng(5)
    for name, codes in found.network.codes.items():
        off = generator.integers(-12, 13, codes.shape)
        found.network.codes[name] = np.clip(codes + off, -127, 127).astype(np.int8)
    return found, samples


def test_it_comes_nearer_on_samples_that_nobody_saw_and_is_written_alike(
    worn: tuple[Calibrated, Feeds], tmp_path: Path
) -> None:
    found, samples = worn
    made, notes = int8.train_int8(found, samples, QUICK)

    folder = tmp_path / "unseen"
    folder.mkdir()
    unseen = list(pictures(48, folder, seed=7))
    truth, before, after = (
        np.concatenate([a[0] for a in answers(model, unseen, fused=True)])
        for model in (found.network.graph.model, emit(found.network), emit(made.network))
    )
    assert np.square(after - truth).sum() < 0.5 * np.square(before - truth).sum()
    assert notes[0].startswith("trained: 40 steps on 72 samples without labels, on the CPU: agreement ")

    one, two = (
        write(each, samples, encoding=U8S8, arm=False, budget=BUDGETS["instant"], scratch=tmp_path)
        for each in (found, made)
    )
    kinds = [Counter(node.op_type for node in each.model.graph.node) for each in (one, two)]
    assert kinds[0] == kinds[1]
    assert one.coverage == two.coverage


def test_the_same_seed_gives_the_same_bytes_also_when_it_was_killed(
    worn: tuple[Calibrated, Feeds], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, samples = worn
    short = Wishes(steps=24, learning_rate=1e-2)
    whole, _ = int8.train_int8(found, samples, short)
    other, _ = int8.train_int8(found, samples, Wishes(steps=24, learning_rate=1e-2, seed=1))
    step = loop._step

    def killed(setup: Any, optimiser: Any, outcome: Any) -> float:
        if outcome.step == 13:
            raise KeyboardInterrupt
        return step(setup, optimiser, outcome)

    monkeypatch.setattr(loop, "_step", killed)
    with pytest.raises(KeyboardInterrupt):
        int8.train_int8(found, samples, short, Place(folder=tmp_path / "runs"))
    monkeypatch.setattr(loop, "_step", step)
    resumed, _ = int8.train_int8(found, samples, short, Place(folder=tmp_path / "runs"))

    written = [emit(each.network).SerializeToString() for each in (whole, resumed, other)]
    assert written[0] == written[1] != written[2]


def test_what_comes_no_nearer_stays_as_it_was_calibrated(worn: tuple[Calibrated, Feeds]) -> None:
    found, samples = worn
    made, notes = int8.train_int8(found, samples, Wishes(steps=3, learning_rate=10.0))
    assert made.network is found.network
    assert notes[0].startswith("training did not bring it nearer to the original")


def test_what_comes_nearer_by_no_more_than_chance_stays_as_it_was_calibrated(
    worn: tuple[Calibrated, Feeds], monkeypatch: pytest.MonkeyPatch
) -> None:
    found, samples = worn
    monkeypatch.setattr(int8, "WORTH", 0.9999)
    made, notes = int8.train_int8(found, samples, Wishes(steps=10, learning_rate=1e-3))
    assert made.network is found.network
    assert notes[0].startswith("trained: 10 steps")
    assert notes[-1].startswith("that is less than chance brings")


def test_the_recipes_steps_go_together(tmp_path: Path) -> None:
    """What the recipe says, done as a build does it; a few steps for speed."""
    import onnx

    from edgeopt.compiler.recipes import get_recipe
    from edgeopt.compiler.steps import STEPS, Bench

    onnx.save(small_net(), tmp_path / "model.onnx")
    bench = Bench(
        source=tmp_path / "model.onnx",
        scratch=tmp_path,
        samples=pictures(30, tmp_path),
        max_opset=17,
        max_ir_version=8,
    )
    state = small_net()
    for step in get_recipe("int8-trained").steps:
        few = {"steps": 2, "task": "classification"} if step.name == "train_int8" else {}
        state = STEPS[step.name](state, {**step.options, **few}, bench)

    assert "QuantizeLinear" in {node.op_type for node in state.graph.node}
    assert any("2 steps on 23 samples without labels" in note for note in bench.notes)
    assert any("of 3 products run in int8 by the x86 rules" in note for note in bench.notes)


def test_too_few_samples_are_said_to_be_too_few(worn: tuple[Calibrated, Feeds]) -> None:
    found, samples = worn
    made, notes = int8.train_int8(found, samples.first(8), QUICK)
    assert made is found
    assert "8 samples are too few" in notes[0]


def test_a_twin_that_rounds_otherwise_is_refused(tmp_path: Path) -> None:
    samples = noise(tmp_path)
    made = quantised(classifier(), samples)
    soft = Soft(made)
    with torch.no_grad():
        for step in soft.steps.values():
            step.start.mul_(1.1)
    with pytest.raises(Refused) as refused:
        int8.check_rounded(soft.twin, emit(made), made.graph.model, list(samples), "the network")
    assert refused.value.code == "twin-differs"
