"""`kfac-ref gpu`: the stand-in is the device; nothing here is timed."""

from __future__ import annotations

import functools
import inspect
import json
import pickle
import sys
from itertools import product
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

import kfac_ref
import kfac_ref.distributions
import kfac_ref.gpu as gpu
import kfac_ref.layers
import kfac_ref.optimizer
import strict
from benchmarks import straight
from benchmarks.straight_step import BareStep
from helpers import loaded_by
from kfac_ref import backend
from kfac_ref.backend import get_xp
from kfac_ref.cli import main
from kfac_ref.damping import RULES
from kfac_ref.errors import Unsupported
from kfac_ref.estimates import ESTIMATES
from kfac_ref.exact.products import PRODUCTS
from kfac_ref.gpu import cases, comparing, steps, tasks, timing
from kfac_ref.gpu.comparing import TOLERANCES, Case, compare
from kfac_ref.gpu.device import Device, find_device
from kfac_ref.gpu.nets import NETS, Place, problem
from kfac_ref.structures import STRUCTURES
from rounding import round_otherwise
from test_cli import failing

HOST = Place(np.asarray, np.float64)
FACTS = {"name": "Stand-in", "compute capability": "0.0", "CuPy": "none"}


# Everything takes part


def inside(layer):
    """The layer, and those inside of it."""
    return [layer, *(m for part in getattr(layer, "layers", []) for m in inside(part))]


def public(module, base):
    """The classes of a module that are for users."""
    found = (getattr(module, name) for name in module.__all__)
    return {c for c in found if isinstance(c, type) and issubclass(c, base)} - {base}


def test_every_layer_and_every_distribution_is_in_a_net():
    networks = [problem(name, HOST).network for name in NETS]
    layers = {type(m) for network in networks for m in inside(network.body)}
    assert layers >= public(kfac_ref.layers, kfac_ref.layers.Layer)
    losses = {type(network.distribution) for network in networks}
    losses |= {type(p) for p, *_ in problem("images", HOST).network.distribution.parts}
    base = kfac_ref.distributions.Distribution
    assert losses == public(kfac_ref.distributions, base)
    biases = [m.bias for n in networks for m in inside(n.body) if hasattr(m, "bias")]
    assert {True, False} == set(biases)
    assert {1, 4} < {T for p in map(positions, NETS) for T in p}


def positions(net):
    p = problem(net, HOST)
    return kfac_ref.propagate(
        p.network.linearize(p.params, p.x), "empirical", y=p.y
    ).positions


def names(group):
    return {(case.group, case.name) for case in group()}


def test_every_structure_estimate_rule_matrix_and_optimizer_takes_part():
    assert names(cases.structure_cases) == {
        (f"structure {s}", f"{net}, {estimate}")
        for s, net, estimate in product(STRUCTURES, NETS, ESTIMATES)
    }
    assert names(cases.rule_cases) > {
        (f"rule {rule}", f"{net}, {s}")
        for rule, net, s in product(RULES, ["chain", "images"], STRUCTURES)
    }
    exact = names(cases.exact_cases)
    assert exact > {
        (f"{matrix}, {kind}", net)
        for matrix, kind, net in product(PRODUCTS, cases.EXACT, NETS)
    }
    assert ("fisher, products", "images, block 3") in exact
    assert set(cases.DENSE) == set(PRODUCTS)
    classes = [getattr(kfac_ref.optimizer, n) for n in kfac_ref.optimizer.__all__]
    stepping = {c.__name__ for c in classes if callable(getattr(c, "step", None))}
    assert stepping == {"KFAC", *steps.OPTIMIZERS}
    made = [make(problem("chain", HOST).network) for make in steps.OPTIMIZERS.values()]
    assert [type(one).__name__ for one in made] == list(steps.OPTIMIZERS)
    assert names(steps.step_cases) > {
        ("20 steps, KFAC", f"chain, {s}") for s in STRUCTURES
    }


def test_every_option_of_every_rule_is_tried():
    for rule, function in RULES.items():
        tried = {name for options in cases.rule_options(rule) for name in options}
        takes = list(inspect.signature(function).parameters)
        assert set(takes[1:]) <= tried | set(cases.NUMBERS)


def test_every_case_can_be_sent_to_another_process():
    for case in [*cases.all_cases(), *timing.task_cases()]:
        assert pickle.loads(pickle.dumps(case)) == case


