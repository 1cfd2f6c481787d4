"""A file is there whole or not at all."""

import errno
import hashlib

import pytest

from medseg.errors import InputError
from medseg.files import atomic_path, sha256_of, write_atomic


def test_write_makes_folders_and_replaces(tmp_path):
    path = tmp_path / "a" / "b" / "text.json"
    write_atomic(path, "erste Fassung, größer")
    write_atomic(path, "zweite")
    assert path.read_text(encoding="utf-8") == "zweite"
    write_atomic(path, b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt(), ValueError("x")])
def test_an_error_keeps_the_old_file_and_leaves_nothing(tmp_path, error):
    path = tmp_path / "volume.nii.gz"
    path.write_text("old")
    with pytest.raises(type(error)), atomic_path(path) as temporary:
        temporary.write_text("half of the n")
        raise error
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_old_file_is_seen_until_the_end(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with atomic_path(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"


def test_temporary_name_keeps_folder_and_suffixes(tmp_path):
    with atomic_path(tmp_path / "case.nii.gz") as temporary:
        assert temporary.parent == tmp_path and temporary.name.endswith(".nii.gz")
        assert temporary.name.startswith(".")
        temporary.touch()


def test_two_writers_do_not_share_a_temporary_file(tmp_path):
    path = tmp_path / "file"
    with atomic_path(path) as first, atomic_path(path) as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"


def test_a_block_that_wrote_nothing_keeps_the_old_file(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(FileNotFoundError), atomic_path(path):
        pass
    assert path.read_text() == "old"


@pytest.mark.parametrize("size", [0, 1, 300_000])
def test_sha256(tmp_path, size):
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    (tmp_path / "file").write_bytes(data)
    assert sha256_of(tmp_path / "file") == hashlib.sha256(data).hexdigest()


def test_what_is_in_the_way_is_named_and_stays(tmp_path):
    write_atomic(tmp_path / "file", "old")
    (tmp_path / "folder").mkdir()
    for path, text in (
        (tmp_path / "folder", "cannot be written"),
        (tmp_path / "file" / "x", "cannot be made"),
    ):
        with pytest.raises(InputError, match=text):
            write_atomic(path, "new")
    assert (tmp_path / "file").read_text() == "old" and len(list(tmp_path.iterdir())) == 2
