"""What the figures draw is what they were given, and the titles hold its numbers."""

from __future__ import annotations

import math
import os
import struct
import sys

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_hex

from helpers import host
from kfac_ref.comparison import compare
from kfac_ref.comparison.table import Comparison
from kfac_ref.errors import ExtraMissing
from kfac_ref.files import write_whole
from kfac_ref.matrices import BlockDiagonalMatrix, DenseMatrix
from kfac_ref.plotting import (
    APPROXIMATION,
    ERROR,
    EXACT,
    comparison_figure,
    fit_power_law,
    heat_maps,
    sampling_figure,
    save,
    spectra_figure,
    training_figure,
)


def symmetric(rng, size):
    X = rng.normal(size=(size, size))
    return X + X.T


def image(ax):
    return np.asarray(ax.get_images()[0].get_array())


def lines(ax):
    """The curves of an axes, by their labels."""
    return {line.get_label(): line for line in ax.get_lines()}


# Heat maps


def test_a_small_heat_map_draws_every_entry(xp, rng):
    F, M = symmetric(rng, 11), symmetric(rng, 11)
    sizes = [4, 2, 5]
    figure = heat_maps(
        DenseMatrix(xp.asarray(F)), DenseMatrix(xp.asarray(M)), "K-FAC", sizes
    )
    axes = figure.axes[:3]
    for ax, drawn in zip(axes, (F, M, M - F), strict=True):
        np.testing.assert_array_equal(image(ax), drawn)
        ends = [line.get_ydata()[0] for line in ax.get_lines()[::2]]
        across = [line.get_xdata()[0] for line in ax.get_lines()[1::2]]
        assert ends == across == [4, 6]
        assert {to_hex(line.get_color()) for line in ax.get_lines()} == {"#ffffff"}
        norm = ax.get_images()[0].norm  # one scale, centred on zero
        assert norm.vmax == -norm.vmin == np.abs(F).max()
        assert norm(0.0) == pytest.approx(0.5)
    error = np.linalg.norm(M - F) / np.linalg.norm(F)
    titles = [ax.get_title() for ax in axes]
    assert titles == ["exact", "K-FAC", f"difference: relative error {error:.3g}"]
    colours = [ax.title.get_color() for ax in axes]
    assert colours == [EXACT, APPROXIMATION, ERROR]


def test_a_large_heat_map_draws_root_mean_squares_of_cells(rng):
    F, M = symmetric(rng, 403), symmetric(rng, 403)  # 135 cells of 3, the last of 1
    figure = heat_maps(DenseMatrix(F), DenseMatrix(M), "sampled", [203, 200])
    for ax, drawn in zip(figure.axes[:3], (F, M, M - F), strict=True):
        cells = image(ax)
        assert cells.shape == (135, 135)
        inside = math.sqrt((drawn[3:6, 12:15] ** 2).sum() / 9)
        assert cells[1, 4] == pytest.approx(inside, rel=1e-12)
        assert cells[134, 134] == pytest.approx(abs(drawn[402, 402]), rel=1e-12)
        edge = math.sqrt((drawn[402, :3] ** 2).sum() / 3)
        assert cells[134, 0] == pytest.approx(edge, rel=1e-12)
        assert ax.get_xlim() == (0, 403) and ax.get_ylim() == (403, 0)
        assert ax.get_images()[0].get_extent() == [0, 405, 405, 0]
    assert "3 x 3 entries" in figure.axes[3].get_ylabel()
    error = np.linalg.norm(M - F) / np.linalg.norm(F)
    assert figure.axes[2].get_title().endswith(f"{error:.3g}")


def test_the_number_in_the_title_belongs_to_the_matrices(rng):
    F = symmetric(rng, 7)
    titles = {
        scale: heat_maps(DenseMatrix(F), DenseMatrix(scale * F)).axes[2].get_title()
        for scale in (1.5, 1.03, 1.0)
    }
    assert titles[1.5].endswith("relative error 0.5")
    assert titles[1.03].endswith("relative error 0.03")
    assert titles[1.0].endswith("relative error 0")


# Curves


@pytest.mark.parametrize("exponent", [-0.5, -0.37])
def test_the_slope_of_a_power_law(exponent):
    samples = [1, 4, 16, 64]
    errors = [0.7 * m**exponent for m in samples]
    figure = sampling_figure(samples, errors, {"K-FAC": [0.6, 0.5, 0.5, 0.5]})
    (ax,) = figure.axes
    assert ax.get_title() == f"error against the exact Fisher: slope {exponent:.3f}"
    assert fit_power_law(samples, errors) == pytest.approx((exponent, 0.7))
    found = lines(ax)
    drawn = found["Fisher, sampled labels"]
    np.testing.assert_array_equal(drawn.get_xdata(), samples)
    np.testing.assert_array_equal(drawn.get_ydata(), errors)
    fit = found[f"fit: slope {exponent:.3f}"].get_ydata()
    np.testing.assert_allclose(fit, errors, rtol=1e-12)
    guide = found["guide: slope -1/2"].get_ydata()
    assert guide[0] / guide[1] == pytest.approx(2)
    np.testing.assert_array_equal(found["K-FAC"].get_ydata(), [0.6, 0.5, 0.5, 0.5])
    assert drawn.get_color() == ERROR and found["K-FAC"].get_color() == APPROXIMATION


