"""What avsent.media refuses, each time in one line that names the file."""

from __future__ import annotations

import math
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from making_media import tone, write_sound, write_video
from reading_media import read

from avsent import _media_open
from avsent.errors import MediaError
from avsent.media import MediaReader


def refusal(path: Path) -> str:
    with pytest.raises(MediaError) as caught:
        read(path)
    message = str(caught.value)
    assert "\n" not in message
    assert _media_open.shown(path) in message
    assert "Errno" not in message
    assert caught.value.exit_code == 3
    return message


def test_missing_folder_and_empty(tmp_path: Path) -> None:
    assert "does not exist" in refusal(tmp_path / "no\nsuch.mp4")
    assert "folder" in refusal(tmp_path)
    (tmp_path / "e.webm").touch()
    assert "empty" in refusal(tmp_path / "e.webm")
    assert "cannot be opened" in refusal(tmp_path / ("x" * 300))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read all")
def test_unreadable(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", [0])
    path.chmod(0)
    assert "permissions" in refusal(path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.mp4", b"\0" * 4000),
        ("a.txt", b"only words\n" * 100),
        ("a.csv", b"video,start_s\nx.mp4,1\n" * 20),
        ("a.nfo", b"x" * 900),
        ("a.m3u8", b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nv.mp4\n#EXT-X-ENDLIST\n"),
        ("a.ffconcat", b"ffconcat version 1.0\nfile v.mp4\n"),
        ("b.mp4", b"ffconcat version 1.0\nfile v.mp4\n"),
        ("a.sdp", b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nt=0 0\nm=audio 5004 RTP/AVP 0\n"),
    ],
)
def test_not_media_or_a_playlist(name: str, content: bytes, tmp_path: Path) -> None:
    write_video(tmp_path / "v.mp4", [0, 40])
    (tmp_path / name).write_bytes(content)
    assert "not a media file" in refusal(tmp_path / name)


def test_only_subtitles(tmp_path: Path) -> None:
    (tmp_path / "a.srt").write_text("1\n00:00:01,000 --> 00:00:02,000\nhello\n")
    assert "neither picture nor sound" in refusal(tmp_path / "a.srt")


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.bmp", "a.webp", "a.tiff", "img%03d.png"])
def test_still_pictures(name: str, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / name), np.zeros((32, 32), np.uint8))
    assert "still picture" in refusal(tmp_path / name)


def test_a_header_without_data(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.wav", tone(0.5), "pcm_s16le")
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"data") + 8])
    assert "decoded" in refusal(path)


def test_huge_pictures_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "v.mp4", [0, 40])
    monkeypatch.setattr(_media_open, "MAX_FRAME_PIXELS", 64 * 32 - 1)
    assert "too large" in refusal(path)


@pytest.mark.parametrize("rate_hz", [0.0, -3.0, math.nan])
def test_analysis_rate_must_be_positive(rate_hz: float, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="rate"):
        MediaReader(tmp_path / "any.mp4", analysis_rate_hz=rate_hz)
