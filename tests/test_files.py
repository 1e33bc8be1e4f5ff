"""The one writer: whole or not at all, through links, never over what is no file, and in words when it fails."""

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from gatewise import files
from gatewise.files import append_lines, atomic_write, plain_file, require_directory, require_writable, write_text


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_whole(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with atomic_write(path) as scratch:
        scratch.write_text("half")
        assert path.read_text() == "old"
        assert scratch.parent == tmp_path
        scratch.write_text("new")
    assert path.read_text() == "new"
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("fault", [ValueError, KeyboardInterrupt, MemoryError])
def test_a_block_that_fails_leaves_the_old_file(tmp_path, fault):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(fault), atomic_write(path) as scratch:  # noqa: PT012
        scratch.write_text("half")
        raise fault
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_two_writers_of_one_process_do_not_meet(tmp_path):
    with atomic_write(tmp_path / "a") as one, atomic_write(tmp_path / "a") as two:
        assert one != two
        one.write_text("1")
        two.write_text("2")
    assert (tmp_path / "a").read_text() == "1"


@pytest.mark.parametrize("name", ["a", "b" * 250, "\N{GREEK SMALL LETTER ALPHA}" * 120])
def test_names_may_be_as_long_as_the_system_allows(tmp_path, name):
    write_text(tmp_path / name, "text")
    assert names(tmp_path) == [name]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o755])
def test_permissions_stay(tmp_path, mode):
    path = tmp_path / "a"
    path.write_text("")
    path.chmod(mode)
    write_text(path, "text")
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_new_file_has_the_permissions_that_others_have(tmp_path):
    write_text(tmp_path / "a", "text")
    (tmp_path / "b").write_text("text")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "b").stat().st_mode


@pytest.mark.parametrize("there", [True, False])
def test_a_link_is_written_through(tmp_path, there):
    (tmp_path / "real").mkdir()
    target = tmp_path / "real" / "b"
    if there:
        target.write_text("old")
    (tmp_path / "one").symlink_to(Path("real") / "b")
    (tmp_path / "two").symlink_to(tmp_path / "one")
    write_text(tmp_path / "two", "new")
    assert target.read_text() == "new"
    assert (tmp_path / "two").is_symlink()
    assert names(tmp_path / "real") == ["b"]


def fifo(path):
    os.mkfifo(path)


def device(path):
    path.symlink_to("/dev/null")


def full(path):
    path.symlink_to("/dev/full")


def loop(path):
    path.symlink_to(path)


