"""The private keys that may be offered to a server: from ssh-agent and from files. Never passwords."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import paramiko
from paramiko.agent import AgentSSH

from edgeopt.errors import AuthRefused
from edgeopt.transport.ssh_config import DEFAULT_KEYS, Hop

_AGENT_TIMEOUT_S = 60.0
"""An agent may ask its user to confirm."""

MAX_KEYS = 6
"""sshd's default MaxAuthTries: it hangs up on the next key."""


class KeyAgent(AgentSSH):
    """ssh-agent at a socket. An agent that is gone or broken has no keys, as for `ssh`."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(_AGENT_TIMEOUT_S)
        with contextlib.suppress(OSError, paramiko.SSHException, EOFError):
            self._socket.connect(str(path))
            self._connect(self._socket)  # type: ignore[attr-defined]  # paramiko's own Agent knows only the environment's socket

    def close(self) -> None:
        """Give the socket back."""
        self._socket.close()


class KeyRing:
    """Keys in the order in which they are offered, and a sentence for each that could not be.

    An identity named by the user is the only one offered. Otherwise: files of the SSH configuration, then ssh-agent's keys (unless IdentitiesOnly), then, when none are
    configured, the default files.
    """

    def __init__(self, hop: Hop, identity: Path | None, home: Path) -> None:
        self._agent = _open_agent(hop)
        self._named = identity
        files = (identity,) if identity is not None else hop.identities
        self._files = files if files is not None else tuple(home / ".ssh" / name for name in DEFAULT_KEYS)
        self._agent_first = files is None
        self._agent_all = identity is None and not hop.identities_only
        self.remarks: list[str] = []

    def close(self) -> None:
        """Close the agent's socket; keys of the agent cannot sign afterwards."""
        if self._agent is not None:
            self._agent.close()

    def offers(self) -> Iterator[tuple[str, paramiko.PKey]]:
        """Yield (what it is, key), each key once.

        Raises:
            AuthRefused: the named identity does not exist.
        """
        seen: set[bytes] = set()
        sources = [self._from_files, self._from_agent]
        for source in reversed(sources) if self._agent_first else sources:
            for label, key in source():
                if key.asbytes() not in seen:
                    seen.add(key.asbytes())
                    yield label, key

    def _from_agent(self) -> Iterator[tuple[str, paramiko.PKey]]:
        if self._agent is None or not self._agent_all:
            return
        for key in self._agent.get_keys():
            yield f"{key.comment or key.get_name()} (ssh-agent)", key

    def _from_files(self) -> Iterator[tuple[str, paramiko.PKey]]:
        for path in self._files:
            key = self._load(path)
            if key is not None:
                yield str(path), key

    def _load(self, path: Path) -> paramiko.PKey | None:
        held = self._held_by_agent(path)
        if held is not None:
            return held
        try:
            return paramiko.PKey.from_path(str(path))
        except FileNotFoundError as error:
            if path == self._named:
                raise AuthRefused(f"the identity file {path} does not exist") from error
        except OSError as error:
            self.remarks.append(f"{path} cannot be read ({error.strerror})")
        except (TypeError, paramiko.PasswordRequiredException):
            # cryptography says TypeError for an encrypted key without a password.
            self.remarks.append(f"{path} is encrypted and ssh-agent does not hold it (ssh-add {path})")
        except (ValueError, paramiko.SSHException, paramiko.pkey.UnknownKeyType):
            self.remarks.append(f"{path} is not a private key that can be used")
        return None

    def _held_by_agent(self, path: Path) -> paramiko.PKey | None:
        """The public half beside a file says whether the agent has it, so that an encrypted file need not be opened."""
        if self._agent is None:
            return None
        with contextlib.suppress(OSError, ValueError, IndexError):
            encoded = Path(f"{path}.pub").read_text(encoding="utf-8").split()[1]
            return next((key for key in self._agent.get_keys() if key.get_base64() == encoded), None)
        return None


def _open_agent(hop: Hop) -> KeyAgent | None:
    path = hop.agent or (Path(os.environ["SSH_AUTH_SOCK"]) if os.environ.get("SSH_AUTH_SOCK") else None)
    return KeyAgent(path) if hop.use_agent and path is not None else None
