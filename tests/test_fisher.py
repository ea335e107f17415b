"""The exact matrices and their products against the definition, by autograd."""

from __future__ import annotations

import autograd
import autograd.numpy as anp
import numpy as np
import pytest
from scipy.sparse.linalg import cg, eigsh

import strict
from helpers import assert_exact, host, relative_error
from kfac_ref import definition
from kfac_ref.backend import get_xp
from kfac_ref.distributions import (
    Bernoulli,
    Categorical,
    Joint,
    Normal,
    NormalMeanVariance,
    Poisson,
)
from kfac_ref.errors import (
    BackendError,
    Unsupported,
    ValueRangeError,
)
from kfac_ref.exact.dense import empirical_fisher_matrix, fisher_matrix, ggn_matrix
from kfac_ref.exact.hessian import HessianProduct, hessian_matrix
from kfac_ref.exact.products import (
    FisherProduct,
    GGNProduct,
    curvature_product,
)
from kfac_ref.layers import (
    BatchStandardize,
    Conv2d,
    Dense,
    Embedding,
    Flatten,
    LayerStandardize,
    ReLU,
    Residual,
    ScaleShift,
    Tanh,
)
from kfac_ref.network import Network
from networks import N, chain, classes, inputs, parameters


def labels(distribution, rng):
    kind = type(distribution)
    if kind is Categorical:
        return rng.integers(0, 3, N)
    if kind is Bernoulli:
        return rng.integers(0, 2, (N, 3))
    if kind is Poisson:
        return rng.poisson(2.0, (N, 3))
    return rng.normal(size=(N, 3))


def dense_network(x, matrices):
    """tanh(.. [x, 1] W ..) from scratch, for autograd."""
    for i, W in enumerate(matrices):
        x = anp.concatenate([x, anp.ones((len(x), 1))], axis=1) @ W
        x = anp.tanh(x) if i < len(matrices) - 1 else x
    return x


def as_function(shapes):
    """theta, x -> z, written here, with nothing from the package."""

    def function(theta, x):
        matrices, start = [], 0
        for d, o in shapes:
            matrices.append(theta[start : start + d * o].reshape(d, o))
            start += d * o
        return dense_network(x, matrices)

    return function


CASES = [Categorical(), Bernoulli(), Normal(0.7), Poisson(), NormalMeanVariance()]


def problem(distribution, rng, xp):
    outputs = 6 if isinstance(distribution, NormalMeanVariance) else 3
    net = chain(distribution=distribution, sizes=(5, 2, 4, outputs))
    params = parameters(net, rng, xp)
    return net, params, inputs(rng, xp), xp.asarray(labels(distribution, rng))


OUTCOMES = {
    Categorical: definition.categorical_outcomes,
    Bernoulli: definition.bernoulli_outcomes,
    Normal: lambda z: definition.normal_outcomes(z, 0.7),
    Poisson: definition.poisson_outcomes,
    NormalMeanVariance: definition.normal_mean_variance_outcomes,
}


def log_prob(distribution):
    return {
        Categorical: definition.categorical_log_prob,
        Bernoulli: definition.bernoulli_log_prob,
        Normal: lambda z, y: definition.normal_log_prob(z, y, 0.7),
        Poisson: definition.poisson_log_prob,
        NormalMeanVariance: definition.normal_mean_variance_log_prob,
    }[type(distribution)]


@pytest.mark.parametrize("distribution", CASES, ids=repr)
def test_fisher_equals_the_definition(xp, rng, distribution):
    net, params, x, _ = problem(distribution, rng, xp)
    if isinstance(distribution, Poisson):  # the witness sums over 30 counts an output
        net = chain(distribution=distribution, sizes=(5, 2, 4, 1))
        params = parameters(net, rng, xp)
    theta, function = host(net.flatten(params)), as_function(net.shapes)
    outcomes = OUTCOMES[type(distribution)]
    F = definition.fisher(function, theta, host(x), log_prob(distribution), outcomes)
    assert_exact(fisher_matrix(net, params, x).to_dense(), F)


def loss(distribution):
    minus = log_prob(distribution)
    return lambda z, y: -minus(z, y)


@pytest.mark.parametrize("distribution", CASES, ids=repr)
def test_ggn_empirical_fisher_and_hessian_equal_the_definition(xp, rng, distribution):
    net, params, x, y = problem(distribution, rng, xp)
    theta, function = host(net.flatten(params)), as_function(net.shapes)
    given = (function, theta, host(x), host(y), loss(distribution))
    G = ggn_matrix(net, params, x, y).to_dense()
    assert_exact(G, definition.ggn(*given))
    E = empirical_fisher_matrix(net, params, x, y).to_dense()
    assert_exact(E, definition.empirical_fisher(*given))
    if xp is np:
        H = hessian_matrix(net, params, x, y).to_dense()
        assert_exact(H, definition.hessian(*given), 1e-11)
        assert relative_error(H, G) > 0.01
    assert relative_error(E, G) > 0.05


