"""The options of K-FAC, in four groups by the part of the algorithm that needs them.

    Statistics   what is estimated, and from how much            questions 1 and 2
    Inversion    how it is damped and inverted, and how often    question 3
    Update       the objective, and the model that gives alpha and mu
    Practice     what other libraries do and Algorithm 2 does not

`KFAC(network, structure="diagonal", damping=0.1)` takes the options of all groups by
their names. Sections and letters are those of Martens & Grosse 2015; the paper's values
are `KFAC.paper(network)`.

What happens every T steps happens in step k if T divides k; the first step has the
number `first_step`. T = 0 means never. `adapt_damping` has a period of its own, counted
in steps done.

Names may also be other libraries' words for the same thing (words.py). Every option is
used, or refused before the first step, with one exception: the options of a stage that
others have switched off may stay, so that one option can be varied at a time. These are
`gamma_factor` if gamma_every is 0, `clip` if norm_constraint is None, `tau_2` and
`matrix` if no quadratic model is made (both coefficients fixed, no adapt_damping, no
gamma_every), and `position_share` if no positions are shared.
"""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass, field, fields, replace
from typing import Any

from kfac_ref.calls import check_words
from kfac_ref.damping import factored_tikhonov, same_on_each_factor, tikhonov
from kfac_ref.errors import Unsupported, ValueRangeError
from kfac_ref.network import Network
from kfac_ref.optimizer.option_groups import Inversion, Practice, Statistics, Update
from kfac_ref.optimizer.statistics import choices
from kfac_ref.values import Value

FOR_FACTORS = (factored_tikhonov, same_on_each_factor)
WITH_FACTORS = ("kronecker", "best_kronecker", "block_tridiagonal")
GROUPS: dict[str, Any] = {
    "statistics": Statistics,
    "inversion": Inversion,
    "update": Update,
    "practice": Practice,
}
NAMES = {group: [f.name for f in fields(kind)] for group, kind in GROUPS.items()}
MAY_CHANGE = (  # while a training is resumed; see origin.py
    "statistics_every", "tau_1", "position_share", "inverse_every", "inverse_early",
    "gamma_every", "gamma_factor", "norm_constraint", "clip", "learning_rate",
    "momentum", "matrix", "tau_2", "adapt_damping", "damping_in_ratio", "weight_decay",
    "reject",
)  # fmt: skip
PAPER: dict[str, Any] = dict(damping=150.0, tau_1=1 / 8, tau_2=1 / 4)  # sections 8, 13
FIXED: dict[str, Any] = dict(
    learning_rate=0.1, momentum=0.9, norm_constraint=0.01, damping=0.03,
    adapt_damping=None, gamma_every=0, inverse_every=5,
)  # fmt: skip


@dataclass(frozen=True)
class Due(Value):
    """What happens in one step, and what does not."""

    statistics: bool  # the curvature of the batch enters the average
    search: bool  # three gammas are tried
    inverse: bool  # the average is damped and inverted anew
    adapts: bool  # lambda moves
    model: bool  # a quadratic model is made
    after: bool  # the loss after the step is looked at


@dataclass(frozen=True, eq=False)
class Options(Value):
    """All options, in their groups."""

    statistics: Statistics = field(default_factory=Statistics)
    inversion: Inversion = field(default_factory=Inversion)
    update: Update = field(default_factory=Update)
    practice: Practice = field(default_factory=Practice)

    def flat(self) -> dict[str, Any]:
        """Return every option by its name."""
        return {
            name: getattr(getattr(self, group), name)
            for group, names in NAMES.items()
            for name in names
        }

    def replaced(self, **named: Any) -> Options:
        """Return these options, but for those that are named."""
        check_words("KFAC", [*self.flat()], named)
        groups = {}
        for group, names in NAMES.items():
            own = {name: named[name] for name in names if name in named}
            groups[group] = replace(getattr(self, group), **own)
        return Options(**groups)

    def due(self, step: int) -> Due:
        """Return what happens in the step after `step` others."""
        inversion, practice = self.inversion, self.practice

        def divides(every: int) -> bool:
            return every > 0 and (step + practice.first_step) % every == 0

        search, rule = divides(inversion.gamma_every), inversion.adapt_damping
        adapts = rule is not None and bool(rule.due(step))
        return Due(
            statistics=divides(self.statistics.statistics_every),
            search=search,
            inverse=step < inversion.inverse_early or divides(inversion.inverse_every),
            adapts=adapts,
            model=practice.solves or search or adapts,
            after=practice.reject or adapts,
        )

    def gamma_of(self, damping: float) -> float:
        """Return sqrt(lambda + eta): gamma before any search. Section 6.6."""
        return math.sqrt(damping + self.update.l2)

    def structures(self, network: Network) -> list[str]:
        """Return the structure of each layer."""
        own = self.statistics
        return choices(network, own.structure, own.estimate, own.samples)[0]

    def check_together(self, network: Network) -> None:
        """Check options that need or exclude options of other groups."""
        structures, update = self.structures(network), self.update
        averaged = self.statistics.average.variant != "latest"
        if averaged and "eigenvalue_corrected" in structures:
            raise Unsupported(
                "structure 'eigenvalue_corrected': its basis turns from step to step, "
                "so its numbers have no mean; expected average=MovingAverage('latest')"
            )
        if (structures[0], update.matrix) == ("block_tridiagonal", "approximation"):
            raise Unsupported(
                "matrix 'approximation': block_tridiagonal cannot be multiplied before "
                "it is damped; use 'fisher'"
            )
        _check_rule(self.inversion.damping_rule, structures)
        if self.inversion.gamma_every and self.inversion.damping + update.l2 == 0:
            raise ValueRangeError(
                "gamma_every: the search for gamma starts at sqrt(damping + l2), which "
                "is 0; expected gamma_every=0 with it"
            )


def _check_rule(rule: Any, structures: list[str]) -> None:
    """Unsupported if a rule is meant for blocks of another kind than there are."""
    wrong = [one for one in structures if one not in WITH_FACTORS]
    if rule in FOR_FACTORS and wrong:
        raise Unsupported(
            f"damping_rule {rule.__name__}: structure {wrong[0]!r} has no two factors; "
            "expected 'by_kind', which damps factors by factored_tikhonov and all "
            "other blocks exactly, or 'tikhonov'"
        )
    if rule is tikhonov and structures[0] == "block_tridiagonal":
        raise Unsupported(
            "damping_rule tikhonov: block_tridiagonal needs one that keeps a "
            "Kronecker product, such as 'factored_tikhonov'"
        )


def with_options(kind: Any) -> Any:
    """Put every option into the signature and the docstring of an optimizer."""
    own = [*inspect.signature(kind.__init__).parameters.values()][:-1]
    named = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=value)
        for name, value in Options().flat().items()
    ]
    kind.__init__.__signature__ = inspect.Signature([*own, *named])
    texts = [f"{each.__name__}: {inspect.getdoc(each)}" for each in GROUPS.values()]
    kind.__doc__ = "\n\n".join([str(inspect.getdoc(kind)), *texts])
    return kind
