"""What came out, in words: sentences computed from tables, true whichever way a result falls."""

from typing import TYPE_CHECKING, Any

import pandas as pd

from clipsx.reading import Reading
from clipsx.statistics import bootstrap, interval

if TYPE_CHECKING:
    from IPython.display import Markdown

FEW = "was asked of too few images to say what it prefers"
UNDEFINED = f"{FEW}: no pair has both an object and a background"


def _span(row: Any, value: str, form: str = ".1f", unit: str = " %") -> str:
    return f"{row[value]:{form}}{unit} [{row[f'{value}_low']:{form}}, {row[f'{value}_high']:{form}}]"


def _side(row: Any, value: str, above: str, below: str, neither: str, of: Any = None) -> str:
    """The words for where a row's whole interval lies: above 0 or the interval of another row, below it, or neither."""
    low, high = (0.0, 0.0) if of is None else (of[f"{value}_low"], of[f"{value}_high"])
    return above if row[f"{value}_low"] > high else below if row[f"{value}_high"] < low else neither


def background(summary: pd.DataFrame, floor: pd.DataFrame | None = None) -> str:
    """Whether raw maps prefer the background, and which methods repair it; from `summary.summarise`.

    floor: a summary of raw maps of a model with random weights; then it is said whether raw maps differ from them.
    """
    found = summary[summary["reading"] == "clip"]
    if not len(found):
        return "Raw maps (clip without feature surgery) were not measured: there is nothing to compare with."
    raw = found.iloc[0]
    verdict = FEW if pd.notna(raw["msc"]) else UNDEFINED
    if raw["msc_low"] <= raw["msc_high"]:
        verdict = _side(
            raw, "msc", "prefers the object: the paper's opposite visualisation is not there on average",
            "prefers the background: the paper's opposite visualisation is there",
            "prefers neither: the interval of mSC holds 0",
        )  # fmt: skip
    said = [
        f"Raw {raw['model']} {verdict} (mSC {_span(raw, 'msc')}; {_span(raw, 'opposite')} of {raw['pairs']:.0f} pairs "
        f"are opposite; mIoU {_span(raw, 'miou')})."
    ]
    if floor is not None:
        chance = floor.iloc[0]
        words = _side(raw, "msc", "differ from", "differ from", "cannot be told from", chance)
        said.append(f"Its raw maps {words} those of random weights by mSC ({_span(chance, 'msc')}).")
    for _, row in summary.drop(raw.name).iterrows():
        if pd.isna(row["msc"]):
            said.append(f"{Reading.parse(row['reading']).title} {UNDEFINED}.")
            continue
        change = _side(row, "msc", "raises mSC", "lowers mSC", "does not clearly move mSC", raw)
        end = _side(row, "msc", "the object wins", "the background wins", "neither side clearly wins")
        said.append(
            f"{Reading.parse(row['reading']).title} {change}: {_span(row, 'msc')}, {end}; {row['opposite']:.0f} % "
            f"opposite, mIoU {_span(row, 'miou')}."
        )
    if summary["miou"].notna().any():
        best = summary.iloc[int(summary["miou"].argmax())]
        said.append(f"Best mIoU: {Reading.parse(best['reading']).title}.")
    return " ".join(said)


def differences(table: pd.DataFrame) -> "Markdown":
    """Paired differences as a table for a notebook, the verdict first; from `summary.against`."""
    from IPython.display import Markdown

    lines = ["| verdict | reading | measure | difference | 95 % interval | pairs |", "|---|---|---|---|---|---|"]
    for _, row in table.iterrows():
        title = Reading.parse(row["reading"]).title.replace("|", "\\|")
        span = f"{row['difference']:+.1f} | {row['low']:+.1f} … {row['high']:+.1f}"
        lines.append(f"| **{row['verdict']}** | {title} | {row['measure']} | {span} | {row['pairs']} |")
    return Markdown("\n".join(lines))


def _mean(table: pd.DataFrame, value: str) -> dict[str, float]:
    """A column's mean over pairs with its image bootstrap, as `_span` and `_side` read it."""
    mean, draws = bootstrap(table[value].to_numpy(float), table["image"].to_numpy())
    low, high = interval(draws)
    return {value: mean, f"{value}_low": low, f"{value}_high": high}


def attention(shares: pd.DataFrame) -> str:
    """Whether an anchor's attention stays on its own object, q-k against v-v; from `attention.shares`."""
    on = shares[shares["on_object"]]
    last = on[on["block"] == on["block"].max()] if len(on) else on
    if not len(last):
        return "No anchor lies on its object: the patch most like a label's text is always somewhere else."
    off = 100 * (1 - shares["on_object"].mean())
    said = [f"{off:.0f} % of the anchors lie off their object and are left out here. In the last block,"]
    parts = [
        f"{kind} attention keeps {_span(_mean(rows, 'share_others'), 'share_others')} inside the anchor's own object"
        for kind, rows in last.groupby("kind", sort=False)
    ]
    said.append(f"{' and '.join(parts)}, without the anchor's own cell; chance is {last['chance'].mean():.1f} %.")
    if {"qk", "vv"} <= set(last["kind"]):
        both = last[last["kind"] == "vv"].merge(last[last["kind"] == "qk"], on=["image", "label"])
        gap = _mean(both.assign(gap=both["share_others_x"] - both["share_others_y"]), "gap")
        neither = "on the object neither clearly more nor clearly less than"
        order = _side(gap, "gap", "more on the object than", "less on the object than", neither)
        said.append(f"v-v attention stays {order} q-k.")
    return " ".join(said)


