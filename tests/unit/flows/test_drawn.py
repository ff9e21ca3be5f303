"""Samples for a model of texts whose user has none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeopt.compiler.draw_text import Wanted
from edgeopt.domain.model import TensorSpec
from edgeopt.domain.observer import Silent
from edgeopt.errors import SamplesError
from edgeopt.flows import drawn, inputs
from edgeopt.flows.source import Source
from edgeopt.profiles.config import ProjectConfig
from tests.builders import make_model


def source(tmp_path: Path, *names: str, length: int | str = "T") -> Source:
    specs = tuple(TensorSpec(name=name, dtype="int64", shape=(1, length)) for name in names)
    return Source(path=tmp_path / "model.onnx", model=make_model(inputs=specs))


def test_drawn_texts_are_divided_and_the_rest_knows_that_nobody_wrote_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def draw(_path: Path, _info: Any, _roles: Any, wanted: Wanted, **options: Any) -> tuple[list[list[int]], str]:
        asked.update(options, wanted=wanted)
        options["tell"]("texts drawn: 3/5")
        return [[1, 5 + number, 2] for number in range(wanted.count)], "its own mind"

    monkeypatch.setattr(drawn, "draw_texts", draw)
    (tmp_path / "vocab.txt").write_text("a\n")
    seen: list[tuple[str, str]] = []

    class Told(Silent):
        def advance(self, name: str, done: float, detail: str = "") -> None:
            seen.append((name, detail))

    made = inputs.invent_inputs(
        ProjectConfig(calibration=4), tmp_path, source(tmp_path, "input_ids", "attention_mask"), 7, Told()
    )

    assert made.calibration is not None
    assert made.heldout is not None
    assert made.info is not None
    assert (asked["tokenizer"], asked["wanted"].length, asked["wanted"].seed) == (tmp_path, None, [7])
    assert [row[0].tolist() for row in made.calibration.arrays] == [[[1, 5 + number, 2]] for number in range(4)]
    assert made.heldout.arrays[0][0].tolist() == [[1, 9, 2]]
    assert np.all(made.calibration.arrays[0][1] == 1)
    assert made.info.synthetic
    assert made.info.source == "synthetic: texts drawn from its own mind, seed 7"
    assert seen == [("samples", "texts drawn: 3/5")]


def test_what_cannot_be_drawn_becomes_noise_with_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_args: Any, **_options: Any) -> Any:
        raise SamplesError("no texts can be drawn for it")

    notes: list[str] = []

    class Told(Silent):
        def note(self, text: str) -> None:
            notes.append(text)

    monkeypatch.setattr(drawn, "draw_texts", fails)
    made = inputs.invent_inputs(ProjectConfig(calibration=2), tmp_path, source(tmp_path, "input_ids"), 0, Told())
    assert made.info is not None
    assert "random numbers" in made.info.source
    assert "no texts can be drawn for it" in notes


@pytest.mark.parametrize("names", [("input_ids", "something"), ("something",)])
def test_inputs_that_are_no_texts_get_what_they_got(
    names: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drawn, "draw_texts", lambda *_args, **_options: pytest.fail("nothing is drawn for these"))
    assert drawn.draw_samples(ProjectConfig(), source(tmp_path, *names), None, (1, 1), 0, Silent()) is None
