"""Where files lie."""

from __future__ import annotations

from pathlib import Path

from edgeopt.profiles.places import find_places


def test_one_variable_moves_everything(tmp_path: Path) -> None:
    """EDGEOPT_HOME holds configuration, data and cache; nothing is created by asking."""
    places = find_places({"EDGEOPT_HOME": str(tmp_path)})
    found = (places.inventory, places.profiles, places.known_hosts, places.runs, places.blobs, places.wheels)
    assert all(path.is_relative_to(tmp_path) for path in found)
    assert places.database_url == f"sqlite:///{tmp_path}/data/runs.sqlite"
    assert list(tmp_path.iterdir()) == []


def test_a_home_is_expanded_and_absolute() -> None:
    """So that changing the folder later changes nothing."""
    assert find_places({"EDGEOPT_HOME": "~/x"}).config == Path.home() / "x" / "config"
    assert find_places({"EDGEOPT_HOME": "x"}).data == Path.cwd() / "x" / "data"


def test_without_it_the_platforms_folders_are_taken() -> None:
    """An empty variable is no variable."""
    places = find_places({"EDGEOPT_HOME": ""})
    assert len({places.config, places.data, places.cache}) == 3
    assert all(path.name == "edgeopt" for path in (places.config, places.data, places.cache))
