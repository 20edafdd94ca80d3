"""The libraries avsent stands on: whether they load, which versions, and what they can do."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from avsent.cli.checkup.check import Check, State
from avsent.cli.checkup.surroundings import size
from avsent.cli.checkup.versions import asked_for, fits, installed

OPENCV = (
    *("opencv-python-headless", "opencv-python"),
    *("opencv-contrib-python-headless", "opencv-contrib-python"),
)
DLIB = ("dlib-bin", "dlib")
OPTIONAL = (
    ("pyarrow", "pyarrow", "parquet", "tables of a batch as Parquet"),
    ("ray", "ray", "ray", "batches on a cluster"),
    ("pandas", "pandas", "pandas", "Result.to_dataframe()"),
    ("sentence-transformers", "sentence_transformers", "text", "text encoders for training"),
    ("soundfile", "soundfile", "train", "corpora of sound files"),
)
"""Distribution, module, avsent's extra and what it is for."""


def look_at_library(module: str, *distributions: str) -> Iterator[Check]:
    """Import ``module``; ``distributions``: those that bring it, any one of which will do."""
    loaded = import_module(module)
    found = installed(distributions)
    version = next(iter(found.values()), None) or str(getattr(loaded, "__version__", "unknown"))
    yield judge(distributions[0], version, list(found))


def judge(
    name: str, version: str, found: list[str], more: str = "", *, otherwise: str = ""
) -> Check:
    """The check on a library that loads; ``found``: the distributions that brought it;
    ``otherwise``: the range of its versions where avsent's own requirements are not known."""
    if len(found) > 1:
        both = " and ".join(found)
        advice = f"pip uninstall {' '.join(found)}, then pip install {name}"
        told = f"{version}{more}; {both} are both installed and overwrite each other"
        return Check(name, State.warning, told, advice)
    wanted = asked_for(name) or otherwise
    if wanted and not fits(version, wanted):
        advice = f"pip install '{name}{wanted}'"
        return Check(name, State.warning, f"{version}{more}; avsent is made for {wanted}", advice)
    return Check(name, State.ok, f"{version}{more}")


def look_at_torch() -> Iterator[Check]:
    """Its version, and whether it was built for a GPU."""
    import torch

    built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU alone"
    yield judge("torch", str(torch.__version__), [], f", built for {built}")


def look_at_device(device: str) -> Iterator[Check]:
    """Whether torch can compute where predictions would, and gets there what the CPU gets."""
    import torch

    there = torch.cuda.is_available()
    where = torch.device(device if device != "auto" else "cuda" if there else "cpu")
    generator = torch.Generator().manual_seed(0)
    picture = torch.rand(1, 3, 16, 16, generator=generator)
    kernel = torch.rand(4, 3, 3, 3, generator=generator)
    expected = torch.conv2d(picture, kernel).flatten(1).softmax(1)
    given = torch.conv2d(picture.to(where), kernel.to(where)).flatten(1).softmax(1).cpu()
    if not torch.allclose(given, expected, atol=1e-3):
        raise RuntimeError(f"{where} computes something else than the CPU")
    if where.type == "cuda":
        yield Check("device", State.ok, f"{where}: {_told_of_gpu(where)}")
    elif device == "auto" and _gpu_in_sight():
        advice = (
            "install a build of torch with CUDA (pytorch.org)"
            if torch.version.cuda is None
            else "update the NVIDIA driver, or let the container see the GPU (--gpus all)"
        )
        yield Check("device", State.warning, "cpu, though there is a GPU", advice)
    else:
        threads = torch.get_num_threads()
        told = f"cpu, {threads} thread{'' if threads == 1 else 's'}"
        yield Check("device", State.ok, told)


def _told_of_gpu(where: Any) -> str:
    import torch

    about = torch.cuda.get_device_properties(where)
    free, whole = torch.cuda.mem_get_info(where)
    cudnn: Any = torch.backends.cudnn
    return (
        f"{about.name}, {size(free)} of {size(whole)} free, CUDA {torch.version.cuda}, "
        f"cuDNN {cudnn.version()}"
    )


def _gpu_in_sight() -> bool:
    """Whether the system knows an NVIDIA GPU, whatever torch thinks."""
    nodes = sys.platform == "linux" and any(Path("/dev").glob("nvidia[0-9]*"))
    return nodes or shutil.which("nvidia-smi") is not None


def look_at_opencv() -> Iterator[Check]:
    """Its version, and whether it still does what avsent uses."""
    import cv2
    import numpy as np

    picture = np.arange(64, dtype=np.uint8).reshape(8, 8)
    half = cv2.resize(picture, (4, 4), interpolation=cv2.INTER_AREA)
    turned = cv2.warpAffine(picture, np.eye(2, 3), (8, 8), flags=cv2.INTER_LINEAR)
    if half.shape != (4, 4) or not np.array_equal(turned, picture):
        raise RuntimeError("resize and warpAffine do not what they did")
    found = list(installed(OPENCV))
    yield judge("opencv-python-headless", str(cv2.__version__), found, otherwise="<5")


def look_at_dlib() -> Iterator[Check]:
    """Its version, and whether it uses a GPU."""
    import dlib

    cuda = "without CUDA"
    if dlib.DLIB_USE_CUDA:
        cuda = f"with CUDA, {dlib.cuda.get_num_devices()} GPUs"
    yield judge("dlib-bin", str(dlib.__version__), list(installed(DLIB)), f", {cuda}")


def look_at_librosa() -> Iterator[Check]:
    """It loads, finds a place for what numba compiles, and makes a spectrogram."""
    from avsent.extraction.features.numba_cache import VARIABLE, ensure_numba_cache

    own = os.environ.get(VARIABLE)
    ensure_numba_cache()
    place = os.environ.get(VARIABLE)
    import numpy as np

    from avsent.extraction.features.spectrogram import AudioConfig, mel_power

    power = mel_power(np.sin(np.arange(16_000, dtype=np.float32)), AudioConfig())
    if not np.isfinite(power).all() or power.max() <= 0:
        raise RuntimeError("the spectrogram of a tone is empty")
    version = next(iter(installed(["librosa"]).values()), "version unknown")
    if place is not None and own is None:
        advice = f"each start compiles anew; set {VARIABLE} to a folder that can be written"
        yield Check("librosa", State.warning, f"{version}, no folder for numba's cache", advice)
    else:
        told = place or "beside librosa, or in your home folder"
        yield judge("librosa", version, [], f", numba's cache: {told}")


def look_at_options() -> Iterator[Check]:
    """What is not needed, but used where it is installed. None of it is loaded: that takes long."""
    for name, module, extra, use in OPTIONAL:
        version = installed([name]).get(name)
        if version is None:
            advice = f"for {use}: pip install 'avsent[{extra}]'"
            yield Check(name, State.absent, "not installed", advice)
        elif find_spec(module) is None:
            advice = f"pip install --force-reinstall {name}"
            yield Check(name, State.warning, f"{version}, but its files are gone", advice)
        else:
            yield Check(name, State.ok, f"{version}, for {use}")
