"""The table of localisation methods: a row each, whose it is, and what a tower can serve of it."""

from typing import Protocol, runtime_checkable

from clipsx.messages import nearest
from clipsx.recipe import PAIRS, Attend, Earlier, Recipe, free

__all__ = ["DEPTH", "EVERY", "METHODS", "PAIRS", "ROWS", "Attend", "Earlier", "Recipe", "Serves", "able", "authority",
           "free", "refusal", "rows_of", "serving"]  # fmt: skip

DEPTH = 6  # blocks of the second path where none are given, as CLIP Surgery's and GEM's authors chose; all, if fewer
NUMBERED = 12  # blocks of the towers whose blocks a method numbers: they are counted from the first, at any depth
EVERY = 0  # blocks of a row that reads all of a tower
VIT, RESNET = "VisionTransformer", "ModifiedResNet"
BOTH_SELVES = Attend(("qq", "kk"), mean=False)
NEAR = Attend(("kk",), neighbour=5.0)

ROWS = (
    Recipe("clip", "CLIP",
           "Radford et al. 2021 (arXiv 2103.00020); a ResNet's attention pool asked at every position, as CLIP "
           "Surgery's baseline does",
           licence="MIT", released=(VIT, RESNET)),
    Recipe("maskclip", "MaskCLIP",
           "Zhou et al. 2022 (arXiv 2112.01071), as ClearCLIP's code has it: identity attention in the last block, no "
           "residual, no FFN",
           Attend(), residual=False, licence="NTU S-Lab 1.0", released=(VIT, RESNET)),
    Recipe("clip-surgery", "CLIP Surgery",
           "Li et al. 2023 (arXiv 2304.05653), vision transformer as released",
           Attend(("vv",)), blocks=None, licence="none found", released=(VIT,)),
    Recipe("clip-surgery", "CLIP Surgery",
           "Li et al. 2023 (arXiv 2304.05653), ResNet as the paper describes: unit-length v, scale × 8",
           Attend(("vv",), unit=True, sharpen=8.0), residual=False, licence="none found", formula=(RESNET,)),
    Recipe("clip-surgery-released", "CLIP Surgery (released code)",
           "Li et al. 2023 (arXiv 2304.05653), released code for ResNet: plain v-v, its class feature from v-v too",
           Attend(("vv",)), residual=False, own_class=False, licence="none found", released=(RESNET,)),
    Recipe("maskclip-original", "MaskCLIP (original code)",
           "Zhou et al. 2022 (arXiv 2112.01071), its own code for transformers: identity attention, residual and FFN "
           "kept",
           Attend(), ffn=True, licence="Apache-2.0", released=(VIT,)),
    Recipe("gem", "GEM",
           "Bousselham et al. 2023 (arXiv 2312.00878), one iteration, temperature by the image; its depth 7 is 6 "
           "blocks",
           Attend(rule="gem"), blocks=None, licence="MIT", released=(VIT,)),
    Recipe("sclip", "SCLIP",
           "Wang, Mei, Yuille 2023 (arXiv 2312.01597)",
           BOTH_SELVES, ffn=True, licence="none found", released=(VIT,)),
    Recipe("clearclip", "ClearCLIP",
           "Lan et al. 2024 (arXiv 2407.12442)",
           Attend(("qq",)), residual=False, licence="NTU S-Lab 1.0", released=(VIT,)),
    Recipe("naclip", "NACLIP",
           "Hajimiri, Ben Ayed, Dolz 2024 (arXiv 2404.08181), without PAMR",
           NEAR, residual=False, licence="MIT", released=(VIT,)),
    Recipe("kk", "k-k attention",
           "Hajimiri, Ben Ayed, Dolz 2024 (arXiv 2404.08181), NACLIP's ablation without neighbours",
           Attend(("kk",)), residual=False, licence="MIT", released=(VIT,)),
    Recipe("pearl", "PEARL",
           "PEARL (CVPR 2026), its alignment alone, by five Newton–Schulz steps as released; without propagation",
           Attend(rule="pearl"), residual=False, licence="none found", released=(VIT,)),
    Recipe("pearl-svd", "PEARL (SVD)",
           "PEARL (CVPR 2026), its alignment alone, the orthogonal factor itself; without propagation",
           Attend(rule="pearl-svd"), residual=False, licence="none found", formula=(VIT,)),
    Recipe("sc-clip", "SC-CLIP",
           "Bai et al. 2024 (arXiv 2411.15869), blocks 4 to 10 as released; any batch and any grid are ours",
           Attend(rule="sc-clip"), reads=tuple(range(4, 11)), least=11, class_token=True, licence="none found",
           released=(VIT,)),
    Recipe("sfp", "SFP",
           "Jin et al. 2025 (ICCV 2025), blocks 4 to 10 as released; any batch and any grid are ours",
           Attend(rule="sfp"), reads=tuple(range(4, 11)), least=11, class_token=True, licence="MIT", released=(VIT,)),
    Recipe("itaclip", "ITACLIP (attention)",
           "Aydın et al. 2024 (arXiv 2411.12044), attention alone: those of blocks 7, 8, 10 before the last, and the "
           "last",
           Attend(("qq", "kk"), mean=False, earlier=Earlier(BOTH_SELVES, (7, 8, 10), 0.5)), least=8,
           licence="none found", released=(VIT,)),
    Recipe("resclip-rcs", "ResCLIP (RCS)",
           "Yang et al. 2024 (arXiv 2411.15851), residual cross-correlation alone: blocks 6 to 9 and the last",
           Attend(("kk",), neighbour=5.0, earlier=Earlier(Attend(("qk",)), (6, 7, 8, 9), 0.3, times=2.0)),
           residual=False, least=10, licence="none found", released=(VIT,)),
    Recipe("legrad", "LeGrad",
           "Bousselham et al. 2024 (arXiv 2404.03214), gradients of the last two blocks as released; needs the texts",
           blocks=2, texts="attention", licence="MIT", released=(VIT,)),
    Recipe("legrad-all-layers", "LeGrad (all layers)",
           "Bousselham et al. 2024 (arXiv 2404.03214), gradients of every block; needs the texts",
           blocks=EVERY, texts="attention", licence="MIT", released=(VIT,)),
    Recipe("gradcam", "Grad-CAM",
           "Selvaraju et al. 2016 (arXiv 1610.02391), by pytorch-grad-cam: gradients of the cosine at the last "
           "block's first norm, or at the last map of convolutions; needs the texts",
           texts="activations", licence="MIT", released=(VIT, RESNET)),
)  # fmt: skip
"""One row a method; where a tower cannot serve a row, the next one of the same name is asked."""
METHODS: dict[str, Recipe] = {row.name: row for row in reversed(ROWS)}
METHODS = {row.name: METHODS[row.name] for row in ROWS}