def test_fisher_and_ggn_differ_for_predicted_variance(xp, rng):
    net, params, x, y = problem(NormalMeanVariance(), rng, xp)
    F, G = fisher_matrix(net, params, x), ggn_matrix(net, params, x, y)
    assert relative_error(G.to_dense(), F.to_dense()) > 0.1
    assert float(G.eigenvalues()[0]) < -1e-3  # the GGN is indefinite
    at = net.linearize(params, x)
    assert GGNProduct(at, y).indefinite and not FisherProduct(at).indefinite
    with pytest.raises(Unsupported, match="no real square root"):
        GGNProduct(net.linearize(params, x), y).factor(xp.asarray(np.ones(6 * N)))
    with pytest.raises(ValueRangeError, match="need the observed labels"):
        ggn_matrix(net, params, x)


def shared(distribution=None):
    """A network with every kind of block: positions shared and not."""
    layers = [
        Conv2d(2, 3, (2, 3), stride=(1, 2)),
        ReLU(),
        LayerStandardize(),
        ScaleShift(3),
        Flatten(),
        Dense(18, 5),
        Residual([Dense(5, 4), Tanh(), Dense(4, 5)]),
        Dense(5, 3),
    ]
    return Network(layers, distribution or Categorical())


def shared_problem(rng, xp):
    net = shared()
    params = parameters(net, rng, xp)
    return net, params, xp.asarray(rng.normal(size=(4, 3, 4, 2)))


def test_shared_positions_equal_the_definition(xp, rng):
    """The witness differentiates the library's forward, which has its own."""
    net, params, x = shared_problem(rng, xp)

    def function(theta, x):
        return net.forward(net.unflatten(theta), x)[0]

    F = definition.fisher(
        function,
        host(net.flatten(params)),
        host(x),
        definition.categorical_log_prob,
        definition.categorical_outcomes,
    )
    assert_exact(fisher_matrix(net, params, x).to_dense(), F)
    tight = fisher_matrix(net, params, x, memory=10**5).to_dense()
    assert_exact(tight, F)


def test_embedding_of_sequences(xp, rng):
    net = Network([Embedding(7, 4), Tanh(), Dense(4, 3)], Categorical())
    params = parameters(net, rng, xp)
    x = xp.asarray(rng.integers(0, 7, (5, 2)))  # outputs (5, 2, 3): positions summed

    def function(theta, x):
        return net.forward(net.unflatten(theta), x)[0]

    theta, words = host(net.flatten(params)), host(x)
    J = autograd.jacobian(lambda t: function(t, words))(theta)
    F_z = host(Categorical().fisher(net.predict(params, x)))
    expected = np.einsum("ntcp,ntcd,ntdq->pq", J, F_z, J) / 5  # J (N, T, C, P)
    assert_exact(fisher_matrix(net, params, x).to_dense(), expected)


@pytest.mark.parametrize("matrix", ["fisher", "ggn", "empirical"])
@pytest.mark.parametrize("distribution", CASES, ids=repr)
def test_products_equal_the_matrix(xp, rng, distribution, matrix):
    net, params, x, y = problem(distribution, rng, xp)
    functions = {
        "fisher": lambda block: fisher_matrix(net, params, x, block),
        "ggn": lambda block: ggn_matrix(net, params, x, y, block),
        "empirical": lambda block: empirical_fisher_matrix(net, params, x, y, block),
    }
    whole = host(functions[matrix](None).to_dense())
    start = np.cumsum([0] + [d * o for d, o in net.shapes])
    for block in [None, 0, 1, 2]:
        span = slice(None) if block is None else slice(start[block], start[block + 1])
        C = host(functions[matrix](block).to_dense())
        assert_exact(C, whole[span, span])
        product = curvature_product(matrix, net.linearize(params, x), y, block=block)
        V = xp.asarray(rng.normal(size=(len(C), 2)))
        assert_exact(product @ V, C @ host(V))
        assert_exact(product @ V[:, 1], C @ host(V)[:, 1])
        assert_exact(product.form(list(V.T)), host(V).T @ C @ host(V))
        if matrix == "ggn" and not distribution.natural:
            continue
        U = xp.asarray(rng.normal(size=(product.columns, 2)))
        BtV = product.factor_transpose(V)
        assert_exact(product.factor(BtV), C @ host(V))  # B B^T = C
        one, other = (
            (host(U) * host(BtV)).sum(),
            (host(product.factor(U)) * host(V)).sum(),
        )
        assert abs(one / other - 1) < 1e-11  # adjoint
        assert_exact(product.factor(U[:, 0]), host(product.factor(U))[:, 0])


