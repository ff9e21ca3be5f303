"""Files of trusted host keys in OpenSSH's known_hosts format. Pure.

The format is described in sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT". Hashed names, `[host]:port`, wildcards, negation and `@revoked` are honoured;
`@cert-authority` lines vouch for nothing here, so that a host known only by its authority counts as unknown.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterable
from fnmatch import fnmatchcase

import msgspec


class HostKey(msgspec.Struct, frozen=True, kw_only=True):
    """A public host key. `type` is the type of the key (`ssh-ed25519`, `ssh-rsa`), `raw` its bytes on the wire."""

    type: str
    raw: bytes

    @property
    def fingerprint(self) -> str:
        """What `ssh-keygen -l` prints: SHA256 in base64 without padding."""
        return "SHA256:" + base64.b64encode(hashlib.sha256(self.raw).digest()).decode().rstrip("=")

    @property
    def base64(self) -> str:
        """The key as it stands in a known_hosts file."""
        return base64.b64encode(self.raw).decode()


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One line: `marker` is "" or `revoked`."""

    marker: str
    patterns: tuple[str, ...]
    key: HostKey


class Pins(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one host."""

    trusted: tuple[HostKey, ...]
    revoked: tuple[HostKey, ...]


def key_name(host: str, port: int) -> str:
    """Return the name of a host in a known_hosts file."""
    return host.lower() if port == 22 else f"[{host.lower()}]:{port}"


def parse_known_hosts(text: str) -> tuple[Entry, ...]:
    """Read the lines that can be understood; OpenSSH skips the others too."""
    return tuple(entry for line in text.splitlines() if (entry := _parse_line(line)) is not None)


def find_pins(files: Iterable[str], name: str) -> Pins:
    """Collect what the texts of several files say of a host.

    The first file that trusts any key of the host decides alone; revocations count from all.
    """
    trusted: tuple[HostKey, ...] = ()
    revoked: tuple[HostKey, ...] = ()
    for text in files:
        entries = [entry for entry in parse_known_hosts(text) if matches(entry.patterns, name)]
        revoked += tuple(entry.key for entry in entries if entry.marker == "revoked")
        if not trusted:
            trusted = tuple(entry.key for entry in entries if not entry.marker)
    return Pins(trusted=trusted, revoked=revoked)


def matches(patterns: Iterable[str], name: str) -> bool:
    """Return whether a line's host field speaks of `name`."""
    found = False
    for pattern in patterns:
        if pattern.startswith("!") and _matches_one(pattern[1:], name):
            return False
        found = found or _matches_one(pattern, name)
    return found


def replace_host(text: str, name: str, key: HostKey | None) -> str:
    """Return the file's text with `key` as the only one of `name`; None removes the host. Lines about other hosts stay as they are."""
    kept = [line for line in text.splitlines() if not _is_only(line, name)]
    if key is not None:
        kept.append(f"{name} {key.type} {key.base64}")
    return "".join(line + "\n" for line in kept)


def _is_only(line: str, name: str) -> bool:
    entry = _parse_line(line)
    return entry is not None and not entry.marker and len(entry.patterns) == 1 and matches(entry.patterns, name)


def _parse_line(line: str) -> Entry | None:
    fields = line.split()
    marker = fields.pop(0) if fields and fields[0].startswith("@") else ""
    if marker not in ("", "@revoked") or len(fields) < 3 or fields[0].startswith("#"):
        return None
    hosts, kind, encoded = fields[:3]
    try:
        raw = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return None
    # The type stands in the key as well; a line whose two types differ is damaged.
    if raw[4 : 4 + int.from_bytes(raw[:4], "big")] != kind.encode():
        return None
    return Entry(marker=marker[1:], patterns=tuple(hosts.split(",")), key=HostKey(type=kind, raw=raw))


def _matches_one(pattern: str, name: str) -> bool:
    if pattern.startswith("|1|"):
        return _matches_hash(pattern, name)
    # Only * and ? are wildcards here, and [ is part of a name.
    return fnmatchcase(name, pattern.lower().replace("[", "[[]"))


def _matches_hash(pattern: str, name: str) -> bool:
    try:
        _, _, salt, digest = pattern.split("|")
        expected = base64.b64decode(digest, validate=True)
        # SHA-1 is what the format prescribes; it hides names here and protects nothing.
        found = hmac.new(base64.b64decode(salt, validate=True), name.encode(), "sha1").digest()
    except (ValueError, binascii.Error):
        return False
    return hmac.compare_digest(found, expected)
