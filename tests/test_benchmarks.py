"""The benchmarks compare like with like; the memory bound holds. Nothing is timed."""

from __future__ import annotations

import gc
import tracemalloc

import numpy as np
import pytest

from benchmarks import cases, report, straight
from benchmarks.measure import interleaved, relative_error
from helpers import assert_exact, host
from kfac_ref import curvature, fisher_matrix


@pytest.mark.parametrize("name", cases.CASES)
def test_ours_is_the_baseline(name):
    case = cases.CASES[name](True)
    ours, baseline = case.compare(case.ours(), case.baseline())
    assert len(ours) == len(baseline) >= 1
    for found, expected in zip(ours, baseline, strict=True):
        assert_exact(found, expected, case.tolerance)


@pytest.mark.parametrize("name", cases.CASES)
def test_another_seed_is_another_result(name, monkeypatch):
    """The comparison would notice: other parameters give other numbers."""
    one = cases.CASES[name](True)
    rng = np.random.default_rng
    monkeypatch.setattr(np.random, "default_rng", lambda seed: rng(seed + 1))
    two = cases.CASES[name](True)
    assert relative_error(*one.compare(one.ours(), two.baseline())) > 0.1


def test_the_obvious_fisher_is_a_mean_of_outer_products():
    """From the definition: all labels, each gradient by central differences."""
    p = cases.small_net(True)
    sizes = [W.size for W in p.W]
    flat = np.concatenate([W.ravel() for W in p.W])

    def log_p(vector):
        parts = np.split(vector, np.cumsum(sizes)[:-1])
        W = [part.reshape(Wi.shape) for part, Wi in zip(parts, p.W, strict=True)]
        return np.log(straight.softmax(straight.forward(W, p.x)[1]))

    h = 1e-5
    steps = h * np.eye(flat.size)
    J = np.array([(log_p(flat + s) - log_p(flat - s)) / (2 * h) for s in steps])
    expected = np.einsum("inc,jnc,nc->ij", J, J, np.exp(log_p(flat))) / len(p.x)
    found = straight.obvious_fisher(p.W, p.x)
    assert relative_error([found], [expected]) < 1e-8


def test_what_is_counted():
    """As many products as the README says, of the shapes of the problem."""
    p = cases.large_net(True)
    factors = straight.BareFactors(p.W, p.x)()
    N, C = 13, 3
    assert [M.shape for M in factors[:3]] == [(N, 7), (N, 5), (N, 3)]  # forward
    assert [M.shape for M in factors[3:5]] == [(N * C, 7), (N * C, 5)]  # backward
    assert [len(M) for M in factors[5:]] == [12, 8, 6, 7, 5, 3]  # A, G
    for with_forward, count in ((False, 10), (True, 13)):
        product = straight.BareProduct(p.W, p.x, p.V, with_forward)()
        assert len(product) == count
        assert [M.shape for M in product[-3:]] == [(12, 7), (8, 5), (6, 3)]


@pytest.mark.parametrize("name", cases.CASES)
def test_full_size_is_what_the_bounds_are_about(name, monkeypatch):
    """784-500-300-10 with N = 512, 64-60-60-10 with N = 256; nothing is computed."""
    sizes = {"small": ([64, 60, 60, 10], 256), "large": ([784, 500, 300, 10], 512)}
    found = {}

    class Seen(Exception):
        pass

    def dense_problem(widths, N):
        found[name] = (widths, N)
        raise Seen

    def conv_problem(*arguments):
        found[name] = arguments
        raise Seen

    monkeypatch.setattr(cases, "autoencoder", conv_problem)
    monkeypatch.setattr(cases, "dense_problem", dense_problem)
    monkeypatch.setattr(cases, "conv_problem", conv_problem)
    with pytest.raises(Seen):
        cases.CASES[name](False)
    expected = {
        "dense Fisher": sizes["small"],
        "dense Fisher, convolutions": (8, [1, 12, 20], 10, 256, False),
        "dense Fisher, convolutions and dense": (8, [1, 8, 16], 10, 256, True),
        "step": ([784, 1000, 500, 250, 30], 512, np.float64),
        "step, to the proposal": ([784, 1000, 500, 250, 30], 512, np.float64),
        "step, float32": ([784, 1000, 500, 250, 30], 512, np.float32),
    }
    assert found[name] == expected.get(name, sizes["large"])


PROBLEMS = {
    "T = 1": lambda: cases.dense_problem([23, 19, 17, 7], 61),
    "T > 1": lambda: cases.conv_problem(9, [2, 9, 17], 6, 59, False),
    "mixed": lambda: cases.conv_problem(9, [2, 5, 7], 6, 59, True),
}


def peak_beyond(make):
    """What `make` returns, and the peak of traced memory beyond it, in bytes."""
    make()  # whatever is imported or cached at the first call
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    result = make()
    gc.collect()
    after, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return result, peak - after, after - before


