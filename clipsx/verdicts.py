"""What came out: tables of differences with their intervals and a verdict each, shown with the verdict first."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from clipsx.evaluation import summary
from clipsx.reading import IN_WORDS, Reading
from clipsx.statistics import beyond, bootstrap, difference, interval, verdict

if TYPE_CHECKING:
    from IPython.display import Markdown

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
    "accuracy": "points on the object (%)",
    "miou_points": "mIoU of masks from points (%)",
    "drop": "what the score loses without it (points)",
    "top": "noun among the three words that fire most on its object (%)",
    "after": "mean cosine of labels that were trained on",
    "held after": "mean cosine of labels that were not trained on",
}
AGAINST_CHANCE = ("msc", "others", "absent", "auc", "pointing")
REPAIRED = ("msc", "others", "absent", "miou")
NEITHER, PAIR = "0, neither side", ("image", "label")
BAR = "\\|"  # within a cell
Row = dict[str, Any]
Parts = Mapping[str, tuple[str, Mapping[str, str]]]  # part: its name, and what it is held against: another part


def differences(*tables: pd.DataFrame) -> "Markdown":
    """Differences as one table for a notebook, the verdict first; from the functions here, or any `against`.

    A row's `what` (or the title of its `reading`), its `measure`, its `value` where it has one, what it is held
    `against`, the difference and its 95 % interval; and what was `counted`, where that is said.
    """
    from IPython.display import Markdown

    if not (known := [table for table in tables if len(table)]):
        return Markdown("Nothing could be compared.")
    table = pd.concat(known, ignore_index=True)
    titles = [TITLES.get(str(name), str(name)) for name in table["measure"]]
    forms = [".1f" if title.endswith(("(%)", "(points)")) else ".2f" for title in titles]

    def numbers(name: str, sign: str = "+") -> list[str]:
        return [format(x, sign + form) if x == x else "–" for x, form in zip(table[name], forms, strict=True)]

    ends = [" … ".join(pair) for pair in zip(numbers("low"), numbers("high"), strict=True)]
    cells = {
        "verdict": "**" + table["verdict"] + "**",
        "of": table["what" if "what" in table else "reading"].map(_titled),
    }
    cells |= {"measure": titles} | ({"value": numbers("value", "")} if "value" in table else {})
    cells |= {"against": table["against"].map(_titled), "difference": numbers("difference"), "95 % interval": ends}
    cells |= {"counted": table["counted"]} if "counted" in table else {}
    lines = [cells, ["---"] * len(cells), *zip(*cells.values(), strict=True)]
    return Markdown("\n".join(f"| {' | '.join(str(c).replace('|', BAR) for c in line)} |" for line in lines))


def _titled(text: Any) -> str:
    """The title of a reading; other words as they are."""
    try:
        return Reading.parse(text).title
    except ValueError:
        return str(text)


def held(what: str, measure: str, value: Any, against: str, other: Any, images: Any, groups: Any = None) -> Row:
    """A row: the mean of a value per pair, and its paired difference from another on the same pair, or a constant."""
    value, images = np.asarray(value, float), np.asarray(images)
    row = {"what": what, "measure": measure, "against": against, "value": bootstrap(value, images, groups, 1)[0]}
    return row | difference(value - np.asarray(other, float), images, groups)


def by_chance(what: str, measure: str, value: Any, bands: Any, name: str, images: Any, groups: Any = None) -> list[Row]:
    """A row: the same mean, of raw maps, against the band of random starts of this name; none where there is none."""
    if bands is None or (known := bands[(bands["reading"] == "clip") & (bands["measure"] == name)]).empty:
        return []
    mean, drawn = bootstrap(np.asarray(value, float), np.asarray(images), groups)
    row = {"what": what, "measure": measure, "against": f"{known['n'].iloc[0]} random starts", "value": mean}
    return [row | beyond(mean, *interval(drawn), known.iloc[0].to_dict())]


def paired(table: pd.DataFrame, measure: str, by: str, parts: Parts, chance: Any = None, keys: Any = PAIR) -> list[Row]:
    """Rows of a measure of every part that a column `by` tells apart: against others on the same pair, and chance."""
    wide, found = table.pivot_table(measure, keys, by, sort=False).dropna(), []
    images = wide.index.get_level_values(0)
    for part, (what, others) in ((part, told) for part, told in parts.items() if part in wide):
        for against, other in ((against, other) for against, other in others.items() if other in wide):
            found.append(held(what, measure, wide[part], against, wide[other], images))
        found += by_chance(what, measure, wide[part], chance, f"{measure} {part}", images)
    return found


def background(rows: pd.DataFrame, tuning: pd.DataFrame | None = None, chance: Any = None) -> pd.DataFrame:
    """Whether raw maps prefer the background and differ from chance, what repairs them; rows of `explain`.

    chance: bands of random starts; tuning: rows on which thresholds are chosen. `decides`: the few to be read first,
    all of mSC, and raw maps against other objects. Empty without raw maps.
    """
    raw, title = rows[rows["reading"] == "clip"], _titled("clip")
    if raw.empty:
        return pd.DataFrame({"decides": np.zeros(0, bool)})
    pairs = raw["image"].to_numpy(), raw["label"].to_numpy()
    found = [held(title, "msc", raw["msc"], NEITHER, 0, *pairs)]
    for name in AGAINST_CHANCE:
        found += by_chance(title, name, raw[name], chance, name, *pairs)
    for row in summary.against(rows, tuning).to_dict("records"):
        told = {name: row.get(name) for name in found[0]} | {"what": _titled(row["reading"]), "against": title}
        found += [told] if row["measure"] in REPAIRED else []
    table = pd.DataFrame(found)
    others = (table["measure"] == "others") & (table["what"] == title)
    return table.assign(decides=(table["measure"] == "msc") | others)


def attention(shares: pd.DataFrame, chance: Any = None) -> pd.DataFrame:
    """Whether an object's patches attend to their own object, in the last block; from `attention.shares`."""
    last = shares[shares["block"] == shares["block"].max()].rename(columns={"share_others": "attention"})
    area = {"the object's share of the picture": "area"}
    parts = {"qk": ("q-k attention", area), "vv": ("v-v attention", area | {"q-k attention": "qk"})}
    both = pd.concat([last, last.assign(kind="area", attention=last["chance"])])
    return pd.DataFrame(paired(both, "attention", "kind", parts, chance))


