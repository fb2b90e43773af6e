"""Data sets with one indexed mask a picture: VOC, SBD, COCO-Stuff, Context, Cityscapes, ADE20K, ImageNet-S."""

from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from os import PathLike
from pathlib import Path

import numpy as np
from jaxtyping import Int

from clipsx.datasets import places
from clipsx.datasets.layouts import Place, numbers
from clipsx.datasets.protocol import Listed
from clipsx.datasets.sample import Sample
from clipsx.datasets.vocabularies import Given
from clipsx.images import PictureError, decode

Values = Int[np.ndarray, "..."]


class Indexed(Listed):
    """Photographs and their masks by a row of the table, each opened when asked.

    name, root, split: as of `Place`; vocabulary: the wording (`Vocabulary.of`), a class a line in the row's order. A
    class's place is that of its value in the row; ground is the background, ignored counts nowhere.
    Errors: those of `Place`; when a part is opened, FileNotFoundError for a listed file that is missing, PictureError
    for a damaged one or one of another size, ValueError for a value that no class has.
    """

    def __init__(
        self, name: str, root: str | PathLike[str], split: str | None = None, vocabulary: Given | None = None
    ) -> None:
        place = Place(name, root, split)
        other = place.root.resolve().name  # such as another year of VOC
        said = [f"of {other}"] * (other not in {Path(at).name for at in place.layout.at})
        words = place.wording(vocabulary)
        super().__init__(place.root, place.listed(), words, place.recipe | {"vocabulary": words.plain()}, said)
        row, self.place = place.layout, place
        own = [[value] for value in numbers(row.values)]
        self._table = places.table(own, numbers(row.ground), numbers(row.ignored))

    def sources(self) -> Iterable[Path]:
        return (self.place.path(part, name) for name in self.names for part in ("pictures", "masks"))

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]
        name, row = self.names[index], self.place.layout
        picture, file = (self.place.path(part, name) for part in ("pictures", "masks"))
        mat = file.suffix == ".mat"
        read = partial(matlab, file, numbers(row.mat)) if mat else partial(places.read, file, picture, row.coded)
        return masked(name, picture, file, read, self._table, self.labels)


def masked(
    name: str, picture: Path, file: Path, read: Callable[[], Values], table: Values, labels: Sequence[str]
) -> Sample:
    """A picture with the mask that `read` gives of a file: its values are places in `labels` by a table (`places`)."""

    @cache
    def regions() -> places.Places:
        if not file.is_file():
            raise FileNotFoundError(f"{file} is missing: {name} is in the list, but has no mask.")
        return places.placed(read(), table, labels, file)

    size = lambda: regions().index.shape[::-1]  # noqa: E731
    return Sample(partial(decode, picture), lambda: tuple(regions()), regions, name=name, size=size)


def matlab(file: Path, ids: list[int]) -> Int[np.ndarray, "H W"]:
    """The mask in a MATLAB file of Context or SBD: its values, or 1, 2, … for those in `ids` and 0 for any other.

    Errors: PictureError for a file that is damaged or has none.
    """
    from scipy.io import loadmat  # dear to import

    try:
        parts = loadmat(file)
        mask = parts["LabelMap"] if "LabelMap" in parts else parts["GTcls"]["Segmentation"][0, 0]
        values = np.asarray(mask).astype(np.int64)  # (H, W)
    except Exception as error:  # its reader raises whatever broken bytes lead to
        raise PictureError(f"{file} is no MATLAB file with a LabelMap or a GTcls, or damaged ({error}).") from None
    if not ids:
        return values
    found = np.searchsorted(ids, values).clip(max=len(ids) - 1)
    return np.where(np.array(ids)[found] == values, found + 1, 0)
