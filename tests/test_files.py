"""The files that the output formats go to."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from avsent.cli.predict import names_folder, targets_in_folder
from avsent.errors import OutputError, UsageError
from avsent.files import atomic_text, check_target, write_bytes
from avsent.result.writers import Format, format_of


def test_names_in_a_folder_do_not_collide() -> None:
    sources = [
        Path(name) for name in ("a.wav", "a.mp4", "x/a.mp4", "x/A.MP4", "a.mp4.2", "y/-é.mp4")
    ]
    targets = targets_in_folder(Path("out"), sources, "json")
    assert [target.name for target in targets] == [
        "a.wav.json",
        "a.mp4.json",
        "a.mp4.2.json",
        "A.MP4.3.json",
        "a.mp4.2.2.json",
        "-é.mp4.json",
    ]
    assert {target.parent for target in targets} == {Path("out")}


@pytest.mark.parametrize(
    ("out", "several", "folder"),
    [
        ("x/", False, True),
        ("x.json", False, False),
        ("x.json", True, False),
        ("x", True, True),
        ("x", False, False),
        ("there", False, True),
        ("there.csv", True, True),
    ],
)
def test_what_names_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str, several: bool, folder: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    (tmp_path / "there.csv").mkdir()
    assert names_folder(out, several=several) is folder


def test_format_of_a_name() -> None:
    assert format_of("a.JSON") is Format.json
    assert format_of("a.b/c.txt") is Format.table
    assert format_of("a.mp4") is None
    assert format_of("json") is None


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_a_failure_leaves_the_old_file(tmp_path: Path, error: BaseException) -> None:
    target = tmp_path / "out.json"
    target.write_text("old")

    def fail() -> None:
        with atomic_text(target) as file:
            file.write("half")
            raise error

    with pytest.raises((KeyboardInterrupt, OutputError)):
        fail()
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]
    assert target.read_text() == "old"


def test_bytes_are_written_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    for data in (b"old", b"new"):
        write_bytes(target, data)
        assert target.read_bytes() == data
    (tmp_path / "folder").mkdir()
    for wrong in (tmp_path / "folder", tmp_path / "no" / "a.bin"):
        with pytest.raises(OutputError, match=f"cannot write {wrong}: "):
            write_bytes(wrong, b"")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.bin", "folder"]


def test_a_file_has_the_usual_permissions_and_any_name(tmp_path: Path) -> None:
    (tmp_path / "usual").touch()
    target = tmp_path / ("ü" * 120 + ".json")
    with atomic_text(target) as file:
        file.write("\udcff")
    assert target.read_text() == "\\udcff"
    assert target.stat().st_mode == (tmp_path / "usual").stat().st_mode


def test_a_link_is_written_through(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with atomic_text(tmp_path / "link") as file:
        file.write("new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"


def test_a_pipe_is_written_in_place(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    check_target(pipe, [])
    with atomic_text(pipe) as file:
        file.write("through")
    reader.join(5)
    assert read == ["through"]
    assert pipe.is_fifo()


def test_targets_are_checked(tmp_path: Path) -> None:
    source = tmp_path / "a.srt"
    source.write_text("1")
    (tmp_path / "link.srt").symlink_to(source)
    (tmp_path / "hard.srt").hardlink_to(source)
    for name in ("a.srt", "link.srt", "hard.srt", "../" + tmp_path.name + "/a.srt"):
        with pytest.raises(UsageError, match="is an input"):
            check_target(tmp_path / name, [source])
    for name, reason in [
        ("no/out.srt", "there is no folder"),
        ("a.srt/out.srt", "Not a directory"),
        (".", "it is a folder"),
        ("x" * 300, "too long"),
    ]:
        with pytest.raises(OutputError, match=reason) as caught:
            check_target(tmp_path / name, [source])
        assert "\n" not in str(caught.value)
    check_target(tmp_path / "new" / "deep" / "out.srt", [source], makes_folder=True)
    check_target(tmp_path / "out.srt", [source])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_found_out(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="permission"):
            check_target(tmp_path / "out.json", [])
    finally:
        tmp_path.chmod(0o700)
