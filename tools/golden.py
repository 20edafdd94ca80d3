"""The golden record: all output of the command line, to prove that a change changes nothing.

``python tools/golden.py record OUT`` runs ``python -m avsent`` on the clips and data of
``--shared`` and writes plain files into OUT, one folder per part. PYTHONPATH decides which checkout
runs. ``python tools/golden.py diff A B`` lists the files that differ and ends with code 1 if any.

Text files are kept. Other files are replaced by a SHA-256: of the decoded frames, times and samples
of a video, of each array of a .npz file, otherwise of the bytes. Two records are comparable only if
the same machine and the same libraries made them. Rules for all texts:

1. Paths of the temporary folder, ``--shared``, the checkout and Python become @TEMP, @SHARED, @ROOT
   and @PYTHON; the version of avsent becomes @VERSION.
2. Dates with a time of day become @DATE.
3. Durations of computing become @TIME: values of the JSON keys in TIMES, and speeds ("8.6x").
4. Lines of a batch with two workers are sorted, because the order in which files end is random.

Not recorded: ``doctor`` (it describes the machine), a batch's journal and caches (databases and
times), and models that need a download. One thread computes (OMP_NUM_THREADS=1).
"""

from __future__ import annotations

import argparse
import csv
import difflib
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeAlias

SETTINGS = {"NO_COLOR": "1", "COLUMNS": "100", "TERM": "dumb", "OMP_NUM_THREADS": "1"}
FORMATS = ("table", "json", "jsonl", "csv", "srt", "vtt", "eaf", "textgrid")
LONGER = ("talk_angry_zh.mp4", "old_film_two_faces.mp4", "speech_only.wav")
FUSIONS = ("concat", "tfn", "lmf", "fbp", "multiplicative", "avef", "cnn-lstm", "mult")
TIMES = ("seconds", "elapsed_s", "left_s", "speed", "work_s")
LEFT_OUT = {".avsent", "cache"}
NO_MEDIA = {"", ".csv", ".align", ".md", ".sh", ".py", ".vtt"}
WHICH = "import avsent; print(avsent.__version__, avsent.__path__[0])"
OPTIONS = (
    "--utterances many_utterances.csv",
    "--face all",
    "--face largest --rate 5",
    "--adapt speaker",
    "--checkpoint emotion --no-check",
    "--proxy",
)
TAUGHT = "--source-text --text-encoder tfidf"
RUNS = {
    "videos": f"corpus {TAUGHT} --epochs 3 --cross-fit 2 --baseline",
    "pictures": f"pictures.npz {TAUGHT} --epochs 2 --seeds 2 --input-dropout 0.1",
    "texts": f"features.npz {TAUGHT} --text-corpus dev_sent_emo.csv --epochs 1 --schedule ramp",
    "audio-teaches": "features.npz --source audio --target face --epochs 2",
    "audio-alone": "features.npz --target audio --no-augment --select loss --epochs 2",
    **{f: f"features.npz --fusion {f} --epochs 1" for f in FUSIONS},
}
BAD = """
nothing
predict
predict missing.mp4
predict folder
predict a.mp4 --nothing
predict a.mp4 -f xml
predict a.mp4 --rate 99
predict a.mp4 --device cuda:9
predict a.mp4 --device abacus
predict a.mp4 --checkpoint unknown
predict a.mp4 --checkpoint a.mp4
predict a.mp4 --checkpoint folder
predict a.mp4 --landmarks wrong.json
predict a.mp4 -o missing/out.json
predict a.mp4 -o out.xyz
predict a.mp4 -o a.mp4 -f json
predict a.mp4 --report page.txt
predict a.mp4 --embed
predict a.mp4 --plot plot.txt
predict a.mp4 --annotate drawn.txt
predict speech_only.wav --annotate drawn.mp4
predict corrupted_midway.mp4 --strict
report wrong.json
report broken.json
report missing.json
report folder
plot wrong.json
plot folder
batch
batch folder
batch folder -o out
batch missing -o out
batch --status missing
batch folder -o out --workers 0
train folder
train folder -o run
train folder -o run --alpha -1
train folder -o run --device cpu --source-text --source audio
evaluate default folder
evaluate unknown folder
extract folder -o features.txt
data check missing
data import folder -o folder.csv
models info unknown
models verify unknown folder
"""


