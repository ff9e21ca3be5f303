"""Profiles are found, checked and matched."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from edgeopt.errors import ConfigError, UnknownName
from edgeopt.profiles.load import builtin_profile_dir, list_profiles, load_profile

BUILT_IN = [
    *("android-arm64", "generic-aarch64", "generic-armv7", "generic-x86_64"),
    *("jetson-agx-orin", "jetson-nano", "jetson-orin-nano", "jetson-orin-nx", "jetson-xavier-nx", "local"),
    *("pi-zero-2w", "pi3", "pi4", "pi5", "pixel-6", "pixel-7", "pixel-8", "snapdragon-8gen2", "snapdragon-8gen3"),
]


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
    """By its own name, and by those it had before."""
    assert [profile.name for profile in list_profiles()] == BUILT_IN
    assert load_profile("zero2w") == load_profile("pi-zero-2w")


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


OWN = 'extends = "{}"\n{}'


def test_a_profile_of_the_users_own_extends_another(tmp_path: Path) -> None:
    """Only what it names is different, in a table only the keys that it names; a name is not inherited."""
    (tmp_path / "rover.toml").write_text(
        OWN.format("pi4", 'title = "the rover"\nrecipes = ["clean"]\n[match]\ndt_model = ["Rover"]\n')
    )
    rover, pi4 = load_profile("rover", tmp_path), load_profile("pi4")
    assert (rover.name, rover.title, rover.recipes, rover.aliases) == ("rover", "the rover", ("clean",), ())
    assert (rover.match.dt_model, rover.match.dt_compatible) == (("Rover",), pi4.match.dt_compatible)
    assert (rover.cores, rover.roofline, rover.systems) == (4, pi4.roofline, pi4.systems)


def test_a_profile_extends_one_that_extends_another(tmp_path: Path) -> None:
    """However deep; and one of a built-in name extends the built-in one."""
    (tmp_path / "pi4.toml").write_text(OWN.format("pi4", "cores = 3\n"))
    (tmp_path / "rover.toml").write_text(OWN.format("pi4", 'title = "the rover"\n'))
    (tmp_path / "rover-2.toml").write_text(OWN.format("rover", "ram_mb = [512]\n"))
    second = load_profile("rover-2", tmp_path)
    assert (second.title, second.cores, second.ram_mb) == ("the rover", 3, (512,))
    assert load_profile("pi4", tmp_path).title == "Raspberry Pi 4 Model B"


def test_an_alias_is_not_inherited(tmp_path: Path) -> None:
    """Two profiles would answer to it."""
    (tmp_path / "tiny.toml").write_text(OWN.format("pi-zero-2w", ""))
    assert load_profile("tiny", tmp_path).aliases == ()
    assert load_profile("zero2w", tmp_path).name == "pi-zero-2w"


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        (
            {"a": OWN.format("b", ""), "b": OWN.format("a", "")},
            "profile a.toml: extends: goes in a circle: a -> b -> a",
        ),
        ({"a": OWN.format("a", "")}, "profile a.toml: extends: goes in a circle: a -> a"),
        ({"a": OWN.format("pi44", "")}, 'profile a.toml: extends: found "pi44", allowed: a profile\'s name ('),
        ({"a": OWN.format("pi44", "")}, '; did you mean "pi4"?'),
        ({"a": "extends = 4\n"}, "profile a.toml: extends: found 4 (integer), allowed: a profile's name"),
        ({"a": OWN.format("b", ""), "b": "cores =\n"}, "profile b.toml: line 1, column 8: "),
        ({"a": OWN.format("pi4", 'match = "x"\n')}, 'profile a.toml: match: found "x" (string), allowed: a table'),
        ({"a": OWN.format("pi4", 'name = "b"\n')}, 'profile a.toml: name: found "b"'),
        (
            {"a": OWN.format("pi4", 'systems = ["debian-1"]\n')},
            'profile a.toml: systems[0]: found "debian-1", allowed: ',
        ),
        (
            {"a": OWN.format("pi4", "systems = [4]\n")},
            "profile a.toml: systems[0]: found 4 (integer), allowed: a table",
        ),
        ({"a": OWN.format("pi4", 'systems = "x"\n')}, 'profile a.toml: systems: found "x" (string), allowed: a list'),
    ],
)
def test_what_cannot_be_extended_is_said(tmp_path: Path, files: dict[str, str], sentence: str) -> None:
    """With the file that is to blame."""
    for name, text in files.items():
        (tmp_path / f"{name}.toml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_profile("a", tmp_path)
    assert sentence in caught.value.message


def test_systems_are_named_or_written_out(tmp_path: Path) -> None:
    """A board with a system of its own needs no file for it."""
    own = 'systems = ["debian-12-aarch64", { name = "mine", title = "Mine", arch = "aarch64", python = "3.12" }]\n'
    (tmp_path / "rover.toml").write_text(OWN.format("pi4", own))
    known, mine = load_profile("rover", tmp_path).systems
    assert (known.python, known.glibc, known.max_opset) == ("3.11", "2.36", 28)
    assert (mine.name, mine.wheels) == ("mine", ())


def test_the_profiles_in_the_documentation_load(tmp_path: Path) -> None:
    """What users copy from there works."""
    text = (Path(__file__).resolve().parents[3] / "docs" / "profiles" / "own.md").read_text()
    blocks = textwrap.dedent("\n".join(line for line in text.splitlines() if line.startswith("    "))).split(
        "extends = "
    )
    files = ["extends = " + block.split("edgeopt profiles")[0] for block in blocks[1:]]
    assert len(files) == 2
    for number, file in enumerate(files):
        (tmp_path / f"own{number}.toml").write_text(file)
        assert load_profile(f"own{number}", tmp_path).match != load_profile("pi4").match
