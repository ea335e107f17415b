"""What the demo prints and writes: table, summary, figures, and a file of numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any

import numpy as np

from kfac_ref.comparison import Comparison
from kfac_ref.examples.demo.measuring import RULES, Measurement, Sampling
from kfac_ref.examples.demo.problem import Problem
from kfac_ref.examples.demo.training import Training
from kfac_ref.examples.running import publish
from kfac_ref.matrices import DenseMatrix, SymmetricMatrix
from kfac_ref.matrices.definite import add_to_diagonal
from kfac_ref.plotting import (
    comparison_figure,
    fit_power_law,
    heat_maps,
    sampling_figure,
    spectra_figure,
    training_figure,
)

MAPS = [  # the approximations that get a heat map
    "diagonal",
    "K-FAC",
    "eigenvalue-corrected",
    "best Kronecker",
    "block-tridiagonal",
    "block-diagonal",
]
LEGEND = """\
Frobenius, spectral: errors relative to the exact Fisher F; inverse: that of the
inverse of F + lambda I; angle, norm ratio: the preconditioned gradient against the
exact natural gradient; numbers: how many are stored (-: the layers share them). A
layer is compared with its own block of F. "K-FAC, factored damping" and
"block-tridiagonal" have lambda inside, so lambda I is taken off their matrices."""
SPECTRA = ["K-FAC", "eigenvalue-corrected", "diagonal"]  # and those that get a curve
Matrices = dict[str, SymmetricMatrix]


def announce(problem: Problem) -> None:
    """Print what is about to happen."""
    network = problem.network
    print(problem.description)
    sizes = [network.shapes[0][0] - 1, *(o for _, o in network.shapes)]
    print(
        f"net {'-'.join(map(str, sizes))}, tanh: {network.size:,} parameters, exact "
        f"Fisher {network.size:,} x {network.size:,}",
        flush=True,
    )


def report(problem: Problem, training: Training, measured: Measurement) -> None:
    """Write the numbers and the figures, then print the table, even if that fails."""
    out, figures = problem.settings.out, _figures(problem, training, measured)
    summary = [*summarize(measured.comparison), summarize_sampling(measured.sampling)]
    numbers = _numbers(problem, training, measured, summary)
    lines = [*_table(problem, training, measured), *summary]
    publish(out, "demo", numbers, figures, lines)
    print(f"\n{len(figures)} figures and demo.json are in {out}")


def _table(problem: Problem, training: Training, measured: Measurement) -> list[str]:
    losses, accuracies = training.losses, training.accuracies
    return [
        f"{problem.settings.steps} steps of K-FAC: loss {losses[0]:.3f} to "
        f"{losses[-1]:.3f}, accuracy {accuracies[0]:.1%} to {accuracies[-1]:.1%}; "
        f"exact Fisher in {measured.exact.seconds:.2f} s",
        f"\n{measured.comparison}\n\n{LEGEND}\n",
    ]


def summarize(comparison: Comparison) -> list[str]:
    """What to look at, with its numbers."""
    rows = {name: comparison.row(name) for name in comparison.approximations}
    kfac, blocks = rows["K-FAC"], rows["block-diagonal"]
    between = (blocks.frobenius_error / kfac.frobenius_error) ** 2
    angles = sorted((row.angle, name) for name, row in rows.items())
    (least, closest), (most, farthest) = angles[0], angles[-1]
    return [
        f"Look at the angles: K-FAC's step points {kfac.angle:.1f}° away from the "
        f"exact natural gradient; closest is {closest} ({least:.1f}°), farthest "
        f"{farthest} ({most:.1f}°).",
        f"Of K-FAC's squared Frobenius error {between:.0%} is what every block-diagonal"
        f" matrix drops; K-FAC stores {kfac.storage:,} numbers, the exact Fisher "
        f"{kfac.parameters**2:,}.",
    ]


def summarize_sampling(sampling: Sampling) -> str:
    """What more sampled labels are worth."""
    slope, _ = fit_power_law(sampling.samples, sampling.fisher)
    (few, many), (first, last) = (
        (np.mean(errors[0]), np.mean(errors[-1]))
        for errors in (sampling.fisher, sampling.kfac)
    )
    return (
        f"From {sampling.samples[0]} to {sampling.samples[-1]} sampled labels the "
        f"error of the Fisher falls from {few:.3g} to {many:.3g}, with slope "
        f"{slope:.3f} (theory: -1/2), that of K-FAC from {first:.3g} to {last:.3g} "
        f"(first {sampling.examples} examples)."
    )


def _figures(
    problem: Problem, training: Training, measured: Measurement
) -> dict[str, Callable[[], Any]]:
    """How to draw each figure, by its file name."""
    exact, sizes = measured.exact.matrix, [d * o for d, o in problem.network.shapes]
    matrices = {name: built.matrix for name, built in measured.approximations.items()}
    damping = problem.settings.damping
    maps = {
        f"heat_map_{name.lower().replace('-', '_').replace(' ', '_')}": partial(
            _draw_map, exact, matrices[name], name, sizes, damping
        )
        for name in MAPS
    }
    by_layer = zip(*training.errors, strict=True)
    errors = dict(zip(problem.network.names, by_layer, strict=True))
    spectra = {name: matrices[name] for name in SPECTRA}
    sampling = measured.sampling
    return maps | {
        "sampled_labels": partial(
            sampling_figure,
            sampling.samples,
            sampling.fisher,
            {"K-FAC from sampled labels": sampling.kfac},
            f"error against the exact Fisher of {sampling.examples} examples",
        ),
        "spectra": partial(_draw_spectra, {"exact": exact}, spectra, damping),
        "training": partial(training_figure, training.losses, errors, "K-FAC"),
        "comparison": partial(comparison_figure, measured.comparison),
    }


def _draw_map(
    exact: SymmetricMatrix,
    approximation: SymmetricMatrix,
    name: str,
    sizes: list[int],
    damping: float,
) -> Any:
    """Draw the approximation; lambda I is taken off one that has lambda inside."""
    if name in RULES:
        damped = RULES[name](approximation, damping).to_dense()
        approximation = DenseMatrix(add_to_diagonal(damped, -damping), name)
    return heat_maps(exact, approximation, name, sizes)


def _draw_spectra(exact: Matrices, approximations: Matrices, damping: float) -> Any:
    values = [
        {name: matrix.eigenvalues() for name, matrix in group.items()}
        for group in (exact, approximations)
    ]
    return spectra_figure(*values, damping)


def _numbers(
    problem: Problem, training: Training, measured: Measurement, summary: list[str]
) -> dict[str, Any]:
    """What was measured, as JSON can hold it."""
    return {
        "settings": asdict(problem.settings) | {"out": str(problem.settings.out)},
        "data": problem.description,
        "parameters": problem.network.size,
        "layers": problem.network.names,
        "losses": training.losses,
        "accuracies": training.accuracies,
        "kfac_error_by_layer": training.errors,
        "sampling": asdict(measured.sampling),
        "comparison": measured.comparison.to_dict(),
        "exact_seconds": measured.exact.seconds,
        "summary": summary,
    }
