"""Laws of layers: jvp, vjp and (a, g) against autograd, differences, each other.

Each law runs over every layer of layer_cases.py on every backend.
"""

from __future__ import annotations

import numpy as np
import pytest
from autograd import elementwise_grad

import kfac_ref.layers as layers
from helpers import assert_exact, host, relative_error
from kfac_ref.layers import Layer, ReLU, Sigmoid, Softplus
from layer_cases import CASES, WITH_PARAMETERS, witness

K = 2
every_case = pytest.mark.parametrize("case", CASES, ids=str)
REALS = [case for case in CASES if not case.words]


def run(case, xp, dtype=np.float64):
    """Parameters, input, output and tape on the backend."""
    params, x = case.draw()
    params = [xp.asarray(W.astype(dtype)) for W in params]
    x = xp.asarray(x if case.words else x.astype(dtype))
    return params, x, *case.layer.forward(params, x)


def tangents(case, rng, xp, dtype=np.float64):
    """K tangents of the parameters, and of the input (None for integers)."""
    params, x = case.draw()
    dparams = [rng.normal(size=(K, *W.shape)).astype(dtype) for W in params]
    dx = None if case.words else rng.normal(size=(K, *x.shape)).astype(dtype)
    return [xp.asarray(d) for d in dparams], None if dx is None else xp.asarray(dx)


def flat(arrays):
    """Arrays (K, ...) of the backend as host rows, one after the other."""
    return np.concatenate([host(v).reshape(K, -1) for v in arrays], axis=1)


def gradients(case, a, g):
    """D_nk = sum_t a_nt g_nkt^T of every block, (K, N, P)."""
    D = [
        np.einsum("nti,knto->knio", host(ai), host(gi))
        for ai, gi in zip(a, g, strict=True)
    ]
    for d, shape in zip(D, case.layer.shapes(), strict=True):
        assert d.shape[2:] == shape
    return np.concatenate([d.reshape(*d.shape[:2], -1) for d in D], axis=2)


@every_case
def test_forward_is_the_same_on_every_backend(case, xp):
    _, _, y, _ = run(case, xp)
    assert_exact(y, witness(case).y)
    assert y.shape[0] == case.shape[0]


@pytest.mark.parametrize("case", REALS, ids=str)
def test_vjp_is_the_transposed_jacobian(case, xp, rng):
    params, x, y, tape = run(case, xp)
    dy = rng.normal(size=(K, *y.shape))
    dx = case.layer.vjp(params, tape, xp.asarray(dy))
    expected = dy.reshape(K, -1) @ witness(case).input
    assert_exact(dx, expected.reshape(K, *x.shape))


@every_case
def test_jvp_is_the_jacobian(case, xp, rng):
    params, _, y, tape = run(case, xp)
    dparams, dx = tangents(case, rng, xp)
    J = witness(case)
    expected = np.zeros((K, y.size))
    if params:
        expected += flat(dparams) @ J.parameters.T
        alone = case.layer.jvp(params, tape, dparams, None)
        assert_exact(alone, expected.reshape(K, *y.shape))
    if dx is not None:
        expected += flat([dx]) @ J.input.T
    dy = case.layer.jvp(params, tape, dparams, dx)
    assert_exact(dy, expected.reshape(K, *y.shape))


@every_case
def test_a_zero_tangent_stays_none_without_parameters(case, xp, rng):
    params, _, y, tape = run(case, xp)
    dy = case.layer.tangent(params, tape, tangents(case, rng, xp)[0], None)
    assert (dy is None) == (case.layer.blocks == 0)
    assert dy is None or dy.shape == (K, *y.shape)


@every_case
def test_jvp_is_the_limit_of_differences(case, xp, rng):
    """Central differences: an error of order h^2 = 4e-11, and eps / h = 4e-11."""
    h = np.cbrt(np.finfo(float).eps)
    params, x, _, tape = run(case, xp)
    dparams, dx = tangents(case, rng, xp)

    def moved(step, k):
        own = [W + step * d[k] for W, d in zip(params, dparams, strict=True)]
        return host(case.layer.forward(own, x if dx is None else x + step * dx[k])[0])

    difference = [
        (moved(float(h), k) - moved(-float(h), k)) / (2 * h) for k in range(K)
    ]
    dy = case.layer.jvp(params, tape, dparams, dx)
    assert relative_error(dy, np.stack(difference)) < 1e-8


@every_case
def test_backward_is_the_adjoint_of_jvp(case, xp, rng):
    """<dy, J (dW, dx)> = sum <D_nk, dW> + <J^T dy, dx>; nothing of autograd here."""
    params, _, y, tape = run(case, xp)
    dparams, dx = tangents(case, rng, xp)
    moved = host(case.layer.jvp(params, tape, dparams, dx)).reshape(K, -1)
    dy = rng.normal(size=(K, *y.shape))
    back, g = case.layer.backward(params, tape, xp.asarray(dy), dx is not None)
    left = (dy.reshape(K, -1) * moved).sum(axis=1)
    right = np.zeros(K)
    if params:
        D = gradients(case, case.layer.inputs(tape), g).sum(axis=1)
        right += (D * flat(dparams)).sum(axis=1)
    if dx is not None:
        right += (flat([back]) * flat([dx])).sum(axis=1)
    # relative to the norms, since the inner products may be small by cancellation
    scale = np.linalg.norm(dy.reshape(K, -1), axis=1) * np.linalg.norm(moved, axis=1)
    assert np.all(abs(left - right) <= 1e-12 * scale)


