"""This computer as a board: a session with a model and inputs on it, ready for blocks."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from edgeopt.domain.device import Device
from edgeopt.domain.observer import Silent
from edgeopt.domain.run import Block, Candidate, MeasurePlan, Setting
from edgeopt.measure.rounds import Bench
from edgeopt.measure.session import Owner, Session
from edgeopt.measure.ship import Content, ship
from edgeopt.store.blobs import file_digest
from edgeopt.transport.open import open_link

REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLE = REPOSITORY / "examples" / "parts" / "model.onnx"


def example_input(model: Path, seed: int = 0) -> tuple[str, np.ndarray]:
    """Name and random values of a model's first input; axes of unknown size are 1."""
    import onnxruntime as ort

    first = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"]).get_inputs()[0]
    shape = [axis if isinstance(axis, int) and axis > 0 else 1 for axis in first.shape]
    return first.name, np.random.default_rng(seed).random(shape, np.float32)


@contextmanager
def board(model: Path, plan: MeasurePlan, values: np.ndarray) -> Iterator[Bench]:
    """A bench whose only variant is called `m`; everything is gone afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        inputs = work / "inputs.npz"
        np.savez(inputs, **{"s0.0": values})
        device = Device(name="board", profile="local", address="local:", root=str(work / "root"))
        with Session(device, lambda: open_link("local:", known_hosts=work / "known_hosts")) as session:
            session.lock("benchmark", Owner.this_process("benchmark"))
            contents = [
                Content(digest=file_digest(path), bytes=path.stat().st_size, path=path, label=name)
                for name, path in {"model.onnx": model, "inputs.npz": inputs}.items()
            ]
            ship(session, contents, Silent())
            at = {each.label: _staged(session, each) for each in contents}
            yield Bench(session, plan, models={"m": at["model.onnx"]}, inputs=at["inputs.npz"], site=None)


def _staged(session: Session, content: Content) -> str:
    files = [{"path": content.label, "digest": content.digest, "bytes": content.bytes}]
    return f"{session.call('stage', {'digest': content.digest, 'files': files})['folder']}/{content.label}"


def candidate(threads: int) -> Candidate:
    """The only variant with so many threads."""
    return Candidate(id=f"m@{threads}", variant="m", setting=Setting(threads=threads))


def timed_block(bench: Bench, threads: int, number: int) -> Block:
    """One block that ended well."""
    block = bench.run_block(candidate(threads), number, 0)
    assert block.failure is None, block.failure
    return block
