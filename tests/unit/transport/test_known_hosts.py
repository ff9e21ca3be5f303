"""Files of trusted host keys: reading what OpenSSH writes, and writing what it reads."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeopt.errors import HostKeyChanged, HostKeyUnknown
from edgeopt.transport.host_key_check import algorithms_for, check_host_key, read_pins
from edgeopt.transport.known_hosts import HostKey, Pins, find_pins, key_name, matches, parse_known_hosts, replace_host


def make(kind: str = "ssh-ed25519", content: bytes = b"1") -> HostKey:
    name = kind.encode()
    return HostKey(type=kind, raw=len(name).to_bytes(4, "big") + name + content)


A, B, RSA = make(content=b"a"), make(content=b"b"), make("ssh-rsa", b"r")


def line(hosts: str, key: HostKey) -> str:
    return f"{hosts} {key.type} {key.base64}\n"


def hashed(name: str) -> str:
    salt = b"0123456789abcdefghij"
    digest = hmac.new(salt, name.encode(), hashlib.sha1).digest()
    return f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"


def trusted(text: str, name: str) -> tuple[HostKey, ...]:
    return find_pins([text], name).trusted


@pytest.mark.parametrize(("host", "port", "name"), [("Pi", 22, "pi"), ("pi", 2222, "[pi]:2222"), ("::1", 22, "::1")])
def test_a_host_is_named_as_openssh_does(host: str, port: int, name: str) -> None:
    assert key_name(host, port) == name


@pytest.mark.parametrize(
    ("hosts", "name", "speaks"),
    [
        ("pi", "pi", True),
        ("PI", "pi", True),
        ("pi,10.0.0.5", "10.0.0.5", True),
        ("pi", "pi2", False),
        ("pi", "[pi]:2222", False),
        ("[pi]:2222", "[pi]:2222", True),
        ("[pi]:2222", "pi", False),
        ("[pi]:2222", "p:2222", False),
        ("*.local", "pi.local", True),
        ("pi?", "pi4", True),
        ("*.local,!bad.local", "bad.local", False),
        ("!bad.local,*.local", "good.local", True),
        ("!bad", "good", False),
        (hashed("pi"), "pi", True),
        (hashed("pi"), "pj", False),
        (hashed("[pi]:2222"), "[pi]:2222", True),
        ("|1|nonsense", "pi", False),
        ("|1|%|%", "pi", False),
    ],
)
def test_a_line_speaks_of_a_host_or_not(hosts: str, name: str, speaks: bool) -> None:
    assert matches(hosts.split(","), name) is speaks


def test_lines_that_make_no_sense_are_skipped() -> None:
    text = (
        "\n# comment\npi\npi ssh-ed25519\npi ssh-ed25519 ***\n# pi ssh-ed25519 AAAA\n"
        + line("@cert-authority *", A)
        + f"pi ssh-rsa {A.base64}\n"  # two types
        + "pi ssh-ed25519 AAAA trailing comment\n"
        + line("good", A).replace("\n", " a comment\n")
    )
    assert [entry.patterns for entry in parse_known_hosts(text)] == [("good",)]


@given(st.text())
def test_any_text_can_be_read(text: str) -> None:
    parse_known_hosts(text)
    find_pins([text], "pi")


def test_all_types_of_a_host_are_trusted() -> None:
    assert trusted(line("pi", A) + line("other", B) + line("pi", RSA), "pi") == (A, RSA)


def test_the_first_file_that_knows_a_host_decides_and_every_file_may_revoke() -> None:
    pins = find_pins(["", line("pi", A), line("pi", B) + line("@revoked pi", A)], "pi")
    assert pins == Pins(trusted=(A,), revoked=(A,))


def test_a_host_that_is_replaced_has_one_key_and_others_keep_theirs() -> None:
    before = "# mine\n" + line("pi,10.0.0.5", A) + line("pi", A) + line(hashed("pi"), B) + line("@revoked pi", B)
    after = replace_host(before, "pi", RSA)
    assert after == "# mine\n" + line("pi,10.0.0.5", A) + line("@revoked pi", B) + line("pi", RSA)
    assert replace_host(after, "pi", None) == "# mine\n" + line("pi,10.0.0.5", A) + line("@revoked pi", B)


@given(st.lists(st.sampled_from([line("x", A), line("pi", A), line("pi", B), "# c\n", "junk\n"])))
def test_replacing_makes_the_key_the_only_one(lines: list[str]) -> None:
    after = replace_host("".join(lines), "pi", RSA)
    assert trusted(after, "pi") == (RSA,)
    assert trusted(replace_host(after, "pi", None), "pi") == ()
    assert [li for li in lines if "pi" not in li] == after.splitlines(keepends=True)[:-1]


def check(key: HostKey, *trusted: HostKey, revoked: tuple[HostKey, ...] = ()) -> None:
    pins = Pins(trusted=trusted, revoked=revoked)
    check_host_key(key, pins, label="pi4", place="host:22", advice="do this")


def test_a_trusted_key_passes() -> None:
    check(A, A)
    check(RSA, A, RSA)


def test_a_key_that_was_never_trusted_is_unknown() -> None:
    with pytest.raises(HostKeyUnknown, match="never trusted") as caught:
        check(A)
    assert A.fingerprint in caught.value.message
    assert caught.value.hint == "do this"


def test_another_key_is_changed_and_both_are_shown() -> None:
    with pytest.raises(HostKeyChanged) as caught:
        check(B, A, RSA)
    for key in (A, B, RSA):
        assert f"{key.type} {key.fingerprint}" in caught.value.message


def test_a_revoked_key_is_refused_even_when_trusted() -> None:
    with pytest.raises(HostKeyChanged, match="revoked"):
        check(A, A, revoked=(A,))


def test_only_types_that_are_trusted_are_asked_for() -> None:
    assert algorithms_for(Pins(trusted=(A,), revoked=())) == ("ssh-ed25519",)
    assert algorithms_for(Pins(trusted=(RSA,), revoked=())) == ("rsa-sha2-512", "rsa-sha2-256")


@pytest.mark.parametrize("trusted", [(), (make("ssh-dss"),)])
def test_everything_safe_is_asked_for_when_nothing_usable_is_trusted(trusted: tuple[HostKey, ...]) -> None:
    algorithms = algorithms_for(Pins(trusted=trusted, revoked=()))
    assert algorithms[0] == "ssh-ed25519"
    assert not {"ssh-rsa", "ssh-dss"} & set(algorithms)


def test_files_that_do_not_exist_trust_nobody(tmp_path) -> None:
    (tmp_path / "there").write_text(line("pi", A))
    assert read_pins([tmp_path / "missing", tmp_path, tmp_path / "there"], "pi").trusted == (A,)
