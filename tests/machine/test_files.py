"""Files written whole: what a name leads to, what is kept, and one writer at a time."""

import os
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from edifice_tt.machine.files import (
    find_target,
    open_alone,
    replacing,
    working_alone,
    write_atomically,
)

pytestmark = pytest.mark.skipif(os.name != "posix", reason="rights and links as POSIX has them")


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    return path


def write(path, content=b"new", **options):
    write_atomically(path, lambda file: file.write(content), **options)


def names(folder):
    return sorted(entry.name for entry in folder.iterdir())


# --- what a name leads to


def test_a_link_stays_a_link_and_its_target_is_written(path, tmp_path):
    link, second = tmp_path / "link", tmp_path / "second"
    link.symlink_to("file")
    second.symlink_to(link)
    write(second)
    assert (link.is_symlink(), second.is_symlink(), path.read_bytes()) == (True, True, b"new")
    assert names(tmp_path) == ["file", "link", "second"]


def test_a_link_to_nothing_makes_what_it_names(tmp_path):
    (tmp_path / "link").symlink_to("file")
    write(tmp_path / "link")
    assert (tmp_path / "file").read_bytes() == b"new"
    assert (tmp_path / "link").is_symlink()


def test_links_in_a_circle_are_an_error(tmp_path):
    (tmp_path / "one").symlink_to("two")
    (tmp_path / "two").symlink_to("one")
    with pytest.raises(OSError, match="symbolic links"):
        write(tmp_path / "one")
    assert names(tmp_path) == ["one", "two"]


def test_what_is_no_regular_file_is_refused_and_stays(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    expected = {"pipe": "it is a pipe", "folder": "Is a directory"}
    if os.geteuid() == 0:
        os.mknod(tmp_path / "device", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        expected["device"] = "it is a device"
    before = {name: (tmp_path / name).stat() for name in expected}
    for name, reason in expected.items():
        with pytest.raises(OSError, match=reason):
            write(tmp_path / name)
        assert os.path.samestat(before[name], (tmp_path / name).stat())
    assert names(tmp_path) == sorted(expected)


@pytest.mark.parametrize("number", [1, 2])
def test_where_the_command_prints_is_no_file_to_write(path, number):
    """By whatever name: /dev/stdout, /dev/fd/1, or its own."""
    code = (
        "import sys; from pathlib import Path; from edifice_tt.machine.files import find_target\n"
        "for name in sys.argv[1:]:\n"
        "    try: find_target(Path(name))\n"
        "    except OSError as error: print(error.strerror, file=sys.__stderr__, flush=True)\n"
        "    else: print('taken', name)\n"
    )
    given = [path, f"/dev/fd/{number}"]
    with path.open("r+b") as file:
        streams = {1: {"stdout": file}, 2: {"stderr": file}}[number]
        subprocess.run([sys.executable, "-c", code, *given], check=True, **streams)
        written = path.read_text() if number == 2 else None
    if written is not None:
        assert written.count("it is where this command prints") == 2
    else:
        assert path.read_bytes() == b"old"  # nothing was taken


def test_a_deleted_file_is_refused(path):
    with path.open("r+b") as file:
        path.unlink()
        with pytest.raises(OSError, match="deleted"):
            find_target(Path(f"/dev/fd/{file.fileno()}"))


def test_a_hard_link_is_refused_and_both_names_stay(path, tmp_path):
    os.link(path, tmp_path / "other")
    with pytest.raises(OSError, match="2 names"):
        write(path)
    assert path.read_bytes() == (tmp_path / "other").read_bytes() == b"old"
    assert names(tmp_path) == ["file", "other"]


# --- what is kept


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o700])
def test_a_file_that_is_there_keeps_its_mode(path, mode):
    path.chmod(mode)
    write(path)
    assert (stat.S_IMODE(path.stat().st_mode), path.read_bytes()) == (mode, b"new")


def test_its_contents_are_private_from_the_first_byte(path, tmp_path):
    path.chmod(0o600)
    modes = []
    write_atomically(path, lambda file: modes.append(stat.S_IMODE(os.fstat(file.fileno()).st_mode)))
    assert modes == [0o600]


def test_a_new_file_follows_the_umask_which_no_thread_sees_changed(tmp_path, monkeypatch):
    def refuse(mask):
        pytest.fail("the umask is the whole process's")

    before = os.umask(0o027)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(os, "umask", refuse)
            write(tmp_path / "new")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="gives a file away")
def test_a_file_of_somebody_else_stays_theirs(path):
    os.chown(path, 12345, 54321)
    path.chmod(0o4750)
    write(path)
    found = path.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (12345, 54321, 0o4750)


