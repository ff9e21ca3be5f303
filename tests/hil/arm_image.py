"""A disk with Debian for 64-bit ARM, from this machine's own package sources: what tests/hil/arm_guest.py boots.

    image = arm_image()        # about a minute the first time, then at once

Packages are unpacked and nothing of them is run, so building needs no emulation: the few things that their scripts would have done are done here. The system has OpenSSH's server, Python
without any package but its standard library, BusyBox and Toybox. Whoever has `image.identity` logs in as `pi`, an ordinary user, or as `root`.

The image lies in a cache (`EDGEOPT_GUEST_CACHE`, else `edgeopt-guest` in the user's), under a name that is the content of this recipe, so that a changed recipe is a new image. Needs root,
because the files of an image belong to root.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import re
import shutil
import stat
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.sshd import make_key

RECIPE = Path(__file__).with_name("image")
DISK_BYTES = 2 << 30
"""Sparse; about 0.4 GB are used. The SD card of a Raspberry Pi must have a power of two."""

USER, USER_ID = "pi", 1000
TOOLS = {
    "mmdebstrap": "mmdebstrap",
    "mke2fs": "e2fsprogs",
    "depmod": "kmod",
    "cpio": "cpio",
    "ssh-keygen": "openssh-client",
}
DEPENDENCY = re.compile(r"kernel/\S+?\.ko(?:\.xz)?(?=[:\s])")


@dataclass(frozen=True)
class ArmImage:
    """Files of a built image. `pi3_tree` is the device tree of the Raspberry Pi 3 Model B, of the kernel's own."""

    folder: Path

    @property
    def disk(self) -> Path:
        return self.folder / "disk.img"

    @property
    def kernel(self) -> Path:
        return self.folder / "vmlinuz"

    @property
    def initrd(self) -> Path:
        return self.folder / "initrd.gz"

    @property
    def pi3_tree(self) -> Path:
        return self.folder / "bcm2837-rpi-3-b.dtb"

    @property
    def identity(self) -> Path:
        return self.folder / "identity"


def require_builder() -> Path:
    """Skip the test where no image can be built; returns the package sources of this machine."""
    if os.geteuid() != 0:
        pytest.skip("an ARM image needs root")
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    missing = sorted(package for tool, package in TOOLS.items() if shutil.which(tool, path=path) is None)
    if missing:
        pytest.skip(f"an ARM image needs {', '.join(missing)} (apt install {' '.join(missing)})")
    about = platform.freedesktop_os_release()
    if about.get("ID") != "debian":
        pytest.skip(f"an ARM image is made of Debian's packages, and this is {about.get('NAME', 'another system')}")
    for sources in (Path("/etc/apt/sources.list.d/debian.sources"), Path("/etc/apt/sources.list")):
        if sources.is_file() and sources.read_text().strip():
            return sources
    pytest.skip("an ARM image needs package sources in /etc/apt/sources.list or sources.list.d/debian.sources")


def arm_image() -> ArmImage:
    """Return the image, built when there is none of this recipe; skips the test where that is not possible."""
    sources = require_builder()
    suite = platform.freedesktop_os_release()["VERSION_CODENAME"]
    image = ArmImage(_cache() / _recipe_key(suite))
    image.folder.parent.mkdir(parents=True, exist_ok=True)
    # One builder at a time; the others find what it has built.
    with (image.folder.parent / f"{image.folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not image.folder.is_dir():
            _build(image, suite, sources)
    return image


def _cache() -> Path:
    own = os.environ.get("EDGEOPT_GUEST_CACHE")
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(own) if own else base / "edgeopt-guest"


def _recipe_key(suite: str) -> str:
    digest = hashlib.sha256(suite.encode())
    for path in (Path(__file__), *sorted(RECIPE.iterdir())):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]


def _build(image: ArmImage, suite: str, sources: Path) -> None:
    start = time.monotonic()
    work = image.folder.with_name(f"{image.folder.name}.new")
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    root = work / "root"
    _unpack(root, suite, sources)
    _set_up(root)
    make_key(work / "identity")
    _let_in(root, (work / "identity.pub").read_text())
    made = ArmImage(work)
    _take_kernel(root, made)
    for waste in ("boot", "var/cache/apt", "var/lib/apt/lists", *(f"usr/lib/{p.name}" for p in _kernel_trees(root))):
        shutil.rmtree(root / waste)
        (root / waste).mkdir()
    _run("mke2fs", "-q", "-t", "ext4", "-L", "edge", "-d", root, made.disk, f"{DISK_BYTES >> 20}M")
    shutil.rmtree(root)
    work.rename(image.folder)
    print(f"ARM image built in {time.monotonic() - start:.0f} s: {image.folder}")


def _unpack(root: Path, suite: str, sources: Path) -> None:
    packages = (RECIPE / "packages.txt").read_text().split()
    leave_out = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("man", "doc", "locale")]
    argv = [
        "mmdebstrap",
        "--quiet",
        "--mode=root",
        "--arch=arm64",
        "--variant=extract",
        "--format=directory",
        '--aptopt=Acquire::Languages "none"',
        *leave_out,
        "--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr",
        f"--include={','.join(packages)}",
        suite,
        str(root),
        str(sources),
    ]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return
    said = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
    if "Failed to fetch" in done.stderr or "Temporary failure" in done.stderr:
        pytest.skip(f"an ARM image needs Debian's package sources, which cannot be reached: {said}")
    pytest.fail(f"mmdebstrap ended with {done.returncode}: {done.stderr[-2000:]}")


