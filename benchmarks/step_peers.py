"""A step up to the proposal, by curvlinops, on the same net and batch as ours."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from benchmarks.step import ToProposal
from benchmarks.torch_peers import kfac_factors
from kfac_ref import factored_tikhonov
from kfac_ref.matrices import BlockDiagonalMatrix, KroneckerProduct


def torch_autoencoder(part: ToProposal) -> tuple[nn.Sequential, torch.Tensor]:
    """The net with our parameters and sigmoids between its layers, and the batch."""
    layers: list[nn.Module] = []
    for W in part.bare.given.W:
        linear = nn.Linear(len(W) - 1, W.shape[1], dtype=torch.float64)
        linear.weight.data = torch.tensor(W[:-1].T.copy())
        linear.bias.data = torch.tensor(W[-1])
        layers += [linear, nn.Sigmoid()]
    return nn.Sequential(*layers[:-1]), torch.tensor(part.step.x)


def curvlinops(part: ToProposal) -> tuple:
    """A step by curvlinops: forward and backward, factors, damped inverses, proposal.

    It draws its own label, in a separate pass (it has no other way), and uses heuristic
    damping, Cholesky and inverses. Its loss is a mean over the C outputs, so everything
    is ours divided by C, including lambda.
    """
    import curvlinops as c

    model, x = torch_autoencoder(part)
    params, C = list(model.parameters()), x.shape[1]
    loss, damping = nn.BCEWithLogitsLoss(), part.step.state.damping / C

    def step():
        gradient = torch.autograd.grad(loss(model(x), x), params)
        K = c.KFACLinearOperator(
            model, loss, params, [(x, x)],
            check_deterministic=False, separate_weight_and_bias=False,
        )  # fmt: skip
        K.compute_kronecker_factors()
        inverse = c.KFACInverseLinearOperator(
            K, damping=damping, use_heuristic_damping=True
        )
        return gradient, K, inverse @ list(gradient)

    def compare(ours, theirs):
        """Gradient, A, and the proposal from its factors, since the labels differ."""
        gradient, newest, _ = ours
        unflatten = part.step.kfac.network.unflatten
        their_gradient, K, proposal = theirs
        pairs = kfac_factors(K)
        blocks = BlockDiagonalMatrix([KroneckerProduct(*pair) for pair in pairs])
        again = factored_tikhonov(blocks, damping).solve(gradient / C)
        found = [C * M for M in matrices(their_gradient)] + matrices(proposal)
        found += [A / np.trace(A) for A, _ in pairs]
        expected = [*unflatten(gradient), *unflatten(again)]
        expected += [b.A / np.trace(b.A) for b in newest.blocks]
        return found, expected

    return step, compare


def matrices(parts) -> list[np.ndarray]:
    """Weights and biases, alternating, as our matrices (d_in + 1, d_out)."""
    pairs = zip(parts[::2], parts[1::2], strict=True)
    return [np.vstack([w.detach().numpy().T, b.detach().numpy()]) for w, b in pairs]
