"""Curves: sampling error, eigenvalue spectra, error over training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kfac_ref.backend import Array, to_numpy
from kfac_ref.plotting.style import APPROXIMATION, ERROR, EXACT, new_figure, styled


@styled
def sampling_figure(
    samples: Sequence[int],
    errors: Sequence,
    others: Mapping[str, Sequence] | None = None,
    title: str = "error against the exact Fisher",
) -> Any:
    """Relative error against the number of sampled labels, both logarithmic.

    `errors` has a number, or a list of them (one for each draw), for each number of
    labels; a line is fitted to all, and its slope stands in the title beside the
    guide's, -1/2. `others`, of the same shape, are drawn without a fit: their means.
    """
    from matplotlib.ticker import LogLocator

    M, drawn = np.asarray(samples, float), np.reshape(errors, (len(samples), -1))
    every = np.repeat(M, drawn.shape[1])
    slope, factor = fit_power_law(samples, errors)
    figure = new_figure(6.4, 4.6, "constrained")
    ax = figure.subplots()
    ax.loglog(every, drawn.ravel(), "o", color=ERROR, label="Fisher, sampled labels")
    fitted = factor * M**slope
    ax.loglog(M, fitted, color=ERROR, label=f"fit: slope {slope:.3f}")
    guide = 0.6 * fitted[0] * (M / M[0]) ** -0.5
    ax.loglog(M, guide, "--", color="black", linewidth=1, label="guide: slope -1/2")
    for (name, values), marker in zip((others or {}).items(), "s^vD", strict=False):
        means = np.reshape(values, (len(M), -1)).mean(axis=1)
        ax.loglog(M, means, marker + "-", color=APPROXIMATION, label=name)
    ax.set_xticks(M, [str(m) for m in samples])
    ax.minorticks_off()
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.set(xlabel="labels sampled for each example", ylabel="relative Frobenius error")
    ax.set_title(f"{title}: slope {slope:.3f}")
    ax.legend(loc="best")
    return figure


def fit_power_law(x: Sequence, y: Sequence) -> tuple[float, float]:
    """Slope s and factor f of y = f x^s, by least squares of the logarithms.

    y has a number, or a list of them, for each of x.
    """
    drawn = np.reshape(y, (len(x), -1))
    every = np.repeat(np.asarray(x, float), drawn.shape[1])
    slope, offset = np.polyfit(np.log(every), np.log(drawn.ravel()), 1)
    return float(slope), float(np.exp(offset))


@styled
def spectra_figure(
    exact: Mapping[str, Array], approximations: Mapping[str, Array], damping: float
) -> Any:
    """Eigenvalues, largest first, both axes logarithmic, and lambda as a grey line.

    Those under 1e-9 of the largest, or negative by rounding, lie below the figure.
    """
    figure = new_figure(7.0, 4.8, "constrained")
    ax = figure.subplots()
    top = 0.0
    for group, colour in ((exact, EXACT), (approximations, APPROXIMATION)):
        for (name, values), line in zip(
            group.items(), ("-", "--", ":", "-."), strict=False
        ):
            ordered = np.sort(to_numpy(values))[::-1]
            top = max(top, ordered[0])
            rank = np.arange(1, len(ordered) + 1)
            ax.loglog(rank, ordered, line, color=colour, label=name)
    ax.axhline(damping, color=ERROR, linewidth=1, label=f"λ = {damping:g}")
    ax.set(ylim=(1e-9 * top, 2 * top), xlabel="rank", ylabel="eigenvalue")
    ax.set_title("eigenvalue spectra")
    ax.legend(loc="lower left")
    return figure


@styled
def training_figure(
    losses: Sequence[float], errors: Mapping[str, Sequence[float]], name: str
) -> Any:
    """The loss, and the error of an approximation for each layer, at every step."""
    figure = new_figure(11.0, 4.4, "constrained")
    left, right = figure.subplots(1, 2)
    steps = np.arange(len(losses))
    left.plot(steps, losses, "o-", color="black")
    left.set(ylabel="mean loss (nats)", ylim=(0, None))
    left.set_title(f"training: loss {losses[0]:.3g} to {losses[-1]:.3g}")
    shades = np.linspace(0.75, 0.1, len(errors))
    for (layer, values), shade, marker in zip(
        errors.items(), shades, "osD^v<>ph*" * len(errors), strict=False
    ):
        right.plot(
            steps, values, marker + "-", color=str(shade), label=layer, markersize=5
        )
    means = np.mean([list(values) for values in errors.values()], axis=0)
    right.set(ylabel="relative Frobenius error", ylim=(0, None))
    right.set_title(f"{name}: mean error {means[0]:.3g} to {means[-1]:.3g}")
    right.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    for ax in (left, right):
        ax.set_xlabel("steps")
        ax.xaxis.get_major_locator().set_params(integer=True)
    return figure
