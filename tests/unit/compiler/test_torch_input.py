"""PyTorch modules as the model, from the user's own code and from archives: which axes stay open, and what is refused."""

from __future__ import annotations

import io
import json
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeopt.compiler.convert.from_torch.export import export
from edgeopt.compiler.import_model import find_kind
from edgeopt.compiler.refuse import Refused
from edgeopt.compiler.runtime import open_session
from edgeopt.domain.observer import Silent
from edgeopt.errors import ModelError
from edgeopt.flows.source import read_source

torch = pytest.importorskip("torch")

CODE = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm, self.last = torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Linear(4, 5)

    def forward(self, picture):
        return self.last(torch.relu(self.norm(self.conv(picture))).mean((2, 3)))

class Fixed(Net):
    def forward(self, picture):
        return super().forward(picture).reshape(10)

class Noisy(Net):
    def forward(self, picture):
        return super().forward(picture) + torch.rand(1)

class Tokens(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.table = torch.nn.Embedding(9, 4)

    def forward(self, ids, mask):
        return self.table(ids) * mask[..., None], mask.sum(1)

def net(): return Net(), torch.randn(2, 3, 8, 8)
def bare(): return Net()
def fixed(): return Fixed(), {"picture": torch.randn(2, 3, 8, 8)}
def noisy(): return Noisy(), (torch.randn(2, 3, 8, 8),)
def tokens(): return Tokens(), (torch.ones(2, 6, dtype=torch.int64), torch.ones(2, 6))
def wrong(): return 5
def fails(): raise ValueError("no weights here")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("code")
    (place / "nets_of_a_test.py").write_text(CODE)
    return place


def read(folder: Path, name: str, shapes: dict[str, list[int]] | None = None) -> Any:
    from edgeopt.compiler.convert.from_torch.user_module import read_callable

    return read_callable({"source": f"{folder}/nets_of_a_test.py:{name}", "shapes": shapes or {}})


def test_a_callable_in_a_child_of_its_own(folder, tmp_path):
    source = read_source(folder / "nets_of_a_test:net", tmp_path, Silent())
    assert [(spec.name, spec.shape) for spec in source.model.inputs] == [("picture", ("batch", 3, 8, 8))]
    assert source.model.outputs[0].shape == ("batch", 5)
    assert source.model.name == "net"
    # Not merged: it says what the network was trained on.
    assert source.model.op_counts["BatchNormalization"] == 1
    again = read_source(folder / "nets_of_a_test.py:net", tmp_path, Silent())
    assert (again.model.digest, again.path) == (source.model.digest, source.path)


def test_shapes_of_the_project_stand_in_for_an_example(folder, tmp_path):
    network = read(folder, "bare", {"picture": [1, 3, 8, 8]})
    assert export(network, tmp_path / "net.onnx") < 1e-4
    with pytest.raises(Refused, match=r"picture look like: .*\[shapes\]"):
        read(folder, "bare")


def test_a_size_that_it_cannot_take_stays_fixed(folder, tmp_path):
    network = read(folder, "fixed")
    assert network.open_axes == {}
    export(network, tmp_path / "net.onnx")
    assert open_session(tmp_path / "net.onnx").get_inputs()[0].shape == [2, 3, 8, 8]


def test_tokens_have_an_open_length(folder, tmp_path):
    network = read(folder, "tokens")
    assert network.open_axes["ids"] == {0: "batch", 1: "sequence"}
    assert network.open_axes["mask"] == {0: "batch", 1: "sequence"}
    assert network.open_axes["output_1"] == {0: "batch"}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("wrong", "gave int"),
        ("fails", "no weights here"),
        ("nothing", "no callable"),
        ("noisy", "draws random numbers"),
    ],
)
def test_what_is_wrong_with_a_callable(folder, tmp_path, name, words):
    with pytest.raises(Refused, match=words):
        export(read(folder, name), tmp_path / "net.onnx")


