"""nngeometry and ASDL."""

from __future__ import annotations

import torch

from benchmarks.cases import DAMPING, Problem
from benchmarks.peers import (
    Absent,
    same_matrix,
    same_products,
    same_vector,
    torch_order,
)
from benchmarks.torch_peers import flat, tangent, torch_net


def nngeometry(task: str, p: Problem) -> tuple:
    torch.set_default_dtype(torch.float64)  # it makes float32 buffers otherwise
    from nngeometry.layercollection import LayerCollection
    from nngeometry.metrics import FIM
    from nngeometry.object import PMatDense, PMatImplicit, PMatKFAC
    from nngeometry.object.vector import PVector
    from torch.utils.data import DataLoader, TensorDataset

    model, x, y = torch_net(p)
    loader = DataLoader(TensorDataset(x, y), batch_size=len(x))
    order = torch_order(p)

    def fisher(representation):
        return FIM(model, loader, representation, variant="classif_logits")

    if task == "dense Fisher":
        return lambda: fisher(PMatDense).to_torch().detach(), same_matrix(order)
    if task == "Kronecker factors":

        def compare(ours, F):
            return same_products(
                ours, [(A.numpy(), G.numpy()) for A, G in F.data.values()]
            )

        return lambda: fisher(PMatKFAC), compare
    V = PVector(LayerCollection.from_model(model), vector_repr=flat(tangent(p)))
    if task == "damped inverse":
        F = fisher(PMatKFAC)
        solve = lambda: F.inverse(regul=DAMPING).mv(V).to_torch().detach()  # noqa: E731
        return solve, same_vector(order)
    F = fisher(PMatImplicit)
    return lambda: F.mv(V).to_torch().detach(), same_vector(order)


def asdl(task: str, p: Problem) -> tuple:
    from asdl import FisherConfig, get_fisher_maker

    model, x, y = torch_net(p)
    if task == "Fisher-vector product":
        raise Absent("its product builds the gradient of every example, half a minute")
    if task == "damped inverse":
        raise Absent("its A has no bias: another matrix")
    shape = "full" if task == "dense Fisher" else "kron"
    config = FisherConfig(
        fisher_type="fisher_exact",
        fisher_shapes=shape,
        loss_type="cross_entropy",
        data_size=len(x),
    )
    maker = get_fisher_maker(model, config)
    output = maker.setup_model_call(model, x)
    maker.setup_loss_call(torch.nn.functional.cross_entropy, output, y)

    def run():
        maker.forward_and_backward()
        if shape == "full":
            return model.fisher.data
        krons = [m.fisher.kron for m in model if hasattr(m, "weight")]
        return [(k.A.numpy(), k.B.numpy()) for k in krons]

    return run, same_matrix(torch_order(p)) if shape == "full" else same_products
