"""What the SSH configuration says of a host: followed as ssh does, or refused with the line."""

from __future__ import annotations

import getpass
from pathlib import Path

import pytest

from edgeopt.errors import LinkUnsupported
from edgeopt.transport.address import SshAddress, parse_hop
from edgeopt.transport.ssh_config import SYSTEM_KNOWN_HOSTS, Hop, SshConfig


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    return tmp_path


def route(home: Path, text: str, host: str = "pi4", system: str | None = None) -> tuple[Hop, ...]:
    (home / ".ssh" / "config").write_text(text)
    if system is not None:
        (home / "system").write_text(system)
    return SshConfig.read(home, home / "system").route(parse_hop(host))


def hop(home: Path, text: str, host: str = "pi4", system: str | None = None) -> Hop:
    hops = route(home, text, host, system)
    assert len(hops) == 1
    return hops[0]


def test_without_a_file_the_defaults_of_ssh_hold(home: Path) -> None:
    (found,) = SshConfig.read(home, home / "none").route(SshAddress(host="pi4"))
    assert found == Hop(
        host="pi4",
        port=22,
        user=getpass.getuser(),
        key_name="pi4",
        identities=None,
        identities_only=False,
        use_agent=True,
        agent=None,
        known_hosts=(home / ".ssh/known_hosts", home / ".ssh/known_hosts2", *SYSTEM_KNOWN_HOSTS),
        connect_timeout_s=None,
        address_family="any",
    )


def test_a_block_that_matches_is_followed(home: Path) -> None:
    found = hop(
        home,
        "Host pi?\n HostName 10.0.0.%h\n Port 2222\n User pi\n IdentityFile ~/.ssh/board\n IdentityFile key2\n"
        " IdentitiesOnly yes\n IdentityAgent none\n UserKnownHostsFile ~/.ssh/lab /etc/lab\n ConnectTimeout 3\n"
        " AddressFamily inet\n",
    )
    assert (found.host, found.port, found.user) == ("10.0.0.pi4", 2222, "pi")
    assert found.key_name == "[10.0.0.pi4]:2222"
    assert found.identities == (home / ".ssh/board", home / "key2")
    assert found.identities_only
    assert not found.use_agent
    assert found.known_hosts == (home / ".ssh/lab", Path("/etc/lab"), *SYSTEM_KNOWN_HOSTS)
    assert found.connect_timeout_s == 3.0
    assert found.address_family == "inet"
    assert found.place == "10.0.0.pi4:2222"


def test_the_address_goes_before_the_configuration(home: Path) -> None:
    found = hop(home, "User other\nPort 2222\n", "me@pi4:2200")
    assert (found.user, found.port) == ("me", 2200)


def test_the_first_value_counts_and_the_systems_file_comes_last(home: Path) -> None:
    found = hop(home, "Host pi4\n Port 1\nHost *\n Port 2\n User a\n", system="Port 3\nUser b\nConnectTimeout 4\n")
    assert (found.port, found.user, found.connect_timeout_s) == (1, "a", 4.0)


def test_a_block_of_the_users_file_does_not_reach_into_the_systems(home: Path) -> None:
    assert hop(home, "Host other\n Port 5\n", system="User b\n").user == "b"


@pytest.mark.parametrize("text", ["Port=2222", "Port = 2222", "port 2222", "PORT\t2222", "  Port   2222  "])
def test_lines_are_written_in_several_ways(home: Path, text: str) -> None:
    assert hop(home, f"\n# comment\n{text}\n").port == 2222


def test_match_user_sees_the_user_of_the_address(home: Path) -> None:
    assert hop(home, "Match user pi\n Port 7\n", "pi@pi4").port == 7
    assert hop(home, "Match user pi\n Port 7\n", "me@pi4").port == 22


def test_a_host_key_alias_is_the_name_of_the_key(home: Path) -> None:
    assert hop(home, "HostKeyAlias lab-pi\nPort 99\n").key_name == "lab-pi"


@pytest.mark.parametrize(
    ("value", "use", "agent"),
    [("none", False, None), ("SSH_AUTH_SOCK", True, None), ("~/agent.sock", True, "agent.sock")],
)
def test_the_agent_is_chosen(home: Path, value: str, use: bool, agent: str | None) -> None:
    found = hop(home, f"IdentityAgent {value}\n")
    assert (found.use_agent, found.agent) == (use, home / agent if agent else None)


def test_no_known_hosts_file_can_be_asked_for(home: Path) -> None:
    assert hop(home, "UserKnownHostsFile none\nGlobalKnownHostsFile /x\n").known_hosts == (Path("/x"),)


def test_identity_none_offers_no_file(home: Path) -> None:
    assert hop(home, "IdentityFile none\n").identities == ()


def test_an_ipv6_place_has_brackets(home: Path) -> None:
    assert hop(home, "HostName fe80::1\n").place == "[fe80::1]"


# --- Include -----------------------------------------------------------------------------------------------------------


def include(home: Path, name: str, text: str) -> None:
    path = home / ".ssh" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


def test_included_files_are_read_in_order(home: Path) -> None:
    include(home, "config.d/b", "Host pi4\n Port 2\n")
    include(home, "config.d/a", "Host pi4\n Port 1\n")
    found = hop(home, "Include config.d/*\nUser pi\n")
    assert (found.port, found.user) == (1, "pi")


def test_an_include_within_a_block_belongs_to_the_block(home: Path) -> None:
    include(home, "ports", "Port 5\n")
    text = "Host pi4\n Include ports\n User pi\nHost other\n User nobody\n"
    assert (hop(home, text).port, hop(home, text).user) == (5, "pi")
    assert hop(home, text, "other").port == 22


