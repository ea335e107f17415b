"""Curves: sampling error, eigenvalue spectra, error over training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kfac_ref.backend import Array
from kfac_ref.calls import door
from kfac_ref.errors import ValueRangeError, require
from kfac_ref.matrices.definite import check_damping
from kfac_ref.plotting.inputs import named, numbers, same_length, some, words
from kfac_ref.plotting.style import (
    ERROR,
    EXACT,
    LINES,
    look,
    new_figure,
    shades,
    styled,
    tall,
)
from kfac_ref.plotting.words import legend_beside, shortened


@styled
def sampling_figure(
    samples: Sequence[int],
    errors: Sequence,
    others: Mapping[str, Sequence] | None = None,
    title: str = "error against the exact Fisher",
) -> Any:
    """Plot relative error against the number of sampled labels, on logarithmic axes.

    `errors` has one error, or a list of them (one for each draw), for each number of
    labels. A line is fitted to all of them; the title gives its slope, the legend that
    of the guide, -1/2. `others`, of the same shape, are drawn as means, without a fit.
    Raises ValueRangeError, NotFinite, ShapeError.
    """
    from matplotlib.ticker import LogLocator

    M = _positive("samples", samples)
    others = {} if others is None else named("others", others, "curve")
    words("title", title)
    drawn = _for_each("errors", errors, samples)
    slope, factor = fit_power_law(samples, errors)
    figure = new_figure(9.0, tall(3 + len(others), 4.4))
    ax = figure.subplots()
    every = np.repeat(M, drawn.shape[1])
    curves = ax.loglog(
        every, drawn.ravel(), "o", color=ERROR, label="Fisher, sampled labels"
    )
    fitted = factor * M**slope
    curves += ax.loglog(M, fitted, color=ERROR, label=f"fit: slope {slope:.3f}")
    guide = 0.6 * fitted[0] * (M / M[0]) ** -0.5
    curves += ax.loglog(M, guide, "k:", linewidth=1, label="guide: slope -1/2")
    for i, (name, values) in enumerate(others.items()):
        means = _for_each(f"others[{name!r}]", values, samples).mean(axis=1)
        own = look(i) | {"marker": "s^vDo*PX<>p"[i % 11], "markevery": None}
        curves += ax.loglog(M, means, label=str(name), **own)
    ax.set_xticks(M, [str(m) for m in samples])
    ax.minorticks_off()
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.set(xlabel="labels sampled for each example", ylabel="relative Frobenius error")
    ax.set_title(f"{shortened(title, 48)}: slope {slope:.3f}")
    legend_beside(ax, curves)
    return figure


@door
def fit_power_law(x: Sequence, y: Sequence) -> tuple[float, float]:
    """Slope s and factor f of y = f x^s, by least squares on the logarithms.

    y has a number, or a list of them, for each x; at least two x differ. Raises
    ValueRangeError, NotFinite, ShapeError.
    """
    M, drawn = _positive("x", x), _for_each("y", y, x)
    require(len(np.unique(M)) >= 2, "x", "at least two different numbers", list(x))
    every = np.repeat(M, drawn.shape[1])
    slope, offset = np.polyfit(np.log(every), np.log(drawn.ravel()), 1)
    return float(slope), float(np.exp(offset))


def _for_each(what: str, values: Sequence, x: Sequence) -> np.ndarray:
    """The values as rows, one for each x."""
    found = _positive(what, values, (1, 2))
    same_length(what, found, "the numbers of labels", x)
    return found.reshape(len(x), -1)


def _positive(what: str, values: Any, axes: tuple[int, ...] = (1,)) -> np.ndarray:
    found = numbers(what, values, axes).astype(float)
    if not (found > 0).all():
        raise ValueRangeError(
            f"{what}: expected numbers > 0, which have a logarithm, found {found.min()}"
        )
    return found


@styled
def spectra_figure(
    exact: Mapping[str, Array], approximations: Mapping[str, Array], damping: float
) -> Any:
    """Plot eigenvalues, largest first, on logarithmic axes, and lambda as a grey line.

    Eigenvalues below 1e-9 of the largest, or negative by rounding, lie below the
    figure, and so does lambda = 0. Raises ValueRangeError, NotFinite for an empty or
    infinite spectrum.
    """
    damping = check_damping(damping)
    groups = {"exact": exact, "approximations": approximations}
    for group, spectra_of in groups.items():
        named(group, spectra_of, "spectrum", empty=True)
    some("exact and approximations", [*exact, *approximations], "spectrum")
    figure = new_figure(8.0, tall(1 + len(exact) + len(approximations), 4.6))
    ax = figure.subplots()
    looks = [
        {"color": EXACT, "linestyle": LINES[i % 4], "linewidth": 1.5 + i // 4}
        for i in range(len(exact))
    ] + [look(i) for i in range(len(approximations))]
    spectra = {
        (group, name): np.sort(numbers(f"{group}[{name!r}]", values))[::-1]
        for group, named in groups.items()
        for name, values in named.items()
    }
    curves = []
    for ((_, name), values), own in zip(spectra.items(), looks, strict=True):
        rank = np.arange(1, len(values) + 1)
        curves += ax.loglog(rank, values, label=str(name), **own)
    grey = {"color": ERROR, "linewidth": 1}
    curves += [ax.axhline(damping, label=f"λ = {damping:g}", **grey)]
    top = _positive("the largest eigenvalues", [max(v[0] for v in spectra.values())])
    ax.set(ylim=(1e-9 * top[0], 2 * top[0]), xlabel="rank", ylabel="eigenvalue")
    ax.set_title("eigenvalue spectra")
    legend_beside(ax, curves)
    return figure


@styled
def training_figure(
    losses: Sequence[float], errors: Mapping[str, Sequence[float]], name: str
) -> Any:
    """Plot the loss, and an approximation's error for each layer, at every step.

    Raises ValueRangeError, NotFinite, ShapeError if a number is missing or not finite.
    """
    loss = numbers("losses", losses)
    by_layer = {
        layer: numbers(f"errors[{layer!r}]", values)
        for layer, values in named("errors", errors, "layer").items()
    }
    words("name", name)
    figure = new_figure(10.0, tall(len(by_layer), 4.0))
    left, right = figure.subplots(1, 2)
    steps = np.arange(len(loss))
    left.plot(steps, loss, "o-", color="black")
    low, high = min(0.0, 1.1 * loss.min()), 1.1 * max(loss.max(), 0.1)
    left.set(ylabel="mean loss (nats)", ylim=(low, high))
    left.set_title(f"training: loss {loss[0]:.3g} to {loss[-1]:.3g}")
    curves = []
    for i, (shade, (layer, values)) in enumerate(
        zip(shades(len(by_layer)), by_layer.items(), strict=True)
    ):
        same_length(f"errors[{layer!r}]", values, "losses", loss)
        own = shade | {"marker": "osD^v<>ph*"[i % 10], "markersize": 5}
        curves += right.plot(steps, values, label=str(layer), **own)
    means = np.mean([*by_layer.values()], axis=0)
    worst = max(0.1, *(values.max() for values in by_layer.values()))
    right.set(ylabel="relative Frobenius error", ylim=(0, 1.1 * worst))
    right.set_title(
        f"{shortened(name, 16)}: mean error {means[0]:.3g} to {means[-1]:.3g}"
    )
    legend_beside(right, curves)
    for ax in (left, right):
        ax.set_xlabel("steps")
        ax.xaxis.get_major_locator().set_params(integer=True)
    return figure