@pytest.mark.parametrize("memory", [2**21, 3 * 2**20, 2**22])
@pytest.mark.parametrize("problem", PROBLEMS)
def test_memory_of_the_dense_fisher(problem, memory):
    p = PROBLEMS[problem]()
    F, beyond, kept = peak_beyond(
        lambda: fisher_matrix(p.network, p.W, p.x, memory=memory)
    )
    assert kept < F.matrix.nbytes + 2**16
    assert beyond < memory
    F_ample, ample, _ = peak_beyond(lambda: fisher_matrix(p.network, p.W, p.x))
    assert ample > memory  # it is the bound that does it
    assert_exact(F.to_dense(), F_ample.to_dense())
    assert (host(F.to_dense()) == host(F.to_dense()).T).all()  # to the last bit


@pytest.mark.parametrize("memory", [2**21, 2**22])
@pytest.mark.parametrize(
    "structure", ["block_diagonal", "diagonal", "kronecker", "eigenvalue_corrected"]
)
def test_memory_of_the_structures(structure, memory):
    p = PROBLEMS["T > 1"]()
    _, beyond, _ = peak_beyond(
        lambda: curvature(p.network, p.W, p.x, structure, memory=memory)
    )
    assert beyond < memory
    _, ample, _ = peak_beyond(lambda: curvature(p.network, p.W, p.x, structure))
    assert ample > memory


def test_what_a_step_counts():
    """As many products as its docstring says, of the shapes of the problem."""
    made = cases.step(True).baseline()
    L, N = 6, 13
    assert {name: len(each) for name, each in made.items()} == {
        "gradient": 3 * L - 1,
        "statistics": 3 * L - 1,
        "proposal": L,
        "model": 2 * (2 * L - 1),
        "loss": L,
    }
    widths = [11, 7, 5, 3, 5, 7, 11]
    assert [M.shape for M in made["loss"]] == [(N, d) for d in widths[1:]]
    assert [M.shape for M in made["model"][L : 2 * L - 1]] == [
        (N, d) for d in widths[2:]
    ]
    assert [len(M) for M in made["statistics"][-2 * L :]] == [
        *[d + 1 for d in widths[:-1]],
        *widths[1:],
    ]


@pytest.mark.parametrize("make", [cases.step, cases.step_32])
def test_the_stages_of_a_step_are_the_step(make):
    """Each by itself gives what it gives within the step; in the dtype of the case."""
    case = make(True)
    (state, trace), p = case.ours(), case.ours()[1].proposal
    parts = {name: ours() for name, (ours, _) in case.stages.items()}
    assert list(parts) == list(case.baseline())
    loss, gradient = parts["gradient"]
    assert loss == trace.loss and (gradient == trace.gradient).all()
    average, direction = parts["statistics"].value, parts["proposal"]
    for found, expected in zip(average.blocks, trace.average.blocks, strict=True):
        assert (found.A == expected.A).all() and (found.G == expected.G).all()
    assert (direction == p.direction).all()
    assert (parts["model"].curvature == p.model.curvature).all()
    outcome = trace.outcome
    after = trace.loss + outcome.reduction_ratio * outcome.predicted
    assert abs(parts["loss"] / after - 1) < 1e-12
    arrays = (state.theta, trace.gradient, average.blocks[0].A, direction)
    made = [M for stage in case.baseline().values() for M in stage]
    dtype = np.float32 if make is cases.step_32 else np.float64
    assert {M.dtype for M in (*arrays, *made)} == {np.dtype(dtype)}


def test_functions_take_turns():
    calls = []
    times = interleaved([lambda: calls.append("A"), lambda: calls.append("B")], 3, 0.0)
    assert calls == list("ABABABAB") and len(times) == 2
    assert all(t.wall >= 0 and t.cpu >= 0 for t in times)


def test_the_table_says_which_bound_is_exceeded():
    row = {"task": "t", "threads": 1, "ours": [9.0, 8.0], "other": [10.0, 10.0]}
    row |= {"against": "baseline", "error": 1e-16}
    under, over = (
        report.table([row | {"bound": 0.85}]),
        report.table([row | {"bound": 0.7}]),
    )
    assert "0.90" in under and "PASS" in under and "over" not in under
    assert "over" in over and "PASS" not in over
    parts = row | {"stages": [{"stage": "s", "ours": [3.0, 2.0], "other": [2.0, 2.0]}]}
    assert "| s | 3.0 | 2.0 | 1.50 | 1.00 |" in report.stages(parts)
    assert "| s |" in report.tables({"machine": "M", "rows": [parts]})
    merged = report.merge([row, row | {"threads": 2}], [row | {"error": 1.0}])
    assert [(r["threads"], r["error"]) for r in merged] == [(1, 1.0), (2, 1e-16)]
    skipped = report.table(
        [{"task": "t", "threads": 2, "against": "X", "skipped": "no X"}]
    )
    assert "no X" in skipped
