"""The autoencoder race runs at the winners of its grids, and none lies at an edge."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.tune_autoencoder import best
from kfac_ref.races.contestants import MAKERS, TUNED

RESULTS = Path(__file__).parents[1] / "benchmarks" / "tuning"
CASES = [(form, name) for form in ("curves", "small") for name in MAKERS]


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0]}-{case[1]}")
def grid(request):
    """Form, contestant, and its measured points."""
    form, name = request.param
    found = json.loads((RESULTS / f"autoencoder_{form}.json").read_text())
    assert found["form"] == form and found["seed"] == 100  # the race has 0, 1, 2
    return form, name, found["points"][name]


def test_the_race_runs_at_the_winner(grid):
    """K-FAC's batch is chosen: half of it needs twice the updates, and gains little."""
    form, name, points = grid
    tuned = TUNED[form][name]
    if name == "K-FAC":
        points = [p for p in points if p["point"][2] == tuned.batch]
    assert best(points)["point"] == [*tuned.settings, tuned.batch]


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


@pytest.mark.parametrize("form", ["curves", "small"])
def test_what_another_batch_would_gain_for_k_fac(form):
    """At most 2 % of the loss."""
    found = json.loads((RESULTS / f"autoencoder_{form}.json").read_text())
    tuned = TUNED[form]["K-FAC"]
    points = [p for p in found["points"]["K-FAC"] if p["losses"]]
    final = {
        p["point"][2]: p["losses"][-1]
        for p in points
        if tuple(p["point"][:2]) == tuned.settings
    }
    assert final[tuned.batch] < 1.02 * min(final.values()) and len(final) == 3
