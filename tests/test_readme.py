"""The README's code runs, in order, in one session, and its tables are true."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from kfac_ref import given_pairs
from kfac_ref.damping import RULES
from kfac_ref.estimates import ESTIMATES
from kfac_ref.matrices import BlockDiagonalMatrix, KroneckerProduct
from kfac_ref.structures import STRUCTURES, make_structure
from kfac_ref.words import ALIASES, OTHERS

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text()


def test_code_runs_and_prints_a_table(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
    assert len(blocks) == 8
    session: dict = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), session)
    printed = capsys.readouterr().out
    assert session["later"].state.step == session["run"].state.step + 3
    assert "kronecker" in printed and "diagonal" in printed
    with pytest.raises(ValueError, match="expected y >= 0"):
        session["net"].loss(session["params"], session["x"], -session["y"])


def test_faults_of_an_implementation_have_the_errors_that_are_written():
    """Those of the section "Test your own implementation", made on purpose."""
    blocks = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
    session: dict = {}
    for block in blocks[:2]:
        exec(compile(block, "README.md", "exec"), session)
    A, G, a, g = (session[name] for name in ("A", "G", "a", "g"))
    reference = session["reference"]

    def error(matrix):
        gap = matrix.to_dense() - reference.to_dense()
        return np.linalg.norm(gap) / reference.frobenius_norm()

    def products(left, right):
        pairs = zip(left, right, strict=True)
        return BlockDiagonalMatrix([KroneckerProduct(*block) for block in pairs])

    assert error(products([50 * M for M in A], G)) == pytest.approx(49, rel=1e-12)
    assert error(products(G, A)) > 1
    a, g = [X[:, None] for X in a], [X[:, :, None] for X in g]
    divided = given_pairs(a, [X / 50 for X in g])
    assert error(make_structure("kronecker", divided)) > 0.99
    turned = given_pairs(a, [X[::-1] for X in g])  # the columns of another order
    assert error(make_structure("kronecker", turned)) < 1e-12


def test_ten_lines_are_ten():
    example = re.search(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
    lines = [line for line in example.group(1).splitlines() if line.strip()]
    assert len(lines) <= 11


def test_every_name_and_every_alias_is_listed():
    for name in [*ESTIMATES, *STRUCTURES, *RULES]:
        assert f"`{name}`" in TEXT, name
    rows = [line.split("|") for line in TEXT.splitlines() if line.startswith("| `")]
    for words in ALIASES.values():
        for alias, name in words.items():
            beside = [others for _, here, *others in rows if f"`{name}`" in here]
            assert any(f"`{alias}`" in cell for cells in beside for cell in cells), (
                alias
            )


def test_words_that_are_refused_are_words_of_others():
    for word in ("kron_in_diag", "NaiveDiagonal"):
        assert f"`{word}`" in TEXT and word in OTHERS["structure"]
    said = {word for cells in re.findall(r"\| [^|]*\|$", TEXT, re.MULTILINE)
            for word in re.findall("`([^`]+)`", cells)}  # fmt: skip
    listed = {alias for words in ALIASES.values() for alias in words}
    assert (
        listed <= said and not said & {w for t in OTHERS.values() for w in t} - listed
    )


def test_links_lead_somewhere():
    for link in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert (ROOT / link).exists(), link


def record(name):
    return json.loads((ROOT / "figures" / f"race_{name}.json").read_text())


def test_the_figures_of_the_autoencoder_race_are_those_of_its_record():
    words = " ".join(TEXT.split())
    found = record("autoencoder_curves")
    sgd, adam = found["finishes"]
    batches = {name: c["batch"] for name, c in found["contestants"].items()}
    images = []
    for finish in (sgd, adam):
        few, many = min(finish["fewer_updates"]), max(finish["fewer_updates"])
        assert f"after {few:.0f} to {many:.0f} times fewer updates" in words
        ratios = [baseline / kfac for baseline, kfac in finish["seconds"]]
        few, many = min(ratios), max(ratios)
        assert f"and {few:.1f} to {many:.1f} times fewer seconds" in words
        larger = batches["K-FAC"] / batches[finish["baseline"]]
        images += [ratio / larger for ratio in finish["fewer_updates"]]
    assert f"it is {min(images):.0f} to {max(images):.0f} times fewer" in words
    assert f"batches of {batches['K-FAC']:,}" in words
    assert (
        f"{found['contestants']['SGD']['updates']:,} updates with batches of" in words
    )


def test_the_figures_of_the_convolutional_race_are_those_of_its_record():
    words = " ".join(TEXT.split())
    against = record("convolutional")["against"]
    (adam, kfac), (sgd, _) = (
        against["Adam"]["updates"],
        (against["SGD with momentum"]["updates"]),
    )
    assert (
        f"after {kfac} updates where Adam is after {adam} and SGD after {sgd}" in words
    )
