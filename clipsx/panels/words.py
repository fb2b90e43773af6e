"""What a view shows, in sentences computed from it."""

from dataclasses import replace

import numpy as np

from clipsx.panels.state import RELATIONS
from clipsx.panels.view import EMPTY, View


def sentence(view: View) -> str:
    """Raw and repaired map of the label shown against its true region, and where its patch looks."""
    s, ((msc, iou), (msc_after, iou_after)) = view.state, [view.number(of, view.place) for of in view.numbers]
    where = f"{_where(view)}, {s.shown or EMPTY!r}: "
    if view.covered is None:
        return where + "no true region is known, so nothing is measured."
    if np.isnan(msc) or np.isnan(msc_after):
        return (
            where + "the true region, or what is around it, has no pixel that counts: which side a map prefers is open."
        )
    side = "prefers the background" if msc < 0 else "prefers the object" if msc > 0 else "prefers neither side"
    change = "higher" if msc_after > msc else "no higher"
    words = f"the raw map {side} (mSC {msc:.1f} %, IoU {iou:.1f} % at {s.threshold:g}); "
    words += f"{view.titles[1][0]} with {view.titles[1][1]} is {change} "
    words += f"(mSC {msc_after:.1f} %, IoU {iou_after:.1f} %). "
    looks = (replace(view, state=replace(s, attention=kind)) for kind in RELATIONS)
    shares = ", ".join(f"{look.titles[2][0]} {look.inside}" for look in looks)
    return where + words + f"Patch {view.anchor}: {shares}."


def likeness(view: View) -> str:
    """How alike the labels' maps are, raw and repaired: mean correlation with the empty label's, or with each other."""
    place = view.labels.index("") if "" in view.labels else None
    means = []
    for maps in (view.raw, view.repaired):
        kept = ~maps.constant
        table = np.corrcoef(maps.values[kept].reshape(kept.sum(), -1))  # (n, n)
        if place is None or not kept[place]:
            pairs = table[np.triu_indices(len(table), 1)]
        else:
            pairs = np.delete(table[kept[:place].sum()], kept[:place].sum())
        means.append(float(pairs.mean()) if pairs.size else float("nan"))
    other = "one another's" if place is None else "the empty label's"
    after = " with ".join(view.titles[1])
    words = f"the maps of {len(view.labels)} labels correlate with {other} at {means[0]:.2f} on average when raw"
    return f"{_where(view)}: {words}, at {means[1]:.2f} after {after}."


def _where(view: View) -> str:
    return f"{view.session.about['model']}, {view.picture.sample.name or 'this picture'}"
