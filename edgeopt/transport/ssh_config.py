"""What ~/.ssh/config and /etc/ssh/ssh_config say of a host, as a route of hops.

paramiko reads the files; this module adds `Include`, finds what must not be ignored (ProxyCommand, `Match exec`, ...) and names its line.
Honoured: Host and Match patterns, Include, HostName, Port, User, IdentityFile, IdentitiesOnly, IdentityAgent, UserKnownHostsFile, GlobalKnownHostsFile, HostKeyAlias,
ProxyJump, ConnectTimeout, AddressFamily. Not honoured on purpose: StrictHostKeyChecking (unknown keys are always refused) and everything about passwords, forwarding and
terminals.
"""

from __future__ import annotations

import getpass
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from edgeopt.errors import ConfigError, LinkUnsupported
from edgeopt.transport.address import SshAddress, parse_hop
from edgeopt.transport.known_hosts import key_name

SYSTEM_CONFIG = Path("/etc/ssh/ssh_config")
SYSTEM_KNOWN_HOSTS = (Path("/etc/ssh/ssh_known_hosts"), Path("/etc/ssh/ssh_known_hosts2"))
DEFAULT_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")
MAX_HOPS = 8
_MAX_INCLUDES = 16

_REFUSED = {
    "proxycommand": "edgeopt does not run commands of the SSH configuration",
    "bindaddress": "edgeopt cannot choose the local address",
    "bindinterface": "edgeopt cannot choose the network interface",
}
_OFF = ("none", "no", "")
_MATCH_CRITERIA = ("all", "canonical", "final", "host", "originalhost", "user", "localuser")
_MATCH_ALONE = ("all", "canonical", "final")
# Invented keywords: they carry the number of a line through paramiko's matching.
_MARK = "edgeoptunsupported"

Options = Mapping[str, str | list[str] | None]


class Hop(msgspec.Struct, frozen=True, kw_only=True):
    """One SSH server on the way, with everything that is needed to reach it.

    `key_name` is its name in known_hosts files. `identities` None means the default files. `agent` is the socket of ssh-agent, None the one of the environment.
    """

    host: str
    port: int
    user: str
    key_name: str
    identities: tuple[Path, ...] | None
    identities_only: bool
    use_agent: bool
    agent: Path | None
    known_hosts: tuple[Path, ...]
    connect_timeout_s: float | None
    address_family: str

    @property
    def place(self) -> str:
        """Where it is, for messages."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == 22 else f"{host}:{self.port}"


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A line of a configuration file and where it stands."""

    text: str
    path: Path
    number: int

    @property
    def words(self) -> tuple[str, str]:
        """Keyword in lower case, and the rest."""
        text = self.text.strip()
        if not text or text.startswith("#"):
            return "", ""
        keyword, _, rest = text.replace("=", " ", 1).partition(" ") if "=" in text.split()[0] else _split(text)
        return keyword.lower(), rest.strip().removeprefix("=").strip()


def _split(text: str) -> tuple[str, str, str]:
    keyword, *rest = text.split(None, 1)
    return keyword, " ", rest[0] if rest else ""


