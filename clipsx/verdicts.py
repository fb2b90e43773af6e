"""What came out: tables of differences with a verdict each, and sentences; true whichever way a result falls."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pandas as pd

from clipsx.evaluation import summary
from clipsx.reading import Reading
from clipsx.statistics import beyond, bootstrap, difference, interval

if TYPE_CHECKING:
    from IPython.display import Markdown

UNDEFINED = "was asked of too few images to say what it prefers: no pair has both an object and a background"
TITLES = summary.MEASURES | {
    "correlation": "correlation of the empty label's map with every label's",
    "correlation_ground": "the same on patches without an object",
    "shared": "variance that all labels' maps share (%)",
    "shared_ground": "the same on patches without an object (%)",
    "attention": "attention inside the object (%)",
    "cosine": "cosine with the final class feature",
    "cosine_text": "cosine with the texts of the labels present",
    "energy": "energy outside all objects (%)",
    "iou": "IoU (%)",
}
AGAINST_CHANCE = ("msc", "others", "absent", "auc", "pointing")
REPAIRED = ("msc", "others", "absent", "miou")


def differences(*tables: pd.DataFrame) -> "Markdown":
    """Differences as one table for a notebook, the verdict first; from the functions here or `summary.against`.

    A row's `what` (or the title of its `reading`), its `measure`, what it is held `against`, its `value` where it has
    one, the difference and its 95 % interval.
    """
    from IPython.display import Markdown

    table = pd.concat([table for table in tables if len(table)] or tables, ignore_index=True)
    valued = "value" in table
    names = ["verdict", "of", "measure", *(["value"] if valued else []), "against", "difference", "95 % interval"]
    lines = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    for _, row in table.iterrows():
        title = TITLES.get(str(row["measure"]), str(row["measure"]))
        digits = 1 if title.endswith("(%)") else 2
        ends = " … ".join(f"{row[end]:+.{digits}f}" for end in ("low", "high")) if row["low"] == row["low"] else "–"
        cells = [f"**{row['verdict']}**", row["what"] if "what" in row else _titled(row["reading"]), title]
        cells += [f"{row['value']:.{digits}f}"] if valued else []
        cells += [_titled(row["against"]), f"{row['difference']:+.{digits}f}", ends]
        lines.append("| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |")
    return Markdown("\n".join(lines))


def _titled(text: Any) -> str:
    """The title of a reading; other words as they are."""
    try:
        return Reading.parse(text).title
    except ValueError:
        return str(text)


def _held(what: str, measure: str, against: str, value: float, found: dict[str, Any]) -> dict[str, Any]:
    told = {name: found[name] for name in ("verdict", "difference", "low", "high", "pairs") if name in found}
    return {"what": what, "measure": measure, "against": against, "value": value} | told


def _chance(what: str, measure: str, value: tuple[float, float, float], chance: pd.DataFrame, name: str = "") -> Any:
    """One row at most: a value (mean, low, high) of raw maps against the band of random starts, where there is one."""
    known = chance[(chance["reading"] == "clip") & (chance["measure"] == (name or measure))] if len(chance) else chance
    for band in known.to_dict("records"):
        yield _held(what, measure, f"{band['n']} random starts", value[0], beyond(*value, band))  # type: ignore[arg-type]


def background(
    rows: pd.DataFrame, tuning: pd.DataFrame | None = None, chance: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Whether raw maps prefer the background, differ from random starts, and what repairs them; rows of `explain`.

    Raw maps against 0, neither side; against `chance`, bands of random starts, by every measure that is to tell them
    apart; then every other reading against raw maps, on the same objects. Empty without raw maps.
    """
    raw = rows[rows["reading"] == "clip"]
    return pd.DataFrame([] if raw.empty else list(_background(rows, raw, tuning, chance)))


def _background(rows: pd.DataFrame, raw: pd.DataFrame, tuning: Any, chance: Any) -> Iterator[dict[str, Any]]:
    means = summary.summarise(rows, tuning).set_index("reading")
    images, labels, title = raw["image"].to_numpy(), raw["label"].to_numpy(), _titled("clip")
    zero = difference(raw["msc"].to_numpy(float), images, labels)
    yield _held(title, "msc", "0, neither side", zero["difference"], zero)
    if chance is not None:
        for measure in AGAINST_CHANCE:
            value = tuple(means.loc["clip", [measure, f"{measure}_low", f"{measure}_high"]].astype(float))
            yield from _chance(title, measure, value, chance)  # type: ignore[arg-type]
    for row in (row for row in summary.against(rows, tuning).to_dict("records") if row["measure"] in REPAIRED):
        value: Any = means.loc[row["reading"], row["measure"]]
        yield _held(_titled(row["reading"]), row["measure"], title, value, row)  # type: ignore[arg-type]


def _mean(table: pd.DataFrame, value: str) -> tuple[float, float, float]:
    """A column's mean over pairs with its image bootstrap: mean, low, high."""
    mean, draws = bootstrap(table[value].to_numpy(float), table["image"].to_numpy())
    return mean, *interval(draws)


