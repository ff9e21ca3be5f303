"""An ARM computer: Debian for 64-bit ARM in QEMU, with a real kernel and a real OpenSSH server behind a free port of the loopback.

    guest = boot(arm_image(), tmp_path)
    link = open_link(guest.address, known_hosts=..., identity=guest.identity)
    guest.root("sh", "-c", "...")     # what a test does behind edgeopt's back
    guest.power_cut()                 # ends QEMU, as if the plug was pulled
    guest.boot()                      # the same disk again
    guest.stop()

Every instruction is emulated, so what it computes is what ARM computes, and how long it takes says nothing about any board. The guest reaches nothing but its own forwarded port.
"""

from __future__ import annotations

import contextlib
import shlex
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.hil.arm_image import USER, ArmImage
from tests.sshd import free_port, ssh_argv

QEMU = "qemu-system-aarch64"
READY = "guest-init: ready"
"""What its first process says when OpenSSH's server runs."""
BOOT = "quiet net.ifnames=0 panic=-1 mitigations=off"
"""A panic ends QEMU; and an emulated core leaks nothing that the kernel's slow ways around it would keep."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What is emulated. `model` and `compatible` are what a device tree says of a board that `virt` is to be taken for."""

    name: str
    cpu: str = "cortex-a72"
    cores: int = 2
    memory_mb: int = 1024
    board: str = "virt"
    model: str | None = None
    compatible: tuple[str, ...] = ()
    boot_timeout_s: float = 180.0


A72 = Machine(name="a72")
A76 = Machine(name="a76", cpu="cortex-a76")
"""With dot products (asimddp) and float16 arithmetic (asimdhp)."""
PI4_TREE = Machine(
    name="pi4-tree", model="Raspberry Pi 4 Model B Rev 1.4", compatible=("raspberrypi,4-model-b", "brcm,bcm2711")
)
SMALL = Machine(name="256mb", memory_mb=256)
PI3 = Machine(name="raspi3b", cpu="cortex-a53", cores=4, board="raspi3b", boot_timeout_s=400.0)


@dataclass
class Guest:
    """A guest. `disk` None boots from the image and forgets what was written; a disk of its own keeps it over power cuts."""

    machine: Machine
    image: ArmImage
    folder: Path
    disk: Path | None
    port: int = 0
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def address(self) -> str:
        return f"ssh://{USER}@127.0.0.1:{self.port}"

    @property
    def identity(self) -> Path:
        return self.image.identity

    @property
    def console(self) -> str:
        """What the kernel and the first process said."""
        with contextlib.suppress(OSError):
            return (self.folder / "console.log").read_text(errors="replace")
        return ""

    def boot(self) -> None:
        """Start it and wait until it lets somebody log in. The port stays the same over power cuts."""
        self.port = self.port or free_port()
        errors = self.folder / "qemu.log"
        (self.folder / "console.log").unlink(missing_ok=True)
        with errors.open("wb") as log:
            # QEMU ends with the tests, however these end.
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *self._argv()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        end = time.monotonic() + self.machine.boot_timeout_s
        # A server that is slow to greet would only get slower by being asked again.
        while not (READY in self.console and _greets(self.port, end - time.monotonic())):
            if self.process.poll() is not None or time.monotonic() > end:
                self.power_cut()
                pytest.fail(f"{self.machine.name} does not boot: {errors.read_text()}{self.console[-2000:]}")
            time.sleep(0.1)

    def power_cut(self) -> None:
        """End QEMU this instant: what its kernel had not given to the disk is lost."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    stop = power_cut

    def user(self, script: str, *, stdin: str = "", timeout_s: float = 120.0) -> subprocess.CompletedProcess[str]:
        """Run a shell script as the user, as an application there would be run."""
        return self._ssh(USER, script, stdin, timeout_s)

    def root(self, script: str, *, stdin: str = "", timeout_s: float = 120.0) -> subprocess.CompletedProcess[str]:
        """Run a shell script as root, behind edgeopt's back."""
        return self._ssh("root", script, stdin, timeout_s)

    def ssh_argv(self, user: str, script: str) -> list[str]:
        """The command that runs a shell script there; its host key is not looked at, which is what `edgeopt device trust` is tested for."""
        way = ssh_argv(user, "127.0.0.1", identity=self.identity, port=self.port)
        return [*way, f"sh -c {shlex.quote(script)}"]

    def _ssh(self, user: str, script: str, stdin: str, timeout_s: float) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.ssh_argv(user, script), input=stdin, capture_output=True, text=True, timeout=timeout_s, check=False
        )

    def _argv(self) -> list[str]:
        machine, image = self.machine, self.image
        disk = f"file={self.disk or image.disk},format=raw,snapshot={'off' if self.disk else 'on'}"
        network = f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{self.port}-:22"
        argv = [QEMU, "-M", machine.board, "-m", str(machine.memory_mb), "-smp", str(machine.cores)]
        argv += ["-kernel", str(image.kernel), "-initrd", str(image.initrd), "-no-reboot", "-display", "none"]
        argv += ["-monitor", "none", "-serial", f"file:{self.folder / 'console.log'}", "-netdev", network]
        if machine.board == "raspi3b":
            argv += ["-append", f"console=ttyAMA0,115200 {BOOT}", "-dtb", str(image.pi3_tree)]
            return [*argv, "-drive", f"if=sd,{disk}", "-device", "usb-net,netdev=net"]
        argv += ["-cpu", machine.cpu, "-accel", "tcg,thread=multi", "-append", f"console=ttyAMA0 {BOOT}"]
        argv += ["-drive", f"if=none,id=disk,{disk}", "-device", "virtio-blk-pci,drive=disk"]
        # The kernel's driver of an NVMe disk shows a sensor of temperature, as a board has one.
        argv += ["-drive", f"if=none,id=nvme,file={_empty_disk(self.folder)},format=raw,snapshot=on"]
        argv += ["-device", "nvme,drive=nvme,serial=1", "-device", "virtio-net-pci,netdev=net,romfile="]
        return [*argv, *_device_tree(machine, self.folder)]


