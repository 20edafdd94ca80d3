"""The modality check and the proxies, against sums done by hand."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.cross_decomposition import CCA
from torch import Tensor

from avsent.extraction.extractor import UtteranceFeatures
from avsent.extraction.utterances.segmentation import Segment
from avsent.labels import MODALITIES
from avsent.model.checkpoint import Calibration, Checkpoint, CheckpointConfig
from avsent.model.decision import Decider, far_from_training
from avsent.model.encoding import EncodedUtterance
from avsent.model.networks.config import (
    ContextConfig,
    ModalityCheckConfig,
    TargetConfig,
    VectorSizes,
)
from avsent.model.networks.modality_check import OTHER, ModalityCheck
from avsent.model.networks.target import TargetModel, Utterances
from avsent.training.modality_check import canonical


def pairs(count: int = 400, seed: int = 0) -> tuple[Any, Any]:
    """Two views, of 6 and 4 dimensions, of two causes, with noise of their own."""
    rng = np.random.default_rng(seed)
    causes = rng.normal(size=(count, 2))
    first = causes @ rng.normal(size=(2, 6)) + 0.5 * rng.normal(size=(count, 6))
    second = causes @ rng.normal(size=(2, 4)) + 0.5 * rng.normal(size=(count, 4))
    return first, second


def test_canonical_components_are_those_of_sklearn() -> None:
    first, second = pairs()
    found = canonical(first, second, 3, ridge=0.0)
    peer = CCA(n_components=3, scale=False, max_iter=5000, tol=1e-12).fit(first, second)
    theirs = peer.transform(first, second)
    for side, space, projected in zip(
        (first, second), (found.first, found.second), theirs, strict=True
    ):
        ours = (side - space.mean) @ space.directions
        for component in range(3):
            r = np.corrcoef(ours[:, component], projected[:, component])[0, 1]
            assert abs(r) == pytest.approx(1, abs=1e-4)
    for component, expected in enumerate(found.correlations):
        r = np.corrcoef(theirs[0][:, component], theirs[1][:, component])[0, 1]
        assert r == pytest.approx(expected, abs=1e-5)


def test_whitening_and_variance_of_the_components() -> None:
    first, second = pairs()
    found = canonical(first, second, 4, ridge=0.0)
    whitened = (first - found.first.mean) @ found.first.whitening
    assert np.cov(whitened.T, bias=True) == pytest.approx(np.eye(6), abs=1e-9)
    projected = (second - found.second.mean) @ found.second.directions
    assert np.cov(projected.T, bias=True) == pytest.approx(np.eye(4), abs=1e-9)


def test_a_dimension_that_never_varies_has_no_part() -> None:
    first, second = pairs()
    still = np.concatenate([first, np.full((len(first), 1), 3.0)], axis=1)
    found, plain = canonical(still, second, 2), canonical(first, second, 2)
    assert np.all(found.first.whitening[6] == 0)
    assert np.all(found.first.directions[6] == 0)
    assert found.correlations == pytest.approx(plain.correlations)


def test_components_beyond_the_dimensions_are_empty() -> None:
    first, second = pairs()
    found = canonical(first, second, 7)
    assert np.all(found.correlations[4:] == 0)
    assert np.all(found.first.directions[:, 4:] == 0)


def test_a_ridge_lowers_the_correlations() -> None:
    first, second = pairs(20)
    assert (
        canonical(first, second, 1, 1.0).correlations[0]
        < (canonical(first, second, 1, 0.0).correlations[0])
    )


@pytest.mark.parametrize("counts", [(1, 1), (3, 4), (0, 0)])
def test_pairs_are_needed(counts: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="pairs"):
        canonical(np.zeros((counts[0], 2)), np.zeros((counts[1], 2)), 1)


def guard(**config: Any) -> ModalityCheck:
    """Of two and two dimensions, the components of which are the dimensions themselves."""
    made = ModalityCheck(
        ModalityCheckConfig(**{"components": 3, "basis": 4, **config}), {"audio": 3, "face": 3}
    )
    for modality in MODALITIES:
        made.part(modality, "projection").copy_(torch.eye(3))
    return made


def batch(audio: list[list[float]], face: list[list[float]]) -> dict[str, Tensor]:
    """One video."""
    return {"audio": torch.tensor([audio]), "face": torch.tensor([face])}


def everywhere(values: dict[str, Tensor]) -> dict[str, Tensor]:
    return {m: torch.ones(v.shape[:2], dtype=torch.bool) for m, v in values.items()}


def test_agreement_is_pearsons_correlation_over_the_components() -> None:
    rng = np.random.default_rng(0)
    audio, face = rng.normal(size=(2, 5, 3)).astype(np.float32)
    found = guard().agreement(torch.from_numpy(audio), torch.from_numpy(face))
    expected = [np.corrcoef(a, f)[0, 1] for a, f in zip(audio, face, strict=True)]
    assert found.numpy() == pytest.approx(np.array(expected), abs=1e-5)


def test_a_projection_without_spread_agrees_with_nothing() -> None:
    found = guard().agreement(torch.ones(1, 3), torch.tensor([[1.0, 2.0, 3.0]]))
    assert found.tolist() == [0.0]


def test_distance_by_hand() -> None:
    made = guard()
    made.part("audio", "mean").copy_(torch.tensor([1.0, 0.0, 0.0]))
    made.part("audio", "whitening").copy_(torch.diag(torch.tensor([2.0, 1.0, 1.0])))
    # ((3 − 1) · 2)² + 1² + 2² = 21, over 3
    assert made.distance("audio", torch.tensor([[3.0, 1.0, 2.0]])).item() == pytest.approx(7**0.5)


def test_the_modality_farther_from_training_data_is_ineffectual_if_both_disagree() -> None:
    values = batch([[3.0, 0.0, -3.0], [1.0, 0.0, -1.0]], [[-1.0, 0.0, 1.0], [1.0, 0.0, -1.0]])
    made = guard(agreement=-0.5, farthest=(100.0, 100.0))
    checked = made.check(values, everywhere(values))
    assert checked.agreement[0].tolist() == pytest.approx([-1.0, 1.0])
    assert checked.effective["audio"].tolist() == [[False, True]]
    assert checked.effective["face"].tolist() == [[True, True]]
    # Usual is what lies near by the measure of its own modality.
    made.config = dataclasses.replace(made.config, farthest=(100.0, 10.0))
    checked = made.check(values, everywhere(values))
    assert checked.effective["audio"].tolist() == [[True, True]]
    assert checked.effective["face"].tolist() == [[False, True]]


def test_a_modality_beyond_the_limit_is_ineffectual_but_never_the_last_one() -> None:
    far, near = [9.0, 9.0, 9.0], [0.1, 0.0, 0.2]
    values = batch([far, far, far, near], [near, far, far, near])
    present = everywhere(values)
    present["face"][0, 2] = False
    checked = guard(farthest=(2.0, 2.0)).check(values, present)
    assert checked.beyond["audio"].tolist() == [[True, True, True, False]]
    assert checked.beyond["face"].tolist() == [[False, True, False, False]]
    assert checked.effective["audio"].tolist() == [[False, True, True, True]]
    assert checked.effective["face"].tolist() == [[True, True, False, True]]
    assert checked.agreement[0].isnan().tolist() == [False, False, True, False]
    assert checked.distance["face"][0].isnan().tolist() == [False, False, True, False]


def test_the_default_limits_drop_nothing() -> None:
    values = batch([[1e6, 0.0, -1e6]], [[-1e6, 0.0, 1e6]])
    checked = guard().check(values, everywhere(values))
    assert bool(checked.effective["audio"].all())
    assert bool(checked.effective["face"].all())


def basis_of(made: ModalityCheck) -> tuple[Tensor, Tensor]:
    torch.manual_seed(1)
    for modality in MODALITIES:
        basis = made.part(modality, "basis")
        basis.copy_(torch.randn(basis.shape))
    return made.part("audio", "basis"), made.part("face", "basis")


def test_a_proxy_by_hand() -> None:
    """Of the nearest three of four: coefficients by numpy's least squares."""
    made = guard(neighbours=3, ridge=1e-9)
    voices, faces = basis_of(made)
    seen = torch.tensor([[0.3, -0.2, 0.5]])
    near = (voices - seen).norm(dim=1).argsort()[:3]
    share = np.linalg.lstsq(voices[near].numpy().T, seen[0].numpy(), rcond=None)[0]
    expected = share @ faces[near].numpy()
    assert made.proxy("audio", seen)[0].numpy() == pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_the_proxy_of_a_vector_of_the_basis_is_its_partner() -> None:
    made = guard(neighbours=1, ridge=1e-9)
    voices, faces = basis_of(made)
    assert made.proxy("face", faces).numpy() == pytest.approx(voices.numpy(), abs=1e-4)


