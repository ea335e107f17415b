"""`kfac-ref race convolutional`, from end to end, and every way a user can err."""

from __future__ import annotations

import json

import pytest

import kfac_ref.cli.race as command
from kfac_ref.cli import main
from kfac_ref.examples.convolutional import race as record
from test_cli import failing
from test_demo import write_mnist

RACE = ["race", "convolutional"]


@pytest.fixture
def slow_and_sure(monkeypatch):
    """Rates at which nobody diverges on labels that mean nothing."""
    rates = dict(zip(record.RATES, (0.0002, 0.02, 0.001), strict=True))
    monkeypatch.setattr(record, "RATES", rates)


@pytest.fixture
def folder(tmp_path, rng):
    """The four files of a set in the format of MNIST: 131 and 23 images of 6 x 5."""
    found = tmp_path / "images"
    for name, count in (("train", 131), ("t10k", 23)):
        part = tmp_path / name
        part.mkdir()
        write_mnist(part, rng, count=count, height=6, width=5)
        found.mkdir(exist_ok=True)
        for file in part.iterdir():
            file.rename(found / file.name.replace("train", name))
    return found


def numbers(folder):
    """The JSON without what a clock says."""
    found = json.loads((folder / "race_convolutional.json").read_text())
    for row in found["contestants"].values():
        assert row["history"].pop("seconds")[-1] > 0
        row.pop("seconds_to_target")
    for row in found["against"].values():
        row.pop("seconds"), row.pop("ratio_of_seconds")
    found.pop("summary")
    return found


def test_files_of_mnist_from_end_to_end(tmp_path, capsys, folder, slow_and_sure):
    out = tmp_path / "new" / "folder"
    options = ["--data", str(folder), "--updates", "7", "--backend", "numpy"]
    assert main([*RACE, *options, "--out", str(out)]) == 0
    text, _ = capsys.readouterr()
    assert f"{folder}: 131 training images and 23 test images, 6 x 5 pixels\n" in text
    assert "net: Network(Sequential([Conv2d(1, 16, 5), ReLU(), MaxPool2d(3, " in text
    for name, rate in record.RATES.items():
        assert f"\n{name}, learning rate {rate:g}: training loss " in text
    assert text.count(" after 7 updates, ") == 3
    content = json.loads((out / "race_convolutional.json").read_text())
    for line in content["summary"]:
        assert f"\n{line}\n" in text
    assert f"race_convolutional.png and race_convolutional.json are in {out};" in text
    png = (out / "race_convolutional.png").read_bytes()
    assert png.startswith(b"\x89PNG")
    assert content["parameters"] == 26 * 16 + 2 * 145 * 16 + (2 * 2 * 16 + 1) * 10
    assert list(content["structure"].values()) == ["diagonal"] + 3 * ["kronecker"]
    assert content["settings"]["updates"] == 7 and content["settings"]["seed"] == 0
    for row in content["contestants"].values():
        assert row["history"]["update"] == [0, 5, 7]
        assert row["final_training_loss"] == row["history"]["loss"][-1]
        assert row["final_test_accuracy"] == row["history"]["accuracy"][-1]


def test_the_same_seed_gives_the_same_numbers(tmp_path, folder, slow_and_sure):
    found = []
    for name, seed in (("a", "3"), ("b", "3"), ("c", "4")):
        options = ["--data", str(folder), "--updates", "2", "--seed", seed]
        assert main([*RACE, *options, "--out", str(tmp_path / name)]) == 0
        found.append(numbers(tmp_path / name))
    assert found[0] == found[1]
    assert found[2]["contestants"] != found[0]["contestants"]


def test_digits_are_the_default(monkeypatch):
    seen = []
    monkeypatch.setattr(command.convolutional, "run", seen.append)
    assert main(RACE) == 0
    assert seen == [record.Settings()] and seen[0].data == "digits"


def test_help_names_every_option_with_its_default(capsys):
    for options in (["race", "--help"], [*RACE, "--help"]):
        assert main(options) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "convolutional a residual convolutional net" in text
    for option in "--data --seed --updates --out --backend".split():
        assert option in text
    assert "(digits)" in text and "(100)" in text and "(figures)" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["race"], "required: RACE"),
        (["race", "convolutoinal"], "invalid choice: 'convolutoinal'"),
        ([*RACE, "--updates", "-1"], "updates: expected a whole number >= 1, found -1"),
        ([*RACE, "--updates", "0"], "updates: expected a whole number >= 1, found 0"),
        ([*RACE, "--seed", "two"], "expected a whole number, found 'two'"),
        ([*RACE, "--backend", "tpu"], "invalid choice: 'tpu'"),
        ([*RACE, "--data", "nowhere"], "in 'nowhere' (there is no such folder)"),
    ],
)
def test_wrong_options(tmp_path, capsys, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    assert message in failing(capsys, *options)


def test_the_test_files_are_needed_too(tmp_path, capsys, folder):
    (folder / "t10k-labels-idx1-ubyte").unlink()
    options = ["--data", str(folder), "--out", str(tmp_path)]
    error = failing(capsys, *RACE, *options)
    assert str(folder) in error and "t10k-labels-idx1-ubyte" in error


def test_fewer_images_than_a_batch(tmp_path, capsys, folder, rng):
    write_mnist(folder, rng, count=127, height=6, width=5)
    error = failing(capsys, *RACE, "--data", str(folder), "--out", str(tmp_path))
    assert "batch_size of update 1: expected from 1 to 127, the number of" in error


def test_a_contestant_that_diverges(tmp_path, capsys, folder, monkeypatch):
    monkeypatch.setitem(record.RATES, "K-FAC", 1e30)
    options = ["--data", str(folder), "--out", str(tmp_path)]
    error = failing(capsys, *RACE, *options, code=1)
    assert error.startswith("kfac-ref: K-FAC, learning rate 1e+30: ")
    assert not (tmp_path / "race_convolutional.json").exists()


def test_a_folder_that_cannot_be_made(tmp_path, capsys):
    file = tmp_path / "file"
    file.write_text("in the way")
    assert str(file) in failing(capsys, *RACE, "--out", str(file))
    assert file.read_text() == "in the way"