def test_no_name_stands_for_two_cases():
    found = [(case.group, case.name) for case in cases.all_cases()]
    assert len(found) == len(set(found))


# A device that is right

EVERY = {cases.network_cases: 1, cases.model_cases: 1, cases.step_cases: 2}  # else: 5
ROUNDING = {"float64": (1e-16, 1e-13), "float32": (1e-8, 5e-6)}  # by itself


def structure_is_refused(structure, net, estimate):
    """Where mathematics forbids it, or where its proof has not been given."""
    all_columns = estimate in ("expectation", "ggn")
    return (
        (net == "mixing" and (structure != "kronecker" or all_columns))
        or (net == "words" and estimate.startswith("ggn"))  # an indefinite Hessian
        or (net != "chain" and structure == "block_tridiagonal")  # shared positions
    )


def rule_is_refused(rule, structure, net, options):
    factors = structure in ("kronecker", "best_kronecker")
    diagonal = "scale" in options and structure in (
        "full",
        "block_diagonal",
        "diagonal",
    )
    if structure == "block_tridiagonal":  # no matrix; there are positions; or scales
        return net == "images" or rule == "tikhonov"
    return not (rule in ("tikhonov", "by_kind") or factors or diagonal)


def is_refused(case):
    """A case of the structures, the rules or the exact products."""
    kind, _, what = case.group.partition(" ")
    net, *words = case.name.split(", ")
    if kind == "structure":
        return structure_is_refused(what, net, *words)
    if kind == "rule":
        return rule_is_refused(what, words[0], net, " ".join(words[1:]))
    return case.group == "ggn, factor B" and net == "words"  # no root of its Hessian


@pytest.mark.parametrize("group", cases.GROUPS)
def test_another_way_to_round_stays_within_the_bounds(group, monkeypatch):
    """Far within in float64: rounding is not what that bound is about.

    5 is coprime to the numbers of structures, nets and estimates: all take part.
    """
    round_otherwise(monkeypatch)
    some, seen = list(group())[:: EVERY.get(group, 5)], []
    outcomes = comparing.compare_all(some, strict.xp.asarray, seen.append)
    assert seen == list(dict.fromkeys(case.group for case in some))
    assert len(outcomes) == 2 * len(some)
    for outcome in outcomes:
        expected = "REFUSED" if is_refused(outcome) else "PASS"
        assert outcome.verdict == expected, outcome
    for dtype, (least, most) in ROUNDING.items():
        largest = max(o.largest for o in outcomes if o.dtype == dtype)
        assert least < largest < most


# A device that is wrong


def on_the_device(function, then):
    """`function`, and of matrices on the stand-in what `then` makes of them."""

    @functools.wraps(function)
    def made(pairs, **options):
        matrix = function(pairs, **options)
        return matrix if get_xp(pairs.like) is np else then(matrix)

    return made


@pytest.fixture
def small(monkeypatch):
    """The structures of the chain alone, and nothing timed."""
    monkeypatch.setattr(gpu, "find_device", lambda: device())
    monkeypatch.setattr(gpu, "all_cases", lambda: [*cases.structure_cases()])
    monkeypatch.setattr(cases, "NETS", {"chain": NETS["chain"]})
    two = {name: ESTIMATES[name] for name in ("sampled", "empirical")}
    monkeypatch.setattr(cases, "ESTIMATES", two)
    monkeypatch.setattr(timing, "TASKS", {})


def device():
    return Device(strict.xp, dict(FACTS), lambda: None)


def scaled(by):
    def then(matrix):
        for block in matrix.blocks:
            block.values = block.values * by
        return matrix

    return then


