"""The user's devices."""

from __future__ import annotations

import resource
import threading
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeopt.domain.device import Device
from edgeopt.errors import ConfigError, UnknownName
from edgeopt.profiles.decode import decode_toml
from edgeopt.profiles.inventory import (
    LOCAL,
    Inventory,
    add_device,
    get_device,
    load_inventory,
    remove_device,
    render_inventory,
)
from edgeopt.profiles.places import Places, find_places

PI = Device(
    name="kitchen",
    profile="pi4",
    address="ssh://pi@kitchen.local:2222",
    python="/usr/bin/python3",
    identity="~/.ssh/pi",
    threads=(1, 0),
)


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return find_places({"EDGEOPT_HOME": str(tmp_path)})


def test_this_computer_is_always_a_device(places: Places) -> None:
    """Without any file."""
    assert load_inventory(places) == (LOCAL,)
    assert get_device("local", places) == LOCAL
    assert not places.config.exists()


def test_a_device_that_was_added_is_found(places: Places) -> None:
    """With all that was said of it; the file is for its owner's eyes."""
    add_device(PI, places)
    assert get_device("kitchen", places) == PI
    assert load_inventory(places) == (PI, LOCAL)
    assert places.inventory.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in places.config.iterdir() if path.name.startswith(".tmp")] == []


def test_a_name_is_taken_once(places: Places) -> None:
    """Replacing is asked for."""
    add_device(PI, places)
    with pytest.raises(ConfigError, match='there is a device "kitchen" already'):
        add_device(PI, places)
    moved = msgspec.structs.replace(PI, address="ssh://elsewhere")
    add_device(moved, places, replace=True)
    assert get_device("kitchen", places) == moved


def test_local_can_be_given_settings_but_no_address(places: Places) -> None:
    """`local` means this computer."""
    add_device(msgspec.structs.replace(LOCAL, threads=(2,)), places)
    assert get_device("local", places).threads == (2,)
    with pytest.raises(ConfigError, match='the device "local" is this computer'):
        add_device(Device(name="local", profile="pi4", address="ssh://pi"), places)


def test_an_unknown_device_lists_the_known_ones(places: Places) -> None:
    """And the nearest."""
    add_device(PI, places)
    with pytest.raises(UnknownName) as caught:
        get_device("kichen", places)
    assert caught.value.code == "unknown-device"
    assert caught.value.message == 'no device "kichen"; did you mean "kitchen"? Known: kitchen, local.'
    with pytest.raises(UnknownName, match=r'no device "x"\. Known: kitchen\.'):
        remove_device("x", places)


def test_a_removed_device_is_gone(places: Places) -> None:
    """The others stay."""
    other = Device(name="hall", profile="pi5", address="ssh://hall")
    add_device(PI, places)
    add_device(other, places)
    remove_device("kitchen", places)
    assert load_inventory(places) == (other, LOCAL)
    with pytest.raises(UnknownName, match=r"Known: hall\."):
        remove_device("kitchen", places)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"address": "kitchen.local"}, 'address: found "kitchen.local", allowed: local:, ssh://'),
        ({"threads": (-1,)}, "threads: allowed: whole numbers of at least 0"),
        ({"name": "no good"}, "name: found"),
    ],
)
def test_a_wrong_device_is_not_added(places: Places, changes: dict[str, object], sentence: str) -> None:
    """Nothing is written."""
    with pytest.raises(ConfigError, match=sentence):
        add_device(msgspec.structs.replace(PI, **changes), places)
    assert not places.inventory.exists()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[[device]]\nname='a'\nprofile='p'\naddress='ftp://x'", 'address: found "ftp://x"'),
        ("[[device]]\nname='a'\nprofile='p'\naddress='local:'\n" * 2, 'two devices are named "a"'),
        ("[[device]]\nname='a'\nprofil='p'\naddress='local:'", "device[0].profil: unknown key"),
        ("[[device]", "line 1"),
    ],
)
def test_a_wrong_file_is_named(places: Places, text: str, sentence: str) -> None:
    """With its path, since it is not in the project."""
    places.config.mkdir()
    places.inventory.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_inventory(places)
    assert sentence in caught.value.message
    assert str(places.inventory) in caught.value.message


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    """It says what to do."""
    (tmp_path / "config").write_text("in the way")
    with pytest.raises(ConfigError, match="cannot be written"):
        add_device(PI, find_places({"EDGEOPT_HOME": str(tmp_path)}))


def test_a_file_that_cannot_be_written_leaves_the_old_one(places: Places) -> None:
    """And nothing else: here no file may grow, as on a full disk."""
    add_device(PI, places)
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, old[1]))
    try:
        with pytest.raises(ConfigError, match=r"devices\.toml: cannot be written: File too large"):
            add_device(Device(name="hall", profile="pi5", address="local:"), places)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    assert sorted(path.name for path in places.config.iterdir()) == [".devices.lock", "devices.toml"]
    assert load_inventory(places) == (PI, LOCAL)


def test_two_writers_lose_nothing(places: Places) -> None:
    """Each reads what the other wrote."""
    devices = [Device(name=f"d{i}", profile="pi4", address="local:") for i in range(8)]
    threads = [threading.Thread(target=add_device, args=(device, places)) for device in devices]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(load_inventory(places)) == 9


NAMES = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,8}\Z")
TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@given(
    st.lists(
        st.builds(
            Device,
            name=NAMES,
            profile=NAMES,
            address=TEXT,
            python=st.none() | TEXT,
            root=TEXT,
            identity=st.none() | TEXT,
            threads=st.none() | st.lists(st.integers(0, 64)).map(tuple),
        ),
        max_size=3,
    )
)
def test_what_is_written_reads_back_equal(devices: list[Device]) -> None:
    """Whatever the strings hold."""
    text = render_inventory(tuple(devices))
    assert decode_toml(text.encode(), Inventory, source="x").device == tuple(
        sorted(devices, key=lambda each: each.name)
    )


def test_text_that_is_no_text_is_refused(places: Places) -> None:
    """A lone surrogate, as from a broken command line."""
    with pytest.raises(ConfigError, match='device "kitchen": python: not text'):
        render_inventory((msgspec.structs.replace(PI, python="\ud800"),))
