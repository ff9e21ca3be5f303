"""The platform's own `adb` client: is it there, which phone is meant, and what do its complaints mean. The rules are pure and take text."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Sequence

from edgeopt.errors import AuthRefused, LinkError, LinkTimeout, LinkUnsupported, Unreachable
from edgeopt.transport.address import AdbAddress
from edgeopt.transport.deadline import Deadline
from edgeopt.transport.file_errors import printable

OLDEST = (1, 0, 36)
"""`adb shell` that keeps stderr apart and tells exit codes came with it (Android SDK platform tools 24)."""

SHELL = "shell_v2"
"""The feature of a phone's adbd (Android 7 and later) that this needs."""

_START_S = 20.0
_ASK_S = 10.0
_PATIENCE_S = 5.0
"""A phone that was plugged in just now is offline for a moment."""
_POLL_S = 0.2
_SPARE_S = 2.0
"""The client itself gives up a connection after 10 s, and then says more than that time is over."""
_INSTALL = "Install it (Debian, Ubuntu: sudo apt install adb; or Google's SDK Platform-Tools), so that `adb version` works in a shell."
_VERSION = re.compile(r"Android Debug Bridge version (\d{1,6})\.(\d{1,6})\.(\d{1,6})")


def version_of(text: str) -> tuple[int, int, int] | None:
    """Return the version that `adb version` printed; None for anything else."""
    found = _VERSION.search(text)
    return None if found is None else (int(found[1]), int(found[2]), int(found[3]))


def complaint(said: str, name: str) -> LinkError:
    """Return the error that the client's words on stderr mean.

    Args:
        said: what it printed.
        name: how messages call the device.
    """
    text = said.lower()
    for words, make in _MEANINGS:
        if any(word in text for word in words):
            return make(name)
    return LinkError(f"{name}: adb says: {printable(said.encode())}", code="adb-error")


def _unauthorised(name: str) -> LinkError:
    return AuthRefused(
        f"{name}: the phone has not allowed this computer to debug it",
        hint="Unlock the phone and confirm `Allow USB debugging`. When it does not ask: switch USB debugging off and on in its developer options, then `adb kill-server`.",
        code="adb-unauthorised",
    )


def _no_permission(name: str) -> LinkError:
    return AuthRefused(
        f"{name}: this computer's user may not open the phone's USB device",
        hint="Debian, Ubuntu: sudo apt install android-sdk-platform-tools-common, add the user to the group plugdev, plug the phone in again.",
        code="adb-no-permission",
    )


def _offline(name: str) -> LinkError:
    return Unreachable(
        f"{name}: the phone is plugged in but does not answer (adb calls it offline)",
        hint="Unplug it and plug it in again, or restart it; over the network: adb disconnect, then try again.",
        code="adb-offline",
    )


def _several(name: str) -> LinkError:
    return LinkError(
        f"{name}: several phones are connected, and its address names none of them",
        hint="`adb devices` lists them. Name one: edgeopt device add NAME --address adb://SERIAL ... --replace",
        code="adb-several-devices",
    )


def _absent(name: str) -> LinkError:
    return Unreachable(
        f"{name}: no such phone is connected",
        hint="Plug it in with USB debugging switched on (Settings, developer options); `adb devices` lists what is there.",
        code="adb-no-device",
    )


def _no_shell(name: str) -> LinkError:
    return LinkUnsupported(
        f"{name}: the phone's adb has no shell that tells exit codes (feature {SHELL})",
        hint="Android 7 and later have it; an older phone cannot be measured by edgeopt.",
        code="adb-no-shell-v2",
    )


def _refused(name: str) -> LinkError:
    return Unreachable(
        f"{name}: no phone answers at this address",
        hint="Is it on, in the same network, and does its adb listen there? Over USB: adb tcpip 5555. Wireless debugging: adb pair first.",
        code="adb-no-device",
    )


def _no_server(name: str) -> LinkError:
    return LinkError(
        f"{name}: the adb server of this computer does not start or answer",
        hint="Try `adb kill-server`, then `adb start-server`, and see what they say.",
        code="adb-server",
    )