@pytest.mark.parametrize(
    ("error", "seen"), [(1e-9, ["float64"]), (1e-4, ["float64", "float32"])]
)
def test_an_error_in_one_structure_is_found(
    small, monkeypatch, tmp_path, capsys, error, seen
):
    wrong = on_the_device(STRUCTURES["diagonal"], scaled(1 + error))
    monkeypatch.setitem(STRUCTURES, "diagonal", wrong)
    out = tmp_path / "new" / "gpu.json"
    assert main(["gpu", "--out", str(out)]) == 1
    text = capsys.readouterr().out
    groups = [line for line in text.splitlines() if line.startswith("structure ")]
    assert len(groups) == len(STRUCTURES)
    differing = [line.split()[1] for line in groups if line.endswith("  DIFFERS")]
    assert differing == ["diagonal"]
    complaints = [line for line in text.splitlines() if line.startswith("DIFFERS ")]
    assert len(complaints) == 2 * len(seen)
    expected = f"chain, sampled, float64: matrix: relative error {error:.1e} > 1e-12"
    assert any(expected in line for line in complaints)
    found = json.loads(out.read_text())
    assert found["passed"] is False and found["device"] == FACTS
    wrong = [c for c in found["comparisons"] if c["verdict"] == "DIFFERS"]
    assert {c["dtype"] for c in wrong} == set(seen)
    assert {c["group"] for c in wrong} == {"structure diagonal"}
    assert abs(wrong[0]["errors"]["matrix"] / error - 1) < 1e-4


def test_an_error_that_the_device_raises_is_kept_and_the_others_go_on(
    small, monkeypatch, tmp_path, capsys
):
    def breaks(matrix):
        raise RuntimeError("cudaErrorIllegalAddress:\n an illegal memory access")

    broken = on_the_device(STRUCTURES["full"], breaks)
    monkeypatch.setitem(STRUCTURES, "full", broken)
    assert main(["gpu", "--out", str(tmp_path / "gpu.json")]) == 1
    text = capsys.readouterr().out
    assert (
        "FAILED structure full: chain, empirical, float32: on the device: "
        "RuntimeError: cudaErrorIllegalAddress: an illegal memory access" in text
    )
    groups = [line for line in text.splitlines() if line.startswith("structure ")]
    assert [line.split()[-1] for line in groups] == ["FAILED", *["PASS"] * 6]


def test_a_device_that_is_right(small, tmp_path, capsys):
    out = tmp_path / "gpu.json"
    assert main(["gpu", "--out", str(out)]) == 0
    text, err = capsys.readouterr()
    assert text.startswith("Stand-in: compute capability 0.0; CuPy none; Python 3")
    assert text.count("  PASS\n") == len(STRUCTURES)
    assert "\nOf 28 comparisons 0 are of what mathematics forbids" in text
    assert "Nothing was timed." in text
    assert text.endswith(f"all numbers: {out}\n") and err == ""
    found = json.loads(out.read_text())
    assert found["passed"] is True and len(found["comparisons"]) == 28
    assert found["host"]["NumPy"] == np.__version__


# One comparison


def one(compute, dtype="float64"):
    return compare(Case("group", "name", compute), dtype, strict.xp.asarray)


def differing(here, there):
    """A case whose result is another one on the device."""
    return lambda place: {"v": place.put(here if place.move is np.asarray else there)}


@pytest.mark.parametrize(
    ("there", "message"),
    [
        ([1.0, 2.0, 2.0 + 1e-11], "v: relative error 3.3e-12 > 1e-12"),
        ([1.0, 2.0, np.nan], "v: relative error inf > 1e-12"),
        ([[1.0, 2.0, 2.0]], "v: shape (1, 3) instead of (3,)"),
        ([1, 2, 2], "v: dtype int64 instead of float64"),
    ],
)
def test_arrays_that_differ(there, message):
    outcome = one(differing(np.array([1.0, 2.0, 2.0]), np.array(there)))
    assert (outcome.verdict, outcome.message) == ("DIFFERS", message)


def test_arrays_of_zeros_words_and_names():
    zero, tiny = np.zeros(3), np.full(3, 1e-300)
    assert one(differing(zero, zero)).verdict == "PASS"
    assert one(differing(zero, tiny)).verdict == "DIFFERS"
    yes, no = np.array([True, False]), np.array([True, True])
    assert one(differing(yes, yes)).verdict == "PASS"
    assert one(differing(yes, no)).verdict == "DIFFERS"
    other = one(lambda place: {"a" if place.move is np.asarray else "b": 1.0})
    assert (other.verdict, other.message) == ("DIFFERS", "host: ['a'], device: ['b']")
    assert one(lambda place: {"a": [1.0, place.put(np.ones((2, 2)))]}).errors["a"] == 0


