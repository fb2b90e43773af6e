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

    recipe: what `datasets.open` makes it again from, but for the wording; said: how it was read, for tables; whole:
    files whose every byte decides its content.
    """

    def __init__(
        self,
        root: Path,
        names: Sequence[str],
        vocabulary: Vocabulary,
        recipe: Mapping[str, Any],
        said: Sequence[str] = (),
        whole: Iterable[Path] = (),
    ) -> None:
        self.root, self.names, self.vocabulary = root, tuple(names), vocabulary
        self.labels = vocabulary.names
        self._recipe, self._said, self._whole = dict(recipe), list(said), list(whole)

    @abstractmethod
    def files(self) -> Iterable[Path]:
        """The files that its samples are read from, each beside or under root."""

    def describe(self) -> dict[str, str]:
        """What a table prints about its data."""
        name = f"{self._recipe['dataset']} {self._recipe.get('split', '')}".strip()
        return {"data": ", ".join([f"{name} n={len(self)}", f"words: {self.vocabulary.name}", *self._said])}

    def fingerprint(self) -> str:
        """A hex digest of files (`sketches`) and their paths under root, of the words, and of how they are read."""
        how = {key: value for key, value in self._recipe.items() if key not in ("root", "annotations")}
        words = self.vocabulary.queries, self.vocabulary.background
        return digest(how, words, self.names, [*map(digest_of, self._whole)], sketches(self.root, self.files()))

    def recipe(self) -> dict[str, Any]:
        """What `datasets.open` makes it again from."""
        return self._recipe | {"vocabulary": self.vocabulary.plain()}

    def __len__(self) -> int:
        return len(self.names)