_MEANINGS = (
    (("unauthorized", "failed to authenticate"), _unauthorised),
    (("insufficient permissions", "no permissions"), _no_permission),
    (("more than one device",), _several),
    (("supports allocating a pty", "shell protocol"), _no_shell),
    (("cannot connect to daemon", "could not start", "failed to start daemon", "protocol fault", "server"), _no_server),
    (
        ("failed to connect", "cannot connect", "unable to connect", "connection refused", "no route", "resolve"),
        _refused,
    ),
    (("offline", "still connecting", "still authorizing"), _offline),
    (("not found", "no devices", "closed", "no device"), _absent),
)
"""The client's words, the more special ones first, and what they mean. They are the same from version 1.0.36 to 1.0.41, in English always."""


class Client:
    """The program, found and new enough.

    Raises:
        LinkUnsupported: adb-missing, adb-too-old.
        LinkError: adb-server.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        found = shutil.which("adb")
        if found is None:
            raise LinkUnsupported(f"{name}: the program adb is not on this computer", hint=_INSTALL, code="adb-missing")
        self.program = found
        version = version_of(self._ask(["version"], _ASK_S))
        if version is None or version < OLDEST:
            wanted, has = (".".join(map(str, number)) if number else "unknown" for number in (OLDEST, version))
            raise LinkUnsupported(
                f"{name}: adb {wanted} or newer is needed, {found} is version {has}", hint=_INSTALL, code="adb-too-old"
            )
        self._ask(["start-server"], _START_S)

    def _ask(self, argv: Sequence[str], timeout_s: float) -> str:
        """Return all that a command of the client printed. Raises the error that its words mean when it fails."""
        try:
            done = subprocess.run(
                [self.program, *argv],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=timeout_s,
                check=False,
                start_new_session=True,
            )
        except subprocess.TimeoutExpired as error:
            raise LinkTimeout(
                f"{self.name}: `adb {argv[-1]}` did not end within {timeout_s:g} s",
                hint="Try `adb kill-server`, then again.",
            ) from error
        except OSError as error:
            raise LinkUnsupported(
                f"{self.name}: {self.program} cannot be run: {error.strerror}", hint=_INSTALL, code="adb-missing"
            ) from error
        said = done.stdout.decode("utf-8", "replace") + "\n" + done.stderr.decode("utf-8", "replace")
        if done.returncode != 0:
            raise complaint(said, self.name)
        return said

    def find(self, address: AdbAddress, timeout_s: float) -> str:
        """Connect where that is needed, and return the serial number of the phone that is meant, which is ready then.

        Args:
            address: which phone.
            timeout_s: for a connection over the network.

        Raises:
            LinkError: AuthRefused, Unreachable, LinkUnsupported, LinkTimeout, or one that names the reason.
        """
        if address.port is None:
            serial = address.serial or self._only_one()
            self._wait_until_ready(serial, _PATIENCE_S)
            return serial
        serial = address.place
        self._connect(serial, timeout_s)
        try:
            self._wait_until_ready(serial, min(_PATIENCE_S, timeout_s))
        except Unreachable:
            # The server keeps a connection that broke, and says that it is connected.
            self._ask(["disconnect", serial], _ASK_S)
            self._connect(serial, timeout_s)
            self._wait_until_ready(serial, min(_PATIENCE_S, timeout_s))
        return serial

    def _connect(self, serial: str, timeout_s: float) -> None:
        """Old clients end with 0 whatever happened, so the words count."""
        said = self._ask(["connect", serial], timeout_s + _SPARE_S)
        if "connected to" not in said:
            raise complaint(said, self.name)

    def _only_one(self) -> str:
        said = self._ask(["get-serialno"], _ASK_S).split()
        if len(said) != 1 or said[0] == "unknown":
            raise _absent(self.name)
        return said[0]

    def _wait_until_ready(self, serial: str, patience_s: float) -> None:
        deadline = Deadline(patience_s)
        while True:
            try:
                features = self._ask(["-s", serial, "features"], _ASK_S).split()
            except Unreachable as error:
                if error.code != "adb-offline" or deadline.expired:
                    raise
                time.sleep(_POLL_S)
                continue
            if SHELL not in features:
                raise _no_shell(self.name)
            return
