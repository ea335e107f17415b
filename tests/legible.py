"""What is wrong with a figure, as a list of sentences: cut, overlapping, tiny, unnamed.

`faults` draws the figure and asks the renderer where everything lies. It is used on all
figures of the package (test_figures.py) and, by `watch`, on all that a notebook draws.
"""

from __future__ import annotations

import sys
from itertools import combinations, pairwise

import numpy as np
from matplotlib.backend_bases import FigureCanvasBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import to_rgb
from matplotlib.patches import Rectangle
from matplotlib.text import Text

DPI, WIDEST = 150, 10.0
PAGE = 860  # pixels: the width of a README and of a notebook on GitHub
SMALLEST = 9.0  # pixels of a font's size, there
BAR = "<colorbar>"  # the label that matplotlib gives to the axes of one
APART = 20.0  # CIE Lab distance of two colours that everybody tells apart


def faults(figure):
    """Everything that is wrong. An empty list: the figure is fit to be read."""
    FigureCanvasAgg(figure).draw()
    named = [(text, *box) for text, *box in _texts(figure)]
    found = [*_sizes(figure, named), *_cut(figure, named), *_collisions(named)]
    for ax in figure.axes:
        if ax.get_visible():
            found += [*_unnamed_axes(ax), *_under_words(ax, named)]
    return [*found, *_unnamed_curves(figure), *_alike(figure)]


# Words


def _texts(figure):
    """Each visible text with the box in pixels that its letters fill."""
    renderer = figure.canvas.get_renderer()
    outside = _ticks_outside(figure)
    for text in figure.findobj(Text):
        if not text.get_visible() or not text.get_text().strip() or text in outside:
            continue
        if text.axes is not None and not text.axes.get_visible():
            continue
        box = text.get_window_extent(renderer)
        if box.width > 0 and np.isfinite(box.extents).all():
            yield text, box


def _ticks_outside(figure):
    """The labels that are not drawn: of ticks outside the limits, of no axis."""
    found = set()
    for ax in figure.axes:
        for axis, limits in ((ax.xaxis, ax.get_xlim()), (ax.yaxis, ax.get_ylim())):
            scaled = axis.get_transform().transform  # of an axis, perhaps a logarithm
            low, high = sorted(scaled(np.array(limits)))
            slack = 1e-9 * (high - low)
            for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
                inside = low - slack <= scaled(tick.get_loc()) <= high + slack
                if not (inside and ax.axison):
                    found.update([tick.label1, tick.label2])
    return found


def _sizes(figure, named):
    width = figure.get_figwidth()
    if round(figure.get_dpi()) != DPI:
        yield f"{figure.get_dpi():g} dots per inch, not {DPI}: use STYLE"
    if width > WIDEST + 1e-9:
        yield f"{width:g} inches wide; at most {WIDEST:g}"
    pixels = min(DPI, PAGE / width) / 72  # of a point, where the figure is shown
    for text, _ in named:
        size = text.get_fontsize() * pixels
        if size < SMALLEST:
            yield f"{_quote(text)}: a font of {size:.1f} pixels where it is shown"


def _cut(figure, named):
    for text, box in named:
        if not _contains(figure.bbox, box):
            yield f"{_quote(text)} is cut at the edge of the figure"
    for ax in figure.axes:
        box = ax.get_window_extent()
        if ax.get_visible() and not _contains(figure.bbox, box):
            yield f"the axes {ax.get_title()!r} are cut at the edge of the figure"


def _collisions(named):
    for (one, a), (other, b) in combinations(named, 2):
        width = min(a.x1, b.x1) - max(a.x0, b.x0)
        height = min(a.y1, b.y1) - max(a.y0, b.y0)
        if width > 1 and height > 1 + 0.2 * min(a.height, b.height):
            yield f"{_quote(one)} and {_quote(other)} overlap"


def _contains(outer, inner, slack=0.5):
    return (
        inner.x0 >= outer.x0 - slack
        and inner.y0 >= outer.y0 - slack
        and inner.x1 <= outer.x1 + slack
        and inner.y1 <= outer.y1 + slack
    )


def _quote(text):
    words = text.get_text().replace("\n", " / ")
    return repr(words if len(words) < 50 else words[:47] + "...")


# Axes and what they show


def _unnamed_axes(ax):
    """An axis with numbers says which; so does a colour bar."""
    if not ax.axison:
        return
    outside = _ticks_outside(ax.figure)
    for name, axis in (("x", ax.xaxis), ("y", ax.yaxis)):
        words = [
            label.get_text()
            for label in axis.get_ticklabels()
            if label.get_visible() and label not in outside
        ]
        if any(map(_number, words)) and not axis.label.get_text().strip():
            yield f"axes {ax.get_title()!r}: the {name} axis has no label"


def _number(words):
    plain = words.replace("−", "-").replace("$", "").replace(",", "")
    plain = plain.replace("\\mathdefault{", "").replace("}", "").replace("10^{", "1e")
    try:
        float(plain)
    except ValueError:
        return False
    return True


def _curves(ax):
    """What is drawn as a curve: lines, and the lines of hlines and vlines."""
    if ax.get_images():
        return []  # white lines between blocks
    lines = [line for line in ax.get_lines() if len(line.get_xdata())]
    return [line for line in lines if line.get_visible()]


def _pixels(line):
    """The marks of a line, or points along it, in pixels."""
    path = line.get_transform().transform_path(line.get_path())
    if line.get_linestyle() in ("None", "", " "):
        return path.vertices
    return _along(path)