def test_the_linear_map_instead() -> None:
    made = guard(linear=True)
    made.part("face", "map").copy_(2 * torch.eye(3))
    made.part("face", "mean").copy_(torch.tensor([1.0, 1.0, 1.0]))
    made.part("audio", "mean").copy_(torch.tensor([0.5, 0.0, 0.0]))
    assert made.proxy("face", torch.tensor([[2.0, 1.0, 1.0]])).tolist() == [[2.5, 0.0, 0.0]]


def test_proxies_stand_where_one_modality_alone_is_effective() -> None:
    made = guard(neighbours=2)
    basis_of(made)
    values = batch([[1.0, 0.0, 0.0]] * 4, [[0.0, 1.0, 0.0]] * 4)
    effective = {
        "audio": torch.tensor([[True, False, True, False]]),
        "face": torch.tensor([[True, True, False, False]]),
    }
    filled, where = made.fill_proxies(values, effective)
    assert where["audio"].tolist() == [[False, True, False, False]]
    assert where["face"].tolist() == [[False, False, True, False]]
    for modality in MODALITIES:
        own = values[modality][0, where[OTHER[modality]][0]]
        assert own.shape == (1, 3)
        changed = (filled[modality] != values[modality]).any(dim=-1)
        assert changed.tolist() == where[modality].tolist()


