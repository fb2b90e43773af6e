"""A notebook's kernel, watched: every error that leaves it is remembered, and it ends with who started it.

A notebook counts as failed when any error message left its kernel: also one that an ``ipywidgets.Output`` caught, hid
or cleared (such a run ends green otherwise), and a traceback that a thread printed.
"""

import asyncio
import contextlib
import html
import re
import signal
from collections.abc import Iterable
from typing import Any

import nbformat
from nbclient import NotebookClient


class StrictClient(NotebookClient):
    """A notebook client that remembers every error the kernel reported, wherever the front end would have put it.

    Ctrl-C, or being told to end, ends the kernel with all that it started, and then the run: `interrupted`.
    """

    def __init__(self, nb: nbformat.NotebookNode, **options: Any) -> None:
        super().__init__(nb, **options)
        self.seen: list[str] = []
        self.interrupted = False

    async def async_start_new_kernel(self, **kwargs: Any) -> None:
        """Start the kernel; nbclient's own handlers of signals would end it and leave the caller to go on."""
        running, loop = asyncio.current_task(), asyncio.get_running_loop()

        def interrupt() -> None:
            self.interrupted, self.shutdown_kernel = True, "immediate"
            if running is not None:
                running.cancel()

        with contextlib.suppress(RuntimeError, NotImplementedError):  # not in the main thread, or not on this system
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, interrupt)
        await super().async_start_new_kernel(**kwargs)

    def process_message(self, msg: dict[str, Any], cell: Any, cell_index: int) -> Any:
        content = msg["content"]
        if msg["msg_type"] == "error":
            self.seen.append(f"cell {cell_index + 1}: {content['ename']}: {content['evalue']}")
        elif msg["msg_type"] == "stream" and "Traceback (most recent call last)" in content["text"]:
            self.seen.append(f"cell {cell_index + 1}: {content['text'].strip().splitlines()[-1]}")
        return super().process_message(msg, cell, cell_index)

    def errors_in_widgets(self) -> Iterable[str]:
        """What stands in the widgets at the end: errors put into an Output's state itself, and a panel's own words."""
        for state in self.widget_state.values():
            for output in state.get("outputs") or ():
                if output["output_type"] == "error":
                    yield f"in a widget: {output['ename']}: {output['evalue']}"
            if 'role="alert"' in str(state.get("value", "")):
                yield f"in a panel: {html.unescape(re.sub('<[^>]*>', '', state['value']))}"