class SshConfig:
    """The configuration of this user, read once."""

    def __init__(self, lines: Sequence[Line], home: Path) -> None:
        self._home = home
        self._lines = tuple(lines)
        self._why: dict[int, str] = {}
        self._text = "\n".join(self._rewrite(index, line) for index, line in enumerate(self._lines))

    @classmethod
    def read(cls, home: Path, system: Path = SYSTEM_CONFIG) -> SshConfig:
        """Read the user's file and then the system's, as ssh does; either may be absent.

        Raises:
            LinkUnsupported: one cannot be read.
        """
        lines = _read_lines(home / ".ssh" / "config", home / ".ssh", 0)
        lines.append(Line(text="Host *", path=system, number=0))
        return cls([*lines, *_read_lines(system, system.parent, 0)], home)

    def route(self, address: SshAddress) -> tuple[Hop, ...]:
        """Return the servers to go through, the device's own last.

        Raises:
            LinkUnsupported: something in the configuration cannot be honoured.
        """
        return self._route(address, (), 0)

    def _route(self, address: SshAddress, jumps: Sequence[SshAddress] | None, depth: int) -> tuple[Hop, ...]:
        if depth > MAX_HOPS:
            raise LinkUnsupported(
                f"the way to {address.host} has more than {MAX_HOPS} jump hosts",
                hint="Does a ProxyJump in ~/.ssh/config lead back to itself?",
            )
        options = self._lookup(address)
        hop = self._hop(address, options)
        if not jumps:
            jumps = self._jumps(options)
        if not jumps:
            return (hop,)
        # `ProxyJump a,b` goes to a first; a itself may be behind another, b is not asked.
        return (*self._route(jumps[-1], jumps[:-1], depth + 1), hop)

    def _lookup(self, address: SshAddress) -> Options:
        import paramiko

        text = self._text if address.user is None else f"User {address.user}\n{self._text}"
        try:
            options: Options = dict(paramiko.SSHConfig.from_text(text).lookup(address.host))
        except (paramiko.SSHException, ValueError, KeyError) as error:
            raise LinkUnsupported(f"~/.ssh/config cannot be understood: {error}") from error
        for keyword in (_MARK, *_REFUSED):
            value = options.get(keyword)
            overruled = keyword == "proxycommand" and _comes_first(options, "proxyjump", keyword)
            if isinstance(value, str) and value.startswith("edgeopt:") and not overruled:
                self._refuse(int(value.removeprefix("edgeopt:")))
        return options

    def _refuse(self, index: int) -> None:
        line = self._lines[index]
        raise LinkUnsupported(
            f"{line.path}, line {line.number}: `{line.text.strip()}` cannot be honoured: {self._why[index]}",
            hint="Reach the board with ProxyJump or directly, or keep the line away from it: a `Host` block of its own with `ProxyCommand none`.",
        )

    def _rewrite(self, index: int, line: Line) -> str:
        """Replace what cannot be honoured by the number of its line: whether it applies is paramiko's to find out."""
        keyword, rest = line.words
        if keyword in _REFUSED and rest.lower() not in _OFF:
            self._why[index] = _REFUSED[keyword]
            return f"{keyword} edgeopt:{index}"
        if keyword == "match":
            return self._rewrite_match(index, rest)
        if keyword == "include":
            # Only those are left that stand in a block and have blocks of their own.
            self._why[index] = "an included file with Host or Match lines must be included before all of them"
            return f"{_MARK} edgeopt:{index}"
        return line.text

    def _rewrite_match(self, index: int, rest: str) -> str:
        kept, unknown = _split_criteria(rest)
        if not unknown:
            return f"Match {rest}"
        self._why[index] = f"`Match {unknown[0]}` is not something that edgeopt evaluates"
        return f"Match {shlex.join(kept) or 'all'}\n{_MARK} edgeopt:{index}"

    def _jumps(self, options: Options) -> tuple[SshAddress, ...]:
        value = options.get("proxyjump")
        if not isinstance(value, str) or value.lower() in _OFF or _comes_first(options, "proxycommand", "proxyjump"):
            return ()
        try:
            return tuple(parse_hop(part.strip().removeprefix("ssh://")) for part in value.split(","))
        except ConfigError as error:
            raise LinkUnsupported(f"`ProxyJump {value}` in the SSH configuration: {error.message}") from error

    def _hop(self, address: SshAddress, options: Options) -> Hop:
        def one(keyword: str) -> str | None:
            value = options.get(keyword)
            return value if isinstance(value, str) else None

        host = one("hostname") or address.host
        port = address.port or _number(one("port"), "Port", 22)
        files = options.get("identityfile")
        agent = one("identityagent")
        timeout = one("connecttimeout")
        return Hop(
            host=host,
            port=port,
            user=address.user or one("user") or getpass.getuser(),
            key_name=one("hostkeyalias") or key_name(host, port),
            identities=tuple(self._path(f) for f in files if f.lower() != "none") if isinstance(files, list) else None,
            identities_only=(one("identitiesonly") or "no").lower() == "yes",
            use_agent=(agent or "").lower() != "none",
            agent=None if agent in (None, "none", "SSH_AUTH_SOCK") else self._path(agent or ""),
            known_hosts=self._known_hosts(one("userknownhostsfile"), one("globalknownhostsfile")),
            connect_timeout_s=float(_number(timeout, "ConnectTimeout", 0)) or None,
            address_family=(one("addressfamily") or "any").lower(),
        )

    def _known_hosts(self, user: str | None, system: str | None) -> tuple[Path, ...]:
        own = (self._home / ".ssh" / "known_hosts", self._home / ".ssh" / "known_hosts2")
        users = own if user is None else tuple(self._path(p) for p in shlex.split(user) if p.lower() != "none")
        systems = SYSTEM_KNOWN_HOSTS if system is None else tuple(self._path(p) for p in shlex.split(system))
        return (*users, *systems)

    def _path(self, text: str) -> Path:
        return self._home / text[2:] if text.startswith("~/") else self._home / text.replace("%d", str(self._home))


