"""Phones that cannot be reached, each for its own reason, by the real client; and answers of a phone that make no sense."""

from __future__ import annotations

import os
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeopt.errors import EdgeoptError, LinkError, LinkLost, LinkTimeout
from edgeopt.transport.adb_client import complaint, version_of
from edgeopt.transport.link import Link
from edgeopt.transport.open import open_link
from tests.fakes.adbd import AdbServer, Phone, adb_server, start_phone

pytestmark = pytest.mark.xdist_group("adb errors")

MIB = 1 << 20


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AdbServer]:
    with adb_server(tmp_path_factory.mktemp("adb")) as made, pytest.MonkeyPatch.context() as patch:
        for name, value in made.environment.items():
            patch.setenv(name, value)
        yield made


@pytest.fixture
def make_phone(server: AdbServer, tmp_path: Path) -> Iterator[Callable[..., Phone]]:
    made: list[Phone] = []

    def make(**wrong: object) -> Phone:
        made.append(start_phone(tmp_path / f"phone{len(made)}", **wrong))
        return made[-1]

    yield make
    for phone in made:
        server.run("disconnect", phone.serial)
        phone.stop()
    wait_for(lambda: "emulator-" not in server.run("devices"))


def wait_for(holds: Callable[[], bool]) -> None:
    """The server finds out by itself that a phone is gone, or there."""
    end = time.monotonic() + 10.0
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)


def reach(address: str, **limits: float) -> Link:
    return open_link(address, known_hosts=Path("/nowhere"), name="phone", **{"stall_timeout_s": 5.0} | limits)


def fails(code: str, address: str, **limits: float) -> LinkError:
    with pytest.raises(LinkError) as caught:
        reach(address, **limits)
    assert caught.value.code == code, caught.value.message
    assert caught.value.message.startswith("phone: ")
    assert caught.value.hint
    return caught.value


def test_a_phone_that_has_not_allowed_this_computer_is_unauthorised(make_phone: Callable[..., Phone]) -> None:
    assert "Allow USB debugging" in str(fails("adb-unauthorised", make_phone(authorised=False).address).hint)


def test_a_phone_before_shell_v2_is_refused(make_phone: Callable[..., Phone]) -> None:
    assert "Android 7" in str(fails("adb-no-shell-v2", make_phone(features="cmd,stat_v2").address).hint)


def test_a_serial_number_that_is_not_connected_is_no_device(server: AdbServer) -> None:
    fails("adb-no-device", "adb://0A041FDD4003BY")


def test_no_phone_at_all_is_no_device(server: AdbServer) -> None:
    fails("adb-no-device", "adb://")


def test_an_address_where_nobody_listens_is_no_device(server: AdbServer) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        fails("adb-no-device", f"adb://127.0.0.1:{probe.getsockname()[1]}")


def test_a_phone_that_says_nothing_is_given_up(make_phone: Callable[..., Phone]) -> None:
    begun = time.monotonic()
    with pytest.raises(LinkTimeout):
        reach(make_phone(answers=False).address, connect_timeout_s=0.5)
    assert time.monotonic() - begun < 8.0


def test_the_only_phone_needs_no_name_and_two_do(server: AdbServer, make_phone: Callable[..., Phone]) -> None:
    first = make_phone()
    server.connect(first)
    with closing(reach("adb://")) as link:
        assert link.run(["echo", "hello"]).stdout == b"hello\n"
    server.connect(make_phone())
    assert "adb devices" in str(fails("adb-several-devices", "adb://").hint)


def test_a_phone_is_reached_by_its_serial_number(server: AdbServer, make_phone: Callable[..., Phone]) -> None:
    # What the server calls an emulator is a phone with a name and no address.
    phone = make_phone()
    with socket.create_connection(("127.0.0.1", int(server.environment["ANDROID_ADB_SERVER_PORT"]))) as asking:
        service = f"host:emulator:{phone.port}".encode()
        asking.sendall(b"%04x" % len(service) + service)
        asking.recv(4)
    serial = f"emulator-{phone.port - 1}"
    wait_for(lambda: serial in server.run("devices"))
    with closing(reach(f"adb://{serial}")) as link:
        assert link.run(["echo", "hello"]).stdout == b"hello\n"


# --- the client itself -------------------------------------------------------------------------------------------------


def test_a_computer_without_adb_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "apt install adb" in str(fails("adb-missing", "adb://").hint)


def _client(folder: Path, script: str) -> str:
    program = folder / "adb"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


@pytest.mark.parametrize("says", ["Android Debug Bridge version 1.0.31", "hello", ""])
def test_a_client_that_is_too_old_is_named_with_its_version(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, says: str
) -> None:
    monkeypatch.setenv("PATH", _client(tmp_path, f"echo {says}"))
    error = fails("adb-too-old", "adb://")
    assert "1.0.36" in error.message
    assert ("1.0.31" if "1.0.31" in says else "unknown") in error.message


