"""The figures: one style, one colour for each object, the error in the title.

Every function that draws returns a `matplotlib.figure.Figure`, which needs no display;
`save` writes it, with the same bytes for the same data. matplotlib is imported only
when a figure is drawn. Exact is blue, an approximation orange, an error grey. Names are
shown as they are written, including `$`; long ones are shortened in the middle.
"""

from kfac_ref.plotting.curves import (
    fit_power_law,
    sampling_figure,
    spectra_figure,
    training_figure,
)
from kfac_ref.plotting.heat_maps import heat_maps
from kfac_ref.plotting.histories import histories_figure
from kfac_ref.plotting.races import race_figure
from kfac_ref.plotting.style import (
    APPROXIMATION,
    ERROR,
    EXACT,
    STYLE,
    look,
    save,
    shades,
    styled,
)
from kfac_ref.plotting.tables import comparison_figure
from kfac_ref.plotting.words import legend_beside

__all__ = [
    "APPROXIMATION",
    "ERROR",
    "EXACT",
    "STYLE",
    "comparison_figure",
    "fit_power_law",
    "heat_maps",
    "histories_figure",
    "legend_beside",
    "look",
    "race_figure",
    "sampling_figure",
    "save",
    "shades",
    "spectra_figure",
    "styled",
    "training_figure",
]
