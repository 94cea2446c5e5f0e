"""A file in one step: the old content or the new one, never a part, whenever the process ends.

New content goes into a temporary file beside the target and takes the target's name once it is on
the disk. The writer holds a lock on its temporary file, which ends with the process, however that
ends: a temporary file that can be locked is nobody's, and the next writer in the folder removes it.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

PREFIX, SUFFIX = ".fastnn-", ".tmp"  # of temporary names


@contextmanager
def replacing(path: str) -> Iterator[BinaryIO]:
    """A file whose content stands in the file `path` once the block ends without an error.

    Mode and owner stay those of the file that stood there, and a link stays a link. Raises
    PermissionError if that file is read-only, ValueError if it is a folder or a device, OSError if
    writing fails; the old file is then as it was.
    """
    target = os.path.realpath(path)
    folder = os.path.dirname(target)
    try:
        before = replaceable(target)
        _clear(folder)
        descriptor, temporary = _create(folder, 0o666 if before is None else 0o600)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                if before is not None:
                    _make_like(descriptor, before)
                os.fsync(descriptor)
                os.replace(temporary, target)  # still locked, or another writer might remove it
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(temporary)
            raise
        _sync(folder)
    except OSError as error:  # of the file that the caller knows
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, path) from None


def kind(status: os.stat_result) -> str:
    """What something that is no file is."""
    return "a folder" if stat.S_ISDIR(status.st_mode) else "a device or pipe"


def replaceable(path: str | os.PathLike[str]) -> os.stat_result | None:
    """The status of the file that stands there, if one does; no link.

    Raises ValueError if it is no file, PermissionError if it may not be written.
    """
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(f"expected a file to write to, found {kind(status)}: {path}")
    # The owner's word counts for root too, to whom the system forbids nothing.
    if not (status.st_mode & 0o222 and os.access(path, os.W_OK)):
        raise PermissionError(errno.EACCES, "expected a file that may be written", os.fspath(path))
    return status


def _lock(descriptor: int, wait: bool) -> bool:
    """Whether the lock is ours now; never where the file system knows no locks."""
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        return False
    return True


def _create(folder: str, mode: int) -> tuple[int, str]:
    """A new temporary file, locked: its descriptor and its path."""
    while True:
        path = os.path.join(folder, f"{PREFIX}{os.urandom(6).hex()}{SUFFIX}")
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)
        _lock(descriptor, wait=True)
        if os.fstat(descriptor).st_nlink:
            return descriptor, path
        os.close(descriptor)  # another writer removed it just before it was locked


def _clear(folder: str) -> None:
    """Remove what writers that died left in the folder, as far as we may."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(PREFIX) and entry.name.endswith(SUFFIX):
                _remove_if_left(entry.path)


def _remove_if_left(path: str) -> None:
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            if stat.S_ISREG(os.fstat(descriptor).st_mode) and _lock(descriptor, wait=False):
                os.unlink(path)
        finally:
            os.close(descriptor)


def _make_like(descriptor: int, before: os.stat_result) -> None:
    """Give a new file the owner, the group and the mode of the one that it replaces."""
    now = os.fstat(descriptor)
    if (now.st_uid, now.st_gid) != (before.st_uid, before.st_gid):
        try:
            os.fchown(descriptor, before.st_uid, before.st_gid)
        except OSError:  # only root gives files away; a member may set the group
            with suppress(OSError):
                os.fchown(descriptor, -1, before.st_gid)
    mode = stat.S_IMODE(before.st_mode)
    if stat.S_IMODE(now.st_mode) != mode:
        os.fchmod(descriptor, mode)


def _sync(folder: str) -> None:
    """The new name must reach the disk, too, unless the folder may not be read."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
