"""Weights beside the graph stay in the model's folder, whatever the graph says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgeopt.compiler.model_info import inspect_model
from edgeopt.errors import ModelError
from tests import models


def refusal(path: Path) -> ModelError:
    with pytest.raises(ModelError) as caught:
        inspect_model(path)
    assert str(path) in str(caught.value)
    return caught.value


def test_weights_in_a_plain_file_are_read(tmp_path):
    """Both files are listed, the graph first, and counted."""
    model = inspect_model(models.save_external(models.dense_net(), tmp_path / "net.onnx"))
    assert [file.path for file in model.files] == ["net.onnx", "weights.bin"]
    assert model.bytes == sum(file.bytes for file in model.files)
    assert model.files[1].bytes == 4 * (32 * 64 + 64 * 16)
    assert model.parameter_count == 32 * 64 + 64 * 16


def test_weights_in_a_folder_below_are_read(tmp_path):
    path = models.save_external(models.dense_net(), tmp_path / "net.onnx", "sub/weights.bin")
    assert inspect_model(path).files[1].path == "sub/weights.bin"


def test_the_digest_covers_the_weights(tmp_path):
    """The same graph with other weights is another model; the graph's file name does not matter."""
    path = models.save_external(models.dense_net(), tmp_path / "net.onnx")
    before = inspect_model(path).digest
    renamed = path.rename(tmp_path / "other.onnx")
    assert inspect_model(renamed).digest == before
    weights = tmp_path / "weights.bin"
    data = bytearray(weights.read_bytes())
    data[7] ^= 1
    weights.write_bytes(data)
    assert inspect_model(renamed).digest != before


@pytest.mark.parametrize("location", ["/etc/passwd", "../weights.bin", "a/../../weights.bin", "", ".", "a\\b", "a\nb"])
def test_locations_outside_of_the_folder_are_refused(tmp_path, location):
    folder = tmp_path / "model"
    path = models.save_external(models.dense_net(), folder / "net.onnx", "weights.bin")
    (tmp_path / "weights.bin").write_bytes((folder / "weights.bin").read_bytes())
    changed = models.dense_net()
    models.save_external(changed, path, "weights.bin")
    for tensor in changed.graph.initializer:
        tensor.external_data[0].value = location
    models.save(changed, path)
    assert refusal(path).code == "model-unconfined"


def test_a_missing_file_is_refused_by_name(tmp_path):
    path = models.save_external(models.dense_net(), tmp_path / "net.onnx")
    (tmp_path / "weights.bin").unlink()
    error = refusal(path)
    assert error.code == "model-unconfined"
    assert "'weights.bin' is missing" in str(error)


def test_a_symbolic_link_is_refused(tmp_path):
    path = models.save_external(models.dense_net(), tmp_path / "model" / "net.onnx")
    weights = path.with_name("weights.bin").rename(tmp_path / "elsewhere.bin")
    path.with_name("weights.bin").symlink_to(weights)
    error = refusal(path)
    assert error.code == "model-unconfined"
    assert "symbolic link" in str(error)
    assert "cp -L" in (error.hint or "")


def test_a_symbolic_link_on_the_way_is_refused(tmp_path):
    path = models.save_external(models.dense_net(), tmp_path / "model" / "net.onnx", "sub/weights.bin")
    (path.parent / "sub").rename(tmp_path / "elsewhere")
    (path.parent / "sub").symlink_to(tmp_path / "elsewhere")
    assert "symbolic link" in str(refusal(path))


def test_a_hard_link_is_refused(tmp_path):
    """It may be another user's file under a second name."""
    path = models.save_external(models.dense_net(), tmp_path / "net.onnx")
    os.link(tmp_path / "weights.bin", tmp_path / "second name")
    assert "hard link" in str(refusal(path))


def test_a_pipe_is_refused_without_being_opened(tmp_path):
    path = models.save_external(models.dense_net(), tmp_path / "net.onnx")
    (tmp_path / "weights.bin").unlink()
    os.mkfifo(tmp_path / "weights.bin")
    assert "not a plain file" in str(refusal(path))


@pytest.mark.parametrize("entries", [{"offset": 10**9}, {"length": 10**9}, {"offset": -8}, {"offset": "x"}])
def test_ranges_beyond_the_file_are_refused(tmp_path, entries):
    assert (
        refusal(models.save_external(models.dense_net(), tmp_path / "net.onnx", **entries)).code == "model-unconfined"
    )


def test_the_graphs_own_file_is_no_place_for_weights(tmp_path):
    path = models.save_external(models.dense_net(), tmp_path / "net.onnx", offset=0, length=4)
    model = models.dense_net()
    models.save_external(model, path, offset=0, length=4)
    for tensor in model.graph.initializer:
        tensor.external_data[0].value = "net.onnx"
    models.save(model, path)
    assert "graph's own file" in str(refusal(path))
