"""The numbers of a comparison against plain dense computations; table and dict."""

from __future__ import annotations

import copy
import json
import math
import pickle

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import networks
from helpers import assert_exact, host
from kfac_ref.comparison import (
    Built,
    Comparison,
    angle,
    angle_between,
    compare,
    damped_norm_ratio,
    diagonal_blocks,
    inverse_error,
    relative_frobenius_error,
    relative_spectral_error,
    spectral_norm,
    timed,
)
from kfac_ref.damping import factored_tikhonov
from kfac_ref.distributions import Categorical
from kfac_ref.errors import (
    NotPositiveDefinite,
)
from kfac_ref.exact.dense import fisher_matrix
from kfac_ref.layers import Dense, ReLU
from kfac_ref.matrices import (
    BlockDiagonalMatrix,
    DenseMatrix,
    DiagonalMatrix,
    KroneckerProduct,
)
from kfac_ref.network import Network
from kfac_ref.plotting import comparison_figure
from kfac_ref.structures import curvature

LAMBDA = 0.07
ACOS = math.degrees(math.acos(1 - 4 * np.finfo(float).eps))  # what rounding leaves


def positive(rng, size):
    """A random positive definite matrix, on the host."""
    X = rng.normal(size=(size, size + 2))
    return X @ X.T / size


def dense(xp, matrix):
    return DenseMatrix(xp.asarray(matrix))


def expected(M, F, gradient, damping):
    """The five numbers, from dense host arrays with NumPy alone."""
    M_d, F_d = (X + damping * np.eye(len(X)) for X in (M, F))
    u, v = np.linalg.solve(M_d, gradient), np.linalg.solve(F_d, gradient)
    inverse = np.linalg.inv(F_d)
    cosine = min(1.0, u @ v / math.sqrt(u @ u) / math.sqrt(v @ v))
    return {
        "frobenius_error": np.sqrt(((M - F) ** 2).sum() / (F**2).sum()),
        "spectral_error": np.linalg.norm(M - F, 2) / np.linalg.norm(F, 2),
        "inverse_error": np.sqrt(
            ((np.linalg.inv(M_d) - inverse) ** 2).sum() / (inverse**2).sum()
        ),
        "angle": math.degrees(math.acos(cosine)),
        "damped_norm_ratio": math.sqrt((u @ F_d @ u) / (v @ F_d @ v)),
    }


@pytest.fixture
def problem(xp, rng):
    """A small net, its exact Fisher, its approximations and its gradient."""
    network = networks.chain()
    params = networks.parameters(network, rng, xp)
    x, y = networks.inputs(rng, xp), networks.classes(rng, xp)

    def build(structure, **options):
        return timed(curvature, network, params, x, structure=structure, **options)

    tridiagonal, kfac = build("block_tridiagonal"), build("kronecker")
    approximations = {
        "exact blocks": build("block_diagonal"),
        "diagonal": build("diagonal"),
        "K-FAC": kfac,
        "factored": (kfac.matrix, factored_tikhonov),
        "eigenvalues": build("eigenvalue_corrected"),
        "tridiagonal": (tridiagonal, "factored_tikhonov"),
        "sampled": build("full", estimate="sampled", rng=rng),
    }
    exact = fisher_matrix(network, params, x)
    return exact, approximations, network.gradient(params, x, y), network.names


# The numbers, one by one


def test_each_number_of_two_dense_matrices(xp, rng):
    M, F, gradient = positive(rng, 13), positive(rng, 13), rng.normal(size=13)
    pair = dense(xp, M), dense(xp, F)
    vector = xp.asarray(gradient)
    found = {
        "frobenius_error": relative_frobenius_error(*pair),
        "spectral_error": relative_spectral_error(*pair),
        "inverse_error": inverse_error(*pair, LAMBDA),
        "angle": angle(*pair, vector, LAMBDA),
        "damped_norm_ratio": damped_norm_ratio(*pair, vector, LAMBDA),
    }
    numbers = expected(M, F, gradient, LAMBDA)
    for name, value in numbers.items():
        assert isinstance(found[name], float)
        assert found[name] == pytest.approx(value, rel=1e-11), name
    assert numbers["angle"] > 10  # the matrices do differ
    swapped = expected(F, M, gradient, LAMBDA)
    for name in ("frobenius_error", "spectral_error", "inverse_error"):
        assert abs(swapped[name] / numbers[name] - 1) > 1e-3, name  # and have no order


