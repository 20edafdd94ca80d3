"""Make the pictures of ``docs/looking.md`` from avsent's output for ``samples/demo.mp4``.

Needs Chromium (the program in ``CHROMIUM``, else ``chromium``) and the ``dev`` extra.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import av
import cv2
from playwright.sync_api import sync_playwright

from avsent.cli.app import main as avsent

HERE = Path(__file__).resolve().parent
SAMPLES = HERE.parents[1] / "samples"
SECOND = 1.3
"""Time of the pictured frame, in which the eyes are open."""
JPEG = [cv2.IMWRITE_JPEG_QUALITY, 82]


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        video = shutil.copy(SAMPLES / "demo.mp4", folder)
        target = {key: str(folder / key) for key in ("report.html", "seen.mp4", "timeline.png")}
        asked = {"--report": "report.html", "--annotate": "seen.mp4", "--plot": "timeline.png"}
        wanted = [word for option, key in asked.items() for word in (option, target[key])]
        code = avsent(["predict", video, "--utterances", str(SAMPLES / "demo.csv"), *wanted])
        if code != 0:
            raise SystemExit(code)
        shutil.copy(target["timeline.png"], HERE)
        picture = picture_at(target["seen.mp4"], SECOND)
        cv2.imwrite(str(HERE / "annotated.jpg"), picture, JPEG)
        photograph(target["report.html"], HERE / "report.jpg")


def picture_at(video: str, second: float) -> cv2.typing.MatLike:
    with av.open(video) as container:
        for frame in container.decode(video=0):
            if frame.time is not None and frame.time >= second:
                return frame.to_ndarray(format="bgr24")
    raise SystemExit(f"{video} ends before {second} s")


def photograph(page: str, target: Path) -> None:
    """Take a screenshot of ``page`` in Chromium, with its video at ``SECOND``."""
    chromium = shutil.which(os.environ.get("CHROMIUM", "chromium"))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        shown = browser.new_page(viewport={"width": 1200, "height": 930})
        shown.goto(Path(page).as_uri())
        shown.evaluate(
            """(second) => new Promise((resolve) => {
                const video = document.querySelector("video");
                video.addEventListener("seeked", resolve, { once: true });
                video.currentTime = second;
            })""",
            SECOND,
        )
        shown.wait_for_function("document.querySelector('video').readyState === 4")
        shown.wait_for_timeout(2000)  # until the player's controls have faded
        shown.screenshot(path=target, type="jpeg", quality=82)
        browser.close()


if __name__ == "__main__":
    main()
