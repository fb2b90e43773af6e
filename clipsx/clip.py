"""Clip: an open_clip model that is wrapped and never modified, and the heads that its features go through."""

from collections.abc import Callable, Iterable, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import cached_property, partial, wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from clipsx import images as pictures
from clipsx import methods, text, towers
from clipsx.features import DenseFeatures
from clipsx.messages import require
from clipsx.preprocess import pixels, read
from clipsx.prompts import Tower as TextTower
from clipsx.prompts import encode_prompts, token_features
from clipsx.quiet import plain
from clipsx.reading import Reading, readings
from clipsx.seen import Seen
from clipsx.sentence import Sentence
from clipsx.sentence import read as read_sentence
from clipsx.weights import digest, require_open_clip, require_sound

P = ParamSpec("P")
R = TypeVar("R")


def _same(features: Tensor) -> Tensor:
    return features


def _plainly(method: "Callable[Concatenate[Clip, P], R]") -> "Callable[Concatenate[Clip, P], R]":
    """A method whose numbers do not depend on the caller's modes of torch (see `quiet.plain`)."""

    @wraps(method)
    def wrapped(self: "Clip", *args: P.args, **kwargs: P.kwargs) -> R:
        with plain(self.device.type):
            return method(self, *args, **kwargs)

    return wrapped


@dataclass(frozen=True, eq=False)
class Heads:
    """What CLIP's features go through afterwards: nothing, or trained projectors.

    image, text: from unit features (…, D) to unit features (…, d), without gradient; width: d, None where it is D;
    logit_scale: the factor on cosines that they were trained with, None for CLIP's own; name, weights: what tables add.
    """

    image: Callable[[Tensor], Tensor] = _same
    text: Callable[[Tensor], Tensor] = _same
    width: int | None = None
    logit_scale: float | None = None
    name: str = ""
    weights: str = ""


