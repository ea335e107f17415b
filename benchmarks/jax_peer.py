"""KFAC-JAX: compiled before it is timed."""

from __future__ import annotations

import jax

jax.config.update("jax_enable_x64", True)

import jax.numpy as jnp  # noqa: E402
import kfac_jax as library  # noqa: E402
import numpy as np  # noqa: E402

from benchmarks.cases import DAMPING, Problem  # noqa: E402
from benchmarks.peers import same_products  # noqa: E402


def kfac_jax(task: str, p: Problem) -> tuple:
    params = [(jnp.asarray(W[:-1]), jnp.asarray(W[-1])) for W in p.W]
    V = [(jnp.asarray(U[:-1]), jnp.asarray(U[-1])) for U in p.V]
    x, key = jnp.asarray(p.x), jax.random.PRNGKey(0)
    y = jnp.arange(len(p.x)) % p.W[-1].shape[1]

    def loss(params, batch):
        h, labels = batch
        for i, (W, b) in enumerate(params):
            h = h @ W + b
            h = jnp.tanh(h) if i < len(params) - 1 else h
        library.register_softmax_cross_entropy_loss(h, labels)
        return -jnp.take_along_axis(jax.nn.log_softmax(h), labels[:, None], 1).mean()

    if task == "Fisher-vector product":
        exact = library.ImplicitExactCurvature(loss)
        product = jax.jit(lambda w, b, v: exact.multiply_fisher((w, b), v))
        return lambda: block(product(params, (x, y), V)), same_matrices
    dense = task == "dense Fisher"
    kind = library.ExplicitExactCurvature if dense else library.BlockDiagonalCurvature
    estimator = kind(loss, default_estimation_mode="fisher_exact")
    start = estimator.init(
        rng=key,
        func_args=(params, (x, y)),
        exact_powers_to_cache=None,
        approx_powers_to_cache=-1 if task == "damped inverse" else None,
        cache_eigenvalues=False,
    )

    @jax.jit
    def estimate(w, b):
        return estimator.update_curvature_matrix_estimate(
            state=start,
            ema_old=0.0,
            ema_new=1.0,
            identity_weight=0.0,
            batch_size=len(p.x),
            rng=key,
            func_args=(w, b),
        )

    if dense:
        run = jax.jit(lambda w, b: estimator.to_dense_matrix(estimate(w, b)))
        compare = lambda F, theirs: ([F.to_dense()], [np.asarray(theirs)])  # noqa: E731
        return lambda: block(run(params, (x, y))), compare
    if task == "Kronecker factors":
        return lambda: block(estimate(params, (x, y))), compare_factors
    state = block(estimate(params, (x, y)))

    @jax.jit
    def solve(state, v):
        cached = estimator.update_cache(
            state,
            DAMPING,
            exact_powers=None,
            approx_powers=-1,
            eigenvalues=False,
            pmap_axis_name=None,
        )
        return estimator.multiply_inverse(
            cached,
            v,
            DAMPING,
            exact_power=False,
            use_cached=True,
            pmap_axis_name=None,
        )

    return lambda: block(solve(state, V)), same_matrices


def block(result):
    return jax.block_until_ready(result)


def same_matrices(ours, theirs):
    parts = [np.concatenate([W, b[None]]).ravel() for W, b in theirs]
    return [ours], [np.concatenate(parts)]


def compare_factors(ours, state):
    factors = [s.factors for s in state.blocks_states]
    means = [[np.asarray(f.value) for f in pair] for pair in factors]
    return same_products(ours, means)