@pytest.mark.parametrize(
    ("here", "there", "verdict", "message"),
    [
        (Unsupported("no"), Unsupported("no"), "REFUSED", "no"),
        (Unsupported("no"), Unsupported("nay"), "FAILED", "host: Unsupported: no"),
        (ValueError("no"), ValueError("no"), "FAILED", "host: ValueError: no"),
        (None, Unsupported("no"), "FAILED", "device: Unsupported: no"),
    ],
)
def test_what_is_raised(here, there, verdict, message):
    def compute(place):
        error = here if place.move is np.asarray else there
        if error is not None:
            raise error
        return {"v": 1.0}

    outcome = one(compute)
    assert outcome.verdict == verdict and outcome.message.endswith(message)
    assert outcome.largest == 0.0


def test_an_interrupt_ends_it():
    def interrupted(place):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        one(interrupted)


# The device


@pytest.fixture
def cuda(monkeypatch):
    """What is asked of CuPy besides arrays; tests/real_cupy has the real names."""
    calls = []
    card = {"name": b"Card", "major": 9, "minor": 0, "totalGlobalMem": 2**36}
    card["multiProcessorCount"] = 132
    runtime = SimpleNamespace(
        getDeviceProperties=lambda number: card,
        runtimeGetVersion=lambda: 12090,
        driverGetVersion=lambda: 13000,
    )
    current = SimpleNamespace(id=0, synchronize=lambda: calls.append("synchronize"))
    made = SimpleNamespace(runtime=runtime, Device=lambda: current)
    monkeypatch.setattr(strict.xp, "cuda", made, raising=False)
    monkeypatch.setattr(strict.xp, "__version__", "13.3.0", raising=False)
    return calls


def test_the_device_says_what_it_is(cuda, monkeypatch):
    found = find_device()
    assert found.facts == {
        "name": "Card",
        "compute capability": "9.0",
        "memory, bytes": 2**36,
        "multiprocessors": 132,
        "CUDA driver": 13000,
        "CUDA runtime": 12090,
        "CuPy": "13.3.0",
    }
    assert type(found.move(np.ones(2))) is strict.StrictArray
    assert backend.current() == "numpy"
    took = found.milliseconds(lambda: cuda.append("call"))
    assert took >= 0.0 and cuda == ["synchronize", "call", "synchronize"]
    monkeypatch.setenv("CUPY_TF32", "1")
    assert gpu.report.versions()["CUPY_TF32"] == "1"


def test_without_cupy(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "cupy", None)
    error = failing(capsys, "gpu", "--out", str(tmp_path / "gpu.json"))
    assert error.startswith("kfac-ref: the comparison needs CuPy, which cannot be impo")
    assert "pip install cupy-cuda12x or cupy-cuda13x" in error
    assert not list(tmp_path.iterdir())


def test_without_a_card(monkeypatch, capsys, tmp_path):
    cupy = ModuleType("cupy")

    def eye(n):
        raise RuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected")

    cupy.eye = eye
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    error = failing(capsys, "gpu", "--out", str(tmp_path / "gpu.json"))
    assert "no card answers (cudaErrorNoDevice: no CUDA-capable device is det" in error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("place", ["folder", "file/gpu.json"])
def test_a_place_that_cannot_be_written_is_refused_before_the_work(
    small, monkeypatch, capsys, tmp_path, place
):
    def work():
        raise AssertionError("it was begun")

    monkeypatch.setattr(gpu, "all_cases", work)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("in the way")
    error = failing(capsys, "gpu", "--out", str(tmp_path / place))
    assert str(tmp_path / place.split("/")[0]) in error
    assert (tmp_path / "file").read_text() == "in the way"


def test_what_is_being_done_is_said_to_a_terminal(monkeypatch, capsys):
    gpu._say("structure full")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    gpu._say("structure full")
    assert capsys.readouterr().err.endswith("structure full ...")
    monkeypatch.setattr(sys, "stderr", None)
    gpu._say("structure full")


def test_the_core_imports_nothing_of_it():
    assert "kfac_ref.gpu" not in loaded_by("kfac_ref", "kfac_ref.optimizer")


# The tasks


def test_the_bare_products_are_those_of_the_benchmarks():
    """Rows and columns of each, in order; there they are computed from operands."""
    d, N, C = (11, 7, 5, 3), 13, 3
    p = tasks.dense_net(d, N, HOST)

    def shapes(products):
        return [(m, n) for m, _, n in products]

    def made(arrays):
        return [M.shape for M in arrays]

    bare = straight.BareFactors(p.W, p.x)
    assert shapes(tasks.factor_products(d, N, C)) == made(bare())
    bare = straight.BareProduct(p.W, p.x, p.V, False)
    assert shapes(tasks.vector_products(d, N)) == made(bare())
    step = tasks.Step(d, N, HOST)
    products = shapes(tasks.step_products(tasks.mirrored(d), N))
    stages = BareStep(given(step))()
    factors = stages.pop("proposal")
    assert products == [s for stage in stages.values() for s in made(stage)]
    assert step.kfac.network.shapes == made(factors)


