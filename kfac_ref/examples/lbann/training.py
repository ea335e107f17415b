"""LBANN's MNIST example: train, and print after every epoch what LBANN prints.

The split of the images, the initial parameters and the order of the batches come from
one generator: with the same seed, two optimizers see the same. After an epoch:

    objective          mean over its mini-batches, each before its update (as in LBANN)
    accuracy           on all training images, after the epoch (LBANN: as they come)
    run time           of the epoch, without these evaluations
    mini-batch time    mean, max, min and standard deviation over its updates
    test               objective and accuracy on all test images
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from kfac_ref.backend import Array
from kfac_ref.examples.contest import Contestant, Course, Lap, check_batches, follow
from kfac_ref.examples.images import Images, evaluate, load
from kfac_ref.examples.lbann.models import make_network
from kfac_ref.examples.lbann.settings import Settings, make_optimizer
from kfac_ref.examples.running import write_json
from kfac_ref.files import make_folder
from kfac_ref.network import Network
from kfac_ref.optimizer.training import Data
from kfac_ref.values import Value

HELD_OUT = slice(-297, None)  # of the 1797 digits, for the test
HEADER = """\
               training              mini-batch time (ms)                 test
epoch  objective  accuracy  run time     mean      max      min    stdev  \
objective  accuracy"""


@dataclass(frozen=True, eq=False)
class Problem(Value):
    """Images, a network, its parameters, and the generator that drew all of them."""

    seed: int
    images: Images
    network: Network
    params: list[Array]
    rng: np.random.Generator
    description: str

    @property
    def data(self) -> Data:
        return self.images.train

    def start(self) -> tuple[list[Array], np.random.Generator]:
        return self.params, deepcopy(self.rng)

    def look(self, lap: Lap) -> dict[str, float]:
        """The numbers of an epoch. Times are in seconds, accuracies are shares."""
        _, accuracy = evaluate(self.network, lap.params, self.images.train)
        objective, right = evaluate(self.network, lap.params, self.images.test)
        times = np.diff(lap.history.seconds, prepend=0.0)
        return {
            "objective": float(lap.history.loss.mean()),
            "accuracy": accuracy,
            "run_time": lap.seconds,
            "batch_mean": float(times.mean()),
            "batch_max": float(times.max()),
            "batch_min": float(times.min()),
            "batch_stdev": float(times.std()),
            "test_objective": objective,
            "test_accuracy": right,
        }


def make_problem(settings: Settings) -> Problem:
    """Load the images, make the network. Raises KfacError if they do not fit."""
    rng = np.random.default_rng(settings.seed)
    images = load(settings.data, rng, HELD_OUT)
    network = make_network(settings.model, images.size)
    name = "UCI digits" if settings.data == "digits" else settings.data
    (N, h, w, _), held_out = images.train[0].shape, len(images.test[0])
    text = f"{name}: {N:,} images of {h} x {w} pixels to train with, {held_out:,} for"
    return Problem(
        settings.seed, images, network, network.init(rng), rng, f"{text} the test"
    )


def make_contestant(settings: Settings, problem: Problem) -> Contestant:
    """Make the optimizer; its laps are the epochs of the settings."""
    optimizer = make_optimizer(settings, problem.network)
    batch = settings.mini_batch_size
    epoch = len(problem.data[0]) // batch
    updates = settings.num_epochs * epoch
    return Contestant(optimizer, batch, updates, describe(settings), epoch)


def describe(settings: Settings) -> str:
    """The optimizer in a few words."""
    by = f"{settings.optimizer}, learning rate {settings.learning_rate:g}"
    if not settings.kfac:
        return by
    act, err = (
        " to ".join(f"{number:g}" for number in numbers)
        for numbers in (settings.kfac.damping_act, settings.kfac.damping_err)
    )
    return f"K-FAC, damping act {act}, err {err}; {by}"


def epochs(course: Course) -> list[dict[str, float]]:
    """What `Problem.look` returned after each epoch."""
    left_out = ("update", "seconds")
    return [{k: v for k, v in row.items() if k not in left_out} for row in course.rows]


def line(course: Course) -> str:
    """The last epoch as a row under HEADER."""
    epoch = course.rows[-1]
    times = (epoch[f"batch_{which}"] for which in ("mean", "max", "min", "stdev"))
    return (
        f"{len(course.rows):5d}  {epoch['objective']:9.4g}  {epoch['accuracy']:8.2%}  "
        f"{epoch['run_time']:6.2f} s  {'  '.join(f'{1e3 * t:7.2f}' for t in times)}  "
        f"{epoch['test_objective']:9.4g}  {epoch['test_accuracy']:8.2%}"
    )


def run(settings: Settings, out: Path) -> Path:
    """Train, print a line for each epoch, write train_<model>_<optimizer>.json.

    If it ends early, what was reached is in train_..._unfinished.json.
    """
    make_folder(out)
    problem = make_problem(settings)
    contestant = make_contestant(settings, problem)
    check_batches(problem, {settings.name: contestant})
    size = f"{problem.network.size:,} parameters"
    words = f"{settings.model}, {size}; {contestant.words}"
    print(f"{problem.description}\n{words}\n{HEADER}", flush=True)
    course = Course([])
    try:
        for course in follow(problem, contestant):
            print(line(course), flush=True)
    finally:
        end = "" if len(course.rows) == settings.num_epochs else "_unfinished"
        path = out / f"train_{settings.name}{end}.json"
        if course.rows:
            record = {
                "settings": asdict(settings),
                "data": problem.description,
                "parameters": problem.network.size,
                "epochs": epochs(course),
            }
            write_json(path, record)
            print(f"{path.name} is in {out}", flush=True)
    return path