def test_products_of_shared_positions_and_joint_losses(xp, rng):
    joint = Joint([(Categorical(), 2, 0.7), (Normal(0.6), 1, 2.3)])
    net = shared(joint)
    params, x = parameters(net, rng, xp), xp.asarray(rng.normal(size=(4, 3, 4, 2)))
    y = [xp.asarray(rng.integers(0, 2, 4)), xp.asarray(rng.normal(size=(4, 1)))]
    for matrix, C in [
        ("fisher", fisher_matrix(net, params, x)),
        ("ggn", ggn_matrix(net, params, x, y)),
        ("empirical", empirical_fisher_matrix(net, params, x, y)),
    ]:
        product = curvature_product(matrix, net.linearize(params, x), y)
        v = xp.asarray(rng.normal(size=net.size))
        assert_exact((product @ v), host(C.to_dense()) @ host(v))


def test_mixing_examples_is_exact_through_products(rng):
    """J of the whole batch at once, by autograd: 1/N J^T F_z J."""
    net = Network([Dense(5, 4), BatchStandardize(), Tanh(), Dense(4, 3)], Categorical())
    params, x = parameters(net, rng, np), inputs(rng, np)
    theta = net.flatten(params)

    def function(t):
        return net.forward(net.unflatten(t), x)[0]

    J = autograd.jacobian(function)(theta)  # (N, C, P)
    F_z = Categorical().fisher(net.predict(params, x))
    expected = np.einsum("ncp,ncd,ndq->pq", J, F_z, J) / N
    F = fisher_matrix(net, params, x)
    assert_exact(F.to_dense(), expected)
    assert_exact(fisher_matrix(net, params, x, memory=1).to_dense(), expected)
    y = classes(rng, np)
    e = Categorical().gradient(net.predict(params, x), y)
    gradients = np.einsum("ncp,nc->np", J, e)
    E = empirical_fisher_matrix(net, params, x, y).to_dense()
    assert_exact(E, gradients.T @ gradients / N)


def test_operators_work_in_scipy(rng):
    net, params, x, y = problem(Categorical(), rng, np)
    F = fisher_matrix(net, params, x).to_dense()
    product = FisherProduct(net.linearize(params, x))
    top = eigsh(product.operator(), k=1)[0][0]
    assert abs(top / np.linalg.eigvalsh(F)[-1] - 1) < 1e-10
    g = net.flatten(net.gradient(params, x, y))
    lam = 0.37
    shift = product.operator() + lam * cg_identity(net.size)
    found, info = cg(shift, g, rtol=1e-13)
    assert info == 0
    assert_exact(found, np.linalg.solve(F + lam * np.eye(net.size), g), 1e-10)
    B = product.factor_operator()
    assert B.shape == (net.size, 3 * N)
    assert_exact(B @ (B.T @ g), F @ g)
    H = HessianProduct(net.linearize(params, x), y)
    assert_exact(H.operator() @ g, hessian_matrix(net, params, x, y).to_dense() @ g)


def cg_identity(size):
    from scipy.sparse.linalg import aslinearoperator

    return aslinearoperator(np.eye(size))


def test_hessian_of_one_block(rng):
    net, params, x, y = problem(Categorical(), rng, np)
    whole, start = hessian_matrix(net, params, x, y).to_dense(), 0
    for block, (d, o) in enumerate(net.shapes):
        part = hessian_matrix(net, params, x, y, block).to_dense()
        assert_exact(part, whole[start : start + d * o, start : start + d * o])
        start += d * o
    gradient = lambda t: net.flatten(net.gradient(net.unflatten(t), x, y))  # noqa: E731
    theta, v, e = net.flatten(params), rng.normal(size=net.size), 1e-5
    central = (gradient(theta + e * v) - gradient(theta - e * v)) / (2 * e)
    assert (
        relative_error(HessianProduct(net.linearize(params, x), y) @ v, central) < 1e-8
    )


def test_float32_is_kept(xp, rng):
    net, params, x, _ = problem(Categorical(), rng, xp)
    low = [W.astype(np.float32) for W in params]
    small = x.astype(np.float32)
    F = fisher_matrix(net, low, small).to_dense()
    product = FisherProduct(net.linearize(low, small))
    v = xp.asarray(rng.normal(size=net.size).astype(np.float32))
    assert F.dtype == (product @ v).dtype == np.float32
    assert 1e-9 < relative_error(F, fisher_matrix(net, params, x).to_dense()) < 1e-5


def test_the_hessian_needs_host_arrays(rng):
    net, params, x, y = problem(Categorical(), rng, strict.xp)
    with pytest.raises(BackendError, match="host arrays only"):
        HessianProduct(net.linearize(params, x), y)


def test_hessian_without_autograd_says_what_to_install(rng, monkeypatch):
    monkeypatch.setitem(
        __import__("sys").modules, "autograd.differential_operators", None
    )
    net, params, x, y = problem(Categorical(), rng, np)
    with pytest.raises(ImportError, match="pip install"):
        HessianProduct(net.linearize(params, x), y)


def test_witness_network_is_the_librarys(xp, rng):
    """The function that autograd differentiates computes the same outputs."""
    net, params, x, _ = problem(Categorical(), rng, xp)
    found = as_function(net.shapes)(host(net.flatten(params)), host(x))
    assert get_xp(x) is not None
    assert_exact(net.predict(params, x), found)
