"""Offer keys to a server until it accepts one."""

from __future__ import annotations

import contextlib
from pathlib import Path

import paramiko

from edgeopt.errors import AuthRefused, LinkError, LinkLost, LinkTimeout
from edgeopt.transport.ssh_config import Hop
from edgeopt.transport.ssh_keys import MAX_KEYS, KeyRing


def authenticate(transport: paramiko.Transport, hop: Hop, identity: Path | None, home: Path, label: str) -> None:
    """Log in with a key.

    Raises:
        AuthRefused: the server refused every key, or there is none to offer; says which were tried and which could not be.
        LinkTimeout, LinkLost: no answer.
    """
    tried: list[str] = []
    with contextlib.closing(KeyRing(hop, identity, home)) as ring:
        for source, key in ring.offers():
            if len(tried) == MAX_KEYS:
                ring.remarks.append(f"more than {MAX_KEYS} keys were not offered: servers hang up then")
                break
            tried.append(source)
            if _offer(transport, hop.user, key, label, tried):
                return
    raise AuthRefused(_story(hop, label, tried, ring.remarks), hint=_advice(hop, ring.remarks))


def _offer(transport: paramiko.Transport, user: str, key: paramiko.PKey, label: str, tried: list[str]) -> bool:
    try:
        more = transport.auth_publickey(user, key)
    except paramiko.BadAuthenticationType as error:
        allowed = ", ".join(error.allowed_types) or "nothing"
        raise AuthRefused(
            f"{label}: the server does not let {user} in with a key; it allows {allowed}",
            hint="edgeopt logs in with keys only: set PubkeyAuthentication yes in the board's sshd_config.",
        ) from error
    except paramiko.AuthenticationException as error:
        if "timeout" in str(error).lower():
            raise LinkTimeout(f"{label}: no answer to the login within {transport.auth_timeout:g} s") from error
        return _refused(transport, label, tried, error)
    except (paramiko.SSHException, EOFError, OSError) as error:
        if transport.is_active():
            # This key cannot be used, as when an agent's user says no; the next may.
            return False
        raise LinkLost(f"{label}: the connection broke during the login") from error
    if more:
        raise AuthRefused(f"{label}: the server wants more than a key ({', '.join(more)}); edgeopt cannot give it")
    return True


def _refused(transport: paramiko.Transport, label: str, tried: list[str], error: Exception) -> bool:
    if transport.is_active():
        return False
    problem: LinkError = LinkLost(f"{label}: the connection broke during the login")
    if len(tried) > 1:
        problem = AuthRefused(
            f"{label}: the server hung up after {len(tried)} keys: {', '.join(tried)}",
            hint="Name the right one: edgeopt device add NAME --identity ~/.ssh/KEY ... --replace",
        )
    raise problem from error


def _story(hop: Hop, label: str, tried: list[str], remarks: list[str]) -> str:
    offered = (
        f"refused every key that was offered: {', '.join(tried)}"
        if tried
        else "was offered no key: there is none to offer"
    )
    extra = "".join(f"; {remark}" for remark in remarks)
    return f"{label}: {hop.user}@{hop.place} {offered}{extra}"


def _advice(hop: Hop, remarks: list[str]) -> str:
    if any("ssh-add" in remark for remark in remarks):
        return "Give the key to ssh-agent first: ssh-add. edgeopt never asks for pass phrases or passwords."
    port = "" if hop.port == 22 else f" -p {hop.port}"
    return f"Put your public key on the board: ssh-copy-id{port} {hop.user}@{hop.host}. Is the user name right?"
