"""Panels draw beside the main thread, which in a notebook draws, shows and closes what pyplot keeps at any moment."""

import threading
from typing import Any

import matplotlib.pyplot as plt
import pytest
from matplotlib.figure import Figure


@pytest.fixture(autouse=True)
def _pyplot_for_the_main_thread_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    figure = plt.figure

    def mine(*args: Any, **options: Any) -> Figure:
        assert threading.current_thread() is threading.main_thread(), "a figure of pyplot's, made beside its thread"
        return figure(*args, **options)

    monkeypatch.setattr(plt, "figure", mine)
