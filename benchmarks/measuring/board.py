"""This computer as a board: a session with a model and inputs on it, ready for blocks."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from edgeopt.domain.device import Device
from edgeopt.domain.observer import Silent
from edgeopt.domain.run import PROVIDERS, Block, Candidate, MeasurePlan, Setting
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
    with board_with({"m": [model]}, plan, values) as bench:
        yield bench


@contextmanager
def board_with(variants: Mapping[str, Sequence[Path]], plan: MeasurePlan, values: np.ndarray) -> Iterator[Bench]:
    """A bench with these variants, the file that is opened first among each one's; every runtime is that of this Python."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        inputs = work / "inputs.npz"
        np.savez(inputs, **{"s0.0": values})
        device = Device(name="board", profile="local", address="local:", root=str(work / "root"))
        with Session(device, lambda: open_link("local:", known_hosts=work / "known_hosts")) as session:
            session.lock("benchmark", Owner.this_process("benchmark"))
            contents = {
                path: _content(path) for path in (inputs, *(path for files in variants.values() for path in files))
            }
            ship(session, list(contents.values()), Silent())
            yield Bench(
                session,
                plan,
                models={name: _staged(session, [contents[path] for path in files]) for name, files in variants.items()},
                inputs=_staged(session, [contents[inputs]]),
                sites=dict.fromkeys(PROVIDERS),
            )


def _content(path: Path) -> Content:
    return Content(digest=file_digest(path), bytes=path.stat().st_size, path=path, label=path.name)


def _staged(session: Session, contents: Sequence[Content]) -> str:
    """The path of the first on the device; all of them lie in one folder."""
    files = [{"path": each.label, "digest": each.digest, "bytes": each.bytes} for each in contents]
    name = hashlib.sha256("".join(each.digest for each in contents).encode()).hexdigest()
    return f"{session.call('stage', {'digest': name, 'files': files})['folder']}/{contents[0].label}"


def candidate(threads: int) -> Candidate:
    """The only variant with so many threads."""
    return Candidate(id=f"m@{threads}", variant="m", setting=Setting(threads=threads))


def timed_block(bench: Bench, threads: int, number: int) -> Block:
    """One block that ended well."""
    return block_of(bench, candidate(threads), number)


def block_of(bench: Bench, which: Candidate, number: int) -> Block:
    """One block of any candidate that ended well."""
    block = bench.run_block(which, number, 0)
    assert block.failure is None, block.failure
    return block
