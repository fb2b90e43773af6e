"""The code that makes a panel's picture again, with the package's functions and no widget: `recipes/*.py.jinja`."""

import inspect
from collections.abc import Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined

from clipsx.clip import Clip
from clipsx.datasets import Sample, code_of
from clipsx.load import load


def clip_code(clip: Clip) -> str:
    """The call that loads a model; for a model object of the user's, a line that says so."""
    if clip.recipe is None:
        return f"# clip: the model given to the panel, {comment(f'{clip.name} ({clip.weights})')}"
    usual = inspect.signature(load).parameters
    own = [f"{name}={value!r}" for name, value in clip.recipe.items() if value != usual[name].default]
    return f"clip = clipsx.load({', '.join(own).removeprefix('name=')})"


def comment(words: object) -> str:
    """Words as part of a comment: of one line, whatever they hold."""
    return "".join(character if character.isprintable() else " " for character in str(words))


def samples_code(samples: Sequence[Sample], name: str = "samples") -> str:
    """The call that opens samples under a name; for a sequence of the user's, a line that says so."""
    return code_of(samples).replace("samples", name, 1)


_RECIPES = Environment(
    loader=PackageLoader("clipsx.panels", "recipes"),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
_RECIPES.filters.update(clip_code=clip_code, samples_code=samples_code, repr=repr, comment=comment)


def recipe(name: str, **values: object) -> str:
    """The recipe of a panel, filled in."""
    return _RECIPES.get_template(f"{name}.py.jinja").render(values)
