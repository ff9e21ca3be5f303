"""The user's devices: `devices.toml` in the configuration folder. `local`, this computer, is always one."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec

from edgeopt.domain.device import Device
from edgeopt.errors import ConfigError, UnknownName
from edgeopt.profiles.decode import decode, nearest, read_toml
from edgeopt.profiles.places import Places
from edgeopt.profiles.toml_text import toml_value

LOCAL = Device(name="local", profile="local", address="local:")
_SCHEMES = ("local:", "ssh://", "adb://")
_HEADER = (
    "# Devices known to edgeopt. Written by `edgeopt device add` and `edgeopt device remove`; comments are not kept.\n"
)


class Inventory(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file: one `[[device]]` table each."""

    device: tuple[Device, ...] = ()


def load_inventory(places: Places) -> tuple[Device, ...]:
    """All devices by name, `local` among them.

    Raises:
        ConfigError: the file is wrong.
    """
    return tuple(device for _, device in sorted(_known(places).items()))


def get_device(name: str, places: Places) -> Device:
    """One device by name.

    Raises:
        UnknownName: unknown-device; the message lists the known ones.
        ConfigError: the file is wrong.
    """
    known = _known(places)
    if name not in known:
        raise _unknown(name, sorted(known))
    return known[name]


def add_device(device: Device, places: Places, *, replace: bool = False) -> None:
    """Write a device into the inventory.

    Raises:
        ConfigError: a field is wrong, the name is taken (unless `replace`), or the file is wrong or cannot be written.
    """
    _check(device)
    with _locked(places):
        devices = _stored(places)
        if device.name in devices and not replace:
            message = f'there is a device "{device.name}" already ({devices[device.name].address})'
            raise ConfigError(
                message, hint="Choose another name, or remove it first: edgeopt device remove " + device.name
            )
        _write(places.inventory, devices | {device.name: device})


def remove_device(name: str, places: Places) -> None:
    """Take a device out of the inventory. Nothing happens on the board.

    Raises:
        UnknownName: unknown-device.
        ConfigError: the file is wrong or cannot be written.
    """
    with _locked(places):
        devices = _stored(places)
        if name not in devices:
            raise _unknown(name, sorted(devices))
        del devices[name]
        _write(places.inventory, devices)


def _known(places: Places) -> dict[str, Device]:
    return {LOCAL.name: LOCAL} | _stored(places)


def _unknown(name: str, known: list[str]) -> UnknownName:
    listed = ", ".join(known) or "none"
    hint = f"Add it: edgeopt device add {name} --profile PROFILE --address ssh://USER@HOST"
    return UnknownName(
        f'no device "{name}"{nearest(name, known) or "."} Known: {listed}.', hint=hint, code="unknown-device"
    )


def _stored(places: Places) -> dict[str, Device]:
    """What the file holds; nothing when there is none."""
    if not places.inventory.exists():
        return {}
    devices: dict[str, Device] = {}
    for device in read_toml(places.inventory, Inventory, source=str(places.inventory)).device:
        _check(device, source=f"{places.inventory}: ")
        if device.name in devices:
            raise ConfigError(f'{places.inventory}: two devices are named "{device.name}"')
        devices[device.name] = device
    return devices


def _check(device: Device, source: str = "") -> None:
    """What the record's types cannot say."""
    decode(msgspec.to_builtins(device), Device, source=f"{source}device {device.name!r}")
    if not device.address.startswith(_SCHEMES):
        raise ConfigError(
            f'{source}device "{device.name}": address: found "{device.address}", allowed: local:, ssh://[user@]host[:port], adb://SERIAL or adb://host:port'
        )
    if device.name == LOCAL.name and device.address != LOCAL.address:
        raise ConfigError(f'{source}the device "local" is this computer; its address is local:')
    if any(count < 0 for count in device.threads or ()):
        raise ConfigError(
            f'{source}device "{device.name}": threads: allowed: whole numbers of at least 0 (0: all cores)'
        )


@contextlib.contextmanager
def _locked(places: Places) -> Iterator[None]:
    """Keep two writers apart; the second waits, and then reads what the first wrote."""
    try:
        places.config.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(places.config / ".devices.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unwritable(places.config, error) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _write(path: Path, devices: dict[str, Device]) -> None:
    """Replace the file, whole or not at all; for the user's eyes only, since it says how to reach the boards."""
    try:
        handle, temporary = tempfile.mkstemp(prefix=".tmp-", dir=path.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                stream.write(render_inventory(tuple(devices.values())))
                stream.flush()
                os.fsync(stream.fileno())
            Path(temporary).replace(path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> ConfigError:
    return ConfigError(
        f"{path}: cannot be written: {error.strerror}",
        hint="Check the folder's owner, or set EDGEOPT_HOME to another folder.",
    )


def render_inventory(devices: tuple[Device, ...]) -> str:
    """The file's text.

    Raises:
        ConfigError: a value that cannot be written as TOML.
    """
    text = _HEADER
    for device in sorted(devices, key=lambda device: device.name):
        text += "\n[[device]]\n"
        for key, value in msgspec.to_builtins(device).items():
            try:
                text += f"{key} = {toml_value(value)}\n"
            except ValueError as error:
                raise ConfigError(f'device "{device.name}": {key}: not text') from error
    return text
