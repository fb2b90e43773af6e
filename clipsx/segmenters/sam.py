"""SAM and SAM 2 from transformers: a picture is encoded once, points on it are cheap after that."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from PIL import Image
from safetensors import SafetensorError

from clipsx.hub import looking, reaching
from clipsx.messages import brief
from clipsx.quiet import quiet
from clipsx.segmenters.interface import Points, Signs, placed
from clipsx.weights import digest, require_sound

CLASSES = {"sam": "SamModel", "sam2": "Sam2Model", "sam2_video": "Sam2Model"}
"""A configuration's model type, and the class of transformers that reads it; SAM 2 is published with its video half."""


class Sam:
    """A SamModel or Sam2Model in eval mode, with the image processor that it was published with.

    Of the masks that it offers for the points, the one it scores best is taken.
    Source: Kirillov et al. (2023), Ravi et al. (2024), through transformers; CLIP Surgery takes the best-scored too.
    """

    def __init__(self, model: Any, processor: Any, name: str) -> None:
        require_sound(model)
        self.model, self.processor = model, processor
        self.name = f"{name} sha256:{digest(model)[:8]}"
        self._seen: tuple[tuple[bytes, tuple[int, int]], Mapping[str, Any], Any] | None = None

    def __call__(self, image: Image.Image, points: Points, labels: Signs) -> Bool[np.ndarray, "H W"]:
        """The mask of the object that the points lie on. Errors: those of `placed`."""
        xy, on = placed(image, points, labels)
        if not on.any():
            return np.zeros(image.size[::-1], bool)
        with torch.inference_mode():
            inputs, embeddings = self._encoded(image)
            height, width = self._read(inputs)
            scale = torch.tensor([width / image.width, height / image.height])
            where = (torch.from_numpy(xy) * scale)[None, None].to(self.model.device)  # (1, 1, P, 2)
            signs = torch.from_numpy(on.astype(int))[None, None].to(self.model.device)  # (1, 1, P)
            found = self.model(input_points=where, input_labels=signs, image_embeddings=embeddings)
            best = int(found.iou_scores[0, 0].argmax())
            sizes = {name: inputs[name] for name in ("original_sizes", "reshaped_input_sizes") if name in inputs}
            masks = self.processor.post_process_masks(found.pred_masks.cpu(), **sizes)[0]  # (1, M, H, W)
        return masks[0, best].numpy().astype(bool)

    def _encoded(self, image: Image.Image) -> tuple[Mapping[str, Any], Any]:
        """What the processor makes of a picture, and the model's embeddings of it, those of the last picture kept."""
        key = (image.tobytes(), image.size)
        if self._seen is None or self._seen[0] != key:
            inputs = self.processor(images=image, return_tensors="pt")
            pixels = inputs["pixel_values"].to(self.model.device)  # (1, 3, S, S)
            self._seen = key, inputs, self.model.get_image_embeddings(pixels)
        return self._seen[1:]

    @staticmethod
    def _read(inputs: Mapping[str, Any]) -> tuple[int, int]:
        """The (H, W) that the picture itself takes of what the model reads: SAM pads it to a square, SAM 2 does not."""
        height, width = inputs.get("reshaped_input_sizes", [inputs["pixel_values"].shape[-2:]])[0]
        return int(height), int(width)


def load(name: str | Path, device: str | None = None) -> Sam:
    """A SAM or SAM 2 by its name on the Hugging Face hub, downloaded once, or from a local folder of transformers.

    Only tensors are read of its weights. device: CUDA, else the CPU.
    Errors: ImportError where transformers is missing; ValueError for a folder of another model, saying which, and for
    weights that are damaged, not all there or not finite; FileNotFoundError for a folder without a model;
    ConnectionError where a download fails.
    """
    place = Path(name).expanduser()
    local = place.exists()
    if local and not (place / "config.json").is_file():
        raise FileNotFoundError(
            f"{place} holds no config.json: it is not the folder of a SAM as transformers saves it."
        )
    source, shown = (str(place), place.resolve().name) if local else (str(name), str(name))
    if not local:
        looking(shown, "a segmenter's configuration and weights")
    advice = "give a local folder, or take 'random-walker', which needs no download."
    with _understood(shown) if local else reaching(shown, "a segmenter", advice):
        model, processor, lacking = _made(source, shown)
    if lacking:
        raise ValueError(f"The weights of {shown} are not all there: {len(lacking)} are missing, such as {lacking[0]}.")
    return Sam(model.to(device or ("cuda" if torch.cuda.is_available() else "cpu")).eval(), processor, shown)


@contextmanager
def _understood(shown: str) -> Iterator[None]:
    """One sentence where transformers cannot read a local folder."""
    try:
        yield
    except ImportError:
        raise
    except (OSError, RuntimeError, KeyError, SafetensorError, UnpicklingError) as error:
        raise ValueError(f"{shown} cannot be read by transformers: {brief(error)}") from None


def _made(source: str, shown: str) -> tuple[Any, Any, list[str]]:
    """The model, its image processor, and the names of weights that no file holds."""
    try:
        import transformers
    except ImportError:
        raise ImportError("SAM comes from transformers, which is not installed: pip install 'clipsx[sam]'.") from None
    with quiet():
        config = transformers.PreTrainedConfig.get_config_dict(source)[0]
        kind = config.get("model_type", "unknown")
        if kind not in CLASSES:
            raise ValueError(f"{shown} is a model of type {kind!r}, not a SAM (sam, sam2): give one of those.")
        reader = getattr(transformers, CLASSES[kind])
        model, about = reader.from_pretrained(source, output_loading_info=True)
        processor = transformers.AutoImageProcessor.from_pretrained(source)
    return model, processor, sorted(about["missing_keys"])