def _comes_first(options: Options, first: str, second: str) -> bool:
    """Of ProxyJump and ProxyCommand the one that is obtained first counts; paramiko keeps the order."""
    names = list(options)
    return first in names and (second not in names or names.index(first) < names.index(second))


def _number(text: str | None, keyword: str, default: int) -> int:
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and int(text[:6]) <= 65535):
        raise LinkUnsupported(f"`{keyword} {text}` in the SSH configuration is not a number that can be used")
    return int(text)


def _split_criteria(rest: str) -> tuple[list[str], list[str]]:
    try:
        words = shlex.split(rest)
    except ValueError:
        return [], [rest]
    kept: list[str] = []
    unknown: list[str] = []
    while words:
        word = words.pop(0)
        bare = word.removeprefix("!").lower()
        group = [word] if bare in _MATCH_ALONE else [word, *words[:1]]
        words = words[len(group) - 1 :]
        (kept if bare in _MATCH_CRITERIA else unknown).extend(group if bare in _MATCH_CRITERIA else [bare])
    return kept, unknown


def _read_lines(path: Path, base: Path, depth: int) -> list[Line]:
    try:
        text = path.read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise LinkUnsupported(f"{path} cannot be read: {error.strerror}") from error
    if depth > _MAX_INCLUDES:
        raise LinkUnsupported(f"{path} is included too deeply")
    lines: list[Line] = []
    header = Line(text="Host *", path=path, number=0)
    for number, one in enumerate(text.splitlines(), 1):
        line = Line(text=one, path=path, number=number)
        keyword, rest = line.words
        if keyword in ("host", "match"):
            header = line
        included = _included(rest, base, depth) if keyword == "include" else []
        if keyword == "include" and (header.number == 0 or not any(_is_header(li) for li in included)):
            # What follows belongs to the block in which the Include stands, not to the last one of the included file.
            lines += [*included, header]
        else:
            lines.append(line)
    return lines


def _is_header(line: Line) -> bool:
    return line.number > 0 and line.words[0] in ("host", "match")


def _included(rest: str, base: Path, depth: int) -> list[Line]:
    lines: list[Line] = []
    for pattern in shlex.split(rest):
        absolute = Path(pattern).expanduser() if pattern.startswith(("~", "/")) else base / pattern
        for path in sorted(Path(absolute.anchor).glob(str(absolute.relative_to(absolute.anchor)))):
            lines += _read_lines(path, base, depth + 1)
    return lines
