"""Every drawing function, with ordinary and with extreme inputs, can be read.

The functions are found by themselves, and one without cases here fails. What "can be
read" means is written in legible.py, whose own negative controls stand at the end.
"""

from __future__ import annotations

import importlib
import math
import pkgutil
import struct
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

import kfac_ref
import legible
from kfac_ref.comparison.table import Comparison, Row
from kfac_ref.errors import KfacTypeError, NotFinite, ShapeError, ValueRangeError
from kfac_ref.examples.contest import Course
from kfac_ref.examples.convolutional import race as convolutional_record
from kfac_ref.examples.lbann import race as lbann_race
from kfac_ref.matrices import DenseMatrix, KroneckerProduct
from kfac_ref.optimizer.history import History
from kfac_ref.plotting import (
    APPROXIMATION,
    ERROR,
    EXACT,
    STYLE,
    comparison_figure,
    fit_power_law,
    heat_maps,
    histories_figure,
    legend_beside,
    look,
    race_figure,
    sampling_figure,
    save,
    shades,
    spectra_figure,
    styled,
    training_figure,
)
from kfac_ref.plotting.words import shortened

ROOT = Path(__file__).resolve().parent.parent
LONG = ("a layer of a network with a name that does not end, " * 4)[:200]
ODD = [r"$\frac$ and \alpha_1^2", "_hidden", "$5 and $6", "a^b_c {%} \\", "100 % # & ~"]
NAMES = {
    "ordinary": ["K-FAC", "diagonal", "eigenvalue-corrected"],
    "one": ["K-FAC"],
    "six": [f"{2 * i}: Dense(20, 20)" for i in range(6)],
    "thirty": [f"{2 * i}: Dense(20, 20)" for i in range(30)],
    "long": [f"{i} {LONG}"[:200] for i in range(3)],
    "odd": ODD,
}


def symmetric(size):
    X = np.random.default_rng(size).normal(size=(size, size))
    return DenseMatrix(X + X.T)


def history(length, start=8.0):
    n = np.arange(1, length + 1)
    blank = np.full(length, math.nan)
    loss = start / n
    other = [blank, loss, loss.copy(), blank, blank, blank]
    return History(n, n / 3, 0.1 * n, *other)