def require_qemu() -> None:
    """Skip the test where ARM cannot be emulated."""
    if shutil.which(QEMU) is None:
        pytest.skip("no ARM machine can be emulated (apt install qemu-system-arm)")
    if shutil.which("setpriv") is None:
        pytest.skip("an ARM guest needs setpriv (apt install util-linux)")


def boot(image: ArmImage, folder: Path, machine: Machine = A72, *, keep: bool = False) -> Guest:
    """Boot a guest; skips the test where that is not possible.

    Args:
        image: its disk, which is not written to.
        folder: for its files.
        machine: what is emulated.
        keep: whether what is written is there again after a power cut.
    """
    require_qemu()
    folder.mkdir(parents=True, exist_ok=True)
    disk = None
    if keep:
        disk = folder / "disk.img"
        subprocess.run(["cp", "--sparse=always", "--reflink=auto", str(image.disk), str(disk)], check=True)
    guest = Guest(machine=machine, image=image, folder=folder, disk=disk)
    guest.boot()
    return guest


def _greets(port: int, timeout_s: float) -> bool:
    with (
        contextlib.suppress(OSError),
        socket.create_connection(("127.0.0.1", port), timeout=max(1.0, timeout_s)) as probe,
    ):
        return probe.recv(4) == b"SSH-"
    return False


def _empty_disk(folder: Path) -> Path:
    path = folder / "nvme.img"
    if not path.exists():
        with path.open("wb") as file:
            file.truncate(16 << 20)
    return path


def _device_tree(machine: Machine, folder: Path) -> list[str]:
    """QEMU's own device tree of `virt`, with another name and further compatible boards before its own."""
    if machine.model is None:
        return []
    if shutil.which("fdtput") is None:
        pytest.skip("a device tree needs fdtput (apt install device-tree-compiler)")
    tree = folder / "board.dtb"
    size = ["-cpu", machine.cpu, "-smp", str(machine.cores), "-m", str(machine.memory_mb)]
    subprocess.run(
        [QEMU, "-M", f"{machine.board},dumpdtb={tree}", *size, "-nic", "none"], check=True, capture_output=True
    )
    for key, words in (("model", (machine.model,)), ("compatible", (*machine.compatible, "linux,dummy-virt"))):
        subprocess.run(["fdtput", "-t", "s", str(tree), "/", key, *words], check=True)
    return ["-dtb", str(tree)]