def save(path: Path, name: str, folder: Path, sizes: dict[int, Any] | None = None) -> Path:
    network = read(folder, name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        example = network.examples[0]
        dynamic = None if sizes is None else dict.fromkeys(example, sizes)
        program = torch.export.export(network.module, tuple(example.values()), dynamic_shapes=dynamic)
        torch.export.save(program, path)
    return path


def test_an_archive_answers_as_its_module(folder, tmp_path):
    from edgeopt.compiler.convert.from_torch.archive import read_archive

    path = save(tmp_path / "net.pt2", "net", folder, {0: torch.export.Dim("n", min=1, max=32)})
    assert find_kind(path) == "archive"
    network = read_archive({"source": str(path)})
    assert network.open_axes["picture"] == {0: "batch"}
    assert export(network, tmp_path / "net.onnx") < 1e-4
    picture = np.random.default_rng(0).standard_normal((3, 3, 8, 8)).astype(np.float32)
    (got,) = open_session(tmp_path / "net.onnx").run(None, {"picture": picture})
    with torch.no_grad():
        want = read(folder, "net").module(torch.tensor(picture)).numpy()
    np.testing.assert_allclose(got, want, atol=1e-5)


def changed(path: Path, target: Path, change: Callable[[str, bytes], tuple[str, bytes] | None]) -> Path:
    """A copy of an archive, members changed."""
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w") as archive:
        for name in source.namelist():
            made = change(name, source.read(name))
            if made is not None:
                archive.writestr(*made)
    return target


def test_nothing_of_an_archive_is_unpickled_or_called_by_name(folder, tmp_path, monkeypatch):
    from edgeopt.compiler.convert.from_torch.archive import read_archive

    path = save(tmp_path / "net.pt2", "net", folder)

    def never(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(torch, "load", never)
    monkeypatch.setattr(torch.export, "load", never)
    broken = changed(path, tmp_path / "a.pt2", lambda n, d: (n, b"no pickle" if n.endswith(".pt") else d))
    read_archive({"source": str(broken)})

    def pickled(name: str, data: bytes) -> tuple[str, bytes]:
        return name, data.replace(b'"use_pickle": false', b'"use_pickle": true')

    with pytest.raises(Refused, match="pickle"):
        read_archive({"source": str(changed(path, tmp_path / "b.pt2", pickled))})

    def evil(name: str, data: bytes) -> tuple[str, bytes]:
        return name, data.replace(b"torch.ops.aten.relu.default", b"torch.hub.load")

    with pytest.raises(Refused, match=r"torch\.hub\.load"):
        read_archive({"source": str(changed(path, tmp_path / "c.pt2", evil))})

    def legacy(name: str, data: bytes) -> tuple[str, bytes]:
        return name.replace("weights/weight_0", "weights/model.pt"), data

    with pytest.raises(Refused, match="pickle"):
        read_archive({"source": str(changed(path, tmp_path / "d.pt2", legacy))})

    def no_graph(name: str, data: bytes) -> tuple[str, bytes]:
        return name, json.dumps({"graph_module": {}}).encode() if name.endswith("models/model.json") else data

    with pytest.raises(Refused, match=r"not as torch\.export writes it"):
        read_archive({"source": str(changed(path, tmp_path / "e.pt2", no_graph))})


def test_other_archives_are_refused(tmp_path):
    from edgeopt.compiler.convert.from_torch.archive import read_archive

    (tmp_path / "a.pt2").write_bytes(b"PK\x03\x04 no zip")
    with pytest.raises(Refused, match="damaged"):
        read_archive({"source": str(tmp_path / "a.pt2")})
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", b"")
    (tmp_path / "b.pt2").write_bytes(buffer.getvalue())
    with pytest.raises(Refused, match=r"no archive of torch\.export"):
        read_archive({"source": str(tmp_path / "b.pt2")})


def test_a_missing_archive(tmp_path):
    with pytest.raises(ModelError, match="no such file"):
        read_source(tmp_path / "a.pt2", tmp_path, Silent())