@runtime_checkable
class Serves(Protocol):
    """What is asked of a tower here."""

    @property
    def blocks(self) -> int:
        """How many there are to look into."""
        ...

    def refuses(self, recipe: Recipe) -> str:
        """Why the tower cannot carry a row out, in words; nothing where it can."""
        ...


def rows_of(method: str) -> tuple[Recipe, ...]:
    """The rows of a method by name, or the row of a free combination. Errors: ValueError for a name that is neither."""
    if method.startswith("free("):
        return (free(method),)
    found = tuple(row for row in ROWS if row.name == method)
    if not found:
        raise ValueError(f"Unknown method {method!r}{nearest(method, METHODS)}.")
    return found


def serving(method: str, tower: Serves) -> Recipe:
    """The row by which a tower carries a method out. Errors: those of `rows_of`; ValueError saying why it cannot."""
    rows = rows_of(method)
    for row in rows:
        if not refusal(row, tower):
            return row
    raise ValueError(
        f"Method {method!r} does not apply to this image tower: {refusal(rows[0], tower)}. "
        f"It can do: {', '.join(able(tower))}."
    )


def refusal(recipe: Recipe, tower: Serves) -> str:
    """Why a tower cannot carry a row out, in words; nothing where it can."""
    if recipe.texts == "attention" and not getattr(tower, "transformer", False):
        return "the method reads gradients of attention in blocks, and it has no such blocks"
    if recipe.texts and (recipe.blocks or 1) > tower.blocks:
        return f"it has {tower.blocks} blocks, not {recipe.blocks}"
    return tower.refuses(recipe)


def able(tower: Serves, texts: bool = False) -> tuple[str, ...]:
    """Names of the methods that a tower can carry out, in the table's order; texts: those whose maps need the texts."""
    return tuple(dict.fromkeys(row.name for row in ROWS if bool(row.texts) == texts and not refusal(row, tower)))


def authority(recipe: Recipe, tower: Serves) -> str:
    """On what a row stands on a tower: "released code", "formula" or "our extension"; or why it does not apply.

    Released code: its authors ran it on this family of towers, and the row computes what it computes. Formula: the
    paper says all that is computed, the released code computes something else. Our extension: a choice of ours is in
    it, as on every tower of another family, and where blocks are numbered and there are not 12.
    """
    family = getattr(tower, "family", "")
    if why := refusal(recipe, tower):
        return why
    if recipe.least > 1 and tower.blocks != NUMBERED:
        return "our extension"
    return "released code" if family in recipe.released else "formula" if family in recipe.formula else "our extension"