def test_a_server_that_does_not_start_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = 'case $1 in version) echo Android Debug Bridge version 1.0.41;; *) echo "error: cannot connect to daemon" >&2; exit 1;; esac'
    monkeypatch.setenv("PATH", _client(tmp_path, script))
    fails("adb-server", "adb://")


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("error: device unauthorized.\nThis adb server's $ADB_VENDOR_KEYS is not set\n", "adb-unauthorised"),
        ("failed to authenticate to 192.168.0.7:5555", "adb-unauthorised"),
        (
            "error: insufficient permissions for device: user in plugdev group; are your udev rules wrong?",
            "adb-no-permission",
        ),
        ("error: no permissions (missing udev rules? user is in the plugdev group); see [...]", "adb-no-permission"),
        ("error: device offline", "adb-offline"),
        ("error: device still connecting", "adb-offline"),
        ("error: device still authorizing", "adb-offline"),
        ("error: no devices/emulators found", "adb-no-device"),
        ("adb: no devices/emulators found", "adb-no-device"),
        ("error: device '0A041FDD4003BY' not found", "adb-no-device"),
        ("error: closed", "adb-no-device"),
        ("failed to connect to '192.168.0.7:5555': Connection refused", "adb-no-device"),
        ("cannot resolve host 'phone' and port 5555: Name or service not known", "adb-no-device"),
        ("error: more than one device/emulator", "adb-several-devices"),
        ("error: device only supports allocating a pty", "adb-no-shell-v2"),
        ("error: cannot connect to daemon", "adb-server"),
        ("error: protocol fault (couldn't read status): Success", "adb-server"),
        ("", "adb-error"),
        ("something new", "adb-error"),
    ],
)
def test_each_complaint_of_the_client_has_its_meaning(said: str, code: str) -> None:
    assert complaint(said, "phone").code == code


@settings(deadline=None)
@given(text=st.text(max_size=200))
def test_whatever_the_client_says_is_one_sentence(text: str) -> None:
    assert complaint(text, "phone").message.isprintable()
    found = version_of(text)
    assert found is None or len(found) == 3


# --- in the middle of something ----------------------------------------------------------------------------------------


def test_a_cable_pulled_in_mid_command_is_a_lost_link(make_phone: Callable[..., Phone]) -> None:
    phone = make_phone()
    with closing(reach(phone.address)) as link:
        threading.Timer(0.3, phone.pull_cable).start()
        with pytest.raises(LinkLost, match="connection to the phone broke") as caught:
            link.run(["sleep", "1000"])
        assert "Plug the phone in again" in str(caught.value.hint)


def test_a_cable_that_was_pulled_before_a_command_is_a_lost_link_too(make_phone: Callable[..., Phone]) -> None:
    phone = make_phone()
    with closing(reach(phone.address)) as link:
        phone.pull_cable()
        with pytest.raises(LinkLost, match="connection to the phone broke"):
            link.run(["true"])


def test_a_cable_pulled_in_mid_conversation_is_a_lost_link(make_phone: Callable[..., Phone]) -> None:
    phone = make_phone()
    with closing(reach(phone.address)) as link:
        stream = link.start(["cat"])
        stream.write(b"hello")
        assert stream.read(10, 5.0) == b"hello"
        phone.pull_cable()
        with pytest.raises(LinkLost):
            stream.read(10, 10.0)


def test_an_upload_that_was_cut_off_goes_on_where_it_stopped(make_phone: Callable[..., Phone], tmp_path: Path) -> None:
    phone = make_phone(cut_after_bytes=3 * MIB)
    (tmp_path / "local").write_bytes(data := os.urandom(8 * MIB))
    remote = phone.folder / "data/local/tmp/remote"
    with closing(reach(phone.address)) as link, pytest.raises(LinkLost):
        link.put(tmp_path / "local", str(remote))
    have = remote.stat().st_size
    assert MIB < have < 4 * MIB
    phone.start()
    with closing(reach(phone.address)) as link:
        assert link.put(tmp_path / "local", str(remote), offset=have) == len(data) - have
        link.get(str(remote), tmp_path / "back", max_bytes=8 * MIB)
    assert (tmp_path / "back").read_bytes() == data


def test_a_phone_that_was_unplugged_is_reached_again(make_phone: Callable[..., Phone]) -> None:
    phone = make_phone()
    reach(phone.address).close()
    phone.pull_cable()
    phone.start()
    with closing(reach(phone.address)) as link:
        assert link.run(["true"]).exit_code == 0


def test_a_command_whose_words_the_way_cannot_carry_is_refused(make_phone: Callable[..., Phone]) -> None:
    with closing(reach(make_phone().address)) as link, pytest.raises(LinkError, match="at most"):
        link.run(["echo", "x" * 70_000])


def test_a_phone_that_answers_nonsense_neither_hangs_nor_crashes_the_host(
    make_phone: Callable[..., Phone], tmp_path: Path
) -> None:
    phone = make_phone()
    (tmp_path / "local").write_bytes(bytes(100_000))

    @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        garbage=st.binary(min_size=1, max_size=40)
        | st.builds(
            lambda kind, size, rest: bytes([kind]) + size.to_bytes(4, "little") + rest,
            st.integers(0, 6),
            st.integers(0, (1 << 32) - 1),
            st.binary(max_size=20),
        ).filter(len)
    )
    def answers(garbage: bytes) -> None:
        phone.garbage = garbage
        begun = time.monotonic()
        with closing(reach(phone.address, stall_timeout_s=0.2)) as link:
            for call in (
                lambda: link.run(["true"], deadline_s=0.3),
                lambda: link.put(tmp_path / "local", f"{phone.folder}/x"),
                lambda: link.get("/etc/hostname", tmp_path / "back", max_bytes=1000),
            ):
                try:
                    call()
                except EdgeoptError as error:
                    assert error.message  # noqa: PT017
        assert time.monotonic() - begun < 20.0

    answers()
