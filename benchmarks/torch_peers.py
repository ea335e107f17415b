"""curvlinops and BackPACK."""

from __future__ import annotations

import torch
from torch import nn

from benchmarks.cases import DAMPING, Problem
from benchmarks.peers import (
    Absent,
    same_matrix,
    same_products,
    same_vector,
    torch_order,
)


def torch_net(p: Problem) -> tuple[nn.Sequential, torch.Tensor, torch.Tensor]:
    """The net with our parameters, the batch, and labels (the Fisher ignores them)."""
    layers: list[nn.Module] = []
    for W in p.W:
        linear = nn.Linear(len(W) - 1, W.shape[1], dtype=torch.float64)
        linear.weight.data = torch.tensor(W[:-1].T.copy())
        linear.bias.data = torch.tensor(W[-1])
        layers += [linear, nn.Tanh()]
    labels = torch.arange(len(p.x)) % p.W[-1].shape[1]
    return nn.Sequential(*layers[:-1]), torch.tensor(p.x), labels


def tangent(p: Problem) -> list[torch.Tensor]:
    """Our tangent V as weights and biases."""
    parts = [(torch.tensor(V[:-1].T.copy()), torch.tensor(V[-1])) for V in p.V]
    return [part for pair in parts for part in pair]


def flat(parts) -> torch.Tensor:
    return torch.cat([part.detach().reshape(-1) for part in parts])


def curvlinops(task: str, p: Problem) -> tuple:
    import curvlinops as c

    model, x, y = torch_net(p)
    params = list(model.parameters())
    given = model, nn.CrossEntropyLoss(), params, [(x, y)]
    order, V = torch_order(p), flat(tangent(p))

    def kfac():
        K = c.KFACLinearOperator(
            *given,
            check_deterministic=False,
            fisher_type="type-2",
            separate_weight_and_bias=False,
        )
        K.compute_kronecker_factors()
        return K

    if task == "dense Fisher":
        eye = torch.eye(len(V), dtype=torch.float64).split(1000, dim=1)
        ggn = c.GGNLinearOperator(*given, check_deterministic=False)
        return lambda: torch.cat([ggn @ part for part in eye], 1), same_matrix(order)
    if task == "Kronecker factors":
        return kfac, lambda ours, K: same_products(ours, kfac_factors(K))
    if task == "damped inverse":
        K = kfac()

        def solve():
            inverse = c.KFACInverseLinearOperator(
                K, damping=DAMPING, use_heuristic_damping=True
            )
            return inverse @ V

        return solve, same_vector(order)
    ggn = c.GGNLinearOperator(*given, check_deterministic=False)
    return lambda: ggn @ V, same_vector(order)


def kfac_factors(K) -> list[tuple]:
    A, G = K._input_covariances, K._gradient_covariances
    return [(A[name].numpy(), G[name].numpy()) for name in A]


def backpack(task: str, p: Problem) -> tuple:
    from backpack import backpack, extend, extensions
    from backpack.hessianfree.ggnvp import ggn_vector_product

    model, x, y = torch_net(p)
    order = torch_order(p)
    if task == "Fisher-vector product":
        V = tangent(p)

        def product():
            z = model(x)
            loss = nn.functional.cross_entropy(z, y)
            return flat(ggn_vector_product(loss, z, model, V))

        return product, same_vector(order)
    if task == "damped inverse":
        raise Absent("damps with one shift per factor, given by the user, not with pi")
    extend(model)
    lossfunc = extend(nn.CrossEntropyLoss())
    dense = task == "dense Fisher"
    extension = extensions.SqrtGGNExact() if dense else extensions.KFLR()

    def run():
        model.zero_grad()
        loss = lossfunc(model(x), y)
        with backpack(extension):
            loss.backward()
        if not dense:
            return [m.weight.kflr for m in model if hasattr(m, "weight")]
        roots = [q.sqrt_ggn_exact.flatten(0, 1).flatten(1) for q in model.parameters()]
        S = torch.cat(roots, dim=1)
        return S.T @ S

    if dense:
        return run, same_matrix(order)
    return run, lambda ours, pairs: same_products(ours, [(A, G) for G, A in pairs])
