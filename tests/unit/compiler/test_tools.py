"""Which other quantisers are here, without importing them."""

from __future__ import annotations

import sys

import pytest

from edgeopt.compiler.tools import PACKAGES, installed_tools


@pytest.fixture(autouse=True)
def _nothing_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """What another test has imported is found without looking."""
    for module, _ in PACKAGES.values():
        monkeypatch.delitem(sys.modules, module, raising=False)


def test_a_module_is_found_with_its_version_and_not_imported(tmp_path, monkeypatch):
    (tmp_path / "nncf.py").write_text("raise AssertionError('imported')")
    (tmp_path / "nncf-3.4.0.dist-info").mkdir()
    (tmp_path / "nncf-3.4.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: nncf\nVersion: 3.4.0\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert installed_tools() == {"nncf": "3.4.0"}


def test_a_module_without_a_distribution_has_an_unknown_version(tmp_path, monkeypatch):
    (tmp_path / "aimet_onnx.py").write_text("")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert installed_tools() == {"aimet": "unknown"}
