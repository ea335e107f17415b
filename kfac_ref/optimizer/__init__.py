"""The optimizer: Algorithm 2 of Martens & Grosse 2015, stage by stage."""

from kfac_ref.optimizer.archive import CheckpointError
from kfac_ref.optimizer.averages import Average, MovingAverage
from kfac_ref.optimizer.baselines import SGD, Adam
from kfac_ref.optimizer.batches import growing_batches
from kfac_ref.optimizer.checkpoint import load_state, save_state
from kfac_ref.optimizer.hessian_free import HessianFree
from kfac_ref.optimizer.kfac import KFAC
from kfac_ref.optimizer.natural_gradient import NaturalGradient
from kfac_ref.optimizer.stages import Diverged
from kfac_ref.optimizer.state import Outcome, Place, Proposal, State, Trace
from kfac_ref.optimizer.training import (
    History,
    Run,
    TrainingDiverged,
    train,
)

__all__ = [
    "KFAC",
    "SGD",
    "Adam",
    "Average",
    "CheckpointError",
    "Diverged",
    "HessianFree",
    "History",
    "MovingAverage",
    "NaturalGradient",
    "Outcome",
    "Place",
    "Proposal",
    "Run",
    "State",
    "Trace",
    "TrainingDiverged",
    "growing_batches",
    "load_state",
    "save_state",
    "train",
]
