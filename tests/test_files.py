"""Files that are written whole, wherever they are to go."""

from __future__ import annotations

import os
import threading

import pytest

from kfac_ref.files import NotWritable, make_folder, write_whole


def test_a_name_of_255_bytes(tmp_path):
    for name in (255 * "x", "é" * 127 + "x"):
        path = write_whole(tmp_path / name, b"content")
        assert path.read_bytes() == b"content"
    assert len(list(tmp_path.iterdir())) == 2
    with pytest.raises(OSError, match="too long") as caught:
        write_whole(tmp_path / (256 * "x"), b"")
    assert caught.value.filename == str(tmp_path / (256 * "x"))


def test_many_at_once_all_end_and_one_is_read(tmp_path):
    path, errors = tmp_path / "file", []
    contents = [bytes([i]) * 100_000 for i in range(8)]

    def write(content):
        try:
            for _ in range(25):
                write_whole(path, content)
                assert path.read_bytes() in contents
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=[each]) for each in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == [] and path.read_bytes() in contents
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_stays_a_link(tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_bytes(b"old")
    link.symlink_to(target)
    write_whole(link, b"new")
    assert link.is_symlink() and target.read_bytes() == b"new"


def test_devices_and_folders_stay_what_they_are(tmp_path):
    with pytest.raises(OSError, match=r"No space left on device: '/dev/full'"):
        write_whole("/dev/full", b"content")
    assert not os.path.isfile("/dev/full")
    write_whole("/dev/null", b"content")
    assert not os.path.isfile("/dev/null")
    with pytest.raises(IsADirectoryError):
        write_whole(tmp_path, b"content")


def test_a_folder_that_disappeared_is_made_again(tmp_path):
    folder = make_folder(tmp_path / "a" / "b")
    folder.rmdir()
    assert write_whole(folder / "file", b"content").read_bytes() == b"content"
    usual = tmp_path / "usual"
    usual.write_bytes(b"")
    assert (folder / "file").stat().st_mode == usual.stat().st_mode


def test_folders_in_which_nothing_can_be_written(tmp_path):
    (tmp_path / "file").write_text("in the way")
    for wrong in (
        tmp_path / "file",
        tmp_path / "file" / "in it",
        "/dev/full",
        "/proc/x",
    ):
        with pytest.raises(
            NotWritable, match="expected a folder to write in"
        ) as caught:
            make_folder(wrong)
        assert str(caught.value).startswith(f"{wrong}: ")
    assert (tmp_path / "file").read_text() == "in the way"
