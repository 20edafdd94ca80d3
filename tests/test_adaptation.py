"""How utterances are measured from the mean of their speaker, or of all files together."""

from __future__ import annotations

import pytest
import torch
from small_experts import random
from torch import Tensor

from avsent.adapt import Adapt
from avsent.networks.adaptation import MIN_UTTERANCES, NO_GROUP, PRIOR, about_own_mean, has_company
from avsent.represented import Represented, adapted
from avsent.training.shipped import measuring

pytestmark = pytest.mark.usefixtures("one_thread")


def one_video(*groups: int) -> Tensor:
    return torch.tensor([groups])


def everywhere(groups: Tensor) -> Tensor:
    return torch.ones_like(groups, dtype=torch.bool)


# --- tensors -------------------------------------------------------------------------------------


def test_by_hand() -> None:
    values = torch.tensor([[[1.0, 2.0], [2.0, -8.0], [6.0, -2.0], [100.0, 100.0]]])
    groups = one_video(7, 7, 7, NO_GROUP)
    # The mean of three is (3, −8/3); with a prior of 5 they go 3/8 of the way: (9/8, −1).
    expected = torch.tensor([[[-0.125, 3.0], [0.875, -7.0], [4.875, -1.0], [100.0, 100.0]]])
    moved = about_own_mean(values, everywhere(groups), groups, prior=5.0, least=3)
    torch.testing.assert_close(moved, expected)
    assert has_company(everywhere(groups), groups, 3).tolist() == [[True, True, True, False]]
    # Without a prior the mean is gone.
    moved = about_own_mean(values, everywhere(groups), groups, prior=0.0, least=3)
    torch.testing.assert_close(moved[0, :3].mean(dim=0), torch.zeros(2))


def test_too_few_stay_as_they_are() -> None:
    values = random(1, 6, 5)
    groups = one_video(1, 1, 2, 2, NO_GROUP, NO_GROUP)
    assert torch.equal(about_own_mean(values, everywhere(groups), groups), values)
    assert not has_company(everywhere(groups), groups).any()
    # One more, and its group is moved; nothing else is.
    groups = one_video(1, 1, 2, 2, 2, NO_GROUP)
    same = (about_own_mean(values, everywhere(groups), groups) == values).all(dim=-1)
    assert same.tolist() == [[True, True, False, False, False, True]]
    assert MIN_UTTERANCES == 3


def test_groups_do_not_mix() -> None:
    """Neither those of a video, nor those of the same number in two videos."""
    values = random(2, 7, 4)
    groups = torch.tensor([[1, 2, 1, 2, 1, 2, 2], [2, 2, 2, 1, 1, 1, 1]])
    moved = about_own_mean(values, everywhere(groups), groups)
    for video in range(2):
        for group in (1, 2):
            chosen = groups[video] == group
            own = values[video, chosen]
            expected = own - own.mean(dim=0) * len(own) / (len(own) + PRIOR)
            torch.testing.assert_close(moved[video, chosen], expected)


def test_a_stream_that_is_missing_stays_missing() -> None:
    """It is 0 exactly; it is not counted, and where too few have it, it is not moved at all."""
    values = torch.tensor([[[0.0, 0.0], [2.0, 2.0], [2.0, 0.0], [-1.0, 1.0], [5.0, 0.0]]])
    groups = torch.zeros(1, 5, dtype=torch.long)
    moved = about_own_mean(values, everywhere(groups), groups, prior=5.0, least=3)
    # The sum of four is 8: 8 / (4 + 5) of it goes. Of the other column there are two alone.
    expected = [0.0, 2 - 8 / 9, 2 - 8 / 9, -1 - 8 / 9, 5 - 8 / 9]
    assert moved[0, :, 0].tolist() == pytest.approx(expected)
    assert torch.equal(moved[..., 1], values[..., 1])


def test_what_is_missing_is_not_counted() -> None:
    values = random(1, 6, 4)
    values[0, 1] = torch.nan
    groups = torch.zeros(1, 6, dtype=torch.long)
    present = torch.tensor([[True, False, True, True, False, True]])
    moved = about_own_mean(values, present, groups)
    own = values[present]
    torch.testing.assert_close(moved[present], own - own.mean(dim=0) * 4 / (4 + PRIOR))
    assert torch.equal(moved[0, 4], values[0, 4])
    # Of four utterances only two have a voice: too few, although four are there.
    present = torch.tensor([[True, False, False, True, False, False]])
    assert torch.equal(about_own_mean(values, present, groups).nan_to_num(), values.nan_to_num())
    assert not has_company(present, groups).any()


def test_a_video_as_one_group_as_the_card_measures_it() -> None:
    values, lengths = random(3, 5, 4), (5, 3, 2)
    present = torch.tensor([[place < length for place in range(5)] for length in lengths])
    moved = measuring.adapted(values, present, 2.0)
    for video, length in enumerate(lengths):
        own = values[video, :length]
        expected = own - own.mean(dim=0) * length / (length + 2.0) if length >= 3 else own
        torch.testing.assert_close(moved[video, :length], expected)


# --- utterances ----------------------------------------------------------------------------------


def utterance(seed: int, track: int | None, *, voice: bool = True) -> Represented:
    return Represented(
        start_s=float(seed),
        end_s=seed + 0.5,
        text=None,
        track=track,
        audio=random(4, seed=seed) if voice else None,
        face=None if track is None else random(3, seed=seed + 50),
        audio_frames=(),
        face_frames=(),
        warnings=(),
    )


def test_each_track_has_its_own_mean() -> None:
    """The voice of an utterance without a track stays, and so does a track seen twice."""
    tracks = (1, 2, None, 1, None, 1, 2, None)
    items = [utterance(seed, track) for seed, track in enumerate(tracks)]
    moved = adapted(items, Adapt.speaker)
    assert moved is not None
    assert [one.track for one in moved] == list(tracks)
    for name in ("audio", "face"):
        own = torch.stack([v for i in (0, 3, 5) if (v := items[i].of(name)) is not None])
        expected = iter(own - own.mean(dim=0) * 3 / (3 + PRIOR))
        for before, after in zip(items, moved, strict=True):
            old, new = before.of(name), after.of(name)
            if old is None or new is None:
                assert old is new
            elif before.track == 1:
                torch.testing.assert_close(new, next(expected))
            else:
                assert torch.equal(new, old)


def test_a_corpus_is_all_utterances_but_only_the_own_ones_come_back() -> None:
    own = [utterance(0, 1), utterance(1, None), utterance(2, 2, voice=False)]
    others = [utterance(seed, 1) for seed in range(3, 8)]
    moved = adapted(own, Adapt.corpus, others)
    assert moved is not None
    assert len(moved) == len(own)
    voices = torch.stack([one.audio for one in (*own, *others) if one.audio is not None])
    step = voices.mean(dim=0) * 7 / (7 + PRIOR)
    torch.testing.assert_close(torch.stack([v.audio for v in moved[:2]]), voices[:2] - step)  # type: ignore[misc]
    assert moved[1].face is None
    assert moved[2].audio is None
    # Nobody else moves a speaker.
    assert adapted(own, Adapt.speaker, others) is None
    assert adapted(own[:2], Adapt.corpus) is None
    assert adapted([], Adapt.speaker) is None
    # Three utterances, but two voices and two faces.
    assert adapted(own, Adapt.corpus) is None
    # Enough voices, but the one of this video is not among them.
    voices_alone = [utterance(seed, None) for seed in range(3, 8)]
    assert adapted(own[2:], Adapt.corpus, voices_alone) is None
