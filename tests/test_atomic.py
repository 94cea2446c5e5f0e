"""A file in one step: what stood there before, what was left behind, who else writes."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import fastnn
from fastnn import _atomic

DEADLINE = 60  # seconds, for child processes


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    return path


def write(path: Path, content: bytes = b"new") -> None:
    with _atomic.replacing(str(path)) as file:
        file.write(content)


def only(folder: Path, *names: str) -> None:
    assert sorted(entry.name for entry in folder.iterdir()) == sorted(names)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# ------------------------------------------------------------------------------ what stood there


def test_the_new_content_stands_there_alone(path: Path) -> None:
    write(path)
    assert path.read_bytes() == b"new"
    only(path.parent, "file")


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_a_new_file_follows_the_umask(path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        write(path.with_name("another"))
    finally:
        os.umask(before)
    assert mode(path.with_name("another")) == 0o666 & ~umask


@pytest.mark.parametrize("kept", [0o600, 0o640, 0o644, 0o664, 0o666, 0o755, 0o200])
def test_the_mode_stays(path: Path, kept: int) -> None:
    path.chmod(kept)
    write(path)
    assert mode(path) == kept
    assert path.read_bytes() == b"new"


def test_the_content_is_never_readable_by_more_than_the_file(path: Path) -> None:
    path.chmod(0o600)
    with _atomic.replacing(str(path)):
        (temporary,) = path.parent.glob(".fastnn-*")
        assert mode(temporary) == 0o600


def test_owner_and_group_stay(path: Path) -> None:
    """Only root may give files away; others may give them to a group of theirs."""
    owner = (1234, 5678) if os.getuid() == 0 else (os.getuid(), os.getgroups()[-1])
    os.chown(path, *owner)
    write(path)
    assert (path.stat().st_uid, path.stat().st_gid) == owner


def test_an_owner_that_cannot_be_kept_is_no_obstacle(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, int]] = []
    before = os.stat(path)

    def refuse(descriptor: int, owner: int, group: int) -> None:
        asked.append((owner, group))
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "fchown", refuse)
    fields = [*before]
    fields[stat.ST_UID], fields[stat.ST_GID] = 1234, 5678
    monkeypatch.setattr(_atomic, "replaceable", lambda path: os.stat_result(fields))
    write(path)
    assert asked == [(1234, 5678), (-1, 5678)]
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("kept", [0o444, 0o400, 0o555, 0o000])
def test_a_read_only_file_is_refused(path: Path, kept: int) -> None:
    """By root as well, to whom the system forbids nothing."""
    path.chmod(kept)
    with pytest.raises(PermissionError, match="expected a file that may be written") as caught:
        write(path)
    assert caught.value.filename == str(path)
    assert mode(path) == kept
    path.chmod(0o600)
    assert path.read_bytes() == b"old"
    only(path.parent, "file")


def test_links_stay_links(path: Path) -> None:
    link, dangling = path.with_name("link"), path.with_name("dangling")
    link.symlink_to("file")
    dangling.symlink_to("another")
    write(link)
    write(dangling)
    assert link.is_symlink()
    assert dangling.is_symlink()
    assert path.read_bytes() == path.with_name("another").read_bytes() == b"new"


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt(), ValueError()]
)
def test_a_failure_leaves_the_old_file_alone(path: Path, error: BaseException) -> None:
    def fail() -> None:
        with _atomic.replacing(str(path)) as file:
            file.write(b"half")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert path.read_bytes() == b"old"
    only(path.parent, "file")


@pytest.mark.parametrize("step", ["fsync", "replace", "fdopen", "fchmod"])
def test_errors_name_the_file_that_the_caller_knows(
    path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def fail(*arguments: Any) -> Any:
        raise OSError(errno.ENOSPC, "No space left on device", "a temporary name")

    path.chmod(0o640)
    monkeypatch.setattr(os, step, fail)
    with pytest.raises(OSError, match="No space left on device") as caught:
        write(path)
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(path))
    assert path.read_bytes() == b"old"
    only(path.parent, "file")


def test_a_folder_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        write(tmp_path / "none" / "file")
    assert caught.value.filename == str(tmp_path / "none" / "file")


def test_a_folder_that_may_be_written_but_not_read(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain_open = os.open

    def refuse(*arguments: Any) -> Any:
        raise PermissionError(errno.EACCES, "denied")

    def opened(name: str, flags: int, *arguments: Any) -> int:
        return refuse() if flags & os.O_DIRECTORY else plain_open(name, flags, *arguments)

    monkeypatch.setattr(os, "scandir", refuse)
    monkeypatch.setattr(os, "open", opened)
    write(path)
    assert path.read_bytes() == b"new"


# ----------------------------------------------------------------------------- what others left


WRITE_AND_DIE = """
import os, signal, sys
from fastnn import _atomic
with _atomic.replacing(sys.argv[1]) as file:
    file.write(b"half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def child(script: str, *arguments: object) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": str(Path(fastnn.__file__).parents[1])}
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_what_a_killed_process_left_is_cleared_away(path: Path) -> None:
    for _ in range(2):
        with child(WRITE_AND_DIE, path) as process:
            assert process.wait(DEADLINE) == -9
    assert len(list(path.parent.iterdir())) == 2  # the second cleared after the first
    assert path.read_bytes() == b"old"
    write(path)
    only(path.parent, "file")