def _set_up(root: Path) -> None:
    """Do what the packages' scripts would have done."""
    etc = root / "etc"
    shutil.copy(root / "usr/share/base-passwd/passwd.master", etc / "passwd")
    shutil.copy(root / "usr/share/base-passwd/group.master", etc / "group")
    with (etc / "passwd").open("a") as file:
        file.write("sshd:x:101:65534::/run/sshd:/usr/sbin/nologin\n")
        file.write(f"{USER}:x:{USER_ID}:{USER_ID}::/home/{USER}:/bin/bash\n")
    with (etc / "group").open("a") as file:
        file.write(f"{USER}:x:{USER_ID}:\n")
    text = (etc / "passwd").read_text()
    (etc / "passwd").write_text(text.replace("root:*:", "root:x:", 1))
    shadow = etc / "shadow"
    shadow.write_text("".join(f"{name}:*:19000:0:99999:7:::\n" for name in ("root", USER)))
    shadow.chmod(0o600)
    for link, target in (("usr/bin/sh", "dash"), ("usr/bin/awk", "mawk")):
        if not (root / link).is_symlink():
            (root / link).symlink_to(target)
    (etc / "nsswitch.conf").write_text("passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n")
    (etc / "hosts").write_text("127.0.0.1 localhost edge-device\n")
    (etc / "hostname").write_text("edge-device\n")
    (etc / "fstab").write_text("")
    _place(RECIPE / "guest-init.sh", root / "usr/sbin/guest-init")


def _let_in(root: Path, public_key: str) -> None:
    _run("ssh-keygen", "-q", "-A", "-f", root)
    (root / "etc/ssh/sshd_config").write_text(
        "PermitRootLogin prohibit-password\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
        "UsePAM no\nUseDNS no\nPrintMotd no\nMaxSessions 50\nMaxStartups 100\nSubsystem sftp internal-sftp\n"
    )
    for home, owner in ((root / "root", 0), (root / "home" / USER, USER_ID)):
        folder = home / ".ssh"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "authorized_keys").write_text(public_key)
        for path in (home, folder, folder / "authorized_keys"):
            os.chown(path, owner, owner)
            path.chmod(0o600 if path.is_file() else 0o700)


def _kernel_trees(root: Path) -> list[Path]:
    """Folders of device trees, one a kernel."""
    return sorted((root / "usr/lib").glob("linux-image-*"))


def _take_kernel(root: Path, image: ArmImage) -> None:
    """Take kernel, device tree and initial RAM disk out of the system, and leave it the modules that a guest needs (all are 450 MB)."""
    kernel = max((root / "boot").glob("vmlinuz-*"), key=lambda path: path.stat().st_mtime)
    version = kernel.name.removeprefix("vmlinuz-")
    shutil.copy(kernel, image.kernel)
    shutil.copy(root / f"usr/lib/linux-image-{version}/broadcom/bcm2837-rpi-3-b.dtb", image.pi3_tree)
    _run("depmod", "-b", root, version)
    all_modules = root / "usr/lib/modules" / version
    few = image.folder / "modules"
    wanted = needed_modules((all_modules / "modules.dep").read_text(), (RECIPE / "modules.txt").read_text().split())
    for name in (*wanted, "modules.order", "modules.builtin", "modules.builtin.modinfo"):
        (few / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(all_modules / name, few / name)
    shutil.rmtree(all_modules)
    shutil.move(few, all_modules)
    _run("depmod", "-b", root, version)
    _pack_initrd(root, version, image)


def needed_modules(dependencies: str, names: Sequence[str]) -> list[str]:
    """Return the files of these modules and of what they need; what is built in has none.

    Args:
        dependencies: text of modules.dep, a line a module: its file, a colon, the files that it needs.
        names: modules, with - or _ as one likes.
    """
    found: set[str] = set()
    wanted = {name.replace("-", "_") for name in names}
    for line in dependencies.splitlines():
        files = DEPENDENCY.findall(f"{line} ")
        if files and Path(files[0]).name.split(".")[0].replace("-", "_") in wanted:
            found.update(files)
    return sorted(found)


def _pack_initrd(root: Path, version: str, image: ArmImage) -> None:
    tree = image.folder / "initrd"
    for name in ("bin", "proc", "sys", "dev", "mnt", "lib/modules"):
        (tree / name).mkdir(parents=True)
    shutil.copy(root / "usr/bin/busybox", tree / "bin/busybox")
    for applet in ("sh", "mount", "umount", "modprobe", "switch_root", "sleep"):
        (tree / "bin" / applet).symlink_to("busybox")
    shutil.copytree(root / "usr/lib/modules" / version, tree / "lib/modules" / version)
    _place(RECIPE / "initrd.sh", tree / "init")
    names = "\n".join(sorted(str(path.relative_to(tree)) for path in tree.rglob("*")))
    archive = subprocess.run(
        ["cpio", "-o", "-H", "newc", "--quiet"], cwd=tree, input=names.encode(), capture_output=True, check=True
    )
    with image.initrd.open("wb") as file:
        subprocess.run(["gzip", "-1"], input=archive.stdout, stdout=file, check=True)
    shutil.rmtree(tree)


def _place(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    target.chmod(stat.S_IRWXU | stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH)


def _run(*argv: str | Path) -> None:
    environment = os.environ | {"PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"}
    done = subprocess.run([str(word) for word in argv], capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        pytest.fail(f"{argv[0]} ended with {done.returncode}: {done.stderr.strip()}")