def of_heat_maps(names, size=30):
    name, thirds = names[0], [size // 3] * 3
    return heat_maps(symmetric(size), symmetric(size), name, thirds)


def of_sampling(names):
    others = {name: [0.5 + 0.01 * i] * 4 for i, name in enumerate(names)}
    errors = [[0.8, 0.9], [0.4, 0.5], [0.2, 0.3], [0.1, 0.2]]
    return sampling_figure([1, 4, 16, 64], errors, others, names[-1])


def of_spectra(names):
    def falling(i):
        return np.geomspace(3.0 + 0.1 * i, 1e-12, 40)

    named = {name: falling(i) for i, name in enumerate(names)}
    return spectra_figure({f"{names[0]}, exact": falling(-2)}, named, 0.03)


def of_training(names):
    errors = {name: [0.01 * i, 0.3, 0.5 + 0.01 * i] for i, name in enumerate(names)}
    return training_figure([2.3, 1.2, 0.4], errors, names[0])


def of_histories(names):
    return histories_figure({name: history(9, 8 + i) for i, name in enumerate(names)})


def of_race(names):
    runs = {name: [history(9, 8 + i), history(9)] for i, name in enumerate(names)}
    return race_figure(runs, (names[0], names[-1]))


def of_comparison(names):
    rows = [
        Row(approximation, layer, 1, e, e, 1000 * e, 90 * e, e, 1, 1.0, 1.0)
        for layer in [*names, None]
        for approximation, e in zip(names, np.linspace(0, 2, len(names)), strict=True)
    ]
    return comparison_figure(Comparison(0.03, rows))


def of_convolutional(names):
    columns = "update", "seconds", "loss", "accuracy"
    rows = [(10 * n, 0.1 * n, np.exp(-n), 1 - np.exp(-n - 1.0)) for n in range(5)]
    course = Course([dict(zip(columns, row, strict=True)) for row in rows])
    return convolutional_record.race_figure(
        {name: course for name in ["K-FAC", "SGD", *names]}
    )


def of_lbann(names):
    run = {"objective": [2.0, 0.1, 0.01], "seconds": [1.0, 2.0, 3.0]}
    pairs = {pair: [3.0, 4.0] for pair in lbann_race.PAIRS}
    four = {name: [run, run] for name in lbann_race.contestants(lbann_race.Settings())}
    return lbann_race.race_figure({"runs": four, "ratios": pairs, "slowdown": 9.0})


CASES = {
    heat_maps: of_heat_maps,
    sampling_figure: of_sampling,
    spectra_figure: of_spectra,
    training_figure: of_training,
    histories_figure: of_histories,
    race_figure: of_race,
    comparison_figure: of_comparison,
    convolutional_record.race_figure: of_convolutional,
    lbann_race.race_figure: of_lbann,
}
each_case = pytest.mark.parametrize("draw", CASES.values(), ids=lambda f: f.__name__)


def test_every_drawing_function_has_its_cases():
    in_style = styled(len).__wrapped__.__code__  # all decorated by it share this code
    found = set()
    for module in pkgutil.walk_packages(kfac_ref.__path__, "kfac_ref."):
        if not module.name.endswith("__main__"):
            members = vars(importlib.import_module(module.name)).values()
            inside = [(f, getattr(f, "__wrapped__", None)) for f in members]
            found |= {f for f, w in inside if getattr(w, "__code__", None) is in_style}
    assert found == set(CASES)


@each_case
@pytest.mark.parametrize("names", NAMES)
def test_a_figure_can_be_read(draw, names):
    assert legible.faults(draw(NAMES[names])) == []


@pytest.mark.parametrize("size", [3, 201, 3000])
def test_heat_maps_of_any_size_can_be_read(size):
    assert legible.faults(of_heat_maps(["K-FAC"], size)) == []


@each_case
def test_names_are_shown_as_they_are_written(draw):
    """`\\frac` without its arguments, taken as mathematics, would raise in drawing."""
    if draw is of_lbann:
        return  # the names are its own
    figure = draw(ODD)
    legible.faults(figure)
    shown = " | ".join(text.get_text() for text in figure.findobj(Text))
    assert ODD[0] in shown
    if draw not in (of_heat_maps, of_convolutional):  # the one name; five contestants
        assert all(name in shown for name in ODD)


def test_a_long_name_keeps_both_ends():
    assert shortened("short\nname") == "short name"
    name = f"first {LONG} last"
    assert len(shortened(name, 20)) == 20
    assert (
        shortened(name, 20).startswith("first") and shortened(name, 20)[-4:] == "last"
    )
    assert shortened("x" * 26) == "x" * 26 != shortened("x" * 27)


# What cannot be drawn


def test_nothing_to_draw_is_refused_by_the_name_of_the_argument():
    blank, AB = History(*[np.array([])] * 9), ("a", "b")
    for message, draw in {
        "histories: expected at least one training": lambda: histories_figure({}),
        r"histories\['a'\].loss: expected at least": lambda: histories_figure(
            {"a": blank}
        ),
        "histories: expected at least one contestant": lambda: race_figure({}, AB),
        r"histories\['a'\]: expected at least one run": lambda: race_figure(
            {"a": []}, AB
        ),
        r"histories\['a'\]\[0\].evaluation": lambda: race_figure({"a": [blank]}, AB),
        "errors: expected at least one layer": lambda: training_figure([1.0], {}, "K"),
        "losses: expected at least one number": lambda: training_figure([], {}, "K"),
        "exact and approx.*one spectrum": lambda: spectra_figure({}, {}, 0.1),
        r"exact\['F'\]: expected at least": lambda: spectra_figure({"F": []}, {}, 0.1),
        "samples: expected at least one number": lambda: sampling_figure([], []),
        "comparison.rows: expected": lambda: comparison_figure(Comparison(0.1, [])),
    }.items():
        with pytest.raises(ValueRangeError, match=message):
            draw()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_numbers_that_are_not_finite_are_refused_by_their_name(bad):
    F, M = symmetric(4), KroneckerProduct(1e200 * np.eye(2), 1e200 * np.eye(2))
    for name, draw in {
        "losses": lambda: training_figure([1.0, bad], {"a": [1, 2]}, "K"),
        r"errors\['a'\]": lambda: training_figure([1, 2], {"a": [1, bad]}, "K"),
        "errors": lambda: sampling_figure([1, 2], [bad, 0.5]),
        r"others\['a'\]": lambda: sampling_figure([1, 2], [1, 2], {"a": [1, bad]}),
        r"approximations\['a'\]": lambda: spectra_figure({}, {"a": [1, bad]}, 0.1),
        "K-FAC": lambda: heat_maps(F, M, "K-FAC"),
        "exact": lambda: heat_maps(M, F, "K-FAC"),
    }.items():
        with pytest.raises(NotFinite, match=f"^{name}: "), np.errstate(over="ignore"):
            draw()


def test_an_infinite_loss_is_refused_a_missing_evaluation_is_not():
    run = history(3)
    run.evaluation[0], run.loss[1] = math.nan, math.inf
    with pytest.raises(NotFinite, match=r"histories\['a'\].loss: 1 of 3"):
        histories_figure({"a": run})
    assert list(
        histories_figure({"a": run}, "evaluation").axes[0].lines[0].get_xdata()
    ) == [2, 3]


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ShapeError, match="errors: expected as many entries .* 2, fou"):
        sampling_figure([1, 2], [0.5])
    with pytest.raises(ShapeError, match=r"errors\['a'\]: expected .* losses, 2"):
        training_figure([1.0, 2.0], {"a": [1.0]}, "K-FAC")
    with pytest.raises(ShapeError, match=r"sizes: .* add up to 7, found \[3, 3\]"):
        heat_maps(symmetric(7), symmetric(7), sizes=[3, 3])
    with pytest.raises(ValueRangeError, match="errors: .* > 0, .*found 0"):
        sampling_figure([1, 2], [0.5, 0.0])
    with pytest.raises(ValueRangeError, match="x: expected at least two different"):
        fit_power_law([3, 3], [0.5, 0.6])