def test_a_matrix_is_at_no_distance_from_itself(xp, rng):
    F, gradient = dense(xp, positive(rng, 7)), xp.asarray(rng.normal(size=7))
    assert relative_frobenius_error(F, F) == 0
    assert relative_spectral_error(F, F) == 0
    assert inverse_error(F, F, LAMBDA) == 0
    assert angle(F, F, gradient, LAMBDA) == 0
    assert damped_norm_ratio(F, F, gradient, LAMBDA) == 1


def test_numbers_worked_out_by_hand(xp):
    exact = DiagonalMatrix(xp.asarray(np.array([3.0, 4.0])))
    twice = DiagonalMatrix(xp.asarray(np.array([6.0, 4.0])))
    gradient = xp.asarray(np.array([3.0, 4.0]))
    assert relative_frobenius_error(twice, exact) == pytest.approx(3 / 5)
    assert relative_spectral_error(twice, exact) == pytest.approx(3 / 4)
    # inverses diag(1/4, 1/5) and diag(1/7, 1/5) with lambda = 1
    error = (1 / 4 - 1 / 7) / math.hypot(1 / 4, 1 / 5)
    assert inverse_error(twice, exact, 1.0) == pytest.approx(error)
    # u = (1/2, 1) and v = (1, 1) without damping
    degrees = 45 - math.degrees(math.atan2(0.5, 1))
    assert angle(twice, exact, gradient, 0.0) == pytest.approx(45 - 26.5650511770780)
    assert degrees == pytest.approx(45 - 26.5650511770780)
    ratio = math.sqrt((3 * 0.25 + 4) / (3 + 4))
    assert damped_norm_ratio(twice, exact, gradient, 0.0) == pytest.approx(ratio)