def model_of(config: ModalityCheckConfig | None) -> TargetModel:
    torch.manual_seed(0)
    return TargetModel(
        TargetConfig(
            vectors=VectorSizes(audio=3, face=3),
            context=ContextConfig(first_gru=4, dense=4, second_gru=4, classifier=4),
            guard=config,
        )
    ).eval()


def utterances(values: dict[str, Tensor]) -> Utterances:
    lengths = torch.tensor([values["audio"].shape[1]])
    return Utterances(values, everywhere(values), lengths)


def test_without_a_modality_check_nothing_changes() -> None:
    values = utterances(batch([[1.0, 2.0, 3.0]], [[9.0, 9.0, 9.0]]))
    guarded = model_of(None).check_modalities(values)
    assert guarded.utterances is values
    assert guarded.outcome is None
    assert not any(bool(made.any()) for made in guarded.proxied.values())


@pytest.mark.parametrize(("check", "proxy"), [(True, True), (True, False), (False, True)])
def test_a_model_with_a_modality_check(check: bool, proxy: bool) -> None:
    model = model_of(
        ModalityCheckConfig(components=3, basis=4, farthest=(2.0, 2.0), stand_in=False)
    )
    values = utterances(batch([[9.0, 9.0, 9.0], [0.1, 0.1, 0.1]], [[0.1, 0.1, 0.1]] * 2))
    guarded = model.check_modalities(values, check=check, proxy=proxy)
    assert guarded.utterances.present["audio"].tolist() == [[proxy or not check, True]]
    assert guarded.proxied["audio"].tolist() == [[proxy and check, False]]
    # Without the face, what was made from it is gone as well.
    left = guarded.without("face")
    assert left.present["audio"].tolist() == [[not check, True]]
    assert left.present["face"].tolist() == [[False, False]]


