"""The kinds of hostile input: which file is spoilt how, and which command reads it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import av

from tests.fuzzing.base import Base
from tests.fuzzing.media import MAKERS
from tests.fuzzing.mutate import (
    drawn,
    encoded,
    mutated,
    spoil_journal,
    spoilt,
    spoilt_arrays,
    spoilt_weights,
)


@dataclass(frozen=True, slots=True)
class Case:
    """One hostile file and what reads it.

    ``arguments``: of the command ``avsent``, run in ``folder``; or of the function ``call`` of
    ``readers``. ``what``: the file and how it was spoilt, for people. ``outputs``: files that
    must be whole or absent.
    """

    number: int
    kind: str
    folder: Path
    arguments: tuple[str, ...]
    call: str = ""
    what: str = ""
    outputs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a case ended; ``failures``: what must not happen, empty where all is well.

    ``code``: exit code, negative for a signal; ``memory_mb``: the most that was resident,
    including the 300 MB or so of libraries that the child shares with its parent.
    """

    number: int
    kind: str
    what: str
    code: int
    seconds: float
    memory_mb: float
    failures: tuple[str, ...] = ()
    stderr: str = field(default="", repr=False)


SEED_STEP = 1_000_000
"""Between the numbers of the cases of two seeds."""
CHECKPOINT_FILES = ("config.json", "model.safetensors")


@dataclass(frozen=True, slots=True)
class Making:
    """Where a case is made, from what, and by which numbers."""

    kind: str
    number: int
    folder: Path
    rng: Random
    base: Base

    def case(
        self,
        *arguments: str | Path,
        call: str = "",
        what: str = "",
        outputs: tuple[str, ...] = (),
    ) -> Case:
        """The case whose files have been put into the folder."""
        words = tuple(str(argument) for argument in arguments)
        return Case(self.number, self.kind, self.folder, words, call, what, outputs)

    def media(self) -> tuple[Path, str]:
        """A spoilt seed under its own ending, and what it was."""
        seed, other = self.rng.choice(self.base.media), self.rng.choice(self.base.media)
        target = self.folder / f"in{seed.suffix}"
        target.write_bytes(mutated(seed.read_bytes(), self.rng, other.read_bytes()))
        return target, seed.name


def read(made: Making) -> Case:
    """Media, read to the end."""
    path, what = made.media()
    return made.case(path.name, call="media", what=what)


def predict(made: Making) -> Case:
    """Media, through the whole of ``avsent predict``."""
    path, what = made.media()
    options = made.rng.choice(((), (), ("--strict",), ("--face", "all"), ("--adapt", "speaker")))
    output = made.rng.choice(("out.json", "out.json", "out.csv", "out.srt", "out.eaf"))
    arguments = ("predict", path.name, "-o", output, *options)
    return made.case(*arguments, what=what, outputs=(output,))


def products(made: Making) -> Case:
    """Media, with report, annotated video and plot."""
    path, what = made.media()
    outputs = ("out.json", "out.html", "out.mp4", "out.png")
    options = ("--report", "out.html", "--annotate", "out.mp4", "--plot", "out.png")
    arguments = ("predict", path.name, "-o", "out.json", *options)
    return made.case(*arguments, what=what, outputs=outputs)


def crafted(made: Making) -> Case:
    """Media made to lie."""
    maker, endings = made.rng.choice(MAKERS)
    path = made.folder / f"in.{made.rng.choice(endings)}"
    # What FFmpeg refuses to write is left as far as it came.
    with contextlib.suppress(av.FFmpegError, ValueError, OverflowError):
        maker(path, made.rng, made.base.known)
    if not path.exists():
        path.touch()
    arguments = ("predict", path.name, "-o", "out.json")
    what = f"{maker.__name__}{path.suffix}"
    return made.case(*arguments, what=what, outputs=("out.json",))


def boundaries(made: Making) -> Case:
    """Subtitles, tables and tiers of utterances; now and then for a real prediction."""
    kinds = {"srt": "srt", "vtt": "vtt", "csv": "utterances", "eaf": "eaf", "TextGrid": "textgrid"}
    ending, name = made.rng.choice(tuple(kinds.items()))
    path = made.folder / f"in.{ending}"
    data = encoded(drawn(name, made.number), made.rng)
    if made.rng.random() < 0.2:
        data = mutated(data, made.rng)
    path.write_bytes(data)
    if made.rng.random() > 0.15:
        return made.case(path.name, call="boundaries", what=ending)
    sound = made.base.known["made-17"]
    tier = ("--tier", "a") if ending in ("eaf", "TextGrid") else ()
    arguments = ("predict", sound, "--utterances", path.name, "-o", "out.json", *tier)
    return made.case(*arguments, what=f"predict {ending}", outputs=("out.json",))