def test_an_absolute_include_that_does_not_exist_is_skipped(home: Path) -> None:
    assert hop(home, f"Include {home}/missing /also/missing/* \nPort 3\n").port == 3


def test_an_included_block_within_a_block_is_refused_where_it_applies(home: Path) -> None:
    include(home, "blocks", "Host pi4\n Port 9\n")
    text = "Host elsewhere\n Include blocks\nHost pi4\n Port 8\n"
    assert hop(home, text).port == 8
    with pytest.raises(LinkUnsupported, match="line 2: `Include blocks`"):
        route(home, text, "elsewhere")


def test_files_that_include_each_other_end(home: Path) -> None:
    with pytest.raises(LinkUnsupported, match="too deeply"):
        route(home, "Include config\n")


# --- jump hosts --------------------------------------------------------------------------------------------------------


def places(hops: tuple[Hop, ...]) -> list[str]:
    return [f"{hop.user}@{hop.place}" for hop in hops]


def test_a_jump_host_has_its_own_block(home: Path) -> None:
    text = "Host pi4\n User pi\n ProxyJump gate\nHost gate\n HostName gate.example.org\n User me\n Port 2222\n"
    assert places(route(home, text)) == ["me@gate.example.org:2222", "pi@pi4"]


def test_a_chain_is_gone_through_in_order(home: Path) -> None:
    text = "User u\nHost pi4\n ProxyJump a@one:1, ssh://b@two:2\n"
    assert places(route(home, text)) == ["a@one:1", "b@two:2", "u@pi4"]


def test_the_first_of_a_chain_may_be_behind_another_and_the_second_is_not_asked(home: Path) -> None:
    text = "User u\nHost pi4\n ProxyJump one,two\nHost one\n ProxyJump zero\nHost two\n ProxyJump elsewhere\n"
    assert places(route(home, text)) == ["u@zero", "u@one", "u@two", "u@pi4"]


@pytest.mark.parametrize("text", ["ProxyJump none\n", "ProxyCommand none\nProxyJump gate\n"])
def test_no_jump_is_asked_for(home: Path, text: str) -> None:
    assert len(route(home, text)) == 1


def test_a_jump_host_that_leads_back_to_itself_ends(home: Path) -> None:
    with pytest.raises(LinkUnsupported, match="more than 8 jump hosts"):
        route(home, "ProxyJump gate\n")


def test_a_jump_host_that_is_no_address_is_said(home: Path) -> None:
    with pytest.raises(LinkUnsupported, match="ProxyJump -oX=y"):
        route(home, "ProxyJump -oX=y\n")


# --- what cannot be honoured -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line", ["ProxyCommand nc %h %p", "proxycommand=nc %h %p", "BindAddress 10.0.0.1", "BindInterface eth1"]
)
def test_what_changes_the_way_is_refused_with_its_line(home: Path, line: str) -> None:
    with pytest.raises(LinkUnsupported) as caught:
        route(home, f"Port 22\nHost pi4\n  {line}\n")
    assert f"config, line 3: `{line}`" in caught.value.message
    assert "ProxyCommand none" in str(caught.value.hint)


def test_it_is_refused_only_where_it_applies(home: Path) -> None:
    text = "Host pi4\n Port 1\nHost other\n ProxyCommand x\n"
    assert hop(home, text).port == 1
    with pytest.raises(LinkUnsupported):
        route(home, text, "other")


def test_the_line_of_an_included_file_is_named(home: Path) -> None:
    include(home, "more", "# first\nProxyCommand x\n")
    with pytest.raises(LinkUnsupported, match=r"more, line 2"):
        route(home, "Include more\n")


def test_a_jump_that_comes_before_a_command_wins(home: Path) -> None:
    assert len(route(home, "Host pi4\n ProxyJump gate\nHost *i4\n ProxyCommand x\n")) == 2
    with pytest.raises(LinkUnsupported):
        route(home, "Host pi4\n ProxyCommand x\nHost *i4\n ProxyJump gate\n")


@pytest.mark.parametrize(
    "match",
    ['exec "true"', "host pi4 exec true", "!exec false", "tagged x", "localnetwork 10.0.0.0/8", 'exec "unclosed'],
)
def test_a_condition_that_would_have_to_be_run_is_refused(home: Path, match: str) -> None:
    with pytest.raises(LinkUnsupported, match="line 1: `Match "):
        route(home, f"Match {match}\n Port 9\n")


def test_a_condition_about_another_host_does_not_matter(home: Path) -> None:
    assert hop(home, "Match host other exec true\n Port 9\nMatch all\n Port 5\n").port == 5


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("Port many", "`Port many`"),
        ("Port 70000", "`Port 70000`"),
        ("ConnectTimeout 1s", "`ConnectTimeout 1s`"),
        ("Match", "cannot be understood"),
        ('Host "x', "cannot be understood"),
        ("CanonicalizeHostname yes", "cannot be understood"),
    ],
)
def test_a_file_that_makes_no_sense_is_said(home: Path, line: str, why: str) -> None:
    with pytest.raises(LinkUnsupported, match=why):
        route(home, line + "\n")


def test_a_file_that_cannot_be_read_is_said(home: Path) -> None:
    (home / ".ssh" / "config").mkdir()
    with pytest.raises(LinkUnsupported, match="cannot be read"):
        SshConfig.read(home, home / "none")