def test_the_checkpoint_says_whether_proxies_stand_in() -> None:
    values = utterances(batch([[9.0, 9.0, 9.0]], [[0.1, 0.1, 0.1]]))
    for stand_in in (True, False):
        config = ModalityCheckConfig(components=3, basis=4, farthest=(2.0, 2.0), stand_in=stand_in)
        assert bool(model_of(config).check_modalities(values).proxied["audio"].any()) is stand_in


def test_a_modality_check_needs_voice_and_face() -> None:
    with pytest.raises(ValueError, match="voice and face"):
        TargetModel(
            TargetConfig(
                modalities=("face",),
                vectors=VectorSizes(face=3),
                guard=ModalityCheckConfig(basis=4),
            )
        )
    with pytest.raises(ValueError, match="voice and face"):
        ModalityCheck(ModalityCheckConfig(), {"audio": 3})


FAR, NEAR = [9.0, 9.0, 9.0], [0.1, 0.0, 0.2]
LIMITED = ModalityCheckConfig(components=3, basis=4, farthest=(2.0, 2.0), stand_in=False)


def test_far_is_where_all_that_decides_is_beyond_its_limit() -> None:
    model = model_of(LIMITED)
    values = utterances(batch([FAR, FAR, FAR, NEAR, NEAR], [NEAR, FAR, FAR, NEAR, NEAR]))
    values.present["face"][0, 2] = False
    values.present["face"][0, 4] = values.present["audio"][0, 4] = False
    for check in (True, False):
        guarded = model.check_modalities(values, check=check)
        assert far_from_training(guarded).tolist() == [[False, True, True, False, False]]
    # A proxy of the usual modality does not decide by itself, and that of a far one is no help.
    guarded = model.check_modalities(values, proxy=True)
    assert guarded.proxied["face"].tolist() == [[False, False, True, False, False]]
    assert far_from_training(guarded).tolist() == [[False, True, True, False, False]]
    assert not far_from_training(model_of(None).check_modalities(values)).any()


@pytest.mark.parametrize("check", [True, False])
def test_why_a_decision_is_unsure(check: bool) -> None:
    model = model_of(LIMITED)
    values = [(FAR, NEAR), (FAR, FAR), (FAR, None), (NEAR, NEAR), (NEAR, NEAR), (None, None)]
    given = [
        EncodedUtterance(
            UtteranceFeatures(Segment(n, n + 0.5), None, None, None),
            *(None if vector is None else torch.tensor(vector) for vector in pair),
        )
        for n, pair in enumerate(values)
    ]
    rows = [[0.41, 0.38, 0.21], [0.8, 0.1, 0.1], [0.4, 0.3, 0.3], [0.2, 0.41, 0.39]]
    rows += [[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]]

    def reasons(calibration: Calibration) -> list[str | None]:
        config = CheckpointConfig("", "x", "", model=model.config, calibration=calibration)
        decider = Decider(Checkpoint(config, model), torch.device("cpu"))
        decider._probabilities = lambda output: np.array(rows)  # type: ignore[method-assign]
        found = list(decider.decide(given, check=check))
        assert not any("less sure" in text for one in found for text in one.warnings)
        return [one.unsure for one in found]

    far = ["voice and face unlike the training data", "voice unlike the training data"]
    assert reasons(Calibration()) == [
        "negative 0.41, neutral 0.38: nearly even",
        *far,
        "neutral 0.41, positive 0.39: nearly even",
        None,
        "neutral 0.33, negative 0.33: nearly even",  # nothing to judge it by
    ]
    assert reasons(Calibration(unsure_margin=0.0)) == [None, *far, None, None, None]
    assert reasons(Calibration(unsure_margin=0.25))[4] == "positive 0.50, neutral 0.30: nearly even"