def _named(table: pd.DataFrame, value: str) -> dict[str, float]:
    """The same as `_span` and `_side` read it."""
    return dict(zip((value, f"{value}_low", f"{value}_high"), _mean(table, value), strict=True))


def _span(row: Any, value: str, form: str = ".1f", unit: str = " %") -> str:
    return f"{row[value]:{form}}{unit} [{row[f'{value}_low']:{form}}, {row[f'{value}_high']:{form}}]"


def _side(row: Any, value: str, above: str, below: str, neither: str, of: Any = None) -> str:
    """The words for where a row's whole interval lies: above 0 or the interval of another row, below it, or neither."""
    low, high = (0.0, 0.0) if of is None else (of[f"{value}_low"], of[f"{value}_high"])
    return above if row[f"{value}_low"] > high else below if row[f"{value}_high"] < low else neither


def attention(shares: pd.DataFrame, chance: pd.DataFrame | None = None) -> pd.DataFrame:
    """Whether an object's patches attend to their own object, in the last block; from `attention.shares`.

    Every relation against the object's share of the other cells, v-v against q-k on the same objects, and each against
    random starts.
    """
    last = shares[shares["block"] == shares["block"].max()]
    wide = last.pivot_table("share_others", ["image", "label"], "kind", sort=False)
    images = wide.index.get_level_values("image").to_numpy()
    area = last.groupby(["image", "label"], sort=False)["chance"].first().reindex(wide.index)
    found = []
    for kind in wide:
        value, name = wide[kind].to_numpy(float), f"{'-'.join(str(kind))} attention"
        mean = _mean(wide[kind].reset_index(), str(kind))
        row = difference(value - area.to_numpy(float), images)
        found.append(_held(name, "attention", "the object's share of the picture", mean[0], row))
        if kind == "vv" and "qk" in wide:
            row = difference(value - wide["qk"].to_numpy(float), images)
            found.append(_held(name, "attention", "q-k attention", mean[0], row))
        if chance is not None:
            found += _chance(name, "attention", mean, chance, f"attention {kind}")
    return pd.DataFrame(found)


def submodules(cosines: pd.DataFrame, chance: pd.DataFrame | None = None) -> pd.DataFrame:
    """Whether the last FFN is far from the final class feature, and from the labels' texts; from `attention.cosines`.

    Against the last attention, on the same images, by both readings; then each against random starts. The paper's
    figure for the last FFN of OpenAI's ViT-B/16 and the class feature is 0.12.
    """
    last = cosines[cosines["block"] == cosines["block"].max()]
    found = []
    for measure in ("cosine", "cosine_text"):
        wide = last.pivot_table(measure, "image", "part", sort=False).dropna()
        for part in wide:
            mean, name = _mean(wide[part].reset_index(), str(part)), f"last {'FFN' if part == 'ffn' else part}"
            if part == "ffn":
                row = difference((wide["ffn"] - wide["attention"]).to_numpy(float), wide.index.to_numpy())
                found.append(_held(name, measure, "last attention", mean[0], row))
            if chance is not None:
                found += _chance(name, measure, mean, chance, f"{measure} {part}")
    return pd.DataFrame(found)


def redundancy(table: pd.DataFrame, chance: pd.DataFrame | None = None) -> pd.DataFrame:
    """How much raw maps have in common, everywhere and on patches without an object; from `redundancy.measure`.

    Against 0 (labels that have nothing in common), and against random starts: what training did to it.
    """
    raw, found = table[table["reading"] == "clip"], []
    for measure in ("correlation", "shared", "correlation_ground", "shared_ground"):
        each = raw.drop_duplicates("image") if measure.startswith("shared") else raw
        mean, row = _mean(each, measure), difference(each[measure].to_numpy(float), each["image"].to_numpy())
        found.append(_held("raw maps", measure, "0, nothing in common", mean[0], row))
        if chance is not None:
            found += _chance("raw maps", measure, mean, chance)
    return pd.DataFrame(found)


def repair(table: pd.DataFrame) -> pd.DataFrame:
    """What feature surgery does to the same maps, by form, with all labels; from `redundancy.sweep`."""
    full = table[(table["varied"] == "labels") & (table["labels"] == table["labels"].max())]
    found = []
    for measure in ("energy", "msc", "iou"):
        wide = full.pivot_table(measure, ["image", "label"], "form", sort=False).dropna()
        for form in (form for form in wide if form != "none"):
            gaps = (wide[form] - wide["none"]).to_numpy(float)
            row = difference(gaps, wide.index.get_level_values("image").to_numpy())
            found.append(_held(f'form "{form}"', measure, "no feature surgery", float(wide[form].mean()), row))
    return pd.DataFrame(found)


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


def words(table: pd.DataFrame) -> str:
    """Whether a noun's word map prefers its own object, beside its label's map; from rows of `words.measure`."""
    said = []
    for (reading, how), rows in table.groupby(["reading", "how"], sort=False):
        title = f"{Reading.parse(str(reading)).title}, {how}"
        word, label, gap, end, top = (_named(rows, v) for v in ("msc", "msc_label", "difference", "msc_end", "top"))
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
