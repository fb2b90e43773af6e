"""Part of a data set, in any order."""

from collections.abc import Sequence
from typing import Any

from clipsx.datasets.protocol import described, digest, fingerprint_of, labels_of, recipe_of
from clipsx.datasets.sample import Sample


class Subset(Sequence[Sample]):
    """The samples at `indices`, read when asked for; `part` says in words which ones (a table prints it)."""

    def __init__(self, samples: Sequence[Sample], indices: Sequence[int], part: str) -> None:
        self.samples, self.indices, self.part = samples, tuple(map(int, indices)), part
        self.labels, self.vocabulary = labels_of(samples), getattr(samples, "vocabulary", None)

    def describe(self) -> dict[str, str]:
        """What a table prints about its data."""
        return {"data": f"{described(self.samples)['data']}, {self.part}: {len(self)}"}

    def fingerprint(self) -> str:
        """A hex digest of the whole's content, and which of it this is."""
        return digest("subset", fingerprint_of(self.samples), self.indices)

    def recipe(self) -> dict[str, Any] | None:
        """What `datasets.open` makes it again from; None for a part of a plain sequence."""
        whole = recipe_of(self.samples)
        return whole and {"dataset": "subset", "of": whole, "indices": list(self.indices), "part": self.part}

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]
        return self.samples[self.indices[index]]
