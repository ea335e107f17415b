"""LBANN's MNIST example: train, and say after every epoch what LBANN says.

From settings come images, a network, its first parameters and the order of the batches,
all from one generator: with the same seed, two optimizers see the same. After an epoch:

    objective          mean over its mini-batches, each before its update (as in LBANN)
    accuracy           of all training images, after the epoch (LBANN: as they come)
    run time           of the epoch, without these evaluations
    mini-batch time    mean, max, min and standard deviation over its updates
    test               objective and accuracy of all test images
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from kfac_ref.backend import Array, get_xp
from kfac_ref.files import make_folder, write_whole
from kfac_ref.network import Network
from kfac_ref.optimizer.batches import check_batch_size
from kfac_ref.optimizer.training import Data, History, Optimizer, train
from kfac_ref.races.lbann_models import Images, load, make_network
from kfac_ref.races.lbann_settings import Settings, make_optimizer
from kfac_ref.values import Value

AT_ONCE = 1000  # examples in an evaluation
HEADER = """\
               training              mini-batch time (ms)                 test
epoch  objective  accuracy  run time     mean      max      min    stdev  \
objective  accuracy"""


@dataclass(frozen=True)
class Epoch(Value):
    """What is known after an epoch. Times are in seconds, accuracies shares."""

    objective: float
    accuracy: float
    run_time: float
    batch_mean: float
    batch_max: float
    batch_min: float
    batch_stdev: float
    test_objective: float
    test_accuracy: float

    def line(self, number: int) -> str:
        """A row under HEADER."""
        times = (self.batch_mean, self.batch_max, self.batch_min, self.batch_stdev)
        return (
            f"{number:5d}  {self.objective:9.4g}  {self.accuracy:8.2%}  "
            f"{self.run_time:6.2f} s  {'  '.join(f'{1e3 * t:7.2f}' for t in times)}  "
            f"{self.test_objective:9.4g}  {self.test_accuracy:8.2%}"
        )


@dataclass(frozen=True, eq=False)
class Job(Value):
    """All that a training needs. The generator goes on from the initial parameters."""

    settings: Settings
    images: Images
    network: Network
    optimizer: Optimizer
    params: list[Array]
    rng: np.random.Generator

    def epochs(self) -> Iterator[Epoch]:
        """Train, epoch by epoch. Raises TrainingDiverged, and the errors of a step."""
        state: Any = self.params
        for _ in range(self.settings.num_epochs):
            began = perf_counter()
            with np.errstate(over="ignore", invalid="ignore"):  # TrainingDiverged
                run = train(
                    self.optimizer,
                    state,
                    self.images.train,
                    self.settings.mini_batch_size,
                    self.rng,
                    epochs=1,
                    progress=False,
                )
            run_time, state = perf_counter() - began, run.state
            yield self._look(state, run.history, run_time)

    def _look(self, state: Any, history: History, run_time: float) -> Epoch:
        params = self.optimizer.params(state)
        _, accuracy = evaluate(self.network, params, self.images.train)
        test = evaluate(self.network, params, self.images.test)
        times = np.diff(history.seconds, prepend=0.0)
        mean, most, least, stdev = (
            float(number)
            for number in (times.mean(), times.max(), times.min(), times.std())
        )
        objective = float(history.loss.mean())
        return Epoch(objective, accuracy, run_time, mean, most, least, stdev, *test)

    def record(self, epochs: list[Epoch]) -> dict[str, Any]:
        """Settings and numbers, as JSON can hold them."""
        return {
            "settings": asdict(self.settings),
            "data": self.images.description,
            "parameters": self.network.size,
            "epochs": [asdict(epoch) for epoch in epochs],
        }


def make_job(settings: Settings) -> Job:
    """Images, network, parameters. Raises KfacError where the settings do not fit."""
    rng = np.random.default_rng(settings.seed)
    images = load(settings.data, rng)
    network = make_network(settings.model, images)
    optimizer = make_optimizer(settings, network)
    check_batch_size(settings.mini_batch_size, 0, len(images.train[0]))
    return Job(settings, images, network, optimizer, network.init(rng), rng)


def evaluate(network: Network, params: list[Array], data: Data) -> tuple[float, float]:
    """Mean loss and share of right answers, of some examples at a time."""
    x, y = data
    loss, right = 0.0, 0
    for i in range(0, len(x), AT_ONCE):
        z = network.predict(params, x[i : i + AT_ONCE])
        part = y[i : i + AT_ONCE]
        loss += float(network.distribution.loss(z, part).sum())
        right += int((get_xp(z).argmax(z, axis=1) == part).sum())
    return loss / len(x), right / len(x)


def run(settings: Settings, out: Path) -> Path:
    """Train, print a line for each epoch, write train_<model>_<optimizer>.json.

    What was reached before an end too early is in train_..._unfinished.json.
    """
    make_folder(out)
    job = make_job(settings)
    print(f"{job.images.description}\n{describe(job)}\n{HEADER}", flush=True)
    epochs: list[Epoch] = []
    try:
        for number, epoch in enumerate(job.epochs(), start=1):
            epochs.append(epoch)
            print(epoch.line(number), flush=True)
    finally:
        end = "" if len(epochs) == settings.num_epochs else "_unfinished"
        path = out / f"train_{settings.name}{end}.json"
        if epochs:
            write_json(path, job.record(epochs))
            print(f"{path.name} is in {out}", flush=True)
    return path


def describe(job: Job) -> str:
    """The network and the optimizer in a line."""
    settings = job.settings
    by = f"{settings.optimizer}, learning rate {settings.learning_rate:g}"
    if settings.kfac:
        act, err = (
            " to ".join(f"{number:g}" for number in numbers)
            for numbers in (settings.kfac.damping_act, settings.kfac.damping_err)
        )
        by = f"K-FAC, damping act {act}, err {err}; {by}"
    return f"{settings.model}, {job.network.size:,} parameters; {by}"


def write_json(path: Path, record: dict[str, Any]) -> None:
    write_whole(path, (json.dumps(record, indent=1) + "\n").encode())
