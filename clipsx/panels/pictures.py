"""A panel's pictures: samples by their place and one's own by their path, opened when asked for."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Any

from PIL import Image

from clipsx import images, plots
from clipsx.datasets import Sample, described
from clipsx.messages import brief, require
from clipsx.panels.elements import UPLOAD_LIMIT, jpeg, thumb
from clipsx.paths import write_whole

SENT = 640  # pixels a side that go to the browser


@dataclass(frozen=True, eq=False)
class Picture:
    """A sample; for one's own picture also the code that opens its file, and a digest of the file where it is known."""

    sample: Sample
    code: str = ""
    digest: str = ""

    @cached_property
    def key(self) -> str:
        """What was computed of the picture is found again by this: of the file, else of every pixel."""
        pixels = self.sample.image
        return self.digest or sha256(pixels.tobytes() + repr(pixels.size).encode()).hexdigest()

    @cached_property
    def shown(self) -> Sample:
        """The sample at the size at which it is shown and measured."""
        return plots.reduced(self.sample)

    def data(self, samples: Sequence[Sample]) -> dict[str, str]:
        """What tables say of where it is from, the samples or one's own."""
        return {"data": "own picture"} if self.code else described(samples)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) in pixels, as it is shown."""
        return self.shown.size[1], self.shown.size[0]

    @cached_property
    def sent(self) -> dict[str, Any]:
        """What the browser gets of it; `size` (W, H) is what outlines and points are counted in."""
        return {"bytes": jpeg(self.shown.image, SENT), "size": list(self.shown.size), "name": self.shown.name}


class Kept(OrderedDict[Hashable, Any]):
    """The last `size` results by key; the oldest goes first. Safe to share between threads."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size, self._lock = size, Lock()

    def made(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """What is kept under a key, else what `make` gives; None is never kept."""
        found = self.get(key)
        value = make() if found is None else found
        with self._lock:
            self[key] = value
            self.move_to_end(key)
            while len(self) > self._size:
                self.popitem(last=False)
        return value


class Pictures:
    """The pictures that a panel can show; the last few are kept as they were opened, and thumbnails of all."""

    def __init__(self, samples: Sequence[Sample]) -> None:
        self.samples = samples
        self.own: dict[str, str] = {}  # path → digest of the file, "" where it is not known
        self._kept, self._thumbs = Kept(4), Kept(256)

    def open(self, image: int | str) -> Picture:
        """A sample, or the picture of a path. Errors: ValueError naming what cannot be shown; those of `decode`."""
        return self._kept.made(image, partial(self._opened, image))

    def _opened(self, image: int | str) -> Picture:
        if isinstance(image, str):
            return self._of_own(image, images.decode(image))
        require("image", image, 0, len(self.samples) - 1, whole=True)
        sample = self.samples[image]
        try:
            _ = sample.image, sample.masks  # opened here, where what is wrong with them can still be told
        except Exception as error:
            raise ValueError(f"{sample.name or f'Sample {image}'} cannot be shown: {brief(error)}") from None
        return Picture(sample)

    def take(self, data: bytes, folder: Path) -> str:
        """The path of a picture of one's own, kept in the folder as it is, so that state and code can name it.

        data: the bytes of a file. Errors: OSError; ValueError for a file that is too large or no picture.
        """
        if len(data) > UPLOAD_LIMIT:
            raise ValueError(f"The picture is {len(data) / 1e6:.1f} MB; at most {UPLOAD_LIMIT / 1e6:g} MB are taken.")
        with images.opened(data) as image:
            kind = str(image.format).lower()
        digest = sha256(data).hexdigest()
        path = folder / f"own-{digest[:8]}.{kind}"
        photo = images.decode(data)
        write_whole(path, data)
        self.own[str(path)] = digest
        self._kept.made(str(path), lambda: self._of_own(str(path), photo))
        return str(path)

    def _of_own(self, path: str, photo: Image.Image) -> Picture:
        name = Path(path).stem
        code = f"clipsx.datasets.Sample(clipsx.images.decode({path!r}), (), name={name!r})"
        return Picture(Sample(photo, (), name=name), code, self.own.setdefault(path, ""))

    def thumbs(self, places: Iterable[int]) -> tuple[list[dict[str, Any]], list[str]]:
        """A gallery's entries, pictures of one's own first, and in words which of the samples cannot be shown."""
        entries, bad = [], []
        for key in (*self.own, *places):
            try:
                entries.append(self._thumbs.made(key, partial(self._thumb, key)))
            except (OSError, ValueError) as error:
                bad.append(str(error))
        return entries, bad

    def _thumb(self, key: int | str) -> dict[str, Any]:
        return thumb(key, (self._kept.get(key) or self._opened(key)).shown)

    def first(self) -> int:
        """The first sample that can be opened; 0 where none can, for its error."""
        for place in range(len(self.samples)):
            try:
                self.open(place)
                return place
            except ValueError:
                continue
        return 0
