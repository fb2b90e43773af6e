"""What data sets have in common that read a list of pictures from disk: what they say of themselves."""

from abc import abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from clipsx.datasets.protocol import digest, digest_of, sketches
from clipsx.datasets.sample import Sample
from clipsx.datasets.vocabularies import Vocabulary


class Listed(Sequence[Sample]):
    """Pictures by their names in an order, each opened when asked (`__getitem__`, of its own kind).

    recipe: what `datasets.open` makes it again from; said: how it was read, for tables; title: what they call it, by
    default as the recipe does. whole: files whose every byte decides its content.
    """

    seen = staticmethod(sketches)
    """How a fingerprint looks at the files of pictures: quickly, or whole (`digests`)."""

    def __init__(
        self, root: Path, names: Sequence[str], vocabulary: Vocabulary, recipe: Mapping[str, Any],
        said: Sequence[str] = (), whole: Iterable[Path] = (), title: str = "",
    ) -> None:  # fmt: skip
        self.root, self.names, self.vocabulary = root, tuple(names), vocabulary
        self.labels = vocabulary.names
        self._recipe, self._said, self._whole = dict(recipe), list(said), list(whole)
        self._title = title or f"{recipe['dataset']} {recipe.get('split', '')}".strip()

    @abstractmethod
    def sources(self) -> Iterable[Path]:
        """The files that its samples are read from, each beside or under root."""

    def describe(self) -> dict[str, str]:
        """What a table prints about its data."""
        return {"data": ", ".join([f"{self._title} n={len(self)}", f"words: {self.vocabulary.name}", *self._said])}

    def fingerprint(self) -> str:
        """A hex digest of files (`seen`) and their paths under root, of the words, and of how they are read."""
        how = {key: value for key, value in self._recipe.items() if key not in ("root", "annotations", "vocabulary")}
        words = self.vocabulary.queries, self.vocabulary.background
        return digest(how, words, self.names, [*map(digest_of, self._whole)], self.seen(self.root, self.sources()))

    def recipe(self) -> dict[str, Any]:
        """What `datasets.open` makes it again from."""
        return self._recipe

    def __len__(self) -> int:
        return len(self.names)
