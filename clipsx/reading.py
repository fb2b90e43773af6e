"""A reading: one way of looking into a model. Method × depth × feature surgery × τ, with one text form."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from jaxtyping import Float
from torch import Tensor

from clipsx.features import DenseFeatures
from clipsx.maps import FORMS, feature_surgery, similarity
from clipsx.messages import require, require_known
from clipsx.methods import DEPTH, EVERY, METHODS, Recipe, Serves, authority, refusal, rows_of, serving
from clipsx.recipe import written

SURGERIES = ("none", *FORMS)
IN_WORDS = {"none": "no feature surgery", "code": "feature surgery", "paper": "feature surgery (paper)"}
TAU = 2.0  # of feature surgery, as released
_FORM = re.compile(
    r"(?P<method>[^@+()]+(?:\([^()]*\))?)(?:@(?P<depth>[^@+]*))?(?:\+(?P<surgery>[^()@]*)(?P<tau>\(.*\))?)?"
)


@dataclass(frozen=True)
class Reading:
    """One way of looking into a model.

    method: a name in `METHODS`, or a free combination ("free(qq, kk)", see `methods.free`); depth: over how many of the
    last blocks a method goes that has a depth (None: 6, or all of a shallower tower); surgery: "none", or feature
    surgery as in the released "code" or the "paper"; tau ≥ 0: its temperature. A depth of a method that has none, and a
    τ without surgery, say nothing and are brought to the default, so that equal readings are equal.
    Errors: ValueError that names the entry, and the nearest words.
    """

    method: str = "clip"
    depth: int | None = None
    surgery: str = "none"
    tau: float = TAU

    def __post_init__(self) -> None:
        rows = rows_of(self.method)
        object.__setattr__(self, "method", rows[0].name)
        require_known("feature surgery", self.surgery, SURGERIES)
        require("tau", self.tau, 0)
        if self.depth is not None:
            require("depth", self.depth, 1, whole=True)
            if all(row.blocks is not None for row in rows):
                object.__setattr__(self, "depth", None)
        if rows[0].texts and self.surgery != "none":
            raise ValueError(f"{self.method!r} has no features of patches: leave feature surgery out.")
        object.__setattr__(self, "tau", TAU if self.surgery == "none" else float(self.tau) + 0.0)  # never −0

    @staticmethod
    def parse(text: "str | Reading") -> "Reading":
        """A reading from its text: method[@depth][+none|code|paper[(tau=x)]], as `str` prints it.

        Errors: ValueError with the place of what is not understood, and the nearest words.
        """
        if isinstance(text, Reading):
            return text
        text = text.strip()
        found = _FORM.fullmatch(text)
        if found is None:
            place = (_FORM.match(text) or re.match("", "")).end()  # type: ignore[union-attr]
            raise ValueError(_misread(text, place, "a reading is method[@depth][+none|code|paper[(tau=x)]]"))
        try:
            depth = None if found["depth"] is None else int(found["depth"])
        except ValueError:
            raise ValueError(_misread(text, found.start("depth"), "a whole number of blocks goes here")) from None
        tau = TAU
        if found["tau"] is not None:
            value = re.fullmatch(r"\(\s*(?:tau|τ)\s*=\s*([^\s]+)\s*\)", found["tau"])
            try:
                tau = float(value[1]) if value else float("nan")
            except ValueError:
                tau = float("nan")
            if tau != tau:
                raise ValueError(_misread(text, found.start("tau"), "(tau=x) goes here"))
        surgery = (found["surgery"] or "none").strip() if found["surgery"] != "" else ""
        try:
            reading = Reading(found["method"].strip(), depth, surgery, tau)
            if reading.depth != depth:  # what is written out is meant
                raise ValueError(f"depth must be left out, not {depth}: {reading.method!r} has none to choose.")
            return reading
        except ValueError as error:
            words = {"Unknown feature surgery": "surgery", "tau must": "tau", "depth must": "depth"}
            part = next((part for start, part in words.items() if str(error).startswith(start)), "method")
            raise ValueError(f"{str(error).rstrip('.')} (at {found.start(part) + 1} of {text!r}).") from None

    def __str__(self) -> str:
        depth = "" if self.depth is None else f"@{self.depth}"
        tau = "" if self.tau == TAU else f"(tau={written(self.tau)})"
        return self.method + depth + ("" if self.surgery == "none" else f"+{self.surgery}{tau}")

    @property
    def features(self) -> "Reading":
        """The reading without surgery: readings that share it share their features."""
        return replace(self, surgery="none", tau=TAU)

    @property
    def needs_texts(self) -> bool:
        """Whether it has maps of texts alone, and no features of patches."""
        return bool(rows_of(self.method)[0].texts)

    @property
    def title(self) -> str:
        """What figures and sentences call it."""
        title = METHODS[self.method].title if self.method in METHODS else self.method
        depth = "" if self.depth is None else f", {self.depth} blocks"
        surgery = "" if self.surgery == "none" else f" + {IN_WORDS[self.surgery]}"
        return f"{title}{depth}{surgery}{'' if self.tau == TAU else f', τ {self.tau:g}'}"

    def plan(self, tower: Serves) -> tuple[Recipe, int]:
        """The row by which a tower carries it out, and over how many of the last blocks.

        Errors: ValueError for a method that the tower cannot serve (why), and for a depth beyond the tower.
        """
        row = serving(self.method, tower)
        count = (tower.blocks if row.blocks == EVERY else row.blocks) or self.depth or min(DEPTH, tower.blocks)
        if not 1 <= max(count, self.depth or 1) <= tower.blocks:
            raise ValueError(
                f"depth must lie in 1…{tower.blocks} (the tower's blocks), not {max(count, self.depth or 1)}."
            )
        return row, count

    def columns(self, tower: Serves | None) -> dict[str, Any]:
        """What tables print of it: text, method, the depth it came to (None: it has none), authority, surgery, τ.

        tower: None where class features alone are read, which needs no understanding of one.
        """
        row, count = self.plan(tower) if tower else (rows_of(self.method)[0], 1)
        about = {"reading": str(self), "method": self.method, "depth": count if row.blocks is None else None}
        about |= {"authority": authority(row, tower) if tower else "class feature alone"}
        return about | {"surgery": self.surgery, "tau": None if self.surgery == "none" else self.tau}

    def similarities(
        self, dense: DenseFeatures, text: Float[Tensor, "N D"], redundant: Float[Tensor, "1 D"] | None = None
    ) -> Float[Tensor, "B h w N"]:
        """Maps of labels from this reading's features: cosines, or feature surgery (see `maps.feature_surgery`)."""
        if self.surgery == "none":
            return similarity(dense, text)
        return feature_surgery(dense, text, tau=self.tau, form=self.surgery, redundant=redundant)