@pytest.mark.parametrize("case", WITH_PARAMETERS, ids=str)
def test_a_and_g_make_the_gradient_of_every_example(case, xp, rng):
    params, _, y, tape = run(case, xp)
    dy = rng.normal(size=(K, *y.shape))
    none, g = case.layer.backward(params, tape, xp.asarray(dy), input_needed=False)
    assert none is None
    D = gradients(case, case.layer.inputs(tape), g)  # (K, N, P)
    N = len(y)
    J = witness(case).parameters.reshape(N, y.size // N, -1)
    expected = np.einsum("kno,nop->knp", dy.reshape(K, N, -1), J)
    assert_exact(D.sum(axis=1), expected.sum(axis=1))
    if not case.layer.mixes_examples:
        assert_exact(D, expected)
    else:  # what arrives at an example comes from the outputs of all
        assert relative_error(D, expected) > 0.1


@pytest.mark.parametrize("case", WITH_PARAMETERS, ids=str)
def test_shapes_of_parameters_and_pairs(case, xp, rng):
    params, _, y, tape = run(case, xp)
    dy = xp.asarray(rng.normal(size=(K, *y.shape)))
    _, g = case.layer.backward(params, tape, dy, input_needed=False)
    assert [W.shape for W in params] == case.layer.shapes()
    assert len(params) == len(case.layer.names()) == case.layer.blocks
    for a, gi, (d_in, d_out) in zip(
        case.layer.inputs(tape), g, case.layer.shapes(), strict=True
    ):
        N, T = a.shape[:2]
        assert a.shape == (N, T, d_in) and gi.shape == (K, N, T, d_out)
        assert len(y) == N


@pytest.mark.parametrize("case", REALS, ids=str)
def test_mixes_examples_is_true_exactly_where_they_mix(case):
    J, N = witness(case), case.shape[0]
    blocks = J.input.reshape(N, J.y.size // N, N, -1)
    others = blocks * (1.0 - np.eye(N))[:, None, :, None]
    if case.layer.mixes_examples:
        assert np.linalg.norm(others) > 0.1 * np.linalg.norm(blocks)
    else:
        assert not others.any()


@every_case
def test_float32_stays_float32(case, xp, rng):
    params, _, y, tape = run(case, xp, np.float32)
    dparams, dx = tangents(case, rng, xp, np.float32)
    dy = case.layer.jvp(params, tape, dparams, dx)
    back, g = case.layer.backward(params, tape, dy, dx is not None)
    made = [y, dy, *case.layer.inputs(tape), *g, *([] if back is None else [back])]
    assert {str(v.dtype) for v in made} == {"float32"}
    # sums of at most 20 terms, through at most 8 layers
    assert relative_error(y, witness(case).y) < 160 * np.finfo(np.float32).eps


@every_case
def test_repr_is_the_way_to_make_the_layer(case):
    if "..." not in repr(case.layer):
        again = eval(repr(case.layer), vars(layers).copy())
        assert repr(again) == repr(case.layer)
        assert again.shapes() == case.layer.shapes()


def test_relu_at_zero_is_zero_with_derivative_zero(xp):
    x = xp.asarray(np.array([[0.0, -0.0, 2.0, -3.0]]))
    y, tape = ReLU().forward([], x)
    assert host(y).tolist() == [[0.0, 0.0, 2.0, 0.0]]
    ones = xp.ones_like(x)[None]
    for derivative in (ReLU().jvp([], tape, [], ones), ReLU().vjp([], tape, ones)):
        assert host(derivative).tolist() == [[[0.0, 0.0, 1.0, 0.0]]]
    slope = elementwise_grad(lambda v: ReLU().forward([], v)[0])(host(x))
    assert slope.tolist() == [[0.0, 0.0, 1.0, 0.0]]  # of the forward code, too


def test_sigmoid_and_softplus_do_not_overflow(xp):
    x = xp.asarray(np.array([[-800.0, -40.0, 40.0, 800.0]]))
    assert_exact(
        Sigmoid().forward([], x)[0], np.array([[0.0, np.exp(-40.0), 1.0, 1.0]])
    )
    assert host(Softplus().forward([], x)[0])[0, 3] == 800.0
    slope = host(Sigmoid().derivative(x, Sigmoid().function(x)))[0]
    assert_exact(slope[1:3], np.exp([-40.0, -40.0]))


def test_a_layer_has_no_parameters_unless_it_says_so(rng):
    layer = Layer()
    assert (
        layer.init(rng) == layer.shapes() == layer.names() == layer.inputs(None) == []
    )


def test_every_exported_layer_has_a_case():
    named = "".join(map(str, CASES))
    functions = {"glorot", "he", "lecun", "sparse", "Layer"}
    assert [
        n for n in layers.__all__ if n not in functions and f"{n}(" not in named
    ] == []
    assert layers.__all__ == sorted(layers.__all__)