def manifest(made: Making) -> Case:
    """Tables of corpora, in each layout."""
    layout = made.rng.choice(("manifest", "manifest", "mmsa", "meld"))
    names = {"manifest": "manifest.csv", "mmsa": "label.csv", "meld": "train_sent_emo.csv"}
    data = encoded(drawn(layout, made.number), made.rng)
    if made.rng.random() < 0.2:
        data = mutated(data, made.rng)
    (made.folder / names[layout]).write_bytes(data)
    (made.folder / "Raw").mkdir()
    shutil.copyfile(made.base.known["made-17"], made.folder / "a.mp4")
    if made.rng.random() < 0.2:
        arguments: tuple[str, ...] = ("data", "import", ".", "-o", "out.csv")
        return made.case(*arguments, what=layout, outputs=("out.csv",))
    return made.case("data", "check", made.rng.choice((".", names[layout])), what=layout)


def sentences(made: Making) -> Case:
    """A corpus of texts."""
    data = encoded(drawn("sentences", made.number), made.rng)
    (made.folder / "in.csv").write_bytes(data)
    return made.case("in.csv", call="text_corpus", what="csv")


def features(made: Making) -> Case:
    """A feature file, spoilt as bytes or as an archive of arrays."""
    source = made.rng.choice(made.base.features)
    path = made.folder / "in.npz"
    path.write_bytes(spoilt_arrays(source.read_bytes(), made.number, made.rng))
    if made.rng.random() < 0.5:
        return made.case(path.name, call="features", what=source.name)
    arguments = ("evaluate", made.base.vector_model, path.name, "-o", "out.json")
    return made.case(*arguments, what=f"evaluate {source.name}", outputs=("out.json",))


def cache(made: Making) -> Case:
    """A file of the feature cache: what is damaged counts as missing."""
    path = made.folder / "in.npz"
    path.write_bytes(spoilt_arrays(made.base.cache.read_bytes(), made.number, made.rng))
    return made.case(path.name, call="cache")


def checkpoint(made: Making) -> Case:
    """A checkpoint: its configuration, its weights, the header of its weights."""
    rng = made.rng
    source = rng.choice((made.base.raw_model, made.base.vector_model))
    folder = made.folder / "model"
    shutil.copytree(source, folder)
    config, weights = (folder / name for name in CHECKPOINT_FILES)
    plain = json.loads(config.read_text(encoding="utf-8"))
    what = rng.choice(("config", "config", "weights", "header", "values", "bytes"))
    if what == "config":
        config.write_bytes(spoilt(plain, made.number, rng))
    elif what == "bytes":
        config.write_bytes(mutated(config.read_bytes(), rng))
    else:
        weights.write_bytes(spoilt_weights(weights.read_bytes(), what, made.number, rng))
        # Signed again, as whoever made it would: else nothing behind the digest is ever reached.
        plain["weights_sha256"] = hashlib.sha256(weights.read_bytes()).hexdigest()
        config.write_text(json.dumps(plain), encoding="utf-8")
    use = rng.choice(("verify", "info", "use"))
    if use != "use":
        return made.case("models", use, "model", what=f"{what}, {use}")
    data = made.base.features[0]
    arguments: tuple[str | Path, ...] = ("evaluate", "model", data, "-o", "out.json")
    if source == made.base.raw_model:
        video = made.base.known["made-00" if rng.random() >= 0.5 else "demo"]
        arguments = ("predict", video, "--checkpoint", "model", "-o", "out.json")
    what = f"{what}, {arguments[0]}"
    return made.case(*arguments, what=what, outputs=("out.json",))


def index(made: Making) -> Case:
    """The catalogue of a folder of models."""
    shutil.copytree(made.base.models, made.folder / "models")
    path = made.folder / "models" / "index.json"
    if made.rng.random() < 0.6:
        path.write_bytes(spoilt(json.loads(path.read_bytes()), made.number, made.rng))
    else:
        path.write_bytes(mutated(path.read_bytes(), made.rng))
    return made.case("models", call="index")