def test_several_draws_are_all_drawn_and_all_fitted():
    samples, errors = [1, 9], [[0.9, 0.4], [0.3, 0.2]]
    (ax,) = sampling_figure(samples, errors, {"K-FAC": [[3, 1], [2, 4]]}).axes
    found = lines(ax)
    drawn = found["Fisher, sampled labels"]
    assert list(drawn.get_xdata()) == [1, 1, 9, 9]
    assert list(drawn.get_ydata()) == [0.9, 0.4, 0.3, 0.2]
    slope = (math.log(0.3 * 0.2) - math.log(0.9 * 0.4)) / 2 / math.log(9)
    assert ax.get_title().endswith(f"slope {slope:.3f}")
    assert list(found["K-FAC"].get_ydata()) == [2, 3]  # means


def test_spectra_fall_from_left_to_right(xp, rng):
    F, M = rng.random(13), rng.random(11)
    vectors = {"exact": xp.asarray(F)}, {"K-FAC": xp.asarray(M)}
    (ax,) = spectra_figure(*vectors, 0.07).axes
    found = lines(ax)
    np.testing.assert_array_equal(found["exact"].get_ydata(), sorted(F, reverse=True))
    np.testing.assert_array_equal(found["K-FAC"].get_ydata(), sorted(M, reverse=True))
    assert list(found["K-FAC"].get_xdata()) == list(range(1, 12))
    assert found["exact"].get_color() == EXACT
    assert found["K-FAC"].get_color() == APPROXIMATION
    assert list(found["λ = 0.07"].get_ydata()) == [0.07, 0.07]
    assert ax.get_ylim()[1] == pytest.approx(2 * max(F.max(), M.max()))


def test_the_errors_over_training_are_drawn_for_each_layer():
    errors = {"first": [0.1, 0.3, 0.5], "second": [0.2, 0.2, 0.6]}
    figure = training_figure([2.3, 1.1, 0.75], errors, "K-FAC")
    left, right = figure.axes
    assert list(left.get_lines()[0].get_ydata()) == [2.3, 1.1, 0.75]
    assert left.get_title() == "training: loss 2.3 to 0.75"
    for layer, values in errors.items():
        assert list(lines(right)[layer].get_ydata()) == values
    assert right.get_title() == "K-FAC: mean error 0.15 to 0.55"


# The comparison draws itself


def test_a_comparison_draws_its_numbers(xp, rng):
    size = 7
    X = rng.normal(size=(size, 9))
    F = X @ X.T
    blocks = [F[:3, :3], F[3:, 3:]]
    exact = DenseMatrix(xp.asarray(F))
    half = BlockDiagonalMatrix(
        [DenseMatrix(xp.asarray(0.5 * block)) for block in blocks]
    )
    gradient = [xp.asarray(rng.normal(size=shape)) for shape in ((1, 3), (2, 2))]
    comparison = compare(exact, {"half": half, "exact": exact}, gradient, 0.3)
    assert isinstance(comparison, Comparison)
    figure = comparison_figure(comparison)
    kinds = ("frobenius_error", "inverse_error", "angle")
    for ax, kind in zip(figure.axes, kinds, strict=True):
        layers = ["layer 0", "layer 1", None]
        expected = [
            [getattr(comparison.row(name, layer), kind) for layer in layers]
            for name in ("half", "exact")
        ]
        np.testing.assert_array_equal(image(ax), expected)
        form = "{:.0f}" if kind == "angle" else "{:.2f}"
        texts = [text.get_text() for text in ax.texts]
        assert texts == [form.format(value) for row in expected for value in row]
        labels = [label.get_text() for label in ax.get_xticklabels()]
        assert labels == ["layer 0", "layer 1", "whole matrix"]
    assert figure.axes[0].texts[0].get_text() == "0.50"
    assert "0.3" in figure.axes[1].get_title()


# Style and files


def chunks(png):
    """The names of the chunks of a PNG file."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    at, found = 8, []
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        found.append(png[at + 4 : at + 8].decode())
        at += 12 + length
    return found


def test_saved_figures_are_the_same_bytes_without_a_date(rng, tmp_path):
    F, M = symmetric(rng, 5), symmetric(rng, 5)
    first, again = (
        save(heat_maps(DenseMatrix(F), DenseMatrix(M)), tmp_path / "new" / f"{i}.png")
        for i in range(2)
    )
    assert first.read_bytes() == again.read_bytes()
    assert set(chunks(first.read_bytes())) == {"IHDR", "PLTE", "pHYs", "IDAT", "IEND"}
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["0.png", "1.png"]


def test_the_style_is_ours_and_stays_inside(rng, tmp_path):
    F = symmetric(rng, 5)
    plain = save(heat_maps(DenseMatrix(F), DenseMatrix(2 * F)), tmp_path / "plain.png")
    with matplotlib.rc_context({"text.usetex": True, "font.size": 23}):
        figure = heat_maps(DenseMatrix(F), DenseMatrix(2 * F))
        other = save(figure, tmp_path / "other.png")
        assert matplotlib.rcParams["font.size"] == 23
    assert plain.read_bytes() == other.read_bytes()


def test_without_matplotlib_the_error_says_how_to_get_it(rng, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    expected = r"^figures: matplotlib is needed.*pip install matplotlib$"
    with pytest.raises(ExtraMissing, match=expected):
        heat_maps(DenseMatrix(symmetric(rng, 3)), DenseMatrix(symmetric(rng, 3)))


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = write_whole(tmp_path / "a" / "file", b"old")
    assert path.read_bytes() == b"old"

    def fail(*args):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(path.parent.iterdir()) == [path]  # nothing is left beside it


def test_host_copies_are_made_for_drawing(xp, rng):
    """The matrices stay where they are; only drawn numbers come to the host."""
    F = xp.asarray(symmetric(rng, 3))
    figure = heat_maps(DenseMatrix(F), DenseMatrix(2.0 * F))
    np.testing.assert_array_equal(image(figure.axes[1]), 2 * host(F))
