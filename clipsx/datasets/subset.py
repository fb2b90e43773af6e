"""Part of a data set, in any order."""

from collections.abc import Sequence

from clipsx.datasets.sample import Sample


class Subset(Sequence[Sample]):
    """The samples at `indices`, read when asked for; `part` says in words which ones (a table prints it)."""

    def __init__(self, samples: Sequence[Sample], indices: Sequence[int], part: str) -> None:
        self.samples, self.indices, self.part = samples, tuple(indices), part
        self.labels: tuple[str, ...] = tuple(getattr(samples, "labels", ()))

    def describe(self) -> dict[str, str]:
        """What a table prints about its data."""
        whole = self.samples.describe()["data"] if hasattr(self.samples, "describe") else "given samples"
        return {"data": f"{whole}, {self.part}: {len(self)}"}

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]
        return self.samples[self.indices[index]]
