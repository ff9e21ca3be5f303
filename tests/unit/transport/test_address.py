"""Addresses: what is one, what is not, and what must never get further than here."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeopt.errors import ConfigError
from edgeopt.transport.address import AdbAddress, LocalAddress, SshAddress, format_address, parse_address, parse_hop

USERS = st.from_regex(r"[A-Za-z0-9_.][A-Za-z0-9_.+$-]{0,20}", fullmatch=True)
NAMES = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,40}", fullmatch=True)
HOSTS = NAMES | st.ip_addresses().map(str)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("local:", LocalAddress()),
        ("ssh://raspberrypi.local", SshAddress(host="raspberrypi.local")),
        ("ssh://pi@10.0.0.5:2222", SshAddress(host="10.0.0.5", user="pi", port=2222)),
        ("ssh://[fe80::1%eth0]:22", SshAddress(host="fe80::1%eth0", port=22)),
        ("ssh://pi@[::1]", SshAddress(host="::1", user="pi")),
        ("ssh://my_alias", SshAddress(host="my_alias")),
        ("adb://", AdbAddress()),
        ("adb://0A041FDD4003BY", AdbAddress(serial="0A041FDD4003BY")),
        ("adb://emulator-5554", AdbAddress(serial="emulator-5554")),
        (
            "adb://adb-0A041FDD-x1Y2z3._adb-tls-connect._tcp",
            AdbAddress(serial="adb-0A041FDD-x1Y2z3._adb-tls-connect._tcp"),
        ),
        ("adb://192.168.0.7:5555", AdbAddress(serial="192.168.0.7", port=5555)),
        ("adb://[fe80::1%wlan0]:5555", AdbAddress(serial="fe80::1%wlan0", port=5555)),
    ],
)
def test_an_address_is_read(text: str, address: object) -> None:
    assert parse_address(text) == address


@given(address=st.builds(SshAddress, host=HOSTS, user=st.none() | USERS, port=st.none() | st.integers(1, 65535)))
def test_what_is_written_is_read_back(address: SshAddress) -> None:
    assert parse_address(format_address(address)) == address


@given(
    address=st.builds(AdbAddress, serial=st.none() | NAMES)
    | st.builds(AdbAddress, serial=HOSTS, port=st.integers(1, 65535))
)
def test_a_phone_is_read_back(address: AdbAddress) -> None:
    assert parse_address(format_address(address)) == address


def test_this_computer_is_read_back() -> None:
    assert parse_address(format_address(LocalAddress())) == LocalAddress()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not an address"),
        ("pi@host", "not an address"),
        ("http://host", "not an address"),
        ("local", "not an address"),
        ("local:/tmp", "not an address"),
        ("SSH://host", "not an address"),
        ("ssh://", "not a host"),
        ("adb://-s", "not a serial number"),
        ("adb://user@phone", "not a serial number"),
        ("adb://[::1]", "has no port"),
        ("adb://host:", "not a port"),
        ("adb://-s:5555", "not a host"),
        ("ssh://@host", "not a user name"),
        ("ssh://-oProxyCommand=x", "not a host"),
        ("ssh://-l@host", "not a user name"),
        ("ssh://pi:secret@host", "must not hold a password"),
        ("ssh://host/path", "not a host"),
        ("ssh://host:", "not a port"),
        ("ssh://host:0", "not a port"),
        ("ssh://host:65536", "not a port"),
        ("ssh://host:٢٢", "not a port"),
        ("ssh://host:99999999999999999999", "not a port"),
        ("ssh://::1", "stands in brackets"),
        ("ssh://[::1", "do not hold an IPv6 address"),
        ("ssh://[::1]22", "do not hold an IPv6 address"),
        ("ssh://[host]", "do not hold an IPv6 address"),
        ("ssh://[1:2:3]", "not an IPv6 address"),
        ("ssh://[::1%]", "name of a network interface"),
        ("ssh://[::1%-x]", "name of a network interface"),
        ("ssh://ho st", "space, a control character or is too long"),
        ("ssh://host\n", "space, a control character or is too long"),
        ("ssh://ho\0st", "space, a control character or is too long"),
        ("ssh://\x1b[31mhost", "space, a control character or is too long"),
        ("ssh://" + "a" * 600, "space, a control character or is too long"),
        ("ssh://ho$(id)st", "not a host"),
        ("ssh://höst", "not a host"),
    ],
)
def test_what_is_no_address_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        parse_address(text)


def test_a_password_is_not_repeated() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_address("ssh://pi:hunter2@host")
    assert "hunter2" not in f"{caught.value} {caught.value.hint}"


@given(st.text(max_size=60))
def test_any_text_is_an_address_or_a_config_error(text: str) -> None:
    for candidate in (text, f"ssh://{text}"):
        try:
            address = parse_address(candidate)
        except ConfigError:
            continue
        assert parse_address(format_address(address)) == address
        if isinstance(address, SshAddress):
            assert not address.host.startswith("-")
            assert address.host.isprintable()


def test_a_hop_has_no_scheme() -> None:
    assert parse_hop("pi@gate:2222") == SshAddress(host="gate", user="pi", port=2222)