def submodules(cosines: pd.DataFrame, chance: Any = None) -> pd.DataFrame:
    """Whether the last FFN is far from the final class feature, and from the labels' texts; from `attention.cosines`.

    The paper's figure for the last FFN of OpenAI's ViT-B/16 and the class feature is 0.12.
    """
    last = cosines[cosines["block"] == cosines["block"].max()]
    parts = {"attention": ("last attention", {}), "ffn": ("last FFN", {"last attention": "attention"})}
    each = (paired(last, name, "part", parts, chance, "image") for name in ("cosine", "cosine_text"))
    return pd.DataFrame([row for rows in each for row in rows])


def redundancy(table: pd.DataFrame, chance: Any = None) -> pd.DataFrame:
    """How much raw maps have in common, everywhere and on patches without an object; from `redundancy.measure`."""
    raw, found = table[table["reading"] == "clip"], []
    for name in ("correlation", "shared", "correlation_ground", "shared_ground"):
        each = raw.drop_duplicates("image") if name.startswith("shared") else raw
        found.append(held("raw maps", name, each[name], "0, nothing in common", 0, each["image"]))
        found += by_chance("raw maps", name, each[name], chance, name, each["image"])
    return pd.DataFrame(found)


def repair(table: pd.DataFrame) -> pd.DataFrame:
    """What feature surgery does to the same maps, by form, with all labels; from `redundancy.sweep`."""
    full = table[(table["varied"] == "labels") & (table["labels"] == table["labels"].max())]
    parts = {form: (IN_WORDS[form], {IN_WORDS["none"]: "none"}) for form in ("code", "paper")}
    return pd.DataFrame([row for name in ("energy", "msc", "iou") for row in paired(full, name, "form", parts)])


def points(found: pd.DataFrame) -> pd.DataFrame:
    """Whether points lie on their objects, and whether their masks beat a threshold; from `points.summarise`."""
    rows = []
    for row in found.to_dict("records"):
        what = f"{_titled(row['reading'])}, {row['empty']} of {row['pairs']} maps without a point"
        for measure, against, gap in (
            ("accuracy", "the object's area", "lead"),
            ("miou_points", "a threshold", "gain"),
        ):
            low, high = row[f"{gap}_low"], row[f"{gap}_high"]
            told = {"verdict": verdict(low, high), "what": what, "measure": measure, "against": against}
            rows.append(told | {"value": row[measure], "difference": row[gap], "low": low, "high": high})
    return pd.DataFrame(rows)


def words(table: pd.DataFrame) -> pd.DataFrame:
    """Whether a noun's word map prefers its own object, and more than its label's map; from rows of `words.measure`."""
    found = []
    for (reading, how), rows in table.groupby(["reading", "how"], sort=False):
        noun, end = (f"{_titled(reading)}, {how}: {which}" for which in ("the noun's map", "the end token's map"))
        found += [
            held(noun, "msc", rows["msc"], NEITHER, 0, rows["image"]),
            held(noun, "msc", rows["msc"], "its label's map", rows["msc_label"], rows["image"]),
            held(noun, "top", rows["top"], "chance", rows["chance"], rows["image"]),
            held(end, "msc", rows["msc_end"], NEITHER, 0, rows["image"]),
        ]
    return pd.DataFrame(found)


def companions(table: pd.DataFrame) -> pd.DataFrame:
    """Whether classes that keep company are more alike; from rows of `companions.follow` with `model` and `measure`.

    A rank correlation over pairs of classes, its interval over classes; the verdict is that of Mantel's permutations.
    """
    rows = []
    for row in table.to_dict("records"):
        side = row["rank"] if row["p"] < 0.05 else 0.0
        told = {"verdict": verdict(side, side), "what": row["model"], "against": f"classes permuted, p {row['p']:.3f}"}
        told |= {"measure": f"rank correlation of {row['measure']} with company", "difference": row["rank"]}
        rows.append(told | {"low": row["rank_low"], "high": row["rank_high"]})
    return pd.DataFrame(rows)


def unmixed(table: pd.DataFrame) -> pd.DataFrame:
    """What the MFI loss does to how alike labels are, trained on and not, paired by seed; from `unmix.ablate`."""
    parts = {"unmix": ("unmix", {"without MFI loss": "without MFI loss"})}
    asked = [name for name in ("after", "held after") if name in table]
    return pd.DataFrame([row for name in asked for row in paired(table, name, "setting", parts, keys="seed")])