def readings(given: "str | Reading | Iterable[str | Reading]") -> tuple[Reading, ...]:
    """Readings, each once, from one text with commas between them, or several texts and readings.

    Errors: those of `Reading.parse`; ValueError for none.
    """
    if isinstance(given, str):
        given = [part for part in re.split(r",(?![^(]*\))", given) if part.strip()]
    found = tuple(dict.fromkeys(map(Reading.parse, [given] if isinstance(given, Reading) else given)))
    if not found:
        raise ValueError("Give at least one reading, such as 'clip' or 'clip-surgery+code'.")
    return found


def require_features(asked: Iterable[Reading]) -> None:
    """Raise a ValueError naming a reading that has no features, only maps of texts."""
    for reading in asked:
        if reading.needs_texts:
            words = "has no features: its maps need the texts. Use clip.maps(images, readings, text)."
            raise ValueError(f"{reading.method!r} {words}")


def served(given: "str | Reading | Iterable[str | Reading]", tower: Serves) -> list[str]:
    """The texts of those of several `readings` whose method a tower can serve."""
    return [str(one) for one in readings(given) if not all(refusal(row, tower) for row in rows_of(one.method))]


def crossed(methods: Iterable[str], surgeries: Iterable[str] = SURGERIES[:2]) -> tuple[Reading, ...]:
    """Every method with every form of feature surgery, at the default depth."""
    return tuple(Reading(method, None, surgery) for method, surgery in product(methods, surgeries))


def _misread(text: str, place: int, words: str) -> str:
    return f"{text!r} is not understood at {place + 1} ({text[place:] or 'the end'!r}): {words}."