def test_a_race_below_its_floor_is_drawn_on_a_linear_axis():
    runs = {"a": [history(4)]}
    axes = race_figure(runs, ("left", "right"), floor=2.0).axes
    assert [ax.get_yscale() for ax in axes] == ["linear", "linear"]
    assert race_figure(runs, ("left", "right")).axes[0].get_yscale() == "log"


def test_every_contestant_is_drawn():
    names = NAMES["thirty"]
    assert len(of_race(names).axes[0].lines) == 60
    assert len(of_spectra(names).axes[0].lines) == 1 + 30 + 1
    assert len(of_sampling(names).axes[0].lines) == 3 + 30
    assert len(of_convolutional(names).axes[0].lines) == 2 + 30 + 1


def test_a_comparison_with_numbers_that_are_not_finite():
    rows = [Row("K", None, 1, e, e, e, e, e, 1, 1.0, 1.0) for e in (math.nan,)]
    rows += [Row("M", None, 1, e, e, e, e, e, 1, 1.0, 1.0) for e in (math.inf,)]
    rows += [Row("L", None, 1, e, e, e, e, e, 1, 1.0, 1.0) for e in (2e13,)]
    figure = comparison_figure(Comparison(0.03, rows))
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == ["-", "inf", "2e13"]


def test_all_layers_of_a_deep_network_are_in_the_tables():
    names = NAMES["thirty"]
    figure = of_comparison(names)
    assert len(figure.axes) == 6  # three tables for 22 columns, three for 9
    numbers = [len(ax.texts) for ax in figure.axes]
    assert numbers == [30 * 22] * 3 + [30 * 9] * 3
    below = [t.get_text() for ax in figure.axes for t in ax.get_xticklabels()]
    assert below == [*names, "whole matrix"]


# Colours and files


def test_colours_are_told_apart_by_everybody():
    palettes = [
        [EXACT, APPROXIMATION, ERROR],
        [EXACT, *(look(i)["color"] for i in range(4))],
        *([shade["color"] for shade in shades(n)] for n in (2, 3, 4, 5)),
    ]
    for palette in palettes:
        pairs = combinations(palette, 2)
        assert min(legible.distance(*pair) for pair in pairs) > legible.APART
    assert legible.distance("#ff0000", "#ff0000") == 0
    assert legible.distance("#ff0000", "#00ff00") > legible.APART
    assert legible.distance("#ad8f00", "#c78000") < legible.APART  # no L cones


def test_curves_have_a_second_cue():
    keys = ("color", "linestyle", "marker")
    looks = [tuple(look(i)[key] for key in keys) for i in range(48)]
    assert len(set(looks)) == 48
    assert len({look[1] for look in looks[:4]}) == 4  # without any colour
    assert len({shade["linestyle"] for shade in shades(4)}) == 4
    assert len(shades(1)) == 1


def test_a_file_has_few_colours_and_all_of_them_near(tmp_path):
    canvas = FigureCanvasAgg(figure := of_heat_maps(["K-FAC"]))
    canvas.draw()
    drawn = np.asarray(canvas.buffer_rgba())[..., :3].astype(int)
    with Image.open(save(figure, tmp_path / "few.png")) as image:
        assert len(image.getcolors()) <= 256
        kept = np.asarray(image.convert("RGB")).astype(int)
    assert np.abs(kept - drawn).max() <= 8  # of 256
    assert np.abs(kept - drawn).mean() < 0.5