def test_an_owner_who_cannot_be_kept_is_told_and_nothing_changes(path, tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "chown", refuse)
    real = os.stat
    another = os.stat_result((*real(path)[:4], 12345, *real(path)[5:]))
    monkeypatch.setattr(os, "stat", lambda p, **o: another if ".file." in str(p) else real(p, **o))
    with pytest.raises(PermissionError, match="owner or group cannot be kept") as caught:
        write(path)
    monkeypatch.undo()
    assert caught.value.filename == str(path)
    assert (path.read_bytes(), names(tmp_path)) == (b"old", ["file"])


def test_a_file_that_may_not_be_written_is_refused():
    """In a folder where a new file could be put in its place, and by a user who is not root."""
    code = (
        "import os, sys; from pathlib import Path\n"
        "from edifice_tt.machine.files import write_atomically\n"
        "os.geteuid() or os.setuid(65534)\n"
        "for name in ('other', 'file'):\n"
        "    write_atomically(Path(sys.argv[1], name), lambda file: file.write(b'new'))\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "file")
        path.write_bytes(b"old")
        path.chmod(0o444)
        Path(folder).chmod(0o777)
        done = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True)
        assert f"PermissionError: [Errno 13] Permission denied: '{path}'" in done.stderr
        assert Path(folder, "other").read_bytes() == b"new"
        assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"old", 0o444)


def test_a_name_of_any_length_is_written(tmp_path):
    write(tmp_path / ("x" * 255))
    assert names(tmp_path) == ["x" * 255]


# --- one writer at a time


def test_work_on_a_file_that_is_not_there_yet_is_done_by_one_alone(tmp_path):
    path = tmp_path / "made"
    (tmp_path / "link").symlink_to(path)
    with working_alone(path):
        write(path)  # the work itself may
        for name in (path, tmp_path / "link"):
            with (
                pytest.raises(BlockingIOError, match="another process") as caught,
                working_alone(name),
            ):
                pytest.fail("two at once")
            assert caught.value.filename == str(name)
    assert names(tmp_path) == ["link", "made"]


def test_what_a_killed_process_left_keeps_nobody_out(tmp_path):
    (tmp_path / "made.lock").touch()
    with working_alone(tmp_path / "made"):
        pass
    assert names(tmp_path) == []


def test_a_file_of_somebody_called_as_the_lock_stays(tmp_path):
    (tmp_path / "made.lock").write_bytes(b"mine")
    with working_alone(tmp_path / "made"):
        pass
    assert (tmp_path / "made.lock").read_bytes() == b"mine"


def test_a_file_that_another_holds_is_refused(path):
    with open_alone(path), pytest.raises(BlockingIOError, match="another process is writing"):
        write(path)
    write(path)
    with replacing(path), pytest.raises(BlockingIOError, match="another process is writing"):
        open_alone(path)


def test_a_file_replaced_while_it_was_opened_is_opened_again(path, monkeypatch):
    """Else the lock would be on a file without a name, and what is written there would be lost."""
    from edifice_tt.machine import files

    lock, calls = files._lock, []

    def late(file, name):
        if not calls:
            os.replace(*_another(path))
        calls.append(name)
        lock(file, name)

    monkeypatch.setattr(files, "_lock", late)
    with open_alone(path) as file:
        assert file.read() == b"another"
    assert len(calls) == 2


def _another(path):
    other = path.with_name("other")
    other.write_bytes(b"another")
    return other, path


def test_a_file_that_appears_meanwhile_is_not_lost(tmp_path):
    path = tmp_path / "new"

    def appear(file):
        path.write_bytes(b"theirs")

    with pytest.raises(FileExistsError):
        write_atomically(path, appear, overwrite=False)
    assert (path.read_bytes(), names(tmp_path)) == (b"theirs", ["new"])
    with pytest.raises(FileExistsError):
        write(path, overwrite=False)


def test_a_file_that_appears_and_is_being_written_is_not_replaced(tmp_path):
    path, held = tmp_path / "new", []

    def appear(file):
        path.write_bytes(b"theirs")
        held.append(open_alone(path))

    with pytest.raises(BlockingIOError):
        write_atomically(path, appear)
    held[0].close()
    assert (path.read_bytes(), names(tmp_path)) == (b"theirs", ["new"])


def test_many_threads_that_write_anew_leave_one_whole_file(tmp_path):
    path, refused = tmp_path / "new", []

    def work(content):
        try:
            write(path, content, overwrite=False)
        except (FileExistsError, BlockingIOError):  # it is there, or another is looking at it
            refused.append(content)

    contents = [bytes([65 + i]) * 100_003 for i in range(7)]
    threads = [threading.Thread(target=work, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 6
    assert path.read_bytes() in set(contents) - set(refused)
    assert names(tmp_path) == ["new"]
