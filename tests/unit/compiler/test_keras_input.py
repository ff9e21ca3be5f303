"""Keras and SavedModel: converted where the user has a converter, else a sentence that says how."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from edgeopt.domain.observer import Silent
from edgeopt.errors import ModelError
from edgeopt.flows.source import read_source
from tests import models


def converter(place: Path, body: str) -> str:
    """A stand-in for the Python that has tf2onnx."""
    script = place / "python"
    script.write_text(f"#!/bin/sh\n{body}\n")
    script.chmod(0o755)
    return str(script)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    folder = tmp_path / "net"
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes(b"graph")
    return folder


def test_a_converter_in_its_own_environment(saved, tmp_path, monkeypatch):
    onnx.save(models.classifier(classes=4), tmp_path / "made.onnx")
    called = converter(tmp_path, f'test "$2 $3" = "tf2onnx.convert --saved-model" && cp {tmp_path}/made.onnx "$6"')
    monkeypatch.setenv("EDGEOPT_TF2ONNX", called)
    source = read_source(saved, tmp_path / "cache", Silent())
    assert source.model.name == "net"
    assert "not compared" in source.model.warnings[0]
    converter(tmp_path, "exit 1")
    assert read_source(saved, tmp_path / "cache", Silent()).path == source.path, "kept by content"
    (saved / "saved_model.pb").write_bytes(b"another")
    converter(tmp_path, "echo 'KeyError: no op Foo' >&2; exit 1")
    with pytest.raises(ModelError, match="no op Foo"):
        read_source(saved, tmp_path / "cache", Silent())


def test_without_one_the_error_says_how(saved, tmp_path, monkeypatch):
    monkeypatch.delenv("EDGEOPT_TF2ONNX", raising=False)
    (tmp_path / "net.keras").write_bytes(b"PK\x03\x04")
    for named in (saved, tmp_path / "net.keras"):
        with pytest.raises(ModelError) as caught:
            read_source(named, tmp_path / "cache", Silent())
        assert "tf2onnx" in str(caught.value.hint)