@settings(
    deadline=None,
    max_examples=20,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(size=st.integers(1, 12), seed=st.integers(0, 999))
def test_spectral_norm_is_the_largest_absolute_eigenvalue(xp, size, seed):
    X = np.random.default_rng(seed).normal(size=(size, size))
    X = X + X.T  # indefinite: the largest may be negative
    found = spectral_norm(xp.asarray(X))
    assert found == pytest.approx(np.linalg.norm(X, 2), rel=1e-12)


def test_spectral_norm_of_blocks_that_touch_few_rows(xp, rng):
    """A start along an axis would never leave the first block."""
    X = np.zeros((17, 17))
    X[0, 0], X[-3:, -3:] = 2.0, 5 * positive(rng, 3) + 3 * np.eye(3)
    found = spectral_norm(xp.asarray(X))
    assert found == pytest.approx(np.linalg.norm(X, 2), rel=1e-12)
    assert found > 3


def test_float32_stays_float32(xp, rng):
    M, F = (positive(rng, 11).astype(np.float32) for _ in range(2))
    exact = expected(M.astype(float), F.astype(float), np.ones(11), LAMBDA)
    found = relative_spectral_error(dense(xp, M), dense(xp, F))
    assert found == pytest.approx(exact["spectral_error"], rel=1e-5)
    assert abs(found / exact["spectral_error"] - 1) > 1e-13


def test_small_angles_are_accurate(xp):
    u = xp.asarray(np.array([1.0, 0.0, 0.0]))
    v = xp.asarray(np.array([1.0, 1e-9, 0.0]))
    assert angle_between(u, v) == pytest.approx(math.degrees(1e-9), rel=1e-9)
    assert angle_between(u, -3.0 * u) == pytest.approx(180)


def test_diagonal_blocks_of_any_matrix(xp, rng):
    F = positive(rng, 11)
    sizes, cuts = [4, 2, 5], [(0, 4), (4, 6), (6, 11)]
    blocks = [F[s:e, s:e] for s, e in cuts]
    structured = BlockDiagonalMatrix([dense(xp, block) for block in blocks])
    assert diagonal_blocks(structured, sizes) == structured.blocks
    for sliced, block in zip(diagonal_blocks(dense(xp, F), sizes), blocks, strict=True):
        assert_exact(sliced.to_dense(), block)
    first, second = diagonal_blocks(structured, [6, 5])  # not its own blocks
    joined = np.zeros((6, 6))
    joined[:4, :4], joined[4:, 4:] = blocks[:2]
    assert_exact(first.to_dense(), joined)
    assert_exact(second.to_dense(), blocks[2])


# The comparison


def as_compared(given):
    """The matrix, and the damping that is inside it already."""
    given, rule = given if isinstance(given, tuple) else (given, None)
    matrix = given.matrix if isinstance(given, Built) else given
    return (
        (matrix, 0.0) if rule is None else (factored_tikhonov(matrix, LAMBDA), LAMBDA)
    )


def test_every_row_against_dense_computations(problem):
    exact, approximations, gradient, names = problem
    comparison = compare(exact, approximations, gradient, LAMBDA, names)
    F, flat = (
        host(exact.to_dense()),
        np.concatenate([host(D).ravel() for D in gradient]),
    )
    ends = np.cumsum([0] + [D.size for D in gradient])
    for name in approximations:
        matrix, inside = as_compared(approximations[name])
        M = host(matrix.to_dense()) - inside * np.eye(len(F))
        cuts = [*zip(names, ends[:-1], ends[1:], strict=True), (None, 0, len(F))]
        for layer, s, e in cuts:
            row = comparison.row(name, layer)
            numbers = expected(M[s:e, s:e], F[s:e, s:e], flat[s:e], LAMBDA)
            for number, value in numbers.items():
                # the exact blocks are at a distance of rounding errors only
                zero = ACOS if number == "angle" else 1e-12
                found = getattr(row, number)
                assert found == pytest.approx(value, rel=1e-9, abs=zero), number
            assert row.parameters == e - s
        assert row.storage == matrix.storage


def test_what_mathematics_says_about_the_rows(problem):
    exact, approximations, gradient, names = problem
    comparison = compare(exact, approximations, gradient, LAMBDA, names)
    whole = {name: comparison.row(name).frobenius_error for name in approximations}
    assert whole["exact blocks"] < whole["eigenvalues"] < whole["K-FAC"]
    for layer in names:
        assert comparison.row("exact blocks", layer).frobenius_error < 1e-12
        assert comparison.row("exact blocks", layer).angle < 1e-10
        assert comparison.row("diagonal", layer).frobenius_error > 0.1
        chain, factored = (
            comparison.row(name, layer) for name in ("tridiagonal", "factored")
        )  # they agree on the diagonal blocks, section 4.3 of the paper
        assert chain.frobenius_error == pytest.approx(factored.frobenius_error)
        assert chain.storage is None  # its layers share what it stores
        assert factored.storage == comparison.row("K-FAC", layer).storage
    assert whole["tridiagonal"] < whole["factored"]


@pytest.mark.parametrize("rule", ["factored_tikhonov", factored_tikhonov, "by_kind"])
def test_one_rule_for_all_or_one_for_each(rule, xp, rng):
    """The number is that of the damped matrix, less lambda I; and of its solve."""
    A, G = positive(rng, 3), 0.04 * positive(rng, 5)
    K = KroneckerProduct(xp.asarray(A), xp.asarray(G))
    F = np.kron(A, G) + 0.01 * positive(rng, 15)
    gradient = rng.normal(size=(3, 5))
    given_ = (dense(xp, F), {"K": K}, [xp.asarray(gradient)], LAMBDA)
    ruled = compare(*given_, rule=rule).row("K")
    damped = host(factored_tikhonov(K, LAMBDA).to_dense())
    numbers = expected(damped - LAMBDA * np.eye(15), F, gradient.ravel(), LAMBDA)
    for number, value in numbers.items():
        assert getattr(ruled, number) == pytest.approx(value, rel=1e-8), number
    exact = compare(*given_).row("K")
    assert abs(ruled.angle / exact.angle - 1) > 0.1  # it is another damping
    own = {"exact": (K, "tikhonov"), "ruled": K, "inside": (K, lambda M, _: M)}
    both = compare(given_[0], own, *given_[2:], rule=rule)
    assert both.row("ruled").angle == ruled.angle
    assert both.row("exact").angle == pytest.approx(exact.angle, rel=1e-8)
    error = both.row("exact").frobenius_error
    assert error == pytest.approx(exact.frobenius_error, rel=1e-8)
    less = np.kron(A, G) - LAMBDA * np.eye(15)
    for number, value in expected(less, F, gradient.ravel(), LAMBDA).items():
        found = getattr(both.row("inside"), number)
        assert found == pytest.approx(value, rel=1e-8), number


def test_seconds_are_those_given(xp, rng):
    F = dense(xp, positive(rng, 6))
    gradient = [xp.asarray(rng.normal(size=(2, 3)))]
    row = compare(F, {"given": Built(F, 1.25)}, gradient, LAMBDA).row("given")
    assert row.build_seconds == 1.25
    ruled = compare(F, {"g": (Built(F, 1.25), "tikhonov")}, gradient, LAMBDA).row("g")
    assert 1.25 < ruled.build_seconds < 61.25  # and those of the rule
    assert 0 < row.solve_seconds < 60
    bare = compare(F, {"bare": F}, gradient, LAMBDA)
    assert bare.row("bare").build_seconds is None
    assert bare.layers == ["layer 0", None]
    built = timed(lambda n, scale: dense(xp, scale * positive(rng, n)), 3, scale=2.0)
    assert built.matrix.size == 3 and built.seconds > 0


def test_the_dict_is_plain_and_complete(problem):
    exact, approximations, gradient, names = problem
    comparison = compare(exact, approximations, gradient, LAMBDA, names)
    again = json.loads(json.dumps(comparison.to_dict(), allow_nan=False))
    assert again == comparison.to_dict()
    assert again["damping"] == LAMBDA
    rows = again["rows"]
    assert len(rows) == len(approximations) * (len(names) + 1)
    assert [row["layer"] for row in rows[:: len(approximations)]] == [*names, None]
    assert rows[-1]["approximation"] == "sampled"
    assert rows[-1]["angle"] == comparison.row("sampled").angle


def test_the_table_is_aligned_and_holds_the_numbers(problem):
    exact, approximations, gradient, names = problem
    comparison = compare(exact, approximations, gradient, LAMBDA, names)
    text = str(comparison)
    sections = text.split("\n\n")
    assert len(sections) == len(names) + 1
    assert sections[0].startswith(f"{names[0]} (24 x 24), lambda = 0.07\n")
    assert sections[-1].startswith("whole matrix (83 x 83), lambda = 0.07\n")
    for section in sections:
        lines = section.split("\n")[1:]
        assert len({len(line) for line in lines}) == 1  # one width
        for line, name in zip(lines[1:], approximations, strict=True):
            assert line.startswith(f"  {name} ")
    row = comparison.row("K-FAC")
    cells = next(x for x in sections[-1].split("\n") if "K-FAC" in x).split()[1:]
    assert float(cells[0]) == pytest.approx(row.frobenius_error, rel=6e-3)
    assert float(cells[3].rstrip("°")) == pytest.approx(row.angle, rel=6e-3)
    assert int(cells[5]) == row.storage
    chain = next(x for x in sections[0].split("\n") if "tridiagonal" in x).split()
    assert chain[6:8] == ["-", "-"]


def test_progress_wraps_the_list_of_approximations(xp, rng):
    F, seen = dense(xp, positive(rng, 6)), []

    def progress(items):
        seen.extend(name for name, _ in items)
        return items

    gradient = [xp.asarray(rng.normal(size=(2, 3)))]
    compare(F, {"one": F, "two": F}, gradient, LAMBDA, progress=progress)
    assert seen == ["one", "two"]


def test_rows_are_found_by_name(xp, rng):
    F = dense(xp, positive(rng, 6))
    gradient = [xp.asarray(rng.normal(size=(2, 3)))]
    comparison = compare(F, {"K-FAC": F}, gradient, LAMBDA, ["dense"])
    assert isinstance(comparison, Comparison)
    assert comparison.row("K-FAC", "dense") is comparison.rows[0]
    assert comparison.row("K-FAC") is comparison.rows[-1]


def test_a_kronecker_block_is_compared_without_its_name(xp, rng):
    """The numbers are functions of any two matrices, whatever their kinds."""
    A, G = positive(rng, 3), positive(rng, 5)
    M = KroneckerProduct(xp.asarray(A), xp.asarray(G))
    F = np.kron(A, G) + 0.01 * positive(rng, 15)
    numbers = expected(np.kron(A, G), F, np.ones(15), LAMBDA)
    found = angle(M, dense(xp, F), xp.asarray(np.ones(15)), LAMBDA)
    assert found == pytest.approx(numbers["angle"], rel=1e-8)


# What is undefined

ERRORS, STEPS = ("frobenius_error", "spectral_error"), ("angle", "damped_norm_ratio")


def undefined(row):
    names = (*ERRORS, "inverse_error", *STEPS)
    return {name for name in names if math.isnan(getattr(row, name))}


@pytest.mark.parametrize("blank", [set(), {"F"}, {"F", "M"}, {"g"}, {"F", "g"}])
def test_a_layer_without_a_value_leaves_the_others_alone(xp, rng, blank):
    """The second of three: its exact block F, its approximation M, its gradient g."""
    sizes, cuts = [(1, 3), (2, 2), (1, 5)], [(0, 3), (3, 7), (7, 12), (0, 12)]
    F, M = positive(rng, 12), positive(rng, 12)
    gradient = [rng.normal(size=size) for size in sizes]
    for X in [F] * ("F" in blank) + [M] * ("M" in blank):
        X[3:7], X[:, 3:7] = 0.0, 0.0
    gradient[1] *= "g" not in blank
    flat = np.concatenate([D.ravel() for D in gradient])
    found = compare(
        dense(xp, F), {"M": dense(xp, M)}, [xp.asarray(D) for D in gradient], LAMBDA
    )
    for row, (s, e) in zip(found.rows, cuts, strict=True):
        dead = row.layer == "layer 1"
        none = {*ERRORS * (dead and "F" in blank), *STEPS * (dead and "g" in blank)}
        assert undefined(row) == none
        with np.errstate(invalid="ignore", divide="ignore"):
            part = flat[s:e] if not none & {*STEPS} else np.ones(e - s)
            numbers = expected(M[s:e, s:e], F[s:e, s:e], part, LAMBDA)
        for name in numbers.keys() - none:
            assert getattr(row, name) == pytest.approx(
                numbers[name], rel=1e-9, abs=ACOS if name == "angle" else 1e-12
            ), name
    again = json.loads(json.dumps(found.to_dict(), allow_nan=False))["rows"]
    assert {k for k, v in again[1].items() if v is None} == {
        "build_seconds", "storage", *undefined(found.rows[1])
    }  # fmt: skip
    assert copy.deepcopy(found) == pickle.loads(pickle.dumps(found)) == found
    assert {*pickle.loads(pickle.dumps(found.rows))} == {*found.rows}
    text = str(found)
    assert ("Undefined (-): Frobenius" in text) is bool(blank - {"M"})
    assert "nan" not in text and text.split("\n\n")[1].count(" -  ") >= len(
        undefined(found.rows[1])
    )
    axes = comparison_figure(found).axes
    drawn = [text.get_text() for ax in axes for text in ax.texts]
    assert "nan" not in drawn and drawn.count("-") == len(
        {"frobenius_error", "angle"} & undefined(found.rows[1])
    )


def test_nothing_but_zeros(xp, rng):
    """At a stationary point the matrices are compared; and the other way round."""
    zeros, F = dense(xp, np.zeros((4, 4))), dense(xp, positive(rng, 4))
    still, moving = xp.asarray(np.zeros((2, 2))), xp.asarray(np.ones((2, 2)))
    for exact, gradient, none in (
        (zeros, still, {*ERRORS, *STEPS}), (zeros, moving, {*ERRORS}),
        (F, still, {*STEPS}), (F, moving, set()),
    ):  # fmt: skip
        for row in compare(exact, {"F": F, "0": zeros}, [gradient], LAMBDA).rows:
            assert undefined(row) == none
            same = (exact is F) is (row.approximation == "F")
            assert (row.inverse_error == 0) is same


def test_a_dead_layer_of_a_net(xp, rng):
    """Its ReLUs let nothing through, and its exact block is zero to the last bit."""
    network = Network([Dense(5, 4), ReLU(), Dense(4, 3)], Categorical())
    params = network.init(rng)
    params[0][-1] = -100.0
    params = [xp.asarray(W) for W in params]
    x, y = xp.asarray(rng.normal(size=(7, 5))), xp.asarray(rng.integers(0, 3, 7))
    exact = fisher_matrix(network, params, x)
    kfac = curvature(network, params, x)
    gradient = network.gradient(params, x, y)
    found = compare(exact, {"K-FAC": kfac}, gradient, LAMBDA, network.names)
    dead, alive, whole = found.rows
    assert undefined(dead) == {*ERRORS, *STEPS} and dead.inverse_error < 1e-12
    assert not undefined(alive) and not undefined(whole)
    assert alive.frobenius_error == pytest.approx(whole.frobenius_error, abs=1e-12)
    with pytest.raises(NotPositiveDefinite, match="lambda = 0 "):
        compare(exact, {"K-FAC": kfac}, gradient, 0.0)