def points(summary: pd.DataFrame) -> str:
    """Whether points lie on their objects, and whether their masks beat a threshold; from `points.summarise`."""
    said = []
    for _, row in summary.iterrows():
        title = Reading.parse(row["reading"]).title
        empty = f"{row['empty']:.0f} of {row['pairs']:.0f} maps give no point"
        if pd.isna(row["accuracy"]):
            said.append(f"{title}: {empty}.")
            continue
        area = {"accuracy_low": row["chance_low"], "accuracy_high": row["chance_high"]}
        order = _side(row, "accuracy", "above chance", "below chance", "not clearly apart from chance", area)
        change = _side(row, "gain", "better than", "worse than", "not clearly apart from")
        said.append(
            f"{title}: {_span(row, 'accuracy')} of the points lie on the object, {order} (its area, "
            f"{row['chance']:.1f} %); masks from points are {change} those of a threshold, mIoU "
            f"{row['miou_points']:.1f} against {row['miou_plain']:.1f} % ({_span(row, 'gain', '+.1f', '')})"
            + (f"; {empty}." if row["empty"] else ".")
        )
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
    mean, shared = _mean(raw, "correlation"), _mean(raw.drop_duplicates("image"), "shared")
    low, high = mean["correlation_low"], mean["correlation_high"]
    if low > 0.5:
        verdict = "lights the same places as the labels"
    elif low > 0.1:
        verdict = "resembles the labels' maps"
    else:
        verdict = "does not resemble the labels' maps" if high < 0.1 else "may or may not resemble the labels' maps"
    groups = ((True, "labels in the picture"), (False, "the others"))
    means = raw.groupby("present")["correlation"].mean().dropna()
    each = [f"{means[flag]:.2f} for {name}" for flag, name in groups if flag in means]
    return (
        f"The empty label {verdict}: correlation {_span(mean, 'correlation', '.2f', '')} over patches "
        f"({', '.join(each)}). The mean over labels carries {_span(shared, 'shared', '.0f')} of the raw maps' variance."
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
            change = _mean(pairs.assign(change=pairs[f"{value}_after"] - pairs[value]), "change")
            to = f"{pairs[value].mean():.1f} → {pairs[f'{value}_after'].mean():.1f} %"
            parts.append(f"{name} {to} ({_span(change, 'change', '+.1f', '')})")
        said.append(f'Form "{form}": {", ".join(parts)}.')
    return " ".join(said)


def words(table: pd.DataFrame) -> str:
    """Whether a noun's word map prefers its own object, beside its label's map; from rows of `words.measure`."""
    said = []
    for (reading, how), rows in table.groupby(["reading", "how"], sort=False):
        title = f"{Reading.parse(str(reading)).title}, {how}"
        word, label, gap, end, top = (_mean(rows, v) for v in ("msc", "msc_label", "difference", "msc_end", "top"))
        if pd.isna(word["msc"]):
            said.append(f"{title}: a noun's word map {UNDEFINED}.")
            continue
        side = _side(word, "msc", "prefers its own object", "prefers the background", "prefers neither side clearly")
        order = _side(gap, "difference", "higher than", "lower than", "not clearly apart from")
        chance = rows["chance"].mean()
        found = _side(top, "top", "more often than", "less often than", "no more often than",
                      {"top_low": chance, "top_high": chance})  # fmt: skip
        rest = _side(end, "msc_end", "prefers it", "prefers what is around it", "prefers neither side clearly")
        said.append(
            f"{title}: a noun's word map {side} (mSC {_span(word, 'msc')}, {len(rows)} "
            f"pairs), {order} its label's map ({_span(label, 'msc_label')}; difference "
            f"{_span(gap, 'difference', '+.1f', '')}). The noun is among the three words that fire most on its object "
            f"in {_span(top, 'top', '.0f')}, {found} chance ({chance:.0f} %). The end token's map, the sentence's "
            f"own, {rest} (mSC {_span(end, 'msc_end')})."
        )
    return "\n".join(said)


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
            f"{row['model']}, {row['measure']}: {verdict} (rank correlation "
            f"{_span(row, 'rank', '.2f', '')}, Mantel p {row['p']:.3f}; "
            f"companions {row['companions']:.3f}, other pairs {row['rest']:.3f}, AUC {row['auc']:.2f})."
        )
    return " ".join(said)


def unmixed(ablation: pd.DataFrame, ranking: pd.DataFrame) -> str:
    """What projectors and MFI loss bring; from rows of `unmix.ablate` and of `recognise.summarise`."""
    means, seeds = ablation.groupby("setting", sort=False).mean(numeric_only=True), ablation["seed"].nunique()
    full, without = (means.loc[name].to_dict() for name in ("unmix", "without MFI loss"))
    said = [
        f"Mean over {seeds} seed{'s' if seeds > 1 else ''}.",
        f"Mean off-diagonal of the trained labels {full['before']:.3f} → {full['after']:.3f} with the MFI loss, "
        f"{without['after']:.3f} without.",
    ]
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
    ranked = ranking.set_index("rule")
    plain, best = ranked.loc["cosine"], ranked.loc["unmix"]
    words = _side(best, "mAP", "above", "below", "not clearly apart from", plain)
    said.append(
        f"The projectors' mAP ({_span(best, 'mAP')}) is {words} that of a plain cosine of class tokens, which needs no "
        f"training ({_span(plain, 'mAP')})."
    )
    return " ".join(said)
