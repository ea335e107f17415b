"""What a first user tries by mistake, and what he is told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from helpers import assert_exact, host
from kfac_ref import (
    FisherProduct,
    compare,
    curvature,
    factored_tikhonov,
)
from kfac_ref.backend import get_xp
from kfac_ref.distributions import Categorical, Distribution, Normal
from kfac_ref.errors import (
    BackendError,
    KfacTypeError,
    NotPositiveDefinite,
    ShapeError,
    Unsupported,
    ValueRangeError,
    describe,
)
from kfac_ref.exact.dense import fisher_matrix
from kfac_ref.exact.hessian import hessian_matrix
from kfac_ref.layers import Dense, Embedding, Layer, Residual, Sequential, Tanh
from kfac_ref.network import Network
from kfac_ref.optimizer.state import Place
from kfac_ref.pairs import given_pairs, propagate
from kfac_ref.structures import make_structure
from networks import N, chain, classes, inputs, parameters


@pytest.fixture
def problem(xp, rng):
    net = chain()
    return net, parameters(net, rng, xp), inputs(rng, xp), classes(rng, xp)


@pytest.mark.parametrize("dtype", ["uint8", "int64", "bool", "float16", "float32"])
def test_inputs_of_another_type_are_refused(problem, xp, dtype):
    """Integers overflow when they are squared; nothing is cast silently."""
    net, params, x, y = problem
    other = xp.asarray(np.abs(host(x)).astype(dtype))
    for function in (
        lambda: net.loss(params, other, y),
        lambda: fisher_matrix(net, params, other),
        lambda: curvature(net, params, other),
        lambda: FisherProduct(net.linearize(params, other)),
    ):
        with pytest.raises(ValueRangeError, match=rf"found .*{dtype}.*; use x.astype"):
            function()


def test_mixed_parameters_are_refused(problem):
    net, params, x, _ = problem
    mixed = [params[0].astype(np.float32), *params[1:]]
    with pytest.raises(ValueRangeError, match="found float32 and float64"):
        net.predict(mixed, x)


def test_only_lookups_take_integers(xp, rng):
    net = Network([Embedding(7, 4), Dense(4, 3)], Categorical())
    params, x = parameters(net, rng, xp), xp.asarray(rng.integers(0, 7, (5, 2)))
    assert net.predict(params, x).shape == (5, 2, 3)
    assert Residual([Embedding(7, 4)]).takes_integers
    assert not Sequential([]).takes_integers


class Flat(Layer):
    """A layer whose a, or whose g, has forgotten the axis of positions."""

    blocks = 1

    def __init__(self, wrong):
        self.dense, self.wrong = Dense(5, 3, bias=False), wrong

    def __repr__(self):
        return f"Flat({self.wrong!r})"

    def shapes(self):
        return self.dense.shapes()

    def forward(self, params, x):
        return self.dense.forward(params, x)

    def read_a(self, tape):
        a = self.dense.read_a(tape)
        return a[:, 0] if self.wrong == "a" else a

    def read_g(self, tape, dy):
        g = self.dense.read_g(tape, dy)
        return g[:, :, 0] if self.wrong == "g" else g


@pytest.mark.parametrize(
    "wrong, shape", [("a", r"\(1, any, 5\)"), ("g", r"\(3, 11, 1, 3\)")]
)
def test_pairs_of_another_rank_are_refused(xp, rng, wrong, shape):
    net = Network([Flat(wrong)], Categorical())
    params, x = [xp.asarray(rng.normal(size=(5, 3)))], inputs(rng, xp)
    with pytest.raises(ShapeError, match=rf"{wrong} of layer 0: Flat.*{shape}"):
        curvature(net, params, x)
    right = Network([Flat("")], Categorical())
    plain = Network([Dense(5, 3, bias=False)], Categorical())
    expected = curvature(plain, params, x).to_dense()
    assert_exact(curvature(right, params, x).to_dense(), expected)


def test_a_singular_matrix_is_not_solved_by_eigenvalue_corrected(problem):
    net, params, x, _ = problem
    E = curvature(net, params, x, "eigenvalue_corrected")
    v = E @ net.flatten(params)
    with pytest.raises(NotPositiveDefinite, match="lambda = 0 its eigenvalues"):
        E.solve(v)
    assert_exact(E @ E.solve(v, 0.03) + 0.03 * E.solve(v, 0.03), v, 1e-10)


def test_compare_does_not_damp_twice(problem):
    net, params, x, y = problem
    F, K = fisher_matrix(net, params, x), curvature(net, params, x)
    gradient, lam = net.gradient(params, x, y), 0.03
    chain = curvature(net, params, x, "block_tridiagonal")
    with pytest.raises(ValueRangeError, match="'t' is damped already.*rule=factored"):
        compare(F, {"t": factored_tikhonov(chain, lam)}, gradient, lam)
    with pytest.raises(Unsupported, match="chain of .* compare takes them with rule="):
        compare(F, {"t": chain}, gradient, lam)
    for matrix in (K, chain):
        damped = factored_tikhonov(matrix, lam)
        row = compare(F, {"t": matrix}, gradient, lam, rule=factored_tikhonov).row("t")
        for given in (
            (matrix, "factored_tikhonov"), (damped, lambda damped, _: damped)
        ):  # fmt: skip
            again = compare(F, {"t": given}, gradient, lam).row("t")
            assert replace(again, solve_seconds=0.0) == replace(row, solve_seconds=0.0)
        u = host(damped.solve(net.flatten(gradient)))
        v = host(F.solve(net.flatten(gradient), lam))
        cosine = u @ v / np.linalg.norm(u) / np.linalg.norm(v)
        assert abs(row.angle - np.degrees(np.arccos(cosine))) < 1e-6


def test_compare_wants_a_dict_of_matrices(problem):
    net, params, x, y = problem
    F, gradient = fisher_matrix(net, params, x), net.gradient(params, x, y)
    with pytest.raises(KfacTypeError, match="expected a dict .*found list"):
        compare(F, [F], gradient, 0.1)
    with pytest.raises(KfacTypeError, match="approximation 'f': expected a matrix"):
        compare(F, {"f": lambda: F}, gradient, 0.1)
    zero = [0.0 * W for W in params]
    nothing = fisher_matrix(net, zero, x)
    for row in compare(nothing, {"f": nothing}, gradient, 0.1).rows:
        dead = row.layer in ("layer 0", "layer 1")
        assert (row.frobenius_error == 0) is (row.spectral_error == 0) is not dead


def test_a_network_without_parameters_has_no_curvature(xp, rng):
    net, x = Network([Tanh()], Categorical()), inputs(rng, xp)
    assert net.predict([], x).shape == x.shape
    for function in (
        lambda: fisher_matrix(net, [], x),
        lambda: curvature(net, [], x),
        lambda: FisherProduct(net.linearize([], x)),
    ):
        with pytest.raises(Unsupported, match="has no parameters, and so no curvature"):
            function()
    if xp is np:
        with pytest.raises(Unsupported, match="has no parameters"):
            hessian_matrix(net, [], x, classes(rng, np))


def test_classes_in_place_of_instances():
    for wrong in (Categorical, "categorical", None):
        with pytest.raises(KfacTypeError, match="such as Categorical"):
            Network([Dense(4, 3)], wrong)
    with pytest.raises(KfacTypeError, match="layer 1: expected an instance"):
        Network([Dense(4, 3), Tanh], Categorical())
    assert repr(Residual(Dense(4, 4))) == "Residual([Dense(4, 4)])"


def test_numbers_that_are_none(problem, rng):
    net, params, x, _ = problem
    for seed in (0, np.random.RandomState(0)):
        with pytest.raises(ValueRangeError, match="expected a numpy.random.Generator"):
            net.init(seed)
        with pytest.raises(ValueRangeError, match="numpy.random.default_rng"):
            propagate(net.linearize(params, x), "sampled", rng=seed)
    for dtype in (int, np.float16):
        with pytest.raises(ValueRangeError, match="expected float64 or float32"):
            net.init(rng, dtype)
    for samples in (1.5, "3", True):
        with pytest.raises(ValueRangeError, match="samples.*whole number >= 1"):
            propagate(net.linearize(params, x), "sampled", rng=rng, samples=samples)
    for memory in (0, -5, None):
        with pytest.raises(ValueRangeError, match="memory.*whole number >= 1"):
            propagate(net.linearize(params, x), memory=memory)
    for block in (1.0, "0", True, -1):
        with pytest.raises(ValueRangeError, match="block: expected a whole number"):
            fisher_matrix(net, params, x, block)
    with pytest.raises(ShapeError, match="params: expected a list of 3.*found None"):
        net.predict(None, x)


def test_options_that_a_structure_does_not_take(problem):
    net, params, x, _ = problem
    found = propagate(net.linearize(params, x))
    message = "unknown argument 'damping': a matrix is damped after .*known: none"
    with pytest.raises(KfacTypeError, match=message):
        make_structure("block_tridiagonal", found, damping=0.1)
    with pytest.raises(KfacTypeError, match=message):
        make_structure("kronecker", found, damping=0.1)


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
def test_arrays_that_compute_by_other_rules():
    for array in (np.ma.masked_array(np.ones((7, 5))), np.ones((7, 5)).view(np.matrix)):
        with pytest.raises(BackendError, match="expected a plain array"):
            get_xp(array)


def test_labels_in_a_list_are_named(problem):
    net, params, x, _ = problem
    with pytest.raises(BackendError, match="labels: .* found a list of int; make it"):
        net.loss(params, x, [1] * N)
    with pytest.raises(BackendError, match="labels: .* found a list of int64; make it"):
        net.loss(params, x, list(np.ones(N, np.int64)))


def test_given_pairs_of_lists_integers_and_too_many_names(xp, rng):
    a = xp.asarray(rng.normal(size=(5, 1, 3)))
    g = xp.asarray(rng.normal(size=(2, 5, 1, 7)))
    with pytest.raises(ShapeError, match="a: expected an array .*found list"):
        given_pairs([[1.0]], [g])
    with pytest.raises(ShapeError, match="names: expected 1, found 2"):
        given_pairs([a], [g], names=["one", "two"])
    whole = xp.asarray(np.ones((5, 1, 3), dtype=np.int64))
    with pytest.raises(ValueRangeError, match="a and g: .*found float64 and int64"):
        given_pairs([whole], [g])


class NoLoss(Distribution):
    """Lacks everything."""


def test_what_is_not_written_is_named():
    with pytest.raises(NotImplementedError, match="NoLoss has no method 'nll'"):
        NoLoss().nll(None, None)
    assert Network([Dense(4, 3)], Normal()).size == 15


def test_swapped_arguments_are_shown_without_their_numbers(rng):
    """In one short line: what was expected, and what of it was found."""
    net = Network([Dense(4, 3)], Normal())
    params, x = net.init(rng), rng.normal(size=(7, 4))
    pairs = propagate(net.linearize(params, x))
    with pytest.raises(
        KfacTypeError, match=r"^name: expected .*'?Propagated\(names=\['0: D"
    ):
        make_structure(pairs, "kronecker")
    for value in (pairs, net.linearize(params, x), pairs.part(0, 3)):
        shown = describe(value)
        assert shown.startswith(f"{type(value).__name__}(") and len(shown) <= 120
        assert "\n" not in shown and "0." not in shown
    shown = "Place(order=numpy.ndarray of shape (2000,), int64, seen=3)"
    assert describe(Place(np.arange(2000), 3)) == shown
