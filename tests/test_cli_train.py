"""`kfac-ref train`: LBANN's options, its report, and every way a user can err."""

from __future__ import annotations

import json
import re

import pytest

import kfac_ref.cli.train as command
from kfac_ref.cli import main
from kfac_ref.examples.lbann import models as lbann_models
from kfac_ref.examples.lbann.settings import KfacSettings, Settings
from test_cli import failing
from test_example_lbann import write_images

KFAC = ["--optimizer", "sgd", "--learning-rate", "0.1", "--kfac"]


@pytest.fixture
def images(tmp_path, rng):
    """A folder with a few images in the files of MNIST."""
    write_images(tmp_path / "images", rng)
    return tmp_path / "images"


def asked(monkeypatch, *argv):
    """What is run: the training's settings or the race's, and the folder."""
    seen = []
    for module in (command.lbann, command.lbann_race):
        monkeypatch.setattr(module, "run", lambda *args: seen.append(args))
    assert main(["train", *argv]) == 0
    return seen[0]


# Options


def test_without_options_the_settings_are_lbanns(monkeypatch):
    settings, folder = asked(monkeypatch)
    assert settings == Settings() and str(folder) == "figures"
    assert asked(monkeypatch, "--compare")[0] == Settings()


def test_the_published_setting_of_kfac(monkeypatch):
    options = [*KFAC, "--damping-act", "0.01", "--damping-err", "1"]
    settings, _ = asked(monkeypatch, *options)
    kfac = KfacSettings(damping_act=(0.01,), damping_err=(1.0,))
    assert settings == Settings(optimizer="sgd", learning_rate=0.1, kfac=kfac)
    # as one says it to LBANN's own script
    lbann = "--model mlp --num_epochs 20 --mini_batch_size 100 --optimizer sgd "
    lbann += "--optimizer-learning-rate 0.1 --kfac --kfac-damping-act 0.01 "
    lbann += "--kfac-damping-err 1"
    assert asked(monkeypatch, *lbann.split())[0] == settings


def test_every_option_arrives(monkeypatch, tmp_path):
    line = f"--model cnn --optimizer momentum --learning-rate 0.2 --num-epochs 3 \
--mini-batch-size 7 --data there --seed 5 --out {tmp_path} --kfac \
--damping-act 0.5,0.25 --damping-err 4 --damping-warmup-steps 11 --use-pi \
--update-interval-init 2 --update-interval-target 13 --update-interval-steps 17 \
--compute-interval 19 --kronecker-decay 0.75 --use-eigen"
    settings, folder = asked(monkeypatch, *line.split())
    kfac = KfacSettings((0.5, 0.25), (4.0,), 11, True, 2, 13, 17, 19, 0.75, True)
    assert settings == Settings("cnn", "momentum", 0.2, 3, 7, kfac, "there", 5)
    assert folder == tmp_path
    own = "--kfac-update-interval-init 2 --kfac-update-interval-target 13 \
--kfac-update-interval-steps 17 --kfac-compute-interval-steps 19 --kfac-use-pi \
--kfac-damping-warmup-steps 11 --use-eigen"
    found = asked(monkeypatch, *KFAC, *own.split())[0].kfac
    assert found == KfacSettings((0.03,), (0.03,), 11, True, 2, 13, 17, 19, 0.99, True)


