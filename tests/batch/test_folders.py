"""Media files found in folders: links, odd names, unreadable folders."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from avsent.batch.folders import Found, find_media
from avsent.errors import InputError

NO_UTF8 = os.fsdecode(b"caf\xe9.mp4")


def put(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"12345")


def names_in(found: Found) -> list[str]:
    return [file.name for file in found.files]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def media(tmp_path: Path) -> Path:
    folder = tmp_path / "media"
    folder.mkdir()
    return folder


def test_files_of_all_folders_by_their_extensions(media: Path, out: Path) -> None:
    put(media, "b.MP4", "a.wav", "deep/er/c.MoV", "deep/d.flac", "notes.txt", "deep/mp4", "x.json")
    put(media, "a.mp4.json", "trailing.mp4.", "no ending")
    found = find_media(media, out)
    assert names_in(found) == ["a.wav", "b.MP4", "deep/d.flac", "deep/er/c.MoV"]
    assert (found.others, found.links_out, found.unread) == (6, 0, ())
    first = found.files[0]
    assert first.path.samefile(media / "a.wav")
    assert first.path.is_absolute()
    found_stat = (media / "a.wav").stat()
    assert (first.size, first.mtime_ns) == (5, found_stat.st_mtime_ns)


def test_names_that_begin_with_a_dot_are_hidden(media: Path, out: Path) -> None:
    put(media, ".a.mp4", "._b.mp4", ".mp4", ".trash/c.mp4", "d.mp4")
    found = find_media(media, out)
    assert names_in(found) == ["d.mp4"]
    assert found.others == 0
    assert names_in(find_media(media, out, ["*"])) == ["d.mp4"]


@pytest.mark.parametrize(
    ("globs", "names"),
    [
        (["*.dat"], ["a.dat", "day1/b.dat"]),
        (["day1/*"], ["day1/b.dat", "day1/c.mp4"]),
        (["*/c.mp4", "a.*"], ["a.dat", "day1/c.mp4"]),
        (["[ab].dat"], ["a.dat", "day1/b.dat"]),
        (["*.MP4"], []),
        (["["], []),
        (["nothing"], []),
    ],
)
def test_globs_instead_of_extensions(
    media: Path, out: Path, globs: list[str], names: list[str]
) -> None:
    put(media, "a.dat", "day1/b.dat", "day1/c.mp4")
    found = find_media(media, out, globs)
    assert names_in(found) == names
    assert found.others == 3 - len(names)


def test_the_output_folder_is_not_searched(media: Path) -> None:
    put(media, "a.mp4", "out/b.mp4", "out.mp4/c.mp4", "sub/out/d.mp4")
    assert names_in(find_media(media, media / "out")) == ["a.mp4", "out.mp4/c.mp4", "sub/out/d.mp4"]
    assert names_in(find_media(media, media / "sub" / ".." / "out")) == names_in(
        find_media(media, media / "out")
    )
    put(media, ".avsent/e.mp4")
    assert len(find_media(media, media).files) == 4
    (media.parent / "link").symlink_to(media / "out")
    assert "out/b.mp4" not in names_in(find_media(media, media.parent / "link"))


def test_links(media: Path, tmp_path: Path, out: Path) -> None:
    put(media, "a.mp4", "sub/b.mp4")
    put(tmp_path, "outside.mp4", "other/c.mp4")
    (media / "inside.mp4").symlink_to("sub/b.mp4")
    (media / "outside.mp4").symlink_to(tmp_path / "outside.mp4")
    (media / "by another.mp4").symlink_to("outside.mp4")
    (media / "nothing.mp4").symlink_to("no.mp4")
    (media / "itself.mp4").symlink_to("itself.mp4")
    (media / "no name.mp4").symlink_to("x" * 300)
    (media / "folder.mp4").symlink_to("sub")
    (media / "sub" / "up").symlink_to("..")
    (media / "other").symlink_to(tmp_path / "other")
    found = find_media(media, out)
    assert names_in(found) == ["a.mp4", "inside.mp4", "sub/b.mp4"]
    assert found.files[1].size == 5
    assert found.links_out == 2
    # The folder itself may be a link.
    (tmp_path / "link").symlink_to(media)
    assert find_media(tmp_path / "link", out) == found


def test_names_of_every_kind(media: Path, out: Path) -> None:
    names = [
        "-dash.mp4",
        "new\nline.mp4",
        "我很好.mp4",
        "e\u0301.mp4",
        "é.mp4",
        "a b\t.mp4",
        NO_UTF8,
    ]
    names += ["\x1b[31m.mp4", "*.mp4", "x" * 251 + ".mp4", os.fsdecode(b"\xff\xfe/\xff.mp4")]
    put(media, *names)
    found = find_media(media, out)
    assert sorted(names_in(found)) == sorted(names)
    assert names_in(found) == sorted(names, key=os.fsencode)
    assert all(file.path.read_bytes() == b"12345" for file in found.files)
    assert names_in(find_media(media, out, ["new*.mp4"])) == ["new\nline.mp4"]


def test_only_plain_files_are_found(media: Path, out: Path) -> None:
    os.mkfifo(media / "pipe.mp4")
    (media / "folder.mp4").mkdir()
    assert find_media(media, out).files == ()


def test_folders_nested_deeper_than_functions_can_be(media: Path, out: Path) -> None:
    depth = sys.getrecursionlimit() + 100
    here = os.open(media, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("a.mp4", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    os.close(here)
    try:
        assert names_in(find_media(media, out)) == ["d/" * depth + "a.mp4"]
    finally:
        # The clean-up of pytest is recursive.
        subprocess.run(["rm", "-r", str(media)], check=True)


def test_times_of_broken_clocks(media: Path, out: Path) -> None:
    put(media, "a.mp4", "b.mp4")
    os.utime(media / "a.mp4", (0, -1000))
    os.utime(media / "b.mp4", (0, 13_000_000_000))  # the year 2381
    early, late = find_media(media, out).files
    assert early.mtime_ns == -1000 * 10**9
    assert early.mtime_ns < late.mtime_ns < 2**63


@pytest.mark.parametrize(
    ("name", "reason"),
    [("no", "no such folder"), ("x" * 300, "no such folder"), ("a.mp4", "is a file")],
)
def test_missing_folders(media: Path, out: Path, name: str, reason: str) -> None:
    put(media, "a.mp4")
    with pytest.raises(InputError, match=reason) as error:
        find_media(media / name, out)
    assert "\n" not in str(error.value)


def test_an_empty_folder(media: Path, out: Path) -> None:
    assert find_media(media, out) == Found((), 0, 0, ())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_folders_that_cannot_be_read(media: Path, out: Path) -> None:
    put(media, "a.mp4", "closed/b.mp4", "z/c.mp4")
    (media / "link.mp4").symlink_to("closed/b.mp4")
    (media / "closed").chmod(0)
    try:
        found = find_media(media, out)
        assert names_in(found) == ["a.mp4", "z/c.mp4"]
        assert found.unread == ("closed/: Permission denied",)
        with pytest.raises(InputError, match="cannot be read"):
            find_media(media / "closed", out)
    finally:
        (media / "closed").chmod(0o700)
