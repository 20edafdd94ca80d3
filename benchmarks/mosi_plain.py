"""The plain protocol: targets × transfer, the source alone, and the fusion heads."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mosi_runs import PLAIN, STRONG, TARGETS, TRANSFERS, Mosi, Setup

from avsent.model.networks.config import FusionConfig

SEEDS = tuple(range(10))
FUSIONS = {
    "hmtl": FusionConfig(),
    "concat": FusionConfig(name="concat"),
    "tfn": FusionConfig(name="tfn"),
    "fbp": FusionConfig(name="fbp"),
    "multiplicative, M3ER's loss": FusionConfig(name="multiplicative"),
    "multiplicative, original loss": FusionConfig(name="multiplicative", original=True),
    "avef": FusionConfig(name="avef"),
}
CROSS_FIT = 5
FEWER_SEEDS = SEEDS[:5]
"""Of what is taught by TF-IDF: a cross-fitted source takes six pretrainings (FINDINGS: 5 too)."""


@dataclass(frozen=True, slots=True)
class Row:
    """Results of one setup by seed."""

    setup: Setup
    results: tuple[dict[str, Any], ...]

    def of(self, metric: str, part: str = "test") -> list[float]:
        """One figure of each seed, in their order."""
        return [float(result[part][metric]) for result in self.results]


def setups() -> dict[str, Setup]:
    """Every target run of the plain tables by name, in the order of the tables."""
    found = {
        f"{target}, {transfer}": Setup(target=target, transfer=transfer)
        for target in TARGETS
        for transfer in TRANSFERS
    }
    found |= {
        f"{fusion}, {transfer}": Setup(transfer=transfer, fusion=config)
        for fusion, config in FUSIONS.items()
        for transfer in ("none", "full")
    }
    strong = Setup(regularisation=STRONG)
    words = dataclasses.replace(strong, text="tfidf")
    for transfer in ("none", "decoder", "full"):
        found[f"strong, {transfer}"] = dataclasses.replace(strong, transfer=transfer)
    found["strong, decoder, TF-IDF cross-fitted"] = dataclasses.replace(
        words, transfer="decoder", cross_fit=CROSS_FIT
    )
    return found


def source_setups() -> dict[str, Setup]:
    """The text sources."""
    return {
        "text vectors of the file": Setup(),
        "TF-IDF + SVD of the transcripts": Setup(text="tfidf"),
    }


def run_plain(mosi: Mosi) -> tuple[dict[str, Row], dict[str, Row]]:
    """All rows: targets, then sources. Runs of a seed follow each other, as they share a source."""
    wanted, sources = setups(), source_setups()
    targets_of: dict[str, list[dict[str, Any]]] = {name: [] for name in wanted}
    sources_of: dict[str, list[dict[str, Any]]] = {name: [] for name in sources}
    for seed in SEEDS:
        for name, setup in sources.items():
            if setup.text == "tfidf" and seed not in FEWER_SEEDS:
                continue
            sources_of[name].append(mosi.source(setup, seed))
            for other, run in wanted.items():
                if _same_source(run, setup):
                    targets_of[other].append(mosi.run(run, seed))
    return _rows(wanted, targets_of), _rows(sources, sources_of)


def _same_source(run: Setup, source: Setup) -> bool:
    return run.text == source.text


def _rows(setups: Mapping[str, Setup], found: Mapping[str, list[Any]]) -> dict[str, Row]:
    return {name: Row(setup, tuple(found[name])) for name, setup in setups.items()}


__all__ = ["FUSIONS", "PLAIN", "SEEDS", "Row", "run_plain", "setups", "source_setups"]
