"""The autoencoder race runs at the winners of its grids, and none lies at an edge."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.tune_autoencoder import IMAGES, best
from kfac_ref.examples.autoencoder.contestants import MAKERS, TUNED

RESULTS = Path(__file__).parents[1] / "benchmarks" / "tuning"
CASES = [(form, name) for form in ("curves", "small") for name in MAKERS]


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0]}-{case[1]}")
def grid(request):
    """Form, contestant, and its measured points."""
    form, name = request.param
    found = json.loads((RESULTS / f"autoencoder_{form}.json").read_text())
    assert found["form"] == form and found["seed"] == 100  # the race has 0, 1, 2
    return form, name, found["points"][name]


def test_the_race_runs_at_the_winner_for_its_batch(grid):
    form, name, points = grid
    tuned = TUNED[form][name]
    points = [p for p in points if p["point"][2] == tuned.batch]
    assert best(points)["point"] == [*tuned.settings, tuned.batch]


def test_the_baselines_were_tuned_for_the_length_of_the_race(grid):
    form, name, _ = grid
    tuned, images = TUNED[form][name], IMAGES[form][name]
    assert tuned.updates * tuned.batch >= 0.999 * images
    assert name == "K-FAC" or tuned.updates == round(images / tuned.batch)


def test_the_winner_has_neighbours_on_every_side(grid):
    """Along every axis, the two other settings held."""
    form, name, points = grid
    tuned = TUNED[form][name]
    winner = [*tuned.settings, tuned.batch]
    for axis in range(3):
        along = [
            point[axis]
            for point in (p["point"] for p in points)
            if all(point[i] == winner[i] for i in range(3) if i != axis)
        ]
        assert min(along) < winner[axis] < max(along), axis


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{case[1]}")
def test_what_another_batch_would_gain(case):
    """Little for K-FAC (twice the updates), 3 % for Adam (1.4 times the seconds)."""
    form, name = case
    found = json.loads((RESULTS / f"autoencoder_{form}.json").read_text())
    tuned = TUNED[form][name]
    final = {
        p["point"][2]: p["losses"][-1]
        for p in found["points"][name]
        if p["losses"] and tuple(p["point"][:2]) == tuned.settings
    }
    gain = 1.0 - min(final.values()) / final[tuned.batch]
    known = {("curves", "K-FAC"): 0.009, ("curves", "Adam"): 0.033}
    assert gain == pytest.approx(known.get(case, 0.0), abs=0.001)
