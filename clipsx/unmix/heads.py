"""Trained projectors and what they belong to: the heads of an unmixed CLIP, on disk and in use."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from clipsx import paths
from clipsx.clip import Clip, Heads
from clipsx.datasets import Sample, recipe_of
from clipsx.reading import Reading
from clipsx.text import check_labels
from clipsx.unmix.gather import own_positions
from clipsx.unmix.projectors import PROMPTS, Projectors, prompt_features, spatial_head
from clipsx.unmix.training import VERSION, Config
from clipsx.weights import digest

BATCH = 64  # images at a time
WEIGHTS, WORDS = "projectors.safetensors", "unmix.json"  # the second is written last, with the first one's checksum
WORDING = (
    "root",
    "length",
    "vocabulary",
    "labels",
)  # of a recipe: what leaves its pictures the same at the same places
SCALE = 100.0  # the factor on cosines in the spatial head: 5 · 20


@dataclass(frozen=True, eq=False)
class Unmixed:
    """Projectors from `fit`, and the CLIP on whose features they were trained.

    base: the frozen model, shared and not changed; labels: what they were trained on, in order (any other label is
    projected too); config: of the run; reading: of the positions that they were trained on (None: the model's own, as
    `gather` takes them), whose maps are theirs; trained: of `Gathered`.
    Errors: ValueError where the projectors are of another width.
    """

    base: Clip
    projectors: Projectors
    labels: Sequence[str]
    config: Config
    reading: Reading | None = None
    trained: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "reading", self.reading or own_positions(self.base))
        if self.projectors.width != self.base.embed_dim:
            widths = f"features {self.projectors.width} wide, {self.base.name}'s {self.base.embed_dim}"
            raise ValueError(f"The projectors are for {widths}.")
        self.projectors.eval().to(self.base.device)

    @cached_property
    def clip(self) -> Clip:
        """The CLIP in the unmixed space (half as wide): every map, metric, plot and panel works on it unchanged."""
        data = self.trained.get("data", "data that are not known")
        heads = Heads(
            torch.no_grad()(self.projectors.project_image),
            torch.no_grad()(self.projectors.project_text),
            width=self.base.embed_dim // 2,
            logit_scale=SCALE,
            name=" unmixed",
            weights=f" + projectors sha256:{digest(self.projectors)[:8]}",
            about={"projectors": f"of {self.reading}, seed {self.config.seed}, trained on {data}"},
        )
        return self.base.with_heads(heads)

    def require_apart(self, samples: Sequence[Sample]) -> None:
        """Errors: ValueError where they were trained on pictures of these, as far as recipes tell."""
        learned, asked = self.trained.get("recipe"), recipe_of(samples)
        if learned and asked:
            (whole, own), (other, places) = _pictures(learned, self.trained["count"]), _pictures(asked, len(samples))
            if both := len(own & places) if whole == other else 0:
                told = (
                    f"{both} of the {len(samples)} pictures to test on are among those that the projectors learned from"
                )
                raise ValueError(f"{told} ({self.trained['data']}): take another --split.")

    def probabilities(
        self, positions: Shaped[np.ndarray, "n P D"], labels: Sequence[str] | None = None
    ) -> Float[Tensor, "n N"]:
        """The head's probability of every label, 0 … 1, for CLIP's positions, read batch by batch."""
        asked = self.labels if labels is None else labels
        return probabilities(self.projectors, positions, prompt_features(self.base, asked), self.config)

    def save(self, folder: str | Path) -> Path:
        """Write projectors.safetensors and unmix.json into `folder`, whole or not at all."""
        folder, state = Path(folder), self.projectors.state_dict()
        weights = save({name: value.detach().cpu().contiguous() for name, value in state.items()})
        clip = self.base.describe() | {"sha256": digest(self.base.model)}
        words = {"version": VERSION, "width": self.projectors.width, "labels": list(self.labels)}
        words |= {"prompts": list(PROMPTS), "config": asdict(self.config), "clip": clip, "reading": str(self.reading)}
        words |= {"trained": json.dumps(dict(self.trained))}  # in one line, however many pictures
        words |= {"sha256": hashlib.sha256(weights).hexdigest()}
        paths.write_whole(folder / WEIGHTS, weights)
        paths.write_whole(folder / WORDS, (json.dumps(words, indent=1, ensure_ascii=False) + "\n").encode())
        return folder

    @staticmethod
    def load(folder: str | Path, base: Clip, labels: Sequence[str] | None = None) -> "Unmixed":
        """What `save` wrote, on the CLIP it was trained on.

        labels: if given, must be those of training, in their order. Errors: FileNotFoundError; ValueError for another
        CLIP, other labels, another version, and files that are cut short or do not belong together.
        """
        folder = Path(folder)
        try:
            words: dict[str, Any] = json.loads((folder / WORDS).read_text(encoding="utf-8"))
            weights = (folder / WEIGHTS).read_bytes()
            version, clip, checksum, width = words["version"], words["clip"], words["sha256"], int(words["width"])
            if version != VERSION:
                raise ValueError(f"{folder} is of version {version}, this package reads {VERSION}: train it again.")
            if clip["sha256"] != digest(base.model):
                made = f"{clip['model']} ({clip['weights']})"
                told = f"{base.name} has other weights. Load that CLIP, or train again."
                raise ValueError(f"{folder} belongs to {made}; {told}")
            known, config = list(words["labels"]), Config(**words["config"])
            reading = Reading.parse(words.get("reading", "clip"))  # once it was the only one
        except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
            raise ValueError(f"{folder / WORDS} was cut short or is not ours ({error}): save it again.") from None
        if labels is not None and check_labels(labels) != known:
            pairs = enumerate(zip(labels, known, strict=False))
            place = f"{len(labels)} labels, not {len(known)}"
            place = next((f"label {i} is {one!r}, not {other!r}" for i, (one, other) in pairs if one != other), place)
            raise ValueError(f"{folder} was trained on other labels or in another order: {place}.")
        if hashlib.sha256(weights).hexdigest() != checksum:
            raise ValueError(f"{folder / WEIGHTS} was cut short or belongs to another {WORDS}: save it again.")
        projectors = Projectors(width)
        try:
            projectors.load_state_dict(load(weights))
        except (SafetensorError, RuntimeError) as error:
            raise ValueError(f"{folder / WEIGHTS} does not hold projectors of width {width} ({error}).") from None
        return Unmixed(base, projectors, known, config, reading, json.loads(words.get("trained", "{}")))


def kept(where: str | Path) -> list[Path]:
    """The folders that `Unmixed.save` wrote: one, by itself or a file of it, or all in a folder, seed by seed.

    Errors: ValueError where there is none.
    """
    folder = Path(where).parent if Path(where).is_file() else Path(where)
    each = [folder] if (folder / WORDS).is_file() else [file.parent for file in folder.glob(f"*/{WORDS}")]
    if not each:
        raise ValueError(f"{where} holds no projectors: give the folder that `clipsx unmix` wrote, or a seed's in it.")
    return sorted(each, key=lambda place: (len(place.name), place.name))


def _pictures(recipe: Mapping[str, Any], count: int) -> tuple[dict[str, Any], set[int]]:
    """The whole data set that a recipe is of, wherever it lies, and the places in it of its `count` pictures."""
    places: Sequence[int] = range(count)
    while recipe["dataset"] == "subset":
        places, recipe = [recipe["indices"][n] for n in places], recipe["of"]
    return {name: value for name, value in recipe.items() if name not in WORDING}, set(places)


@torch.no_grad()
def probabilities(
    projectors: Projectors, positions: Shaped[np.ndarray, "n P D"], text: Float[Tensor, "2 N D"], config: Config
) -> Float[Tensor, "n N"]:
    """The head's probability of every label for positions (n, P, D), an array or memory map read batch by batch."""
    classes = projectors.eval().project_text(text)  # (2, N, d)
    found = []
    for start in range(0, len(positions), BATCH):
        part = torch.from_numpy(positions[start : start + BATCH].astype("float32")).to(text.device)  # (B, P, D)
        found.append(spatial_head(projectors.project_image(part), classes, config.negative))
    return torch.cat(found).cpu()
