"""The registry of data sets: by name, in two parts, and again from a recipe."""

import json
import subprocess
import sys

import fresh
import pytest

from clipsx import datasets
from clipsx.datasets import VOC, Folder, Photographs, Sketchbook, Subset


def test_load_errors():
    with pytest.raises(ValueError, match="did you mean 'voc2012'"):
        datasets.load("voc2011")
    with pytest.raises(ValueError, match="say where"):
        datasets.load("folder")
    with pytest.raises(ValueError, match="built in"):
        datasets.load("sketchbook", root=".")
    with pytest.raises(ValueError, match="length_"):
        datasets.load("sketchbook", length_=3)
    assert len(datasets.load("sketchbook", length=3)) == 3


def test_a_root_is_never_left_out_in_silence(devkit):
    world = {"dataset": "sketchbook", "length": 3}
    takes = [
        lambda root: datasets.check("sketchbook", root), lambda root: datasets.load("sketchbook", root),
        lambda root: datasets.open(world | {"root": root}), lambda root: datasets.tuning_and_test("sketchbook", root),
        lambda root: datasets.open({"dataset": "subset", "of": world, "indices": [0], "part": "", "root": root}),
    ]  # fmt: skip
    for take in takes:
        for root in (devkit, str(devkit), ""):
            with pytest.raises(ValueError, match="takes no root"):
                take(root)


def test_two_parts_share_no_sample(devkit):
    tuning, test = datasets.tuning_and_test("voc2012", devkit, images=5)
    assert [s.name for s in tuning] == ["a"] and [s.name for s in test] == ["b"] and test.labels == VOC(devkit).labels
    assert test.describe() == {"data": "VOC2012 val n=2, words: voc-20, odd samples: 1"}
    assert [len(part) for part in datasets.tuning_and_test("voc2012", devkit)] == [1, 1]  # all that there are
    for count, expected in ((None, ["a", "b"]), (1, ["a"])):  # where nothing is chosen, nothing is put aside
        tuning, test = datasets.tuning_and_test("voc2012", devkit, count, alone=True)
        assert not tuning and [s.name for s in test] == expected
    (devkit / "ImageSets" / "Segmentation" / "val.txt").write_text("a\n")
    with pytest.raises(ValueError, match="has 1 samples"):
        datasets.tuning_and_test("voc2012", devkit)
    with pytest.raises(ValueError, match="takes no root"):
        datasets.tuning_and_test("sketchbook", devkit)
    tuning, test = datasets.tuning_and_test("sketchbook", images=3, size=16)
    assert len(tuning) == len(test) == 3 and not {s.name for s in tuning} & {s.name for s in test}
    for seed in (0, 7):
        tuning, test = datasets.tuning_and_test("sketchbook", images=3, size=16, seed=seed)
        assert test[0].name.startswith(f"sketchbook-{seed}-") and tuning[0].name != test[0].name
    tuning, test = datasets.tuning_and_test("sketchbook", images=3, size=16)
    none, same = datasets.tuning_and_test("sketchbook", images=3, size=16, alone=True)
    assert not none and [s.name for s in same] == [s.name for s in test]


@pytest.fixture(params=["sketchbook", "photographs", "voc2012", "folder", "subset"])
def dataset(request, devkit, pictures):
    """One of each kind."""
    world = Sketchbook(seed=3, length=4, co_occurrence=0.25, background_bias=0, size=24, objects=[2, 3])
    kinds = {
        "sketchbook": world,
        "photographs": Photographs(),
        "voc2012": VOC(devkit, labels=[f"thing {n}" for n in range(15)]),
    }
    kinds |= {
        "folder": Folder(pictures, ["cat", "dog"]),
        "subset": Subset(Subset(world, [3, 0, 2], "three"), (2,), "one"),
    }
    return kinds[request.param]


SCRIPT = """
import json
from clipsx import datasets
samples = datasets.open(json.loads({recipe!r}))
print(json.dumps([type(samples).__name__, samples.labels, samples.describe(), samples.fingerprint(),
                  datasets.fingerprint_of(list(samples))]))
"""


@pytest.mark.slow
def test_a_recipe_opens_the_same_data_set_in_any_process(dataset, tmp_path):
    recipe = datasets.recipe_of(dataset)
    assert json.loads(json.dumps(recipe)) == recipe == datasets.open(recipe).recipe()
    expected = [type(dataset).__name__, list(dataset.labels), dataset.describe(), dataset.fingerprint()]
    expected.append(datasets.fingerprint_of(list(dataset)))  # of names, labels, pixels and masks
    for given in (datasets.open(recipe), datasets.open(json.loads(json.dumps(recipe)))):
        found = [type(given).__name__, list(given.labels), given.describe(), given.fingerprint()]
        assert [*found, datasets.fingerprint_of(list(given))] == expected
    assert json.loads(fresh.run(SCRIPT.format(recipe=json.dumps(recipe)), tmp_path)) == expected


def test_code_opens_the_same_data_set(dataset):
    names = {}
    exec(f"import clipsx.datasets\n{datasets.code_of(dataset)}", names)
    assert names["samples"].recipe() == dataset.recipe()


@pytest.mark.slow
def test_the_sketchbook_is_not_read_before_it_is_asked_for():
    script = "import sys, clipsx.datasets; print(*(name for name in sys.modules if 'sketchbook' in name))"
    assert not subprocess.run([sys.executable, "-c", script], capture_output=True, check=True).stdout.strip()


def test_a_recipe_of_nothing_known():
    with pytest.raises(ValueError, match="did you mean 'folder'"):
        datasets.open({"dataset": "foldr", "root": "."})
    with pytest.raises(AttributeError, match="no attribute 'Imagenet'"):
        datasets.Imagenet  # noqa: B018
