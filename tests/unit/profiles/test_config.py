"""edgeopt.toml is found and read."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from edgeopt.domain.goal import Goal
from edgeopt.domain.run import MeasurePlan
from edgeopt.errors import ConfigError
from edgeopt.profiles.config import ProjectConfig, find_config, load_config

FULL = """
schema = 1
app = "detector"
model = "models/a.onnx"
samples = "data:photos"
calibration = 50
task = "other"
devices = ["pi4", "local"]
recipes = ["clean"]
[goal]
objective = "memory"
max_latency_p50_ms = 10
[preprocess]
resize = 256
crop = [224, 224]
mean = [0.485, 0.456, 0.406]
std = [0.229, 0.224, 0.225]
scale = 0.00392
[shapes]
images = [1, 3, 224, 224]
[measure]
rounds = 4
"""


def test_the_nearest_file_above_is_found(tmp_path: Path) -> None:
    """As people expect from other tools."""
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    (tmp_path / "edgeopt.toml").write_text("")
    assert find_config(deep) == tmp_path / "edgeopt.toml"
    (deep / "edgeopt.toml").mkdir()
    (tmp_path / "a" / "edgeopt.toml").write_text("")
    assert find_config(deep) == tmp_path / "a" / "edgeopt.toml"


def test_no_file_is_none() -> None:
    """The root of the file system has none."""
    assert find_config(Path("/")) is None


def test_every_key_is_read(tmp_path: Path) -> None:
    """Whole numbers are taken where numbers are allowed."""
    path = tmp_path / "edgeopt.toml"
    path.write_text(FULL)
    config = load_config(path)
    assert config.goal == Goal(objective="memory", max_latency_p50_ms=10.0)
    assert config.preprocess is not None
    assert config.preprocess.resize == 256
    assert config.preprocess.crop == (224, 224)
    assert config.shapes == {"images": (1, 3, 224, 224)}
    assert config.devices == ("pi4", "local")


def test_an_empty_file_is_a_config(tmp_path: Path) -> None:
    """Everything has a default or may come from the command line."""
    path = tmp_path / "edgeopt.toml"
    path.write_text("")
    assert load_config(path) == ProjectConfig()


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    """The hint is the command."""
    with pytest.raises(ConfigError, match="no such file") as caught:
        load_config(tmp_path / "edgeopt.toml")
    assert caught.value.hint is not None
    assert "edgeopt init" in caught.value.hint


def test_measure_options_override_only_what_they_name() -> None:
    """So that the defaults live in one place."""
    config = msgspec.convert({"measure": {"rounds": 4}}, ProjectConfig)
    assert msgspec.convert(msgspec.to_builtins(config.measure), MeasurePlan) == MeasurePlan(rounds=4)
    assert msgspec.to_builtins(ProjectConfig().measure) == {}