@pytest.mark.parametrize(
    "path", sorted((ROOT / "figures").glob("*.png")), ids=lambda path: path.stem
)
def test_a_committed_figure_is_saved_in_our_style(path):
    content = path.read_bytes()
    width = struct.unpack(">I", content[16:20])[0]
    at = content.index(b"pHYs") + 4
    dpi = struct.unpack(">I", content[at : at + 4])[0] * 0.0254
    assert round(dpi) == STYLE["figure.dpi"] == legible.DPI
    assert width <= legible.WIDEST * legible.DPI
    for chunk in (b"tEXt", b"iTXt", b"zTXt", b"tIME"):  # a date, a version
        assert chunk not in content


# The negative controls of legible.py


@styled
def page(**options):
    figure = Figure(figsize=(6, 4), layout="constrained", **options)
    ax = figure.subplots()
    ax.set(xlabel="x", ylabel="y")
    return figure


def found(figure, words):
    return [fault for fault in legible.faults(figure) if words in fault]


def test_a_page_without_faults():
    figure = page()
    figure.axes[0].plot([0, 1], [0, 1])
    assert legible.faults(figure) == []


def test_what_is_cut_or_tiny_is_found():
    figure = page()
    figure.axes[0].set_title("a title " * 20)
    assert len(found(figure, "is cut")) == 1
    figure = page()
    figure.text(0.5, 0.5, "small", size=4)
    assert len(found(figure, "'small': a font of 8.0 pixels")) == 1
    figure = page()
    figure.set_dpi(72)
    figure.set_figwidth(12)
    assert len(found(figure, "72 dots per inch")) == 1
    assert len(found(figure, "12 inches wide")) == 1
    figure = page()
    figure.set_layout_engine("none")
    figure.axes[0].set_position((0.5, 0.5, 0.7, 0.4))
    assert len(found(figure, "the axes '' are cut")) == 1


def test_what_overlaps_is_found():
    figure = page()
    figure.axes[0].set_xticks([0.5, 0.52], ["one label", "another"])
    assert found(figure, "'one label' and 'another' overlap")
    assert not found(figure, "cut")


@pytest.mark.parametrize("what", ["line", "points", "bar", "contour", "hlines"])
def test_what_lies_under_a_legend_or_a_text_is_found(what):
    figure = page()
    ax = figure.axes[0]
    ax.set(xlim=(0, 4), ylim=(0, 4))
    ax.plot([0, 1], [0, 0.1], "--", label="some curve")
    if what == "line":
        ax.plot([2, 4], [0, 4], label="a curve up to the corner")
    elif what == "points":
        ax.scatter([3.5], [3.7])
    elif what == "bar":
        ax.bar([3.5], [4], width=0.4)
    elif what == "contour":
        ax.contour([3, 4], [3, 4], [[0, 1], [0, 1]], levels=[0.5])
    else:
        ax.hlines([3.7], 0, 4)
    ax.legend(loc="upper right")
    assert found(figure, "the legend lies over")
    ax.legend(loc="center left")
    assert not found(figure, "the legend lies over")
    if what != "bar":
        ax.text(3.3, 3.3, "some words\nand more\nand more\nand more")
        assert found(figure, "'some words")


def test_what_has_no_name_is_found():
    figure = page()
    ax = figure.axes[0]
    ax.plot([0, 1], [0, 1], label="named")
    ax.axhline(0.5, linestyle=":")
    ax.legend()
    assert len(found(figure, "stands in no legend")) == 1
    ax.set_ylabel("")
    assert len(found(figure, "the y axis has no label")) == 1
    ax.set_yscale("log")
    assert len(found(figure, "the y axis has no label")) == 1
    ax.set_yticks([0.1, 1], ["few", "many"])
    ax.minorticks_off()
    assert not found(figure, "the y axis has no label")  # words need none
    ax.hlines([0.2], 0, 1)
    assert len(found(figure, "lines that no legend can show")) == 1


def test_a_legend_beside_the_axes_also_takes_bars():
    ax = page().axes[0]
    bars = [ax.bar([i], [1.0], label=label) for i, label in enumerate(("one", "two"))]
    texts = legend_beside(ax, bars).get_texts()
    assert [text.get_text() for text in texts] == ["one", "two"]
    with pytest.raises(KfacTypeError, match="curves: expected an Artist"):
        legend_beside(ax, ["one"])


def test_curves_that_look_alike_are_found():
    figure = page()
    ax = figure.axes[0]
    for colour, label in {"#e8731a": "one", "#e88a1a": "two", "#000000": "3"}.items():
        ax.plot([0, 1], [0, 1], color=colour, label=label)
    legend_beside(ax, ax.get_lines())
    assert len(found(figure, "'one' and 'two' look alike")) == 1
    assert len(found(figure, "look alike")) == 1
    ax.get_lines()[1].set_linestyle("--")
    legend_beside(ax, ax.get_lines())
    assert not found(figure, "look alike")
