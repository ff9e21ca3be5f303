"""The device tree: where things are, and the few ways in which they are written.

Every write is either atomic (a temporary beside it, fsync, rename, fsync of the folder) or happens in a temporary folder that is renamed when it is whole.
Temporaries are named `.tmp-<pid>-<random>`, so that a later agent can tell a dead writer's from a living one's.
"""

from __future__ import annotations

import errno
import os
import stat
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

TEMPORARY = ".tmp-"
_DAY_S = 24 * 3600


class Tree:
    """Paths under the root.

    Args:
        root: absolute path of the folder.
        more_runtimes: `runtimes/` of another root, read only, or None.
    """

    def __init__(self, root: str, more_runtimes: str | None = None) -> None:
        self.root = root
        self.more_runtimes = more_runtimes
        self.agent = os.path.join(root, "agent")
        self.incoming = os.path.join(root, "incoming")
        self.blobs = os.path.join(root, "blobs")
        self.runtimes = os.path.join(root, "runtimes")
        self.staged = os.path.join(root, "staged")
        self.engines = os.path.join(root, "engines")
        self.scratch = os.path.join(root, "scratch")
        self.lock = os.path.join(root, "locks", "device")
        self.apps = os.path.join(root, "apps")

    def part(self, digest: str) -> str:
        """Return where an upload in progress is."""
        return os.path.join(self.incoming, digest + ".part")

    def blob(self, digest: str) -> str:
        """Return where verified content is."""
        return os.path.join(self.blobs, digest)

    def runtime_folders(self) -> list[str]:
        """Return the folders that hold runtimes, own first."""
        return [self.runtimes] if self.more_runtimes is None else [self.runtimes, self.more_runtimes]


def make_folder(path: str) -> None:
    """Make a folder and what lies above it, durably."""
    if os.path.isdir(path):
        return
    parent = os.path.dirname(path)
    make_folder(parent)
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        return
    fsync_folder(parent)


def temporary_beside(path: str) -> str:
    """Return a fresh name in the folder of `path`."""
    return os.path.join(os.path.dirname(path), f"{TEMPORARY}{os.getpid()}-{os.urandom(8).hex()}")


def write_file(path: str, data: bytes) -> None:
    """Write a file so that it is there whole, or as it was before, whatever is cut."""
    temporary = temporary_beside(path)
    try:
        with open(
            os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600), "wb"
        ) as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except BaseException:
        remove_file(temporary)
        raise
    fsync_folder(os.path.dirname(path))


def point(link: str, target: str) -> None:
    """Make `link` a symbolic link to `target`, in one step, durably."""
    temporary = temporary_beside(link)
    os.symlink(target, temporary)
    try:
        os.replace(temporary, link)
    except BaseException:
        remove_file(temporary)
        raise
    fsync_folder(os.path.dirname(link))


def link_or_copy(source: str, target: str) -> None:
    """Give a blob a second name; where the file system has no hard links, a durable copy."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EXDEV, errno.EMLINK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EACCES):
            raise
        _copy(source, target)


def _copy(source: str, target: str) -> None:
    with open(os.open(source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as reader, open(
        target, "xb"
    ) as writer:
        while True:
            data = reader.read(1 << 20)
            if not data:
                break
            writer.write(data)
        writer.flush()
        os.fsync(writer.fileno())


def fsync_file(path: str) -> None:
    """Force a file's content to the disk."""
    _fsync(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)


def fsync_folder(path: str) -> None:
    """Force a folder's names to the disk."""
    _fsync(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _fsync(path: str, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some file systems (FUSE, vfat by some drivers) have no fsync for folders.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP) or not flags & os.O_DIRECTORY:
            raise OSError(error.errno, error.strerror, path) from error
    finally:
        os.close(descriptor)


def fsync_tree(folder: str) -> None:
    """Force every file and folder below `folder`, and itself, to the disk, leaves first."""
    for base, _, files in os.walk(folder, topdown=False):
        for name in files:
            fsync_file(os.path.join(base, name))
        fsync_folder(base)


def remove_file(path: str) -> int:
    """Remove a file or link if it is there; return the bytes that this freed (0 while another name holds the content)."""
    try:
        found = os.lstat(path)
        os.unlink(path)
    except FileNotFoundError:
        return 0
    return found.st_size if stat.S_ISREG(found.st_mode) and found.st_nlink == 1 else 0


def remove_tree(path: str) -> int:
    """Remove a folder and everything in it, following no link; return the bytes that this freed. What is not there is no error."""
    freed = 0
    try:
        with os.scandir(path) as entries:
            found = [(entry.path, entry.is_dir(follow_symlinks=False)) for entry in entries]
    except FileNotFoundError:
        return 0
    except NotADirectoryError:
        return remove_file(path)
    for name, is_folder in found:
        freed += remove_tree(name) if is_folder else remove_file(name)
    try:
        os.rmdir(path)
    except FileNotFoundError:
        return freed
    return freed


def tree_bytes(path: str) -> int:
    """Return the sum of the sizes of all files below `path`."""
    total = 0
    for base, _, files in os.walk(path):
        for name in files:
            try:
                total += os.lstat(os.path.join(base, name)).st_size
            except OSError:
                continue
    return total


def names(folder: str) -> list[str]:
    """Return the sorted names in a folder without temporaries; empty when the folder is not there."""
    return sorted(name for name in _listed(folder) if not name.startswith(TEMPORARY))


def remove_leftovers(folder: str, *, is_exclusive: bool) -> None:
    """Remove temporaries that nobody is writing any more.

    Args:
        folder: where to look, not below it.
        is_exclusive: only the holder of the lock writes there, and that is the caller: all of them are left over.
    """
    for name in _listed(folder):
        path = os.path.join(folder, name)
        if name.startswith(TEMPORARY) and (is_exclusive or is_abandoned(path, name[len(TEMPORARY) :])):
            remove_tree(path)


def is_abandoned(path: str, name: str) -> bool:
    """Say whether what is named `<pid>-<random>` belongs to no living process. A number may have come to another process after a reboot: a day is enough, too."""
    pid = name.split("-", maxsplit=1)[0]
    if pid.isdigit() and int(pid) != os.getpid() and not os.path.exists(f"/proc/{pid}"):
        return True
    try:
        return time.clock_gettime(time.CLOCK_REALTIME) - os.lstat(path).st_mtime > _DAY_S
    except FileNotFoundError:
        return False


def _listed(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []


def build_folder(path: str, build: Callable[[str], None], *, durable: bool) -> None:
    """Fill a fresh temporary folder with `build` and rename it to `path`, which is replaced if it is there.

    Args:
        path: where the folder ends.
        build: gets the temporary folder.
        durable: force everything to the disk before the rename, and the rename after it.
    """
    make_folder(os.path.dirname(path))
    temporary = temporary_beside(path)
    os.mkdir(temporary, 0o700)
    try:
        build(temporary)
        if durable:
            fsync_tree(temporary)
        _rename_folder(temporary, path)
    except BaseException:
        remove_tree(temporary)
        raise
    if durable:
        fsync_folder(os.path.dirname(path))


def _rename_folder(source: str, target: str) -> None:
    try:
        os.rename(source, target)
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
            raise
        aside = temporary_beside(target)
        os.rename(target, aside)
        os.rename(source, target)
        remove_tree(aside)
