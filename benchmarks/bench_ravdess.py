"""``make bench-ravdess``: does transfer help on RAVDESS, where features saw no labels?

Two dated reports: the fair test (face teaches voice) and the five published folds (voice, face,
both; without and with texts). Results are kept under ``--cache``; an interrupted run goes on.
Run ``OMP_NUM_THREADS=1 python benchmarks/bench_ravdess.py --help``.
"""

from __future__ import annotations

import argparse
import datetime
from pathlib import Path

import torch
from ravdess_face_report import write_face_report
from ravdess_folds_report import write_folds_report
from ravdess_plan import FACE_SEEDS, TEXT_SEEDS, fair_test, few_labels, main_table
from ravdess_runs import Laboratory, majority
from ravdess_tuning import baseline, face_teaches_voice, text_teaches


def main() -> None:
    """Tune, run, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the shared folder data")
    parser.add_argument("--cache", type=Path, default=Path("cache"))
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks"))
    parser.add_argument(
        "--date", default=str(datetime.date.today()), help="in the names of the reports"
    )
    parser.add_argument("--tune", action="store_true", help="only choose settings, and say them")
    parser.add_argument("--only", choices=("face", "folds"), help="one of the two reports")
    options = parser.parse_args()
    torch.set_num_threads(1)
    laboratory = Laboratory(options.data, options.cache)
    voice = baseline(laboratory, ("audio",), "plain")
    if options.only != "folds":
        chosen, tried = face_teaches_voice(laboratory, voice.best)
        if not options.tune:
            record = voice.record + tried
            runs = fair_test(laboratory, chosen)
            base = majority(laboratory, FACE_SEEDS)
            stem = options.out / f"{options.date}-ravdess-face-teaches-voice"
            write_face_report(stem, chosen, record, runs, {}, base)
            # The supplement comes last: it may be broken off.
            few = few_labels(laboratory, chosen, FACE_SEEDS[:3])
            write_face_report(stem, chosen, record, runs, few, base)
    if options.only != "face":
        chosen, tried = text_teaches(laboratory, voice.best)
        if not options.tune:
            plain = main_table(laboratory, chosen, "plain")
            ends = {kind: chosen[kind] for kind in ("no transfer", "full HMTL")}
            tables = {"plain": plain, "adapted": main_table(laboratory, ends, "adapted")}
            base = majority(laboratory, TEXT_SEEDS)
            stem = options.out / f"{options.date}-ravdess-folds"
            write_folds_report(stem, chosen, voice.record + tried, tables, base)


if __name__ == "__main__":
    main()