def given(step):
    from benchmarks.step import given

    return given(step)


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setattr(tasks, "SMALL", (5, 4, 3))
    monkeypatch.setattr(tasks, "SMALL_N", 7)
    monkeypatch.setattr(tasks, "LARGE", (11, 7, 5, 3))
    monkeypatch.setattr(tasks, "LARGE_N", 13)
    monkeypatch.setattr(tasks, "ENCODER", (11, 7, 5, 3))
    monkeypatch.setattr(tasks, "ENCODER_N", 13)
    monkeypatch.setattr(timing, "ENOUGH", 0.0)


def test_the_tasks_are_compared_and_timed_on_the_strict_stand_in(
    tiny, monkeypatch, tmp_path, capsys
):
    monkeypatch.setattr(gpu, "find_device", device)
    monkeypatch.setattr(gpu, "all_cases", list)
    out = tmp_path / "gpu.json"
    assert main(["gpu", "--out", str(out)]) == 0
    found = json.loads(out.read_text())
    for time in found["times, ms"]:
        assert time["ours"] > 0 and time["bare"] > 0 and time["calls"] == timing.FEWEST
        assert time["ratio"] == time["ours"] / time["bare"]
    both = [(time["task"], time["dtype"]) for time in found["times, ms"]]
    assert both == list(product(tasks.TASKS, TOLERANCES))
    compared = [(c["name"], c["dtype"]) for c in found["comparisons"]]
    assert compared == both
    text = capsys.readouterr().out
    for name in tasks.TASKS:
        assert text.count(f"\n{name}  ") == 2


def test_a_task_that_is_wrong_is_not_timed(tiny, monkeypatch):
    right = tasks.TASKS["damped inverse"]

    def wrong(place):
        task = right(place)
        if place.move is np.asarray:
            return task
        return tasks.Task(lambda: [1.1 * task.ours()[0]], [], task.factors)

    monkeypatch.setattr(timing, "TASKS", {"wrong": wrong, "right": right})
    outcomes, times = timing.time_all(device(), lambda what: None)
    assert [o.verdict for o in outcomes] == ["DIFFERS", "DIFFERS", "PASS", "PASS"]
    assert {time.task for time in times} == {"right"}


def test_an_error_in_the_timing_is_kept_and_the_others_go_on(tiny, monkeypatch):
    two = {name: tasks.TASKS[name] for name in ("damped inverse", "step")}
    monkeypatch.setattr(timing, "TASKS", two)
    bare = timing.bare_products

    def full(xp, dtype, products, factors):
        if not products:  # of the damped inverse
            raise MemoryError("out of memory\n allocating 9 bytes")
        return bare(xp, dtype, products, factors)

    monkeypatch.setattr(timing, "bare_products", full)
    outcomes, times = timing.time_all(device(), lambda what: None)
    assert [o.verdict for o in outcomes] == ["FAILED", "FAILED", "PASS", "PASS"]
    expected = "while it was timed: MemoryError: out of memory allocating 9 bytes"
    assert outcomes[0].message == expected and outcomes[0].errors
    assert [time.task for time in times] == ["step", "step"]


def test_functions_take_turns_until_it_is_enough():
    calls, clock = [], iter(range(1000))

    def milliseconds(function):
        function()
        return next(clock)

    both = [lambda: calls.append("A"), lambda: calls.append("B")]
    ours, other = timing.in_turns(both, milliseconds)
    # 0 to 3 warmed up; 4 + 5 + ... + 63 = 2010 is the first sum of pairs from 2000 on
    assert ours == list(range(4, 64, 2)) and other == list(range(5, 65, 2))
    assert calls == ["A", "B"] * 32
    slow, _ = timing.in_turns(both, lambda function: 1e4)
    assert slow == [1e4] * timing.FEWEST
    quick, _ = timing.in_turns(both, lambda function: 1e-3)
    assert len(quick) == timing.MOST
