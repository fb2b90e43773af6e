"""What every picture is asked: classes, each by one word or by the best of several."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clipsx.clip import Clip
from clipsx.datasets import Sample, Vocabulary, labels_of
from clipsx.datasets.lines import listed
from clipsx.datasets.vocabularies import Given

Words = Mapping[str, Sequence[str]]  # by class; one that is not there is asked for by its name


def queries(labels: Sequence[str]) -> tuple[str, ...]:
    """The labels asked of every image, each once. Errors: those of `listed`; ValueError for fewer than two."""
    found = tuple(dict.fromkeys(listed(labels)))
    if len(found) < 2:
        raise ValueError("An evaluation asks every image for all labels: give at least two different ones, labels=[…].")
    return found


def vocabulary_of(samples: Sequence[Sample], given: Given | None = None) -> Vocabulary:
    """The wording that was given, else that of a data set, else its labels.

    Errors: those of `Vocabulary.of`; ValueError for another number of classes than the data set's.
    """
    own = getattr(samples, "vocabulary", None) or Vocabulary.single(labels_of(samples))
    return own.reworded(given, "the data set")


@dataclass(frozen=True, eq=False)
class Asked:
    """N classes by their Q words: `text`, the words' features, and `of`, the class of each word (N: a background)."""

    names: tuple[str, ...]
    words: tuple[tuple[str, ...], ...]
    text: Float[Tensor, "Q D"]
    of: Int[Tensor, " Q"]

    @staticmethod
    def by(
        clip: Clip,
        names: Sequence[str],
        words: Words | None = None,
        templates: str | Sequence[str] = "clip-surgery",
        grounds: Sequence[str] = (),
    ) -> "Asked":
        """Classes as a model reads them; grounds: words of backgrounds, after all others."""
        each = tuple(listed((words or {}).get(name, (name,))) for name in names) + tuple((g,) for g in listed(grounds))
        of = torch.tensor([min(k, len(names)) for k, some in enumerate(each) for _ in some])  # (Q,)
        return Asked(tuple(names), each, clip.encode_labels([word for some in each for word in some], templates), of)

    def best(self, found: Float[Tensor, "*B Q"]) -> Float[Tensor, "*B N"]:
        """What the best word of each class has; with a word for each class, what there was."""
        if len(self.of) == len(self.names):
            return found
        least = found.new_full((*found.shape[:-1], len(self.names)), -torch.inf)  # (*B, N)
        return least.scatter_reduce(-1, self.of.to(found.device).expand_as(found), found, "amax")
