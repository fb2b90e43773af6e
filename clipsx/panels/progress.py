"""A line of progress for work in a notebook cell."""

from collections.abc import Callable

import ipywidgets as widgets
from IPython.display import display


def progress(words: str) -> Callable[[int, int], None]:
    """Show a bar under the cell; the result is an `on_progress(done, total)`, which takes it away at the end."""
    bar = widgets.IntProgress(description=words, style={"description_width": "auto"}, layout={"width": "60%"})
    display(bar)

    def on_progress(done: int, total: int) -> None:
        bar.max, bar.value = total, done
        if done >= total:
            bar.close()

    return on_progress
