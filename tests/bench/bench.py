"""make bench: the suite's speed as ratios, each measured in this one run, side by side with what it is compared with.

Two ways of doing one thing alternate, so that a busy machine slows both; a ratio is the median over the pairs. What
needs a process of its own (peak memory, a second run that finds the cache) runs this file again with ``--child``.
"""

import argparse
import io
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

import clipsx
from clipsx.text import templates_of


def seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def paired(one: Callable[[], Any], other: Callable[[], Any], pairs: int) -> tuple[float, float, float]:
    """Median of one/other over alternating pairs, and both medians in seconds; one unmeasured pair goes first."""
    one(), other()
    times = [(seconds(one), seconds(other)) for _ in range(pairs)]
    ratio = statistics.median(a / b for a, b in times)
    return ratio, statistics.median(a for a, _ in times), statistics.median(b for _, b in times)


def child(task: str, *arguments: object, cache: str | None = None) -> dict[str, float]:
    """What a fresh process measured."""
    env = os.environ | ({"CLIPSX_CACHE": cache} if cache else {})
    command = [sys.executable, __file__, "--child", task, *map(str, arguments)]
    return json.loads(
        subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
    )


def peak(reset: bool = False) -> float:
    """Megabytes of memory at the most so far, or since the last reset (Linux)."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024


def features(tokens: int, labels: int, width: int) -> tuple[clipsx.DenseFeatures, torch.Tensor]:
    torch.manual_seed(0)
    unit = F.normalize(torch.randn(1 + tokens * tokens, width), dim=-1)  # (1 + tokens², D)
    dense = clipsx.DenseFeatures(cls=unit[:1], patches=unit[1:].view(1, tokens, tokens, width))
    return dense, F.normalize(torch.randn(labels, width), dim=-1)


def literal(dense: clipsx.DenseFeatures, text: torch.Tensor) -> torch.Tensor:
    """Feature surgery as the tensor over batch × tokens × classes × channels that its definition names."""
    p = (2 * dense.cls @ text.T).softmax(-1)  # (B, N)
    w = p / p.mean(-1, keepdim=True)
    products = dense.patches.flatten(1, 2)[:, :, None] * text * w[:, None, :, None]  # (B, h·w, N, D)
    return (products - products.mean(2, keepdim=True)).sum(-1)  # (B, h·w, N)


def dense_against_plain(pairs: int) -> str:
    clip = clipsx.load("ViT-B-16", pretrained="random")
    images = torch.randn(1, 3, 224, 224)
    ratio, ours, plain = paired(lambda: clip.encode_dense(images), lambda: clip.encode_image(images), pairs)
    return f"encode_dense / encode_image, ViT-B/16 at 224: {ratio:.2f} × ({ours:.3f} s, {plain:.3f} s); wanted ≤ 1.10 ×"


ORIGINAL = ("clip", "maskclip", "sclip", "clearclip", "naclip", "kk")
APART = ("sc-clip", "sfp")  # rows that mix the last block's values twice, on tokens of their own


def readings_in_one_walk(pairs: int) -> str:
    clip = clipsx.load("ViT-B-16", pretrained="random")
    images = torch.randn(1, 3, 224, 224)
    asked = [*ORIGINAL, *(f"clip-surgery@{depth}" for depth in range(1, clip.tower.blocks + 1))]
    together, plain = lambda: clip.encode_readings(images, asked), lambda: clip.encode_image(images)
    ratio, ours, _ = paired(together, plain, pairs)
    own, small = clipsx.load("sketchbook"), torch.randn(1, 3, 96, 96)
    ten = [clipsx.Reading.parse(r) for r in ("clip", "maskclip", *(f"clip-surgery@{depth}" for depth in range(1, 9)))]
    singly, _, _ = paired(
        lambda: [own.encode_readings(small, [r]) for r in ten], lambda: own.encode_readings(small, ten), 3 * pairs
    )
    return (
        f"{len(asked)} readings in one walk / encode_image, ViT-B/16 at 224: {ratio:.2f} × ({ours:.3f} s); "
        f"wanted ≤ 1.5 ×\n  ten readings of the built-in model, one by one / together: {singly:.1f} ×; wanted ≥ 6 ×"
    )


def every_method(pairs: int) -> str:
    """Each method alone, and all rows that the original path feeds in one walk, against `encode_image`."""
    clip, lines = clipsx.load("ViT-B-16", pretrained="random"), []
    for size in (224, 448):
        images = torch.randn(1, 3, size, size)
        fed = [method for method in clip.methods if method not in APART]
        cases = {method: [method] for method in clip.methods} | {f"{len(fed)} rows in one walk": fed}
        for name, asked in cases.items():
            together, plain = partial(clip.encode_readings, images, asked), partial(clip.encode_image, images)
            lines.append(f"{name} at {size}: {paired(together, plain, max(3, pairs // 3))[0]:.2f} ×")
    words = "readings / encode_image, ViT-B/16 (wanted for all in one walk at 224: ≤ 1.5 ×): "
    return words + "; ".join(lines)


def methods_memory() -> str:
    plain, every = (child("methods", asked)["megabytes"] for asked in ("clip", "all"))
    return f"peak memory at 448, batch 8, ViT-B/16: {every:.0f} MB for all methods, {plain:.0f} MB for clip alone"


def stream_against_bare(pairs: int) -> str:
    from clipsx.evaluation import explain
    from clipsx.evaluation.stream import BATCH, looks

    clip = clipsx.load("ViT-B-16", pretrained="random")
    world = clipsx.datasets.Sketchbook(seed=3, length=BATCH)
    measures = [explain.measure(clip, world.labels, "clip-surgery", templates="plain")]
    images = torch.cat([clip.prepare(sample.image) for sample in world])  # (B, 3, H, W)
    ratio, ours, bare = paired(
        lambda: [list(measures[0].rows(look)) for look in looks(clip, world, measures)],
        lambda: clip.encode_dense(images, "clip-surgery"), max(3, pairs // 3),
    )  # fmt: skip
    took = f"{ratio:.2f} × ({ours:.2f} s, {bare:.2f} s)"
    return f"stream / bare model call, batch {BATCH}, ViT-B/16: {took}; wanted ≤ 1.10 ×"


def surgery_against_literal(pairs: int) -> str:
    dense, text = features(32, 1000, 512)
    ours = clipsx.feature_surgery(dense, text).flatten(1, 2)
    assert torch.allclose(ours, literal(dense, text), atol=1e-4)
    ratio, slow, fast = paired(lambda: literal(dense, text), lambda: clipsx.feature_surgery(dense, text), min(pairs, 5))
    return (
        f"literal / feature_surgery, 512 px, 1,000 labels: {ratio:.0f} × ({slow:.2f} s, {fast:.3f} s); wanted ≥ 100 ×"
    )


def surgery_memory() -> str:
    few, many = (child("surgery", width)["megabytes"] for width in (256, 2048))
    return f"feature_surgery adds {many:.0f} MB at D = 2,048, {few:.0f} MB at D = 256 (the literal form: 8,400, 1,050)"


def labels_batched_and_cached(model: str) -> str:
    few, every = 8, 80  # one call per label is measured on a few and scaled: all of them would take ten minutes
    with tempfile.TemporaryDirectory() as cache:
        naive = child("labels-one-by-one", model, few, cache=cache)["seconds"] * every / few
        first = child("labels", model, every, cache=cache)["seconds"]
        second = statistics.median(child("labels", model, every, cache=cache)["seconds"] for _ in range(3))
    return (
        f"{every} labels × 85 templates, {model}: one call per label / encode_labels {naive / first:.1f} × "
        f"({naive:.1f} s, {first:.1f} s); wanted ≥ 2 ×\n"
        f"  first / second time in a fresh process: {first / second:.0f} × ({second:.4f} s); wanted ≥ 50 ×"
    )


def evaluation_memory() -> str:
    few, many = (child("evaluate", count)["megabytes"] for count in (20, 120))
    return f"peak memory of evaluating 120 / 20 scenes: {many / few:.2f} × ({many:.0f} MB, {few:.0f} MB); wanted ≈ 1 ×"


def importing(pairs: int) -> str:
    """`import clipsx`, and what it takes until `clipsx.load` can be called, against `import torch`."""
    clipsx_alone, ready, torch_alone = (
        lambda words=words: subprocess.run([sys.executable, "-c", words], check=True)
        for words in ("import clipsx", "import clipsx; clipsx.load", "import torch")
    )
    alone, began, base = paired(clipsx_alone, torch_alone, pairs)
    until, loaded, _ = paired(ready, torch_alone, pairs)
    words = f"import clipsx / import torch: {alone:.2f} × ({began:.2f} s / {base:.2f} s)"
    return f"{words}; until load() can be called: {until:.2f} × ({loaded:.2f} s)"


def slider(pairs: int) -> str:
    from clipsx.panels import SurgeryPanel

    panel = SurgeryPanel(clipsx.load("sketchbook"))
    panel.wait()  # encoded once, before the first redraw
    taus = iter(range(3, 10 * pairs))
    times = [seconds(lambda: panel.restore({"reading": f"clip-surgery+code(tau={next(taus)})"})) for _ in range(pairs)]
    return (
        f"a slider's redraw, kernel side: {statistics.median(times):.3f} s; wanted ≤ 0.15 s up to the browser's picture"
    )


def photographs(pairs: int) -> str:
    from clipsx.panels import SurgeryPanel

    panel, files = SurgeryPanel(clipsx.load("sketchbook"), out=tempfile.mkdtemp()), []
    for size in ((4000, 3000), (640, 480)):
        file = io.BytesIO()
        clipsx.datasets.Sketchbook(seed=7, length=1)[0].image.resize(size).save(file, "JPEG", quality=90)
        files.append(file.getvalue())
    fresh = iter(range(10**6))

    def upload(data: bytes) -> None:  # what stands after a JPEG's end makes it another file of the same picture
        panel.take(data + str(next(fresh)).encode())
        panel.wait()

    ratio, large, small = paired(lambda: upload(files[0]), lambda: upload(files[1]), pairs)
    words = "a photograph of 12 megapixels uploaded in a panel, until its maps are there, kernel side"
    return f"{words}: {large:.2f} s, {ratio:.1f} × one of 0.3 ({small:.2f} s); wanted ≤ 2 s"


def in_child(task: str, arguments: list[str]) -> dict[str, float]:
    if task == "surgery":
        dense, text = features(32, 1000, int(arguments[0]))
        clipsx.feature_surgery(*features(2, 2, 16))
        before = peak(reset=True)
        clipsx.feature_surgery(dense, text)
        return {"megabytes": peak() - before}
    if task == "methods":
        clip = clipsx.load("ViT-B-16", pretrained="random")
        asked = clip.methods if arguments == ["all"] else arguments
        clip.encode_readings(torch.randn(8, 3, 448, 448), asked)
        return {"megabytes": peak()}
    if task == "evaluate":
        from clipsx.evaluation import explain
        from clipsx.evaluation.stream import stream

        clip, world = clipsx.load("sketchbook"), clipsx.datasets.Sketchbook(seed=3, length=int(arguments[0]))
        stream(clip, world, [explain.measure(clip, world.labels)])
        return {"megabytes": peak()}
    clip = clipsx.load(arguments[0], pretrained=None if arguments[0] == "sketchbook" else "random")
    labels, templates = [f"thing {i}" for i in range(int(arguments[1]))], templates_of("clip-surgery")
    if task == "labels":
        return {"seconds": seconds(lambda: clip.encode_labels(labels))}

    def one_by_one() -> None:
        with torch.no_grad():
            for label in labels:
                prompts = clip.model.encode_text(clip.tokenizer([t.format(label) for t in templates]))  # (85, D)
                F.normalize(F.normalize(prompts, dim=-1).mean(0), dim=-1)  # (D)

    return {"seconds": seconds(one_by_one)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--child", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(in_child(options.child[0], options.child[1:])))
        return
    print(f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, torch {torch.__version__}")
    for measure in (
        lambda: dense_against_plain(options.pairs),
        lambda: readings_in_one_walk(options.pairs),
        lambda: every_method(options.pairs),
        methods_memory,
        lambda: stream_against_bare(options.pairs),
        lambda: surgery_against_literal(options.pairs),
        surgery_memory,
        lambda: labels_batched_and_cached("sketchbook"),
        lambda: labels_batched_and_cached("ViT-B-16"),
        lambda: slider(options.pairs),
        lambda: photographs(options.pairs),
        lambda: importing(min(options.pairs, 5)),
        evaluation_memory,
    ):
        print(measure(), flush=True)


if __name__ == "__main__":
    main()