def result(made: Making) -> Case:
    """A result, shown in every way."""
    path = made.folder / "in.json"
    if made.rng.random() < 0.75:
        path.write_bytes(spoilt(made.base.result_plain, made.number, made.rng))
    else:
        path.write_bytes(mutated(made.base.result.read_bytes(), made.rng))
    show = made.rng.choice(("result", "result", "report", "plot"))
    if show == "result":
        return made.case(path.name, call="result", what="all writers")
    output = "out.html" if show == "report" else made.rng.choice(("out.svg", "out.png"))
    return made.case(show, path.name, "-o", output, what=show, outputs=(output,))


def journal(made: Making) -> Case:
    """The journal of a batch, spoilt as bytes or by what it says."""
    out = made.folder / "out"
    shutil.copytree(made.base.batch, out)
    path = out / ".avsent" / "journal.db"
    what = made.rng.choice(("bytes", "values", "values", "schema"))
    if what == "bytes":
        path.write_bytes(mutated(path.read_bytes(), made.rng))
    else:
        spoil_journal(path, what, made.rng)
    use = made.rng.choice(("batch", "batch", "status", "report"))
    if use == "report":
        return made.case("report", "out", what=f"{what}, report")
    arguments = ("batch", made.base.videos, "-o", "out", "--workers", "1", "-q")
    if use == "status":
        arguments = ("batch", "--status", "out")
    return made.case(*arguments, what=f"{what}, {use}")


NAMES = (
    b"new\nline.wav",
    b"\x1b[31mred\x1b[0m.wav",
    b"tab\tbell\x07cr\r.wav",
    b"\xff\xfe not text.wav",
    b"-rf.wav",
    b"--help.wav",
    b"%d %s %n.wav",
    b"[bold]rich[red].wav",
    b"quote\"'`$(true).wav",
    b"con:cat|file:x.wav",
    " \u202e\u00a0\u2028.wav".encode(),
    b"a" * 251 + b".wav",
    "é".encode() * 125 + b"x.wav",
    b"b" * 255,
    b"  .wav",
    b"*?[a].wav",
)


def names(made: Making) -> Case:
    """A file whose name is the attack."""
    name = os.fsdecode(made.rng.choice(NAMES))
    good = made.rng.random() < 0.6
    source = made.base.known["made-17"]
    (made.folder / name).write_bytes(source.read_bytes() if good else b"not media")
    use = made.rng.choice(("file", "folder", "report", "check"))
    if use == "check":
        table = made.folder / "manifest.csv"
        table.write_bytes(b'video,label\n"' + os.fsencode(name).replace(b'"', b'""') + b'",x\n')
        return made.case("data", "check", ".", what=repr(name[:20]))
    target = {"file": "out.json", "folder": "out/", "report": "out.json"}[use]
    extra = ("--report", "out.html") if use == "report" else ()
    arguments = ("predict", "-o", target, *extra, "--", name)
    outputs = ("out.json", "out.html") if use != "folder" else ()
    return made.case(*arguments, what=repr(name[:20]), outputs=outputs)


KINDS: tuple[tuple[str, Callable[[Making], Case], int], ...] = (
    ("media: read", read, 34),
    ("media: predict", predict, 17),
    ("media: report and video", products, 2),
    ("media: crafted", crafted, 8),
    ("boundaries", boundaries, 8),
    ("manifests", manifest, 7),
    ("text corpora", sentences, 3),
    ("feature files", features, 5),
    ("feature cache", cache, 2),
    ("checkpoints", checkpoint, 5),
    ("model indexes", index, 1),
    ("results", result, 5),
    ("journals", journal, 2),
    ("file names", names, 1),
)
"""Each with its share in a hundred."""


def kind_of(number: int, run_seed: int) -> str:
    """The kind of case ``number`` of the run with this seed."""
    return _chosen(Random(f"{run_seed}:{number}"))[0]


def _chosen(rng: Random) -> tuple[str, Callable[[Making], Case]]:
    shares = [share for _, _, share in KINDS]
    ((kind, maker, _),) = rng.choices(KINDS, shares)
    return kind, maker


def make_case(number: int, run_seed: int, folder: Path, base: Base) -> Case:
    """Case ``number`` of the run with this seed, its files written into ``folder``."""
    rng = Random(f"{run_seed}:{number}")
    kind, maker = _chosen(rng)
    folder.mkdir(parents=True)
    return maker(Making(kind, run_seed * SEED_STEP + number, folder, rng, base))
