"""Profiles are found, checked and matched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgeopt.compiler.recipes import get_recipe
from edgeopt.errors import ConfigError, UnknownName
from edgeopt.profiles.load import builtin_profile_dir, list_profiles, load_profile, match_profile

BUILT_IN = ["generic-aarch64", "generic-x86_64", "jetson-orin-nano", "local", "pi3", "pi4", "pi5", "zero2w"]


def test_an_installed_wheel_has_the_profiles_inside_the_package(tmp_path: Path) -> None:
    """The wheel puts them there."""
    (tmp_path / "edgeopt" / "device_profiles").mkdir(parents=True)
    (tmp_path / "device_profiles").mkdir()
    assert builtin_profile_dir(tmp_path / "edgeopt") == tmp_path / "edgeopt" / "device_profiles"


def test_a_source_tree_has_the_profiles_beside_the_package(tmp_path: Path) -> None:
    """So does an editable install, which points there."""
    (tmp_path / "edgeopt").mkdir()
    (tmp_path / "device_profiles").mkdir()
    assert builtin_profile_dir(tmp_path / "edgeopt") == tmp_path / "device_profiles"


def test_profiles_that_are_nowhere_are_a_sentence(tmp_path: Path) -> None:
    """A damaged installation is said to be one."""
    with pytest.raises(ConfigError, match="the built-in profiles are missing"):
        builtin_profile_dir(tmp_path / "edgeopt")


def test_every_built_in_profile_reads() -> None:
    """And keeps the rules that hold between its facts."""
    profiles = list_profiles()
    assert [profile.name for profile in profiles] == BUILT_IN
    for profile in profiles:
        assert profile.fp16 == ("asimdhp" in profile.isa) == ("fp16" in profile.recipes), profile.name
        assert (profile.power_sensor is None) == (profile.power_reason is not None), profile.name
        assert profile.encoding == ("s8s8" if profile.arch == "aarch64" else "auto"), profile.name
        newest = profile.name.startswith(("pi", "zero"))  # Raspberry Pi OS has no Python older than 3.11
        assert (profile.max_opset, profile.max_ir_version) == ((28, 14) if newest else (21, 10)), profile.name


def test_every_recipe_of_a_built_in_profile_exists() -> None:
    """The names are the compiler's."""
    for profile in list_profiles():
        for name in profile.recipes:
            assert get_recipe(name).name == name


def test_an_unknown_profile_lists_the_known_ones() -> None:
    """And the nearest."""
    with pytest.raises(UnknownName) as caught:
        load_profile("pi4b")
    assert caught.value.code == "unknown-profile"
    assert 'no profile "pi4b"; did you mean "pi4"? Known: ' in caught.value.message
    assert ", ".join(BUILT_IN) in caught.value.message


def test_the_users_profiles_add_and_override(tmp_path: Path) -> None:
    """By their file's name."""
    text = 'name = "{}"\ntitle = "mine"\narch = "aarch64"\nrecipes = ["clean"]\n'
    (tmp_path / "pi4.toml").write_text(text.format("pi4"))
    (tmp_path / "rover.toml").write_text(text.format("rover"))
    assert load_profile("pi4", tmp_path).title == "mine"
    assert len(list_profiles(tmp_path)) == len(BUILT_IN) + 1
    assert load_profile("pi5", tmp_path / "absent").name == "pi5"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            'name = "other"\ntitle = "x"\narch = "any"\nrecipes = []\n',
            'profile bad.toml: name: found "other", allowed: the file\'s own name, "bad"',
        ),
        (
            'name = "bad"\ntitle = "x"\narch = "mips"\nrecipes = []\n',
            'profile bad.toml: arch: found "mips" (string), allowed: "aarch64" or ',
        ),
    ],
)
def test_a_wrong_profile_is_named(tmp_path: Path, text: str, sentence: str) -> None:
    """With the key."""
    (tmp_path / "bad.toml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_profile("bad", tmp_path)
    assert caught.value.message.startswith(sentence)


def facts(machine: str, bits: int = 64, **board: Any) -> dict[str, Any]:
    return {"machine": machine, "python": {"bits": bits}, "board": board}


@pytest.mark.parametrize(
    ("found", "profile"),
    [
        (facts("aarch64", dt_compatible=["raspberrypi,4-model-b", "brcm,bcm2711"]), "pi4"),
        (facts("aarch64", dt_compatible=["linux,dummy-virt"], dt_model="Raspberry Pi 4 Model B Rev 1.4"), "pi4"),
        (facts("aarch64", dt_compatible=[], dt_model="Raspberry Pi 5 Model B Rev 1.0"), "pi5"),
        (facts("aarch64", dt_compatible=None, dt_model="Raspberry Pi Zero 2 W Rev 1.0"), "zero2w"),
        (facts("aarch64", dt_model="Raspberry Pi 3 Model B Plus Rev 1.3"), "pi3"),
        (facts("aarch64", dt_model="Raspberry Pi 3 Model B"), "pi3"),
        (facts("aarch64", dt_model="NVIDIA Jetson Orin Nano Developer Kit"), "jetson-orin-nano"),
        (facts("aarch64", dt_model="NVIDIA Jetson Orin Nano Developer Kit Super"), "jetson-orin-nano"),
        (facts("aarch64", dt_model="Raspberry Pi 4 Model Bananas"), "generic-aarch64"),
        (facts("aarch64", dt_model="Radxa ROCK 5B"), "generic-aarch64"),
        (facts("aarch64", dt_model=None), "generic-aarch64"),
        (facts("arm64"), "generic-aarch64"),
        (facts("x86_64"), "generic-x86_64"),
        (facts("AMD64"), "generic-x86_64"),
        (facts("aarch64", bits=32, dt_model="Raspberry Pi 4 Model B Rev 1.4"), None),
        (facts("armv7l", bits=32), None),
        ({"machine": "riscv64", "python": None, "board": None}, None),
        ({}, None),
    ],
)
def test_a_board_is_matched_by_what_it_says_it_is(found: dict[str, Any], profile: str | None) -> None:
    """A 32-bit system on a 64-bit kernel is no 64-bit board; a name that only begins alike is another board."""
    assert match_profile(found, list_profiles()) == profile