@dataclass(frozen=True)
class Recorder:
    """A temporary folder in which commands run, and the folder of the record."""

    shared: Path
    record: Path
    marks: dict[str, str]
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="golden-")))

    def copy(self, *sources: str, to: str = ".") -> None:
        """Copy files or folders of ``--shared`` into the temporary folder, writable."""
        (self.folder / to).mkdir(parents=True, exist_ok=True)
        for source in (self.shared / name for name in sources):
            target = self.folder / to / source.name
            if source.is_dir():
                shutil.copytree(source, target, copy_function=shutil.copyfile)
                for path in (target, *target.rglob("*")):
                    path.chmod(0o755)
            else:
                shutil.copyfile(source, target)

    def put(self, name: str, *lines: str) -> None:
        """Write a text file into the temporary folder."""
        (self.folder / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")

    def run(self, line: str, name: str = "", sort: bool = False) -> str:
        """Run ``avsent LINE``; record its exit code, stderr and stdout; return stdout."""
        done = subprocess.run(
            [sys.executable, "-m", "avsent", *shlex.split(line)],
            cwd=self.folder,
            env={**os.environ, **SETTINGS, "AVSENT_CACHE": str(self.folder / "cache")},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        # Bytes, because a text stream would hide the line ends of a CSV.
        out, said = (
            text.decode("utf-8", "backslashreplace") for text in (done.stdout, done.stderr)
        )
        if sort:
            said = "".join(sorted(re.sub(r"\[\d+/", "[@/", said).splitlines(keepends=True)))
        name = name or re.sub(r"[^A-Za-z0-9.,]+", "_", line)[:120] or "none"
        code = f"exit code {done.returncode}"
        self.write(f"{name}.txt", f"$ avsent {line}\n{code}\n--- stderr\n{said}--- stdout\n{out}")
        return out

    def keep(self, folder: str, under: str) -> None:
        """Record all files of a folder that commands wrote."""
        for path in sorted((self.folder / folder).rglob("*")):
            name = path.relative_to(self.folder / folder)
            if path.is_file() and not LEFT_OUT & set(name.parts):
                try:
                    self.write(f"{under}/{name}", path.read_bytes().decode("utf-8"))
                except UnicodeDecodeError:
                    self.write(f"{under}/{name}.sha256", digest(path))

    def write(self, name: str, text: str) -> None:
        """Write a text into the record after applying the rules above."""
        for found, mark in {str(self.folder): "@TEMP", **self.marks}.items():
            text = text.replace(found, mark)
        text = re.sub(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d[\d:.]*(Z|[+-]\d\d:\d\d)?", "@DATE", text)
        text = re.sub(rf'("({"|".join(TIMES)})": )-?[\d.e+-]+', r"\1@TIME", text)
        text = re.sub(r"\b[\d.]+ ?x(?= real time|$)", "@TIME x", text, flags=re.MULTILINE)
        (self.record / name).parent.mkdir(parents=True, exist_ok=True)
        with (self.record / name).open("xb") as file:  # fails if two commands have the same name
            file.write(text.encode("utf-8"))


def contents(path: Path) -> Iterator[tuple[str, bytes]]:
    """Parts of a binary file, each with the name of its array or stream."""
    if path.suffix == ".npz":
        import numpy as np

        with np.load(path) as arrays:
            for name in sorted(arrays.files):
                yield f"{name} {arrays[name].shape} {arrays[name].dtype}", arrays[name].tobytes()
    elif path.suffix == ".mp4":
        import av

        with av.open(str(path)) as container:
            for frame in container.decode():
                yield type(frame).__name__, str(frame.pts).encode() + frame.to_ndarray().tobytes()
    else:
        yield "bytes", path.read_bytes()


def digest(path: Path) -> str:
    """SHA-256 of each array or stream, else of the bytes; one line each."""
    hashes: defaultdict[str, hashlib._Hash] = defaultdict(hashlib.sha256)
    for name, data in contents(path):
        hashes[name].update(data)
    return "".join(f"{name} {found.hexdigest()}\n" for name, found in hashes.items())


Jobs: TypeAlias = Iterator[Callable[[Recorder], object]]


def simple(r: Recorder, line: str, files: Sequence[str] = ()) -> None:
    """One command on some files."""
    r.copy(*files)
    r.run(line)


def helps(_shared: Path) -> Jobs:
    """``--help`` of each command, found in the help of its parent."""

    def below(r: Recorder, command: str = "") -> None:
        _, _, commands = r.run(f"{command} --help".strip()).partition("\nCommands:\n")
        for name in re.findall(r"^  (\w+)", commands, re.MULTILINE):
            below(r, f"{command} {name}".strip())

    yield below
    yield from (partial(simple, line=line) for line in ("--version", ""))


def models(_shared: Path) -> Jobs:
    """Output of the ``models`` commands."""
    for what in ("list", "verify", "info default", "info emotion"):
        yield partial(simple, line=f"models {what}")
        if what != "verify":
            yield partial(simple, line=f"models {what} --json")


def errors(_shared: Path) -> Jobs:
    """Exit code and message for odd files, bad options, damaged checkpoints and odd corpora."""
    yield from (odd_files, bad_options, damaged_checkpoints, odd_corpora)


def odd_files(r: Recorder) -> None:
    r.copy("clips/talk_neutral_zh.mp4")
    r.copy("cases/utterances-tabs.csv", "cases/utterances-semicolons-decimal-comma.csv")
    (r.folder / "folder").mkdir()
    r.put("text.mp4", "no media")
    for name in ("empty.mp4", "empty.csv", "empty.vtt"):
        r.put(name)
    r.put("columns.csv", "from,to", "0,1")
    r.put("backwards.csv", "start_s,end_s", "2,1")
    r.put("words.csv", "start_s,end_s", "a,b")
    r.put("beyond.csv", "start_s,end_s,text", "0.2,1.5,ok", "90,91,late")
    r.put("broken.srt", "1", "00:00:00,000 -> 00:00:01,000", "Hello")
    r.put("good.vtt", "WEBVTT", "", "00:00.200 --> 00:01.500", "Hello <b>you</b>")
    r.put("other.txt", "0 1")
    names = sorted(path.name for path in r.folder.iterdir())
    for name in (*names, "missing.csv"):
        if not name.endswith(".mp4"):
            r.run(f"predict talk_neutral_zh.mp4 --utterances {name}")
    for name in ("empty.mp4", "text.mp4", "other.txt", "empty.mp4 missing.mp4 text.mp4 --strict"):
        r.run(f"predict {name}")


def bad_options(r: Recorder) -> None:
    r.copy("clips/talk_neutral_zh.mp4", "clips/speech_only.wav", "clips/corrupted_midway.mp4")
    (r.folder / "talk_neutral_zh.mp4").rename(r.folder / "a.mp4")
    (r.folder / "folder").mkdir()
    r.put("wrong.json", "{}")
    r.put("broken.json", "{")
    for line in BAD.strip().splitlines():
        r.run(line)


def damaged_checkpoints(r: Recorder) -> None:
    r.copy("clips/lrs3_closeup.mp4")
    default = Path(json.loads(r.run("models info default --json"))["folder"])
    weights = (default / "model.safetensors").read_bytes()
    for name, file, data in (
        ("cut", "model.safetensors", weights[:9000]),
        ("altered", "model.safetensors", weights[:-1] + bytes([weights[-1] ^ 1])),
        ("weightless", "model.safetensors", None),
        ("broken", "config.json", b"{"),
        ("unconfigured", "config.json", None),
    ):
        shutil.copytree(default, r.folder / name)
        (r.folder / name / file).unlink()
        if data is not None:
            (r.folder / name / file).write_bytes(data)
        for line in ("predict lrs3_closeup.mp4 --checkpoint", "models info", "models verify"):
            r.run(f"{line} {name}")


def odd_corpora(r: Recorder) -> None:
    r.copy("clips/talk_neutral_zh.mp4")
    r.copy("cases/manifest-backslashes", "cases/manifest-missing-labels")
    rows = (
        "gone.mp4,,,a,negative",
        "talk_neutral_zh.mp4,1,0,b,",
        "talk_neutral_zh.mp4,0,9,c,neutral",
    )
    r.put("none.csv", "video,start_s,end_s,speaker,label")
    r.put("holes.csv", "video,start_s,end_s,speaker,label", *rows)
    r.put("cells.csv", "video,start_s,end_s,speaker,label", *rows, "a,b")
    for name in sorted(path.name for path in r.folder.iterdir() if "mp4" not in path.name):
        r.run(f"data check {name}")
        r.run(f"data check {name} -f json --labels 3")
        r.run(f"extract {name} -o features.npz")
        r.run(f"train {name} -o run-{name} --epochs 1 --device cpu")


def batch(_shared: Path) -> Jobs:
    """One folder with one worker and with two: first run, rerun, status and pages."""
    yield partial(batch_of, workers=1, options="-f json -f csv -f textgrid")
    yield partial(batch_of, workers=2, options="--adapt corpus")


def batch_of(r: Recorder, workers: int, options: str) -> None:
    names = ("talk_neutral_zh.mp4", "lrs3_closeup.mp4", "rotated_90_3frames.mov", "empty_file.webm")
    r.copy(*(f"clips/{name}" for name in names), to="in")
    r.copy("clips/grid/bbaf2n.mpg", "clips/grid/bgbn9s.mpg", to="in/grid")
    line, here = f"batch in -o out --device cpu --workers {workers}", f"workers-{workers}"
    r.run(f"{line} {options}", f"{here}/first", sort=workers > 1)
    r.run("batch --status out", f"{here}/status")
    r.run("batch --status out --json-progress", f"{here}/status-json")
    r.run("report out", f"{here}/report")
    r.keep("out", f"{here}/out")
    r.run(f"{line} {options}", f"{here}/again")
    r.run(f"{line} {options} --retry-failed", f"{here}/retry")
    r.run(f"{line} --checkpoint emotion -q", f"{here}/other-model")
    r.keep("out", f"{here}/out-other-model")


def train(_shared: Path) -> Jobs:
    """Training from videos, and from their features with other options, with all files written."""
    yield train_all


def train_all(r: Recorder) -> None:
    write_corpus(r)
    r.copy("data/text/dev_sent_emo.csv")
    for line in ("data check corpus -f json", "data check corpus", "data import corpus -o all.csv"):
        r.run(line)
    r.run("extract corpus -o features.npz")
    r.run("extract corpus -o pictures.npz --pictures")
    for name, options in RUNS.items():
        r.run(f"train {options} -o runs/{name} --device cpu", f"{name}-train")
        r.run(f"models info runs/{name} --json", f"{name}-info")
        r.run(f"evaluate runs/{name}/checkpoint pictures.npz --split all", f"{name}-evaluate")
    r.run("predict corpus/talk_angry_zh.mp4 --checkpoint runs/videos -f json")
    r.run("plot runs/videos -f svg -o runs/plots")
    r.run("evaluate default corpus --split all -o runs/all.json --confusion runs/all.svg")
    r.run("evaluate default features.npz -f json")
    r.run(f"train {RUNS['videos']} -o runs/videos --device cpu", "videos-again")
    for name in ("features.npz", "pictures.npz", "all.csv"):
        shutil.move(r.folder / name, r.folder / "runs")
    r.keep("runs", "files")


def write_corpus(r: Recorder) -> None:
    """A manifest of the labelled clips with their transcripts; one speaker per file."""
    lines = ["video,start_s,end_s,speaker,label,text"]
    with (r.shared / "clips" / "clips.csv").open(encoding="utf-8", newline="") as file:
        for clip in csv.DictReader(file):
            if (name := clip["file"]).startswith(("acted", "talk")) and clip["sentiment"]:
                text = clip["transcript_en"] or clip["emotion"]
                lines.append(f'{name},,,{name},{clip["sentiment"]},"{text}"')
                r.copy(f"clips/{name}", to="corpus")
    with (r.shared / "clips" / "many_utterances.csv").open(encoding="utf-8", newline="") as file:
        for one in csv.DictReader(file):
            times = f"{one['start_s']},{one['end_s']}"
            lines.append(f'many_utterances.mp4,{times},many,{one["sentiment"]},"{one["text"]}"')
    r.copy("clips/many_utterances.mp4", to="corpus")
    r.put("corpus/manifest.csv", *lines)


def formats(_shared: Path) -> Jobs:
    """Every format for several files, into a folder and printed; pages and plots of three."""
    for name in FORMATS:
        yield partial(formats_of, name=name)
    for name in LONGER:
        yield partial(pages_of, clip=name)


def formats_of(r: Recorder, name: str) -> None:
    short = ("talk_neutral_zh.mp4", "empty_file.webm", "lrs3_closeup.mp4")
    r.copy(*(f"clips/{clip}" for clip in (*short, *LONGER)))
    r.run(f"predict {' '.join(LONGER)} -f {name} -o new --face all", f"{name}-folder")
    r.run(f"predict {' '.join(short)} -f {name} --adapt corpus --attention", f"{name}-several")
    r.run(f"predict {short[0]} -f {name}", f"{name}-one")
    r.keep("new", name)


def pages_of(r: Recorder, clip: str) -> None:
    r.copy(f"clips/{clip}")
    (r.folder / "new").mkdir()
    r.run(f"predict {clip} -o new/a.json --report new/a.html --plot new/a.svg", clip)
    r.run(f"predict {clip} -f table --annotate new/a.mp4", f"{clip}-annotate")
    for options in ("again.html", "embed.html --embed", "bare.html --no-pictures"):
        r.run(f"report new/a.json --video {clip} -o new/{options}", f"{clip}-{options}")
    for kind in ("png", "svg", "pdf"):
        r.run(f"plot new/a.json -o new/plot.{kind}", f"{clip}-plot-{kind}")
    r.keep("new", f"{clip}-files")


def predict(shared: Path) -> Jobs:
    """JSON of every clip, and of one clip with options that change the result."""
    for options in OPTIONS:
        files = ["clips/many_utterances.mp4", "clips/many_utterances.csv"]
        yield partial(simple, line=f"predict many_utterances.mp4 -f json {options}", files=files)
    for file in media(shared, "clips"):
        yield partial(simple, line=f"predict ./{Path(file).name} -f json", files=[file])
    for folder in ("clips/grid", "cases"):
        yield partial(predict_all, name=folder.replace("/", "-"), files=media(shared, folder))


def media(shared: Path, folder: str) -> list[str]:
    paths = sorted((shared / folder).iterdir())
    return [f"{folder}/{path.name}" for path in paths if path.suffix not in NO_MEDIA]


def predict_all(r: Recorder, name: str, files: list[str]) -> None:
    r.copy(*files)
    r.run(f"predict {' '.join(Path(file).name for file in files)} -f json -o out", name)
    r.keep("out", name)


PARTS: dict[str, Callable[[Path], Jobs]] = {
    "train": train,
    "help": helps,
    "models": models,
    "errors": errors,
    "batch": batch,
    "formats": formats,
    "predict": predict,
}


def record(out: Path, shared: Path, parts: list[str], jobs: int) -> None:
    """Record the named parts into ``out``; print how long their commands took."""
    said = subprocess.check_output([sys.executable, "-c", WHICH], cwd="/", text=True)
    version, package = said.rstrip("\n").split(" ", 1)
    print(f"recording {package}", flush=True)
    marks = {sys.prefix: "@PYTHON", str(shared): "@SHARED", str(Path(package).parent): "@ROOT"}
    marks[version] = "@VERSION"

    def do(part: str, job: Callable[[Recorder], object]) -> float:
        begin = time.monotonic()
        recorder = Recorder(shared, out / part, marks)
        try:
            job(recorder)
        finally:
            shutil.rmtree(recorder.folder)
        return time.monotonic() - begin

    for part in parts:
        shutil.rmtree(out / part, ignore_errors=True)
    with ThreadPoolExecutor(jobs) as pool:
        begun = {p: [pool.submit(do, p, job) for job in PARTS[p](shared)] for p in parts}
        for part, running in begun.items():
            seconds = sum(one.result() for one in running)
            count = sum(path.is_file() for path in (out / part).rglob("*"))
            print(f"{part}: {count} files, {seconds:.0f} s", flush=True)


def diff(a: Path, b: Path, most: int) -> int:
    """Print the files that differ, with up to ``most`` lines of each; return their number."""
    names = {path.relative_to(top) for top in (a, b) for path in top.rglob("*") if path.is_file()}
    count = 0
    for name in sorted(names):
        old, new = ((top / name).read_bytes() if (top / name).exists() else None for top in (a, b))
        if old != new:
            count += 1
            print(f"differs: {name}{' (only one has it)' * (old is None or new is None)}")
            found = difflib.unified_diff(pieces(old), pieces(new), lineterm="", n=0)
            for line in list(found)[2 : most + 2]:
                print(f"    {line!r:.200}")
    print(f"{count} of {len(names)} files differ")
    return count


def pieces(data: bytes | None) -> list[str]:
    """Lines, and parts of long lines, with their separators."""
    return re.split(r"(?<=[,>;}]) |(?<=\n)", (data or b"").decode("utf-8"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    make = commands.add_parser("record")
    make.add_argument("out", type=Path)
    beside = Path(__file__).resolve().parents[2] / "shared"
    make.add_argument("--shared", type=Path, default=beside)
    make.add_argument("--parts", default=",".join(PARTS), help="separated by commas")
    make.add_argument("--jobs", type=int, default=2)
    compare = commands.add_parser("diff")
    compare.add_argument("a", type=Path)
    compare.add_argument("b", type=Path)
    compare.add_argument("--lines", type=int, default=12, help="of each difference")
    told = parser.parse_args()
    if told.command == "diff":
        return int(diff(told.a, told.b, told.lines) > 0)
    parts = told.parts.split(",")
    if wrong := set(parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(wrong))}; there are {', '.join(PARTS)}")
    record(told.out.resolve(), told.shared.resolve(), parts, told.jobs)
    return 0


if __name__ == "__main__":
    sys.exit(main())
