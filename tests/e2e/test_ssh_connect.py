"""Getting to a real OpenSSH server, and every way in which that fails: each with its own error, and within its time."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from edgeopt.errors import (
    AuthRefused,
    HostKeyChanged,
    HostKeyUnknown,
    LinkError,
    LinkLost,
    LinkTimeout,
    LinkUnsupported,
    StoreError,
    Unreachable,
)
from edgeopt.transport.address import SshAddress, parse_address
from edgeopt.transport.hostkeys import forget, scan_host_key, trust
from edgeopt.transport.link import Link
from edgeopt.transport.open import open_link
from tests.proxy import Proxy
from tests.sshd import Sshd, free_port, known_hosts_line, make_key, start_sshd

pytestmark = [pytest.mark.ssh, pytest.mark.e2e, pytest.mark.xdist_group("ssh")]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """A server with host keys of three types, of which ed25519 is trusted."""
    made = start_sshd(tmp_path_factory.mktemp("sshd"), host_key_types=("ed25519", "ecdsa", "rsa"))
    yield made
    made.stop()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This user's home, empty: no configuration, no keys, no agent."""
    folder = tmp_path / "home"
    (folder / ".ssh").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return folder


def reach(server: Sshd, **changes: object) -> Link:
    """Open a link to the server, as its own files allow unless told otherwise."""
    settings = {"known_hosts": server.known_hosts, "identity": server.identity, "name": "pi4", "stall_timeout_s": 3.0}
    address = changes.pop("address", server.address)
    return open_link(str(address), **(settings | changes))  # type: ignore[arg-type]


def assert_works(link: Link) -> None:
    with closing(link):
        assert link.run(["printf", "hello"]).stdout == b"hello"


# --- the way there -----------------------------------------------------------------------------------------------------


def test_a_refused_port_is_unreachable(server: Sshd) -> None:
    with pytest.raises(Unreachable, match=r"pi4: 127\.0\.0\.1 port \d+: connection refused"):
        reach(server, address=f"ssh://127.0.0.1:{free_port()}")


def test_an_unknown_name_is_unreachable(server: Sshd) -> None:
    with pytest.raises(Unreachable, match=r"the name no-such-board\.invalid is not known"):
        reach(server, address="ssh://no-such-board.invalid")


def test_a_server_that_says_nothing_is_unreachable(server: Sshd) -> None:
    with Proxy(server.host, server.port) as proxy:
        proxy.stall()
        with pytest.raises(Unreachable, match=r"did not greet as an SSH server within 0\.5 s"):
            reach(server, address=f"ssh://127.0.0.1:{proxy.port}", connect_timeout_s=0.5)


def test_a_port_that_accepts_nobody_is_unreachable(server: Sshd) -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        with pytest.raises(Unreachable, match=r"no answer within 0\.3 s"):
            reach(server, address=f"ssh://127.0.0.1:{full.getsockname()[1]}", connect_timeout_s=0.3)
        for one in waiting:
            one.close()