def _along(path):
    """Points along the strokes of a path, no more than two pixels apart."""
    points = [np.empty((0, 2))]
    for stroke in path.cleaned(remove_nans=True).to_polygons(closed_only=False):
        for start, end in pairwise(stroke):
            count = int(min(np.hypot(*(end - start)), 1e4) // 2) + 2
            points.append(start + np.linspace(0, 1, count)[:, None] * (end - start))
    return np.concatenate(points)


def _under_words(ax, named):
    """Curves, bars and points that run under a legend or a text."""
    boxes = []
    if ax.get_legend() is not None:
        boxes.append(("the legend", ax.get_legend().get_window_extent()))
    boxes += [(_quote(text), box) for text, box in named if text in ax.texts]
    clip = ax.get_window_extent()
    for words, box in boxes:
        if ax.get_images() or not ax.axison:
            continue  # words in the cells of a table, a drawing
        for line in _curves(ax):
            if any(_inside(_pixels(line), b).any() for b in (_both(box, clip),)):
                yield f"{words} lies over the curve {line.get_label()!r}"
        for drawn in ax.collections:
            if isinstance(drawn, PathCollection):
                points = drawn.get_offset_transform().transform(drawn.get_offsets())
            else:  # the lines of a contour, of hlines
                to_pixels = drawn.get_transform().transform_path
                paths = [_along(to_pixels(path)) for path in drawn.get_paths()]
                points = np.concatenate([np.empty((0, 2)), *paths])
            if _inside(points, box).any():
                yield f"{words} lies over {type(drawn).__name__}"
        for patch in ax.patches:
            outline = _along(patch.get_transform().transform_path(patch.get_path()))
            filled = isinstance(patch, Rectangle) and words == "the legend"
            if _inside(outline, box).any() or (
                filled and _meet(patch.get_window_extent(), box)
            ):
                yield f"{words} lies over a bar"


def _both(a, b):
    return (max(a.x0, b.x0), max(a.y0, b.y0), min(a.x1, b.x1), min(a.y1, b.y1))


def _inside(points, box):
    x0, y0, x1, y1 = box if isinstance(box, tuple) else box.extents
    x, y = points.T
    return (x > x0) & (x < x1) & (y > y0) & (y < y1)


def _meet(a, b):
    x0, y0, x1, y1 = _both(a, b)
    return x1 - x0 > 1 and y1 - y0 > 1


# Which curve is which


def _looks(curve):
    return (
        tuple(np.round(to_rgb(curve.get_color()), 3)),
        str(curve.get_linestyle()),
        str(curve.get_marker()),
    )


def _legends(figure):
    """The curves that each legend shows."""
    found = [*figure.legends, *(ax.get_legend() for ax in figure.axes)]
    handles = [legend.legend_handles for legend in found if legend is not None]
    return [[h for h in some if hasattr(h, "get_marker")] for some in handles]


def _unnamed_curves(figure):
    """Every curve looks like an entry of a legend, or is alone in its axes."""
    explained = {_looks(handle) for some in _legends(figure) for handle in some}
    for ax in figure.axes:
        curves = _curves(ax)
        if ax.axison and len({_looks(c) for c in curves}) > 1:
            for look in sorted({_looks(c) for c in curves} - explained, key=str):
                yield f"axes {ax.get_title()!r}: a curve {look} stands in no legend"
        for lines in ax.collections:
            shown = ax.axison and not ax.get_images() and ax.get_label() != BAR
            if type(lines) is LineCollection and shown:
                yield f"axes {ax.get_title()!r}: lines that no legend can show"


def _alike(figure):
    """Curves of one legend differ in their line or marker, or much in their colour."""
    for entries in _legends(figure):
        for one, other in combinations(entries, 2):
            (a, *shape), (b, *shape_2) = _looks(one), _looks(other)
            if shape == shape_2 and distance(a, b) < APART:
                words = one.get_label(), other.get_label()
                yield f"the curves {words[0]!r} and {words[1]!r} look alike"


SEEN = {  # linear RGB as it is seen; Machado, Oliveira, Fernandes 2009, severity 1
    "all cones": np.eye(3),
    "no L cones": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                   [-0.003882, -0.048116, 1.051998]],
    "no M cones": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                   [-0.011820, 0.042940, 0.968881]],
    "no S cones": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
                   [0.004733, 0.691367, 0.303900]],
}  # fmt: skip
XYZ = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750],
       [0.0193339, 0.1191920, 0.9503041]]  # fmt: skip


def distance(one, other):
    """CIE Lab distance of two colours, for whom they are most alike."""
    pairs = ((_lab(one, eye), _lab(other, eye)) for eye in SEEN.values())
    return min(float(np.linalg.norm(a - b)) for a, b in pairs)


def _lab(colour, eye):
    c = np.array(to_rgb(colour))
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    t = XYZ @ np.clip(eye @ linear, 0, 1) / np.array([0.95047, 1.0, 1.08883])
    f = np.where(t > 0.008856, np.cbrt(t), 7.787 * t + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


# In the kernel of a notebook


def watch():
    """From now on every figure that is saved or shown says on stderr what is wrong."""
    print_figure = FigureCanvasBase.print_figure
    seen = set()

    def checked(canvas, *args, **options):
        figure = canvas.figure
        if id(figure) not in seen:
            seen.add(id(figure))
            for fault in faults(figure):
                print(
                    f"figure {figure.axes[0].get_title()!r}: {fault}", file=sys.stderr
                )
        return print_figure(figure.canvas, *args, **options)

    FigureCanvasBase.print_figure = checked
