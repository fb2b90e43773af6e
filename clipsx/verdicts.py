"""What came out, in words: sentences computed from tables, true whichever way a result falls."""

from typing import Any

import pandas as pd

from clipsx.reading import Reading
from clipsx.statistics import bootstrap, interval


def _span(row: Any, value: str, unit: str = " %") -> str:
    return f"{row[value]:.1f}{unit} [{row[f'{value}_low']:.1f}, {row[f'{value}_high']:.1f}]"


def background(summary: pd.DataFrame, floor: pd.DataFrame | None = None) -> str:
    """Whether raw maps prefer the background, and which methods repair it; from `summary.summarise`.

    floor: a summary of raw maps of a model with random weights; then it is said whether raw maps differ from them.
    """
    found = summary[summary["reading"] == "clip"]
    if not len(found):
        return "Raw maps (clip without feature surgery) were not measured: there is nothing to compare with."
    raw = found.iloc[0]
    if not raw["msc_low"] <= raw["msc_high"]:
        verdict = "was asked of too few images to say what it prefers"
    elif raw["msc_high"] < 0:
        verdict = "prefers the background: the paper's opposite visualisation is there"
    elif raw["msc_low"] > 0:
        verdict = "prefers the object: the paper's opposite visualisation is not there on average"
    else:
        verdict = "prefers neither: the interval of mSC holds 0"
    said = [
        f"Raw {raw['model']} {verdict} (mSC {_span(raw, 'msc')}; {_span(raw, 'opposite')} of {raw['pairs']:.0f} pairs "
        f"are opposite; mIoU {_span(raw, 'miou')})."
    ]
    if floor is not None:
        chance = floor.iloc[0]
        apart = raw["msc_high"] < chance["msc_low"] or raw["msc_low"] > chance["msc_high"]
        words = "differ from" if apart else "cannot be told from"
        said.append(f"Its raw maps {words} those of random weights by mSC ({_span(chance, 'msc')}).")
    for _, row in summary.drop(raw.name).iterrows():
        better = row["msc_low"] > raw["msc_high"]
        worse = row["msc_high"] < raw["msc_low"]
        change = "raises mSC" if better else "lowers mSC" if worse else "does not clearly move mSC"
        wins = "the object wins" if row["msc_low"] > 0 else "the background wins" if row["msc_high"] < 0 else ""
        end = wins or "neither side clearly wins"
        said.append(
            f"{Reading.parse(row['reading']).title} {change}: {_span(row, 'msc')}, {end}; {row['opposite']:.0f} % "
            f"opposite, mIoU {_span(row, 'miou')}."
        )
    best = summary.iloc[int(summary["miou"].argmax())]
    said.append(f"Best mIoU: {Reading.parse(best['reading']).title}.")
    return " ".join(said)


def _mean(table: pd.DataFrame, value: str) -> tuple[float, float, float]:
    mean, draws = bootstrap(table[value].to_numpy(float), table["image"].to_numpy())
    return mean, *interval(draws)


def attention(shares: pd.DataFrame) -> str:
    """Whether an anchor's attention stays on its own object, q-k against v-v; from `attention.shares`."""
    on = shares[shares["on_object"]]
    last = on[on["block"] == on["block"].max()] if len(on) else on
    if not len(last):
        return "No anchor lies on its object: the patch most like a label's text is always somewhere else."
    off = 100 * (1 - shares["on_object"].mean())
    said = [f"{off:.0f} % of the anchors lie off their object and are left out here. In the last block,"]
    parts = []
    for kind, rows in last.groupby("kind", sort=False):
        mean, low, high = _mean(rows, "share_others")
        parts.append(f"{kind} attention keeps {mean:.1f} % [{low:.1f}, {high:.1f}] inside the anchor's own object")
    said.append(f"{' and '.join(parts)}, without the anchor's own cell; chance is {last['chance'].mean():.1f} %.")
    if {"qk", "vv"} <= set(last["kind"]):
        both = last[last["kind"] == "vv"].merge(last[last["kind"] == "qk"], on=["image", "label"])
        _, low, high = _mean(both.assign(gap=both["share_others_x"] - both["share_others_y"]), "gap")
        order = "more on the object than" if low > 0 else "less on the object than" if high < 0 else ""
        said.append(f"v-v attention stays {order or 'on the object neither clearly more nor clearly less than'} q-k.")
    return " ".join(said)


def submodules(cosines: pd.DataFrame) -> str:
    """Whether the last FFN is far from the final class feature; from `attention.cosines`."""
    last = cosines[cosines["block"] == cosines["block"].max()].groupby("part")["cosine"].mean()
    if last["ffn"] < last["attention"]:
        words = "farther from it than the last attention's, as the paper finds"
    else:
        words = "no farther from it than the last attention's: the paper's finding is not there"
    return (
        f"The last FFN's output has cosine {last['ffn']:.2f} with the final class feature, {words} "
        f"({last['attention']:.2f}). The paper's figure for OpenAI's ViT-B/16 is 0.12."
    )