WRONG = {
    "directory": (Path.mkdir, "is a directory: give the name of a file"),
    "pipe": (fifo, "is a pipe, which would be lost"),
    "device": (device, "is a device"),
    "full": (full, "is a device"),
    "loop": (loop, "is a link that leads to itself"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_no_regular_file_is_refused_and_stays(tmp_path, what):
    make, words = WRONG[what]
    path = tmp_path / "out"
    make(path)
    before = path.lstat()
    for check in (require_writable, lambda p: write_text(p, "text")):
        with pytest.raises(OSError, match=words):
            check(path)
    assert (path.lstat().st_mode, path.lstat().st_ino) == (before.st_mode, before.st_ino)
    assert names(tmp_path) == ["out"]


def test_a_place_that_is_not_there_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no directory .*nowhere for a: create it first"):
        write_text(tmp_path / "nowhere" / "a", "text")


def test_a_protected_file_is_told(tmp_path, monkeypatch):
    (tmp_path / "a").write_text("old")
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # who runs the tests may write everywhere
    with pytest.raises(PermissionError, match="write-protected: choose another name"):
        write_text(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text() == "old"


def test_a_protected_place_is_told(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(PermissionError, match=r"cannot write to .* \(Permission denied\): choose another place"):
        require_writable(tmp_path / "m.json")


FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("where", ["write", "fsync", "replace"])
def test_a_full_disk_is_told_with_path_and_remedy(tmp_path, monkeypatch, where):
    def fail(*_, **__):
        raise FULL

    path = tmp_path / "a"
    path.write_text("old")
    owner, name = {"write": (Path, "write_text"), "fsync": (os, "fsync"), "replace": (Path, "replace")}[where]
    monkeypatch.setattr(owner, name, fail)
    with pytest.raises(OSError, match=r"a cannot be written \(No space left on device\): make room, or") as told:
        write_text(path, "new")
    assert str(path) in str(told.value)
    assert told.value.errno == errno.ENOSPC
    monkeypatch.undo()
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a"]


def test_errors_about_another_file_pass(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.csv"), atomic_write(tmp_path / "a"):
        (tmp_path / "nothing.csv").read_text()
    assert not names(tmp_path)


LIMITED = """
import resource, signal, sys
from pathlib import Path
from gatewise.files import append_lines, write_text
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
path = Path(sys.argv[1])
try:
    if sys.argv[2] == "write":
        write_text(path, "x" * 30_000)
    else:
        with path.open("ab") as file:
            append_lines(file, "first\\n")
            append_lines(file, "x" * 30_000 + "\\n")
except OSError as fault:
    print(fault)
"""


@pytest.mark.parametrize("how", ["write", "append"])
def test_a_true_limit_of_the_system_leaves_what_was_there(tmp_path, how):
    path = tmp_path / "a"
    path.write_text("old\n")
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(path), how], capture_output=True, text=True, check=True, env=os.environ
    )
    kept = "" if how == "write" else "what stood there before is kept: "
    remedy = "raise the limit (ulimit -f), or choose another place"
    assert done.stdout == f"{path} cannot be written (File too large): {kept}{remedy}\n"
    assert path.read_text() == ("old\n" if how == "write" else "old\nfirst\n")
    assert names(tmp_path) == ["a"]


def test_lines_are_appended_and_cut_off_when_they_do_not_fit(tmp_path, monkeypatch):
    write = os.write

    def half(number, data):
        if len(data) > 6:
            return write(number, data[:3])
        if len(data) < 6:
            raise FULL
        return write(number, data)

    path = tmp_path / "records"
    with path.open("ab") as file:
        append_lines(file, "first\n")
        monkeypatch.setattr(os, "write", half)
        with pytest.raises(
            OSError,
            match=r"records cannot be written \(No space left on device\): what stood there before is kept: make",
        ):
            append_lines(file, "second\n")
        monkeypatch.undo()
        append_lines(file, "third\n")
    assert path.read_text() == "first\nthird\n"


def test_a_directory_is_made_or_refused(tmp_path):
    assert require_directory(tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="is a file: give the name of a directory"):
        require_directory(tmp_path / "file")
    with pytest.raises(OSError, match=r"cannot make the directory .*Not a directory"):
        require_directory(tmp_path / "file" / "below")
    assert names(tmp_path) == ["a", "file"]


def test_nothing_in_a_foreign_folder_is_followed(tmp_path):
    (tmp_path / "plain").write_text("")
    assert plain_file(tmp_path / "plain") == tmp_path / "plain"
    assert plain_file(tmp_path / "missing") == tmp_path / "missing"
    (tmp_path / "link").symlink_to(tmp_path / "plain")
    (tmp_path / "gone").symlink_to(tmp_path / "missing")
    os.mkfifo(tmp_path / "pipe")
    for name, words in {"link": "is a link", "gone": "is a link", "pipe": "is a pipe"}.items():
        with pytest.raises(ValueError, match=f"{words}: a folder of records holds plain files"):
            plain_file(tmp_path / name)


def test_every_kind_of_file_has_a_word():
    kinds = {getattr(stat, name) for name in dir(stat) if name.startswith("S_IF") and name != "S_IFMT"}
    common = {stat.S_IFDIR, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK, stat.S_IFLNK}
    assert set(files.KINDS) == common <= kinds