WRITE_AND_WAIT = """
import sys
from fastnn import _atomic
with _atomic.replacing(sys.argv[1]) as file:
    file.write(b"theirs")
    print("writing", flush=True)
    sys.stdin.readline()
"""


def test_what_a_living_process_writes_is_left_alone(path: Path) -> None:
    with child(WRITE_AND_WAIT, path) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        for content in (b"ours", b"ours again"):
            write(path, content)
            assert path.read_bytes() == content
            assert len(list(path.parent.iterdir())) == 2
        process.stdin.write("go on\n")
        process.stdin.flush()
        assert process.wait(DEADLINE) == 0
    assert path.read_bytes() == b"theirs"
    only(path.parent, "file")


def test_two_writers_in_one_process(path: Path) -> None:
    with _atomic.replacing(str(path)) as outer:
        write(path, b"inner")
        outer.write(b"outer")
        assert path.read_bytes() == b"inner"
    assert path.read_bytes() == b"outer"
    only(path.parent, "file")


def test_many_threads_write_one_file(path: Path) -> None:
    contents = {bytes([letter]) * 10_000 for letter in b"abcdefgh"}
    failures: list[BaseException] = []

    def work(content: bytes) -> None:
        try:
            for _ in range(20):
                write(path, content)
                assert path.read_bytes() in contents
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE)
    assert not failures
    only(path.parent, "file")


def test_a_writer_whose_file_was_cleared_before_it_was_locked_makes_another(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = _atomic._lock
    cleared: list[Path] = []

    def late(descriptor: int, wait: bool) -> bool:
        if wait and not cleared:
            cleared.extend(path.parent.glob(".fastnn-*"))
            cleared[0].unlink()
        return lock(descriptor, wait)

    monkeypatch.setattr(_atomic, "_lock", late)
    write(path)
    assert len(cleared) == 1
    assert path.read_bytes() == b"new"
    only(path.parent, "file")


def test_a_file_system_without_locks(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody can tell what is left there from what is being written: nothing is removed."""

    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    path.with_name(".fastnn-0.tmp").touch()
    write(path)
    assert path.read_bytes() == b"new"
    only(path.parent, "file", ".fastnn-0.tmp")


def test_only_temporary_files_are_removed(path: Path) -> None:
    folder = path.parent
    (folder / ".fastnn-folder.tmp").mkdir()
    os.mkfifo(folder / ".fastnn-pipe.tmp")
    (folder / ".fastnn-link.tmp").symlink_to("file")
    kept = [".fastnn-x", "x.tmp", "fastnn-x.tmp", "file"]
    for name in kept:
        (folder / name).write_bytes(b"")
    (folder / ".fastnn-x.tmp").write_bytes(b"left")
    write(path)
    only(folder, *kept, ".fastnn-folder.tmp", ".fastnn-pipe.tmp", ".fastnn-link.tmp")