def test_help_names_every_option_with_its_default(capsys):
    assert main(["train", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for name in [*command.ALL, *command.KFAC]:
        assert "--" + name.replace("_", "-") in text
    for default in ("(mlp)", "(adam)", "(0.0001)", "(20)", "(100)", "(0.03)", "(0.99)"):
        assert default in text


# The report


def test_the_report_is_what_lbann_prints(images, tmp_path, capsys):
    out = tmp_path / "new" / "folder"
    options = ["--model", "cnn", *KFAC, "--damping-err", "1,0.5", "--num-epochs", "2"]
    options += ["--mini-batch-size", "11", "--data", str(images), "--out", str(out)]
    assert main(["train", *options]) == 0
    text = capsys.readouterr().out
    lines = text.splitlines()
    assert lines[0] == (
        f"{images}: 23 images of 8 x 8 pixels to train with, 9 for the test"
    )
    assert lines[1] == (
        "cnn, 34,180 parameters; K-FAC, damping act 0.03, err 1 to 0.5; sgd, learning "
        "rate 0.1"
    )
    assert re.split(r"\s{2,}", lines[2].strip()) == [
        "training", "mini-batch time (ms)", "test"
    ]  # fmt: skip
    assert re.split(r"\s{2,}", lines[3].strip()) == [
        "epoch", "objective", "accuracy", "run time", "mean", "max", "min", "stdev",
        "objective", "accuracy",
    ]  # fmt: skip
    record = json.loads((out / "train_cnn_sgd_kfac.json").read_text())
    assert len(record["epochs"]) == 2 and record["parameters"] == 34_180
    assert record["settings"]["kfac"]["damping_err"] == [1.0, 0.5]
    for i, epoch in enumerate(record["epochs"]):
        cells = re.split(r"\s{2,}", lines[4 + i].strip())
        assert cells == [
            str(i + 1),
            f"{epoch['objective']:.4g}",
            f"{epoch['accuracy']:.2%}",
            f"{epoch['run_time']:.2f} s",
            *(f"{1e3 * epoch[f'batch_{t}']:.2f}" for t in "mean max min stdev".split()),
            f"{epoch['test_objective']:.4g}",
            f"{epoch['test_accuracy']:.2%}",
        ]
        assert 0 < epoch["batch_min"] <= epoch["batch_mean"] <= epoch["batch_max"]
        assert epoch["run_time"] >= 2 * epoch["batch_mean"]
    assert lines[6:] == [f"train_cnn_sgd_kfac.json is in {out}"]


def test_the_file_has_the_name_of_model_and_optimizer(images, tmp_path, capsys):
    sizes = ["--num-epochs", "1", "--mini-batch-size", "23", "--out", str(tmp_path)]
    assert main(["train", "--data", str(images), *sizes]) == 0
    assert "mlp, 1,074,000 parameters; adam, learning rate 0.0001" in (
        capsys.readouterr().out
    )
    assert json.loads((tmp_path / "train_mlp_adam.json").read_text())["epochs"]


# What a user can do wrong: one line, exit code 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--model", "gru"], "invalid choice: 'gru'"),
        (["--optimizer", "adamw"], "invalid choice: 'adamw'"),
        (["--learning-rate", "fast"], "invalid float value: 'fast'"),
        (["--damping-act", "1,2,3"], "two such as 0.1,0.01, found '1,2,3'"),
        (["--damping-err", "much"], "expected a damping such as 0.03"),
        (["--num-epochs", "-1"], "num_epochs: expected a whole number >= 1, found -1"),
        (["--kfac"], "optimizer 'adam': LBANN hands Adam the preconditioned gradient"),
        (
            ["--learning-rate", "0"],
            "learning_rate: expected a finite number > 0, found 0.0",
        ),
        (
            [*KFAC, "--learning-rate", "nan"],
            "learning_rate: expected a finite number > 0, found",
        ),
        ([*KFAC, "--damping-act", "0.1,1"], "damping_act: ApproachTarget: expected"),
        (
            [*KFAC, "--damping-err=-1"],
            "damping_err: damping: expected a finite number >= 0",
        ),
        ([*KFAC, "--compute-interval", "0"], "compute_interval: expected a whole"),
        ([*KFAC, "--kronecker-decay", "1"], "decay of the moving average: expected"),
        (["--num-epochs", "0"], "num_epochs: expected a whole number >= 1, found 0"),
        (["--mini-batch-size", "24"], "batch_size of update 1: expected from 1 to 23"),
        (["--use-pi"], "without --kfac there is no K-FAC to set: leave out --use-pi"),
        (
            ["--compare", *KFAC, "--damping-act", "1"],
            "--compare has contestants of its own: leave out --damping-act, --kfac, "
            "--learning-rate, --optimizer",
        ),
        (["--data", "nowhere"], "in 'nowhere' (there is no such folder) expected"),
    ],
)
def test_wrong_options(tmp_path, capsys, images, options, message):
    folders = ["--data", str(images), "--out", str(tmp_path)]
    assert message in failing(capsys, "train", *folders, *options)


def test_images_that_do_not_fit_the_cnn(tmp_path, capsys, rng):
    write_images(tmp_path, rng, side=9)
    options = ["--model", "cnn", "--data", str(tmp_path), "--out", str(tmp_path)]
    error = failing(capsys, "train", *options)
    assert "cnn: expected images of 28 x 28 or of 8 x 8 pixels, found 9 x 9" in error


def test_a_training_that_diverges(tmp_path, capsys, images):
    options = ["--optimizer", "sgd", "--learning-rate", "1e200", "--model", "cnn"]
    options += ["--data", str(images), "--out", str(tmp_path)]
    error = failing(capsys, "train", *options, "--mini-batch-size", "5", code=1)
    assert "training diverged: the " in error and "is not finite" in error


def test_a_race_on_the_command_line(images, tmp_path, capsys, monkeypatch):
    def small(height, width):
        layers = [lbann_models.Flatten(), lbann_models.dense(height * width, 10)]
        return lbann_models.Network(layers, lbann_models.Categorical())

    monkeypatch.setitem(lbann_models.MODELS, "mlp", small)
    sizes = ["--num-epochs", "1", "--mini-batch-size", "11", "--seed", "2"]
    folders = ["--data", str(images), "--out", str(tmp_path)]
    assert main(["train", "--compare", *sizes, *folders]) == 0
    text = capsys.readouterr().out
    record = json.loads((tmp_path / "lbann_mlp.json").read_text())
    assert [run["seed"] for run in record["runs"]["Adam, tuned"]] == [2, 3, 4]
    for pair, values in record["ratios"].items():
        shown = ", ".join(f"{value:.3g}" for value in values)
        assert f"{pair}: Adam's objective over K-FAC's is {shown}\n" in text
    assert (tmp_path / "lbann_mlp.png").is_file()