@pytest.mark.parametrize("greeting", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x00\xff" * 300, b""])
def test_something_that_is_not_ssh_is_unreachable(server: Sshd, greeting: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        script = "import socket,sys; c,_=socket.socket(fileno=int(sys.argv[1])).accept(); c.sendall(bytes.fromhex(sys.argv[2])); c.close()"
        other = subprocess.Popen(
            [sys.executable, "-c", script, str(listener.fileno()), greeting.hex()], pass_fds=[listener.fileno()]
        )
        with pytest.raises(Unreachable, match=r"did not greet|broke the connection"):
            reach(server, address=f"ssh://127.0.0.1:{listener.getsockname()[1]}", connect_timeout_s=1.0)
        other.wait()


def test_nothing_of_paramiko_is_logged_or_printed(
    server: Sshd, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(AuthRefused):
        reach(server, identity=make_key(server.folder / "stranger-quiet"))
    assert_works(reach(server))
    assert caplog.records == []
    assert capfd.readouterr() == ("", "")


# --- host keys ---------------------------------------------------------------------------------------------------------


def test_an_unknown_host_key_is_refused_with_its_fingerprint_and_what_to_do(server: Sshd, tmp_path: Path) -> None:
    shown = scan_host_key(address_of(server))
    with pytest.raises(HostKeyUnknown) as caught:
        reach(server, known_hosts=tmp_path / "nothing")
    assert shown.fingerprint in caught.value.message
    assert caught.value.hint == "Run: edgeopt device trust pi4"
    assert not (tmp_path / "nothing").exists()


def test_the_fingerprint_is_the_one_that_ssh_keygen_shows(server: Sshd) -> None:
    shown = scan_host_key(address_of(server))
    said = subprocess.run(
        ["ssh-keygen", "-lf", f"{server.host_keys['ed25519']}.pub"], capture_output=True, text=True, check=True
    )
    assert shown.fingerprint == said.stdout.split()[1]
    assert shown.type == "ssh-ed25519"


def test_trusting_a_scanned_key_lets_one_in_and_forgetting_it_does_not(server: Sshd, tmp_path: Path) -> None:
    store = tmp_path / "config" / "known_hosts"
    trust(store, address_of(server), scan_host_key(address_of(server)))
    assert_works(reach(server, known_hosts=store))
    assert store.stat().st_mode & 0o777 == 0o600

    assert forget(store, address_of(server))
    assert not forget(store, address_of(server))
    with pytest.raises(HostKeyUnknown):
        reach(server, known_hosts=store)


def test_trust_replaces_the_old_key_and_keeps_other_boards(server: Sshd, tmp_path: Path) -> None:
    store, old = tmp_path / "known_hosts", make_key(tmp_path / "old")
    store.write_text("# mine\n" + known_hosts_line("other", old) + known_hosts_line(server.key_name, old))
    trust(store, address_of(server), scan_host_key(address_of(server)))
    assert_works(reach(server, known_hosts=store))
    assert store.read_text().startswith("# mine\n" + known_hosts_line("other", old))
    assert len(store.read_text().splitlines()) == 3


def test_a_store_that_cannot_be_written_is_said(server: Sshd, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        trust(tmp_path / "file" / "known_hosts", address_of(server), scan_host_key(address_of(server)))


def test_a_changed_host_key_is_refused_with_both_fingerprints_and_types(server: Sshd, tmp_path: Path) -> None:
    other = make_key(tmp_path / "other")
    store = tmp_path / "known_hosts"
    store.write_text(known_hosts_line(server.key_name, other))
    with pytest.raises(HostKeyChanged) as caught:
        reach(server, known_hosts=store)
    for key in (other, server.host_keys["ed25519"]):
        assert fingerprint(key) in caught.value.message
    assert caught.value.message.count("ssh-ed25519") == 2


def test_a_board_that_lost_the_trusted_type_of_key_is_changed_not_unknown(tmp_path: Path) -> None:
    rsa_only, trusted = start_sshd(tmp_path / "sshd", host_key_types=("rsa",)), make_key(tmp_path / "old")
    try:
        rsa_only.known_hosts.write_text(known_hosts_line(rsa_only.key_name, trusted))
        with pytest.raises(HostKeyChanged) as caught:
            reach(rsa_only)
    finally:
        rsa_only.stop()
    assert f"ssh-ed25519 {fingerprint(trusted)}" in caught.value.message
    assert f"ssh-rsa {fingerprint(rsa_only.host_keys['rsa'])}" in caught.value.message


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_a_board_with_several_keys_is_known_by_any_one_of_them(server: Sshd, tmp_path: Path, kind: str) -> None:
    store = tmp_path / "known_hosts"
    store.write_text(known_hosts_line(server.key_name, server.host_keys[kind]))
    assert_works(reach(server, known_hosts=store))


def test_a_revoked_host_key_is_refused_although_it_is_trusted(server: Sshd, home: Path) -> None:
    (home / ".ssh" / "known_hosts").write_text(
        "@revoked " + known_hosts_line(server.key_name, server.host_keys["ed25519"])
    )
    with pytest.raises(HostKeyChanged, match="revoked"):
        reach(server)


def test_what_ssh_trusts_is_trusted_also_under_a_hashed_name(server: Sshd, home: Path, tmp_path: Path) -> None:
    known = home / ".ssh" / "known_hosts"
    known.write_text(known_hosts_line(server.key_name, server.host_keys["ed25519"]))
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(known)], check=True, capture_output=True)
    assert server.key_name not in known.read_text()
    assert_works(reach(server, known_hosts=tmp_path / "nothing"))


# --- user keys ---------------------------------------------------------------------------------------------------------


def test_a_key_that_the_board_does_not_know_is_refused(server: Sshd, tmp_path: Path) -> None:
    with pytest.raises(AuthRefused, match="refused every key that was offered") as caught:
        reach(server, identity=make_key(tmp_path / "stranger"))
    assert str(tmp_path / "stranger") in caught.value.message
    assert "ssh-copy-id" in str(caught.value.hint)


def test_no_key_at_all_is_refused_without_asking_for_a_password(server: Sshd) -> None:
    with pytest.raises(AuthRefused, match="was offered no key"):
        reach(server, identity=None)


def test_an_identity_that_does_not_exist_is_said(server: Sshd, tmp_path: Path) -> None:
    with pytest.raises(AuthRefused, match="does not exist"):
        reach(server, identity=tmp_path / "missing")


def test_an_identity_that_is_no_key_is_said(server: Sshd, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("not a key\n")
    with pytest.raises(AuthRefused, match="is not a private key"):
        reach(server, identity=tmp_path / "text")


@pytest.mark.parametrize("kind", ["ed25519", "rsa", "ecdsa"])
def test_an_encrypted_key_without_agent_is_said(server: Sshd, tmp_path: Path, kind: str) -> None:
    with pytest.raises(AuthRefused, match="is encrypted and ssh-agent does not hold it") as caught:
        reach(server, identity=make_key(tmp_path / "locked", kind, passphrase="secret"))
    assert "ssh-add" in str(caught.value.hint)


def test_default_keys_are_found_in_the_home(server: Sshd, home: Path) -> None:
    (home / ".ssh" / "id_ed25519").write_bytes(server.identity.read_bytes())
    assert_works(reach(server, identity=None))


@pytest.fixture
def agent(server: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """ssh-agent, holding the right key."""
    path = Path(f"/tmp/eo-{os.getpid()}.sock")  # a socket's path is short
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(path)], stdout=subprocess.DEVNULL)
    monkeypatch.setenv("SSH_AUTH_SOCK", str(path))
    for _ in range(200):
        if subprocess.run(["ssh-add", "-q", str(server.identity)], capture_output=True, check=False).returncode == 0:
            break
    yield path
    process.kill()
    process.wait()
    path.unlink(missing_ok=True)


def test_the_agents_keys_are_offered(server: Sshd, agent: Path) -> None:
    assert_works(reach(server, identity=None))


def test_an_encrypted_identity_that_the_agent_holds_works(server: Sshd, agent: Path, tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.write_text("the private half, in whatever form")
    Path(f"{locked}.pub").write_text(Path(f"{server.identity}.pub").read_text())
    assert_works(reach(server, identity=locked))


def test_identity_agent_of_the_configuration_is_used(
    server: Sshd, agent: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SSH_AUTH_SOCK")
    (home / ".ssh" / "config").write_text(f"IdentityAgent {agent}\n")
    assert_works(reach(server, identity=None))


@pytest.mark.parametrize("line", ["IdentityAgent none", "IdentitiesOnly yes"])
def test_the_agent_is_left_alone_where_the_configuration_says_so(
    server: Sshd, agent: Path, home: Path, line: str
) -> None:
    (home / ".ssh" / "config").write_text(line + "\n")
    with pytest.raises(AuthRefused, match="was offered no key"):
        reach(server, identity=None)


def test_an_agent_that_is_gone_has_no_keys(server: Sshd, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "gone"))
    assert_works(reach(server))


def test_a_server_that_wants_passwords_is_said(tmp_path: Path) -> None:
    password = start_sshd(tmp_path / "sshd", options=("PubkeyAuthentication no", "PasswordAuthentication yes"))
    try:
        with pytest.raises(AuthRefused, match=r"does not let .* in with a key; it allows .*password"):
            reach(password)
    finally:
        password.stop()


def test_a_server_that_wants_a_second_proof_is_said(tmp_path: Path) -> None:
    strict = start_sshd(
        tmp_path / "sshd", options=("PasswordAuthentication yes", "AuthenticationMethods publickey,password")
    )
    try:
        with pytest.raises(AuthRefused, match=r"wants more than a key \(password\)"):
            reach(strict)
    finally:
        strict.stop()


def test_a_server_that_hangs_up_after_many_keys_is_said(tmp_path: Path, home: Path) -> None:
    impatient = start_sshd(tmp_path / "sshd", options=("MaxAuthTries 2",))
    keys = [make_key(tmp_path / f"key{n}") for n in range(4)]
    (home / ".ssh" / "config").write_text("".join(f"IdentityFile {key}\n" for key in keys))
    try:
        with pytest.raises(AuthRefused, match=r"hung up after \d keys") as caught:
            reach(impatient, identity=None)
    finally:
        impatient.stop()
    assert "--identity" in str(caught.value.hint)


# --- ~/.ssh/config -----------------------------------------------------------------------------------------------------


def test_an_alias_of_the_configuration_is_followed(server: Sshd, home: Path) -> None:
    (home / ".ssh" / "config").write_text(
        f"Host bench-*\n HostName {server.host}\n Port {server.port}\n IdentityFile {server.identity}\n"
        f" UserKnownHostsFile {server.known_hosts}\n IdentitiesOnly yes\n"
    )
    assert_works(reach(server, address="ssh://bench-7", identity=None, known_hosts=home / "nothing"))


def test_proxy_command_is_refused_with_its_line(server: Sshd, home: Path) -> None:
    (home / ".ssh" / "config").write_text("# corporate\nHost 127.*\n  ProxyCommand nc -X 5 %h %p\n")
    with pytest.raises(LinkUnsupported, match=r"config, line 3: `ProxyCommand nc -X 5 %h %p` cannot be honoured"):
        reach(server)


@pytest.fixture(scope="module")
def jump(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """A second server, in front of the first."""
    made = start_sshd(tmp_path_factory.mktemp("jump"))
    yield made
    made.stop()


def write_jump_config(home: Path, jump: Sshd, known_hosts: str) -> None:
    (home / ".ssh" / "known_hosts").write_text(known_hosts)
    (home / ".ssh" / "config").write_text(
        f"Host gate\n HostName {jump.host}\n Port {jump.port}\n IdentityFile {jump.identity}\n"
        f"Host board\n HostName 127.0.0.1\n ProxyJump gate\n"
    )


def test_a_jump_host_is_gone_through(server: Sshd, jump: Sshd, home: Path, tmp_path: Path) -> None:
    write_jump_config(home, jump, jump.known_hosts.read_text())
    data = os.urandom(3_000_000)
    (tmp_path / "local").write_bytes(data)
    with closing(reach(server, address=f"ssh://board:{server.port}")) as link:
        assert link.run(["printf", "hello"]).stdout == b"hello"
        assert link.put(tmp_path / "local", str(tmp_path / "remote")) == len(data)
        assert len(jump.session_pids()) > 0
    assert (tmp_path / "remote").read_bytes() == data


def test_a_chain_of_jump_hosts_is_gone_through(server: Sshd, jump: Sshd, home: Path) -> None:
    write_jump_config(home, jump, jump.known_hosts.read_text())
    config = home / ".ssh" / "config"
    config.write_text(config.read_text().replace("ProxyJump gate", "ProxyJump gate,gate"))
    assert_works(reach(server, address=f"ssh://board:{server.port}"))


def test_a_jump_host_with_an_unknown_key_is_refused(server: Sshd, jump: Sshd, home: Path) -> None:
    write_jump_config(home, jump, "")
    with pytest.raises(HostKeyUnknown, match=r"pi4: jump host 127\.0\.0\.1:\d+: the host key") as caught:
        reach(server, address=f"ssh://board:{server.port}")
    assert "Run once: ssh" in str(caught.value.hint)


def test_a_jump_host_with_a_changed_key_is_refused(server: Sshd, jump: Sshd, home: Path, tmp_path: Path) -> None:
    write_jump_config(home, jump, known_hosts_line(jump.key_name, make_key(tmp_path / "other")))
    with pytest.raises(HostKeyChanged, match="jump host"):
        reach(server, address=f"ssh://board:{server.port}")


def test_the_board_behind_a_jump_host_is_verified_too(server: Sshd, jump: Sshd, home: Path, tmp_path: Path) -> None:
    write_jump_config(home, jump, jump.known_hosts.read_text())
    with pytest.raises(HostKeyUnknown, match="pi4: the host key"):
        reach(server, address=f"ssh://board:{server.port}", known_hosts=tmp_path / "nothing")
    key = scan_host_key(SshAddress(host="board", port=server.port))
    assert key.fingerprint == fingerprint(server.host_keys["ed25519"])


def test_a_board_that_the_jump_host_cannot_reach_is_unreachable(server: Sshd, jump: Sshd, home: Path) -> None:
    write_jump_config(home, jump, jump.known_hosts.read_text())
    with pytest.raises(Unreachable, match="the jump host cannot connect to"):
        reach(server, address=f"ssh://board:{free_port()}")


def test_a_jump_host_that_forbids_it_is_said(server: Sshd, home: Path, tmp_path: Path) -> None:
    closed = start_sshd(tmp_path / "closed", options=("AllowTcpForwarding no",))
    write_jump_config(home, closed, closed.known_hosts.read_text())
    try:
        with pytest.raises(Unreachable, match="forbids connections"):
            reach(server, address=f"ssh://board:{server.port}")
    finally:
        closed.stop()


# --- once it is open ---------------------------------------------------------------------------------------------------


def test_a_cut_in_mid_upload_is_a_lost_link_and_the_upload_goes_on_where_it_stopped(
    server: Sshd, tmp_path: Path
) -> None:
    local, remote = tmp_path / "local", tmp_path / "remote"
    local.write_bytes(data := os.urandom(12_000_000))
    with Proxy(server.host, server.port) as proxy:
        with closing(reach_through(server, proxy)) as link:
            proxy.cut_after(5_000_000)
            with pytest.raises(LinkLost, match="the upload of local: the connection broke"):
                link.put(local, str(remote))
        have = remote.stat().st_size
        assert 0 < have < 5_000_000
        with closing(reach(server)) as link:
            assert link.put(local, str(remote), offset=have) == len(data) - have
    assert remote.read_bytes() == data


@pytest.mark.parametrize("call", ["run", "put", "get", "read", "start"])
def test_a_network_that_passes_nothing_any_more_ends_every_call(server: Sshd, tmp_path: Path, call: str) -> None:
    local, remote = tmp_path / "local", tmp_path / "remote"
    local.write_bytes(bytes(20_000_000))
    remote.write_bytes(bytes(20_000_000))
    with Proxy(server.host, server.port) as proxy, closing(reach_through(server, proxy, stall=1.0)) as link:
        stream = link.start(["cat"])
        proxy.stall()
        calls = {
            "run": lambda: link.run(["true"], deadline_s=1.0),
            "put": lambda: link.put(local, str(tmp_path / "there")),
            "get": lambda: link.get(str(remote), tmp_path / "back", max_bytes=20_000_000),
            "read": lambda: stream.read(10, 1.0),
            "start": lambda: link.start(["cat"]),
        }
        with pytest.raises((LinkTimeout, LinkLost)):
            calls[call]()


def test_a_frozen_server_is_a_timeout_and_the_link_closes(server: Sshd, tmp_path: Path) -> None:
    (tmp_path / "local").write_bytes(bytes(20_000_000))
    with closing(reach(server, stall_timeout_s=1.0)) as link:
        server.freeze()
        try:
            with pytest.raises((LinkTimeout, LinkLost)):
                link.put(tmp_path / "local", str(tmp_path / "remote"))
        finally:
            server.thaw()
    assert_works(reach(server))


def test_a_damaged_byte_on_the_way_breaks_the_connection_and_not_the_file(server: Sshd, tmp_path: Path) -> None:
    (tmp_path / "local").write_bytes(bytes(8_000_000))
    with Proxy(server.host, server.port) as proxy, closing(reach_through(server, proxy)) as link:
        proxy.flip_byte_after(3_000_000)
        with pytest.raises(LinkLost):
            link.put(tmp_path / "local", str(tmp_path / "remote"))
    assert set((tmp_path / "remote").read_bytes()) <= {0}


def test_a_half_closed_connection_is_noticed(server: Sshd) -> None:
    with Proxy(server.host, server.port) as proxy, closing(reach_through(server, proxy)) as link:
        stream = link.start(["cat"])
        proxy.half_close()
        with pytest.raises(LinkLost):
            stream.read(10, 20.0)


def test_a_gigabyte_of_output_costs_a_megabyte(server: Sshd) -> None:
    with closing(reach(server)) as link:
        before = resident_bytes()
        for _ in range(3):
            done = link.run(["head", "-c", "1000000000", "/dev/zero"])
            assert done.truncated
        assert resident_bytes() - before < 20_000_000


def test_a_server_with_no_room_for_another_session_is_said(tmp_path: Path) -> None:
    narrow = start_sshd(tmp_path / "sshd", options=("MaxSessions 1",))
    try:
        with closing(reach(narrow)) as link:
            link.start(["cat"])
            with pytest.raises(LinkError, match="opens no further channel"):
                link.run(["true"])
    finally:
        narrow.stop()


def test_a_slow_round_trip_is_not_an_error(server: Sshd, tmp_path: Path) -> None:
    (tmp_path / "local").write_bytes(data := os.urandom(1_000_000))
    with Proxy(server.host, server.port, rtt_s=0.4) as proxy, closing(reach_through(server, proxy)) as link:
        link.put(tmp_path / "local", str(tmp_path / "remote"))
        assert link.run(["printf", "hello"]).stdout == b"hello"
    assert (tmp_path / "remote").read_bytes() == data


# --- small things ------------------------------------------------------------------------------------------------------


def address_of(server: Sshd) -> SshAddress:
    address = parse_address(server.address)
    assert isinstance(address, SshAddress)
    return address


def reach_through(server: Sshd, proxy: Proxy, stall: float = 3.0) -> Link:
    """A proxy's port is another host to known_hosts."""
    store = server.folder / f"known_hosts.{proxy.port}"
    store.write_text(known_hosts_line(f"[127.0.0.1]:{proxy.port}", server.host_keys["ed25519"]))
    return reach(server, address=f"ssh://127.0.0.1:{proxy.port}", known_hosts=store, stall_timeout_s=stall)


def fingerprint(key: Path) -> str:
    said = subprocess.run(["ssh-keygen", "-lf", f"{key}.pub"], capture_output=True, text=True, check=True)
    return said.stdout.split()[1]


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
