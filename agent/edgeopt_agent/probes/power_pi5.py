"""The power chip of a Raspberry Pi 5: only its firmware can read it, asked through /dev/vcio or by the program vcgencmd.

Twelve rails have a voltage and a current. What is drawn by USB, HATs and the 5 V header goes past them.
"""

from __future__ import annotations

import os
import re
import struct

from edgeopt_agent.errors import printable
from edgeopt_agent.probes import board
from edgeopt_agent.probes.power import Sensor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeopt_agent.probes.power import Found

    Ask = Callable[[str], str]

_CHIP = "brcm,bcm2712"
_COMMAND = "pmic_read_adc"
_LINE = re.compile(r"^\s*(\w+)_([AV])(?:\s+\w+\(\d+\))?\s*=\s*(-?[\d.]+)\s*[AV]?\s*$", re.MULTILINE | re.ASCII)
_GET_GENCMD_RESULT = 0x00030080
_MAX_TEXT = 1024
_HEADER_WORDS = 6
"""Length, request code, tag, size of the buffer, two words that the firmware sets; then the text (raspberrypi/utils, vcgencmd.c)."""
_IOCTL_MBOX_PROPERTY = {8: 0xC0086400, 4: 0xC0046400}
"""_IOWR(100, 0, char *) for pointers of 8 and of 4 bytes."""
_TIMEOUT_S = 2.0


def find(root: str = "/", ask: Ask | None = None) -> Found:
    """Return the sensor of a Pi 5; what `ask` answers is used instead of the firmware's answer."""
    if _CHIP not in board.facts(root)["dt_compatible"]:
        return [], []
    asking = ask or (lambda command: firmware(command, root))
    try:
        watts = parse_watts(asking(_COMMAND))
    except OSError as error:
        why = printable(error.strerror or str(error) or type(error).__name__)
        return [], [f"the power chip: {why}; the user needs to be in the group video: sudo usermod -aG video $USER"]
    if not watts:
        return [], ["the firmware tells no currents of the power chip; update it: sudo rpi-eeprom-update -a"]
    rails = sorted(watts)
    facts = {
        "name": "pmic",
        "class": "C",
        "kind": "sample",
        "rails": rails,
        "total": rails,
        "total_rule": f"the sum over {len(rails)} rails of the power chip, without USB, HATs and the 5 V header",
        "period_s": 0.2,  # asking more often keeps the firmware busy
        # Nobody tells how exact the chip's converter is; ratios of candidates on one board do not depend on it.
        "gain": 0.05,
        "offset_w": 0.1,
        "source": "Raspberry Pi documentation, vcgencmd pmic_read_adc",
        "estimate": {
            "scale": 1.1451,
            "offset_w": 0.5879,
            "gain": 0.075,
            "source": "a regression that users published, on one board",
        },
    }
    return [Sensor(lambda: _read(asking), facts)], []


def _read(ask: Ask) -> dict[str, float]:
    try:
        return parse_watts(ask(_COMMAND))
    except OSError:
        return {}


def parse_watts(text: str) -> dict[str, float]:
    """Read both forms of the answer: `VDD_CORE_A current(7)=1.2A` and `VDD_CORE_A=1.2A`.

    Returns:
        Watts by rail; rails that lack a voltage or a current (`EXT5V`, `BATT`) are left out.
    """
    volts: dict[str, float] = {}
    amperes: dict[str, float] = {}
    for rail, unit, number in _LINE.findall(text):
        try:
            (amperes if unit == "A" else volts)[rail] = float(number)
        except ValueError:
            continue
    return {rail: amperes[rail] * volts[rail] for rail in amperes if rail in volts}


def firmware(command: str, root: str = "/") -> str:
    """Ask the firmware, by its device node or, where that does not work, by vcgencmd. Raises OSError."""
    try:
        return _by_node(command, os.path.join(root, "dev/vcio"))
    except OSError:
        if root != "/":
            raise
        return _by_program(command)


def message(command: str) -> bytearray:
    """Return the property message that asks for a command."""
    text = command.encode("ascii").ljust(_MAX_TEXT, b"\0")
    size = 4 * _HEADER_WORDS + _MAX_TEXT + 4
    return bytearray(struct.pack("<6I", size, 0, _GET_GENCMD_RESULT, _MAX_TEXT, 0, 0) + text + struct.pack("<I", 0))


def answer(reply: bytes | bytearray) -> str:
    """Return the text of a property message that the firmware filled in."""
    text = bytes(reply[4 * _HEADER_WORDS : 4 * _HEADER_WORDS + _MAX_TEXT])
    return text.split(b"\0", 1)[0].decode("ascii", "replace")


def _by_node(command: str, path: str) -> str:
    import fcntl

    buffer = message(command)
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(descriptor, _IOCTL_MBOX_PROPERTY[struct.calcsize("P")], buffer, True)
    finally:
        os.close(descriptor)
    return answer(buffer)


def _by_program(command: str) -> str:
    import subprocess

    try:
        done = subprocess.run(
            ["vcgencmd", command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise OSError(0, "vcgencmd does not answer") from error
    if done.returncode != 0:
        raise OSError(0, f"vcgencmd failed with exit code {done.returncode}")
    return done.stdout[: 1 << 16].decode("ascii", "replace")