def redundancy(table: pd.DataFrame) -> str:
    """How much the empty label's map looks like every label's; from `redundancy.measure`."""
    raw = table[table["reading"] == "clip"]
    mean, low, high = _mean(raw, "correlation")
    shared, shared_low, shared_high = _mean(raw.drop_duplicates("image"), "shared")
    present, absent = (raw[raw["present"] == flag]["correlation"].mean() for flag in (True, False))
    if low > 0.5:
        verdict = "lights the same places as the labels"
    elif low > 0.1:
        verdict = "resembles the labels' maps"
    else:
        verdict = "does not resemble the labels' maps" if high < 0.1 else "may or may not resemble the labels' maps"
    parts = [
        f"{value:.2f} for {name}"
        for value, name in ((present, "labels in the picture"), (absent, "the others"))
        if value == value
    ]
    return (
        f"The empty label {verdict}: correlation {mean:.2f} [{low:.2f}, {high:.2f}] over patches ({', '.join(parts)}). "
        f"The mean over labels carries {shared:.0f} % [{shared_low:.0f}, {shared_high:.0f}] of the raw maps' variance."
    )


def repair(table: pd.DataFrame) -> str:
    """What feature surgery does to activation outside all objects; from `redundancy.sweep`."""
    full = table[(table["varied"] == "labels") & (table["labels"] == table["labels"].max())]
    before, said = full[full["form"] == "none"], []
    for form in [form for form in full["form"].unique() if form != "none"]:
        after = full[full["form"] == form]
        both = before.merge(after, on=["image", "label"], suffixes=("", "_after"))
        parts = []
        for value, name in (("energy", "energy outside all objects"), ("msc", "mSC"), ("iou", "IoU")):
            pairs = both.dropna(subset=[value, f"{value}_after"])
            mean, low, high = _mean(pairs.assign(change=pairs[f"{value}_after"] - pairs[value]), "change")
            to = f"{pairs[value].mean():.1f} → {pairs[f'{value}_after'].mean():.1f} %"
            parts.append(f"{name} {to} ({mean:+.1f} [{low:+.1f}, {high:+.1f}])")
        said.append(f'Form "{form}": {", ".join(parts)}.')
    return " ".join(said)


def companions(table: pd.DataFrame) -> str:
    """Whether classes that keep company are more alike; from rows of `companions.follow` with `model` and `measure`."""
    said = []
    for _, row in table.iterrows():
        if row["p"] != row["p"]:
            verdict = "cannot be told from company: nothing varies"
        elif row["p"] < 0.05:
            verdict = "rises with company" if row["rank"] > 0 else "falls with company: the opposite of what is claimed"
        else:
            verdict = "does not follow company: the effect is not there, or too small for these classes"
        said.append(
            f"{row['model']}, {row['measure']}: {verdict} (rank correlation {row['rank']:.2f} "
            f"[{row['rank_low']:.2f}, {row['rank_high']:.2f}], Mantel p {row['p']:.3f}; "
            f"companions {row['companions']:.3f}, other pairs {row['rest']:.3f}, AUC {row['auc']:.2f})."
        )
    return " ".join(said)


def unmixed(ablation: pd.DataFrame, ranking: pd.DataFrame) -> str:
    """What projectors and MFI loss bring; from rows of `unmix.ablate` and of `recognise.summarise`."""
    means, seeds = ablation.groupby("setting", sort=False).mean(numeric_only=True), ablation["seed"].nunique()
    rows: dict[str, dict[str, float]] = means.to_dict("index")  # type: ignore[assignment]
    full, without = rows["unmix"], rows["without MFI loss"]
    said = [f"Mean over {seeds} seed{'s' if seeds > 1 else ''}."]
    said.append(
        f"Mean off-diagonal of the trained labels {full['before']:.3f} → {full['after']:.3f} with the MFI loss, "
        f"{without['after']:.3f} without."
    )
    if "held after" in full:
        beyond = "reaches" if full["held after"] < without["held after"] else "does not reach"
        said.append(
            f"It {beyond} labels that were not trained on: {full['held before']:.3f} → {full['held after']:.3f}, "
            f"without the loss {without['held after']:.3f}."
        )
    gap, spread = full["mAP"] - without["mAP"], ablation.groupby("setting")["mAP"].std()
    known = seeds > 1 and abs(gap) > spread[["unmix", "without MFI loss"]].max()
    verdict = "more than the spread over seeds" if known else "within one image interval or unknown over seeds"
    said.append(f"Recognition with the loss against without: {gap:+.1f} points of mAP ({verdict}).")
    ranked: dict[str, dict[str, Any]] = {row["rule"]: row for row in ranking.to_dict("records")}
    plain, best = ranked["cosine"], ranked["unmix"]
    worse = best["mAP_high"] < plain["mAP_low"]
    words = "below" if worse else "above" if best["mAP_low"] > plain["mAP_high"] else "not clearly apart from"
    said.append(
        f"The projectors' mAP ({_span(best, 'mAP')}) is {words} that of a plain cosine of class tokens, which needs no "
        f"training ({_span(plain, 'mAP')})."
    )
    return " ".join(said)