class Clip:
    """An open_clip model with what localisation needs. It is read, never changed: no hooks, nothing resized in place.

    model: an open_clip model in eval mode; preprocess: its image transform (mean, standard deviation and interpolation
    are read from it); tokenizer: its tokenizer; name, weights: what tables call them (weights default to a digest).
    Whether QuickGELU is right cannot be known for a model object: that is its maker's word.
    recipe: what `load` was called with, from which another process makes it again; None for the user's own object.
    heads: what image and text features go through afterwards; `with_heads` gives the same model with others.
    Errors: TypeError for what is no open_clip model or no tokenizer, saying what to give; ValueError for weights that
    are not finite or of a type that is not computed with, and for a preprocess without mean and standard deviation.
    """

    def __init__(
        self,
        model: nn.Module,
        preprocess: Callable[..., Tensor] | None,
        tokenizer: Callable[..., Tensor],
        name: str | None = None,
        weights: str | None = None,
        recipe: dict[str, Any] | None = None,
    ) -> None:
        require_open_clip(model, tokenizer)
        require_sound(model)
        self.model: Any = model  # open_clip's: its parts are known by name alone
        self.preprocess = preprocess
        self.tokenizer = tokenizer
        self.name = name or type(model).__name__
        self.recipe = recipe
        self.heads = Heads()
        self._rule: str | None = None
        self._weights = weights
        self._mean, self._std, self._interpolation = read(model, preprocess)

    def __repr__(self) -> str:
        return f"Clip({self.name!r}, weights={self.weights!r}, device={str(self.device)!r}, dtype={self.dtype})"

    @property
    def weights(self) -> str:
        """What tables call the weights: a tag, or a name with a digest; then those of the heads."""
        return (self._weights or "sha256:" + digest(self.model)[:8]) + self.heads.weights

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """What the image tower's stem computes in."""
        stem = next(m for m in self.model.visual.modules() if isinstance(m, nn.Conv2d | nn.Linear))
        return stem.weight.dtype

    @property
    def image_size(self) -> tuple[int, int]:
        """The size (H, W) the model was made for."""
        return towers.size_of(self.model.visual)

    @property
    def patch_size(self) -> tuple[int, int]:
        """Pixels per patch, (rows, columns)."""
        return self.tower.patch_size

    @property
    def logit_scale(self) -> float:
        """The factor on cosines that CLIP, or its heads, were trained with (100 for OpenAI's)."""
        return self.heads.logit_scale or float(self.model.logit_scale.detach().exp().reshape(-1)[0])

    @property
    def embed_dim(self) -> int:
        """D, the width of the joint space, or of what the heads make of it."""
        visual = self.model.visual
        stated = [m.out_features for m in visual.modules() if isinstance(m, nn.Linear)]  # timm's own end in one
        return self.heads.width or int(getattr(visual, "output_dim", None) or stated[-1])

    @cached_property
    def tower(self) -> towers.Tower:
        """The image tower's adapter. Errors: ValueError naming a tower, or a part of it, that is not understood."""
        with plain(self.device.type):
            tower = towers.adapt(self.model.visual)
        return tower if self._rule is None else towers.placed(tower, self._rule)

    @property
    def positions(self) -> str:
        """How positions are interpolated at another size, one of `towers.POSITIONS`; "none" where the tower has none.

        So it is too for a tower that is not understood, which is read at its own size alone.
        """
        try:
            return self.tower.positions
        except ValueError:
            return "none"

    @property
    def methods(self) -> tuple[str, ...]:
        """The localisation methods that this model's image tower can do; none where it is not understood."""
        try:
            return methods.able(self.tower)
        except ValueError:
            return ()

    def with_heads(self, heads: Heads) -> "Clip":
        """The same model, shared and not changed, with its features going through `heads`."""
        other = copy(self)
        other.heads, other.name, other.recipe = heads, self.name + heads.name, None
        return other

    def with_positions(self, rule: str) -> "Clip":
        """The same model, shared and not changed, with positions interpolated by another of `towers.POSITIONS`.

        Errors: ValueError for another rule (with the nearest), and for a tower that is not understood.
        """
        other = copy(self)
        other.tower, other._rule = towers.placed(self.tower, rule), rule
        other.recipe = None if self.recipe is None else self.recipe | {"positions": rule}
        return other

    def describe(self) -> dict[str, str]:
        """Provenance columns for tables."""
        return {"model": self.name, "weights": self.weights, "positions": self.positions}

    def prepare(
        self, image: pictures.Picture, size: int | tuple[int, int] | None = None, fit: str = "squash"
    ) -> Float[Tensor, "1 3 H W"]:
        """A picture as the model reads it: (1, 3, H, W), normalised, on the model's device and in its dtype.

        image: PIL, path, bytes or array; size: side or (H, W) in pixels, the model's own by default, rounded to whole
        patches; fit: "squash" as the papers do, or "crop" (the shorter side scaled, the middle kept).
        Errors: those of `images.decode` and `images.resize`; ValueError for a size below 1 or beyond any memory.
        """
        return self.pixels(image, size, fit).to(self.device, self.dtype)

    def pixels(
        self, image: pictures.Picture, size: int | tuple[int, int] | None = None, fit: str = "squash"
    ) -> Float[Tensor, "1 3 H W"]:
        """As `prepare`, in float32 and where pictures are opened: for processes that have no accelerator."""
        return self.opener(size, fit)(image)

    def opener(
        self, size: int | tuple[int, int] | None = None, fit: str = "squash"
    ) -> Callable[[pictures.Picture], Float[Tensor, "1 3 H W"]]:
        """`pixels` as a function that another process can be sent, without the model. Errors: as `prepare`."""
        whole = self.image_size  # the model's own need not be a whole number of patches
        sides = whole if size is None else tuple(size) if isinstance(size, tuple | list) else (size, size)
        for side in sides:
            require("size", side, 1, whole=True)
        if sides != whole:
            height, width = (max(1, round(n / step)) * step for n, step in zip(sides, self.patch_size, strict=True))
            whole = (height, width)
        pictures.require_room(whole)
        return partial(pixels, whole, fit, self._interpolation, self._mean, self._std)

    def normalise(self, image: Image.Image) -> Float[Tensor, "1 3 H W"]:
        """An RGB picture's own pixels, not resized, on the model's device and in its dtype."""
        return pictures.to_tensor(image, self._mean, self._std).to(self.device, self.dtype)

    @_plainly
    def encode_image(self, images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D"]:
        """The model's own image features, float32, unit length, at any size. Errors: as `encode_dense`."""
        images = self._checked(images)
        if tuple(images.shape[2:]) == self.image_size:
            features = self.model.encode_image(images)
            features = features[0] if isinstance(features, tuple) else features
        else:
            cheapest = "maskclip" if "maskclip" in self.methods else "clip"  # its last block is one row long
            features = self.tower.walk(images, [Reading(cheapest).plan(self.tower)]).features[0][0]
        return self._image(features)

    @_plainly
    def encode_text(self, prompts: Sequence[str]) -> Float[Tensor, "T D"]:
        """Features of prompts as they stand, float32, unit length. Errors: those of `text.check_labels`."""
        self._ready()
        return self._text(encode_prompts(self.model, self.tokenizer, text.check_labels(prompts)))

    @_plainly
    def encode_labels(
        self, labels: Sequence[str], templates: str | Sequence[str] = "clip-surgery"
    ) -> Float[Tensor, "N D"]:
        """Features of labels through an ensemble of templates, unit length; kept on disk (`text.label_features`)."""
        self._ready()
        return self._text(text.label_features(self.model, self.tokenizer, labels, templates, self.describe()))

    @_plainly
    def encode_tokens(self, prompt: str) -> tuple[list[str], Float[Tensor, "T D"]]:
        """Every token of a prompt with its own feature (`prompts.token_features`)."""
        self._ready()
        words, features = token_features(self.model, self.tokenizer, prompt)
        return words, self._text(features)

    @property
    def reads_words(self) -> bool:
        """Whether words have features in their sentence: a causal text tower, pooled at its end."""
        return TextTower(self.model).cuts

    @_plainly
    def encode_words(self, sentence: str, alone: bool = False) -> Sentence:
        """The words of a sentence, each with its own feature (`sentence.read`)."""
        self._ready()
        found = read_sentence(self.model, self.tokenizer, sentence, alone)
        return replace(found, features=self._text(found.features))

    def encode_dense(
        self,
        images: Float[Tensor, "B 3 H W"],
        method: str = "clip-surgery",
        depth: int | None = None,
        positions: str | None = None,
    ) -> DenseFeatures:
        """The class feature and the patch features of images, float32, unit length.

        images: as `prepare` makes them, any H × W of whole patches; method: one of `methods`, or a free combination;
        depth: over how many of the last blocks a method goes that has a depth (None: 6, or all of a shallower tower);
        positions: as in `with_positions` (None: as they are). The class feature is `encode_image`'s (save where a
        method's row says otherwise); an average-pooled tower's is its pooled feature.
        Errors: ValueError for an unknown method (with the nearest), one the tower cannot do, a depth out of range, a
        model in train mode, images of a wrong shape or with values that are not finite.
        """
        reading = Reading(method, depth)
        return self.encode_readings(images, [reading], positions)[str(reading)]

    def encode_readings(
        self,
        images: Float[Tensor, "B 3 H W"],
        given: str | Reading | Iterable[str | Reading],
        positions: str | None = None,
    ) -> dict[str, DenseFeatures]:
        """Features by several readings (texts or `Reading`s) from one walk of the tower: by `str(reading)`.

        Readings that differ only in feature surgery share one. Errors: those of `Reading` and `encode_dense`.
        """
        asked = readings(given)
        for reading in asked:
            if reading.needs_texts:
                words = "has no features: its maps need the texts. Use clip.maps(images, readings, text)."
                raise ValueError(f"{reading.method!r} {words}")
        seen = self.look(images, asked, positions=positions)
        return {str(reading): seen.features[reading.features] for reading in asked}

    def maps(
        self,
        images: Float[Tensor, "B 3 H W"],
        given: str | Reading | Iterable[str | Reading],
        text: Float[Tensor, "N D"],
        redundant: Float[Tensor, "1 D"] | None = None,
    ) -> dict[str, Float[Tensor, "B h w N"]]:
        """Maps of labels by several readings, those too whose maps need the texts ("legrad"): by `str(reading)`.

        One walk of the tower; the model is not written to, gradients included. redundant: for feature surgery of one
        label alone, see `maps.feature_surgery`. Errors: those of `look`.
        """
        asked = readings(given)
        seen = self.look(images, asked)
        return {str(reading): seen.maps(reading, text.to(self.device), redundant) for reading in asked}

    @_plainly
    def look(
        self,
        images: Float[Tensor, "B 3 H W"],
        given: Sequence[Reading] = (),
        keep: bool = False,
        positions: str | None = None,
    ) -> Seen:
        """One walk of the tower: class features, patches by every reading, and the blocks where `keep` asks for.

        Readings that need the texts have no features: they are looked at through `Seen.maps`. Errors: those of
        `encode_dense`; ValueError for heads with a reading that needs the texts.
        """
        if positions is not None:
            return self.with_positions(positions).look(images, given, keep)
        if not given and not keep:  # class features alone: the tower need not be understood
            return Seen(self.encode_image(images), {})
        asked = list(dict.fromkeys(reading.features for reading in given))
        plans = {reading: reading.plan(self.tower) for reading in asked}
        for reading in [reading for reading in asked if reading.needs_texts]:
            if self.heads.width is not None:
                raise ValueError(f"{reading.method!r} has no features of patches, which heads go through.")
            keep = plans.pop(reading)[0].texts == "attention" or keep
        images = self._checked(images)
        grid = self.tower.grid(*images.shape[2:])
        # The picture's class feature is the model's own, whatever is asked: some row must have it.
        own = Reading("clip").plan(self.tower)
        walked = [*plans.values()] if any(row.own_class for row, _ in plans.values()) else [*plans.values(), own]
        walk = self.tower.walk(images, walked, keep)
        known: dict[Any, DenseFeatures] = {}
        for plan, (cls, patches) in zip(walked, walk.features, strict=True):  # (B, D), (B, h·w, D)
            if plan not in known:
                known[plan] = DenseFeatures(self._image(cls), self._image(patches).unflatten(1, grid))
        features = {reading: known[plan] for reading, plan in plans.items()}
        own = next(plan for plan in walked if plan[0].own_class)
        return Seen(known[own].cls, features, walk.blocks, walk.last, self.tower, grid)

    @_plainly
    def project(self, tokens: Float[Tensor, "*tokens C"]) -> Float[Tensor, "*tokens D"]:
        """Tokens of the tower in the joint space, float32, unit length: last norm, projection, heads."""
        return self._image(self.tower.project(tokens))

    def _image(self, features: Float[Tensor, "*B D"]) -> Float[Tensor, "*B d"]:
        return self.heads.image(F.normalize(features.float(), dim=-1))

    @_plainly
    def _text(self, features: Float[Tensor, "*N D"]) -> Float[Tensor, "*N d"]:
        return self.heads.text(features)

    def _ready(self) -> None:
        training = next((name for name, module in self.model.named_modules() if module.training), None)
        if training is not None:
            raise ValueError(
                f"The model is in train mode ({training or 'the whole of it'}): encoding would change its statistics. "
                "Call model.eval() first."
            )

    def _checked(self, images: Any) -> Tensor:
        self._ready()
        if not isinstance(images, Tensor) or images.ndim != 4 or images.shape[1] != 3 or not images.is_floating_point():
            shape = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
            raise ValueError(f"images must be a floating-point tensor (B, 3, H, W) as prepare() makes it, not {shape}.")
        if not bool(torch.isfinite(images).all()):
            raise ValueError("images hold values that are not finite.")
        height, width = images.shape[2:]
        if (height, width) != self.image_size:
            rows, columns = self.patch_size
            if height % rows or width % columns or 0 in (height, width):
                raise ValueError(
                    f"An image of {height} × {width} pixels does not divide into patches of {rows} × {columns}; "
                    "prepare(image, size=…) rounds to whole patches."
                )
        return images.to(self.device, self.dtype)
