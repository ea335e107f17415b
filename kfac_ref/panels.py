"""Adds X^T Y to a matrix, panel of rows by panel of rows.

Beside a large matrix there is then never a second one, and what should be symmetric is
so to the last bit.
"""

from __future__ import annotations

from collections.abc import Iterable

from kfac_ref.backend import Array, get_xp


def add_products(
    totals: list[Array], operands: Iterable[tuple[Array, Array]], panel: int
) -> None:
    """Add X^T Y to totals, one after the other, in place; at first they are totals.

    X^T X of more than `panel` numbers is added in panels of so many.
    """
    for i, (X, Y) in enumerate(operands):
        if X is Y and X.shape[1] ** 2 > panel:
            if i == len(totals):
                size = X.shape[1]
                totals.append(get_xp(X).zeros((size, size), dtype=X.dtype))
            add_stacked(totals[i], (0, 0), X, X, panel)
        elif i == len(totals):
            totals.append(X.T @ Y)
        else:
            totals[i] += X.T @ Y


def add_stacked(
    F: Array, corner: tuple[int, int], S_i: Array, S_j: Array, panel: int
) -> None:
    """Add the block S_i^T S_j, and its mirror image."""
    (top, left), size = corner, S_i.shape[1]
    step = max(1, panel // (2 * S_j.shape[1]))
    for p in range(0, size, step):
        few, q = S_i[:, p : p + step], 0
        if top == left:
            q = min(p + step, size)
            add_mirrored(F, few.T @ few, top + p, top + p)  # half of the arithmetic
        add_mirrored(F, few.T @ S_j[:, q:], top + p, left + q)


def add_mirrored(F: Array, panel: Array, top: int, left: int) -> None:
    """Add a panel to F, its corner at (top, left), and its mirror image.

    A panel that begins on the diagonal has a square that is its own mirror image.
    """
    h, w = panel.shape
    if top == left:
        panel[:, :h] = (panel[:, :h] + panel[:, :h].T) / 2  # but for rounding it was so
    F[top : top + h, left : left + w] += panel
    rest = h if top == left else 0
    F[left + rest : left + w, top : top + h] += panel[:, rest:].T
