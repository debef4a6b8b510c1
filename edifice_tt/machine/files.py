"""Files that are either complete or absent, with one writer at a time. Knows no format."""

import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import BinaryIO

from edifice_tt.contract.errors import EdificeError

Write = Callable[[BinaryIO], object]

_KINDS = {
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
}


def write_atomically(path: str | os.PathLike[str], write: Write, *, overwrite: bool = True) -> None:
    """Call `write(file)` on a temporary file beside `path`, then move it to `path`.

    On any failure `path` is untouched. See `replacing` for links, locks and errors.
    """
    with replacing(Path(path), overwrite=overwrite) as replace:
        replace(write)


@contextmanager
def replacing(path: Path, *, overwrite: bool = True) -> Iterator[Callable[[Write], None]]:
    """Lock a file against other writers; yields a function that replaces its content once.

    Links are followed. An existing file keeps its mode, owner and attributes. Raises `OSError` for
    a path that is not a regular file, cannot be written or has hard links, and `BlockingIOError`
    while another process is writing to it. Without `overwrite`, raises `FileExistsError` for an
    existing file, even one that another process creates meanwhile.
    """
    target, old = find_target(path), None
    with ExitStack() as stack:
        with _naming(path), suppress(FileNotFoundError):
            old = stack.enter_context(open_alone(target))
        if old is not None and not overwrite:
            raise FileExistsError(errno.EEXIST, "File exists", str(path))
        if old is not None and (names := os.fstat(old.fileno()).st_nlink) > 1:
            reason = (
                f"it has {names} names (hard links), and one alone would change; work on a copy"
            )
            raise OSError(errno.EMLINK, reason, str(path))

        def replace(write: Write) -> None:
            with _naming(path):
                _replace(target, old, write, overwrite)

        yield replace


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Make errors name the path that the caller gave, not a temporary file or a link's target."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def find_target(path: Path) -> Path:
    """The file that a path leads to through links, whether it exists or not.

    Raises `OSError` for what a regular file cannot replace: a device, a pipe, a folder, and the
    file that this process prints to.
    """
    target = Path(os.path.realpath(path))
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return target
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, "Is a directory", str(path))
    kind = _KINDS.get(stat.S_IFMT(status.st_mode))
    for number in (1, 2):
        with suppress(OSError):  # it may be closed
            if kind is None and os.path.samestat(status, os.fstat(number)):
                kind = "where this command prints"
    if kind is None and not (target.exists() and os.path.samestat(status, target.stat())):
        kind = "a deleted file"
    if kind is not None:
        reason = f"it is {kind}; give the name of a regular file"
        raise OSError(errno.EINVAL, reason, str(path))
    return target


def first_bytes(path: str | os.PathLike[str], count: int) -> bytes:
    """How a file begins; nothing for what is missing or no regular file."""
    with suppress(OSError):
        if Path(path).is_file():  # opening a pipe would wait, and take what comes from its reader
            with open(path, "rb") as file:
                return file.read(count)
    return b""


def check_other_file(path: str | os.PathLike[str], sources: Iterable[object]) -> None:
    """Raise `EdificeError` if a file to be written is one of those it is made of, by any name."""
    for source in sources:
        with suppress(OSError, ValueError):  # there is no such file, or it is a name of something
            if os.path.samefile(path, str(source)):
                raise EdificeError(
                    f"{path} is read here, so it cannot be written over; give another name"
                )


@contextmanager
def working_alone(path: Path) -> Iterator[None]:
    """Keep other processes from the work whose result a file will be, from its first moment on.

    An empty file beside it, with `.lock` behind its name, stands for it meanwhile. Raises `OSError`
    as `find_target` does, and `BlockingIOError` while another process does that work.
    """
    target = find_target(path)
    lock = target.with_name(f"{target.name}.lock")
    with _naming(path):
        file = _make_alone(lock)
    with file:
        try:
            yield
        finally:
            if not os.fstat(file.fileno()).st_size:  # else it is another program's
                lock.unlink(missing_ok=True)


def _make_alone(path: Path) -> FileIO:
    while True:
        path.touch()
        with suppress(FileNotFoundError):  # who held it has just removed it
            return open_alone(path)


def open_alone(path: Path) -> FileIO:
    """Open an existing file for writing and lock it against other writers.

    Raises `BlockingIOError` while another process is writing to it.
    """
    while True:
        file = FileIO(path, "r+")  # not "a", which would create a file
        try:
            _lock(file, path)
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file.fileno()), os.stat(path)):
                    return file
        except BaseException:
            file.close()
            raise
        file.close()  # another process replaced the file before it was locked: try again


def _lock(file: FileIO, path: Path) -> None:
    try:
        import fcntl
    except ImportError:  # this system has no such locks
        return
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        reason = "another process is writing to it; wait for it"
        raise BlockingIOError(errno.EAGAIN, reason, str(path)) from None
    except OSError:  # a file system without locks
        return


def _replace(target: Path, old: FileIO | None, write: Write, overwrite: bool) -> None:
    # Only part of the name: the name itself may have the maximal length.
    temporary = target.with_name(f".{target.name[:40]}.{os.urandom(4).hex()}")
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    try:
        # Private until it gets the rights of the old file; a new file follows the umask.
        handle = os.open(temporary, flags, 0o666 if old is None else 0o600)
        with os.fdopen(handle, "wb") as file:
            write(file)
            file.flush()
            if old is not None:
                _keep_rights(old, target, temporary)
            os.fsync(handle)
        if old is None:
            _appear(temporary, target, overwrite)
        else:
            os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def _keep_rights(old: FileIO, target: Path, temporary: Path) -> None:
    before, now = os.fstat(old.fileno()), os.stat(temporary)
    if (before.st_uid, before.st_gid) != (now.st_uid, now.st_gid):
        try:
            os.chown(temporary, before.st_uid, before.st_gid)
        except PermissionError as error:
            reason = "its owner or group cannot be kept; ask the owner, or work on a copy"
            raise PermissionError(errno.EPERM, reason) from error
    shutil.copystat(target, temporary)
    os.utime(temporary)


def _appear(temporary: Path, target: Path, overwrite: bool) -> None:
    """Move the temporary file to `target`, which another process may have created meanwhile."""
    try:
        os.link(temporary, target)
    except FileExistsError:
        if not overwrite:
            raise
        with open_alone(target):
            os.replace(temporary, target)
    except OSError:  # a file system without hard links
        os.replace(temporary, target)
