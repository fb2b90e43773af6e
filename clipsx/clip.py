"""Clip: pictures and texts through an open_clip model, which is wrapped and never modified."""

from collections.abc import Callable, Iterable, Sequence
from copy import copy
from dataclasses import replace
from functools import partial
from typing import Any

from jaxtyping import Float
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from clipsx import images as pictures
from clipsx import text, towers
from clipsx.features import DenseFeatures
from clipsx.messages import require
from clipsx.preprocess import pixels
from clipsx.prompts import Tower as TextTower
from clipsx.prompts import encode_prompts, token_features
from clipsx.reading import Reading, readings, require_features
from clipsx.seen import Seen
from clipsx.sentence import Sentence
from clipsx.sentence import read as read_sentence
from clipsx.wrapped import Heads, Wrapped, plainly


class Clip(Wrapped):
    """An open_clip model with what localisation needs. It is read, never changed: no hooks, nothing resized in place.

    model: an open_clip model in eval mode; preprocess: its image transform (mean, standard deviation and interpolation
    are read from it); tokenizer: its tokenizer; name, weights: what tables call them (weights default to a digest).
    Whether QuickGELU is right cannot be known for a model object: that is its maker's word.
    recipe: what `load` was called with, from which another process makes it again; None for the user's own object.
    heads: what image and text features go through afterwards; `with_heads` gives the same model with others.
    Errors: TypeError for what is no open_clip model or no tokenizer, saying what to give; ValueError for weights that
    are not finite or of a type that is not computed with, and for a preprocess without mean and standard deviation.
    """

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

    @plainly
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

    @plainly
    def encode_text(self, prompts: Sequence[str]) -> Float[Tensor, "T D"]:
        """Features of prompts as they stand, float32, unit length. Errors: those of `text.check_labels`."""
        self._ready()
        return self._text(encode_prompts(self.model, self.tokenizer, text.check_labels(prompts)))

    @plainly
    def encode_labels(
        self, labels: Sequence[str], templates: str | Sequence[str] = "clip-surgery"
    ) -> Float[Tensor, "N D"]:
        """Features of labels through an ensemble of templates, unit length; kept on disk (`text.label_features`)."""
        self._ready()
        return self._text(text.label_features(self.model, self.tokenizer, labels, templates, self.describe()))

    @plainly
    def encode_tokens(self, prompt: str) -> tuple[list[str], Float[Tensor, "T D"]]:
        """Every token of a prompt with its own feature (`prompts.token_features`)."""
        self._ready()
        words, features = token_features(self.model, self.tokenizer, prompt)
        return words, self._text(features)

    @property
    def reads_words(self) -> bool:
        """Whether words have features in their sentence: a causal text tower, pooled at its end."""
        return TextTower(self.model).cuts

    @plainly
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
        require_features(asked)
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

    @plainly
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

    @plainly
    def project(self, tokens: Float[Tensor, "*tokens C"]) -> Float[Tensor, "*tokens D"]:
        """Tokens of the tower in the joint space, float32, unit length: last norm, projection, heads."""
        return self._image(self.tower.project(tokens))

    def _image(self, features: Float[Tensor, "*B D"]) -> Float[Tensor, "*B d"]:
        return self.heads.image(F.normalize(features.float(), dim=-1))

    @plainly
    def _text(self, features: Float[Tensor, "*N D"]) -> Float[Tensor, "*N d"]:
        return self.heads.text(features)
