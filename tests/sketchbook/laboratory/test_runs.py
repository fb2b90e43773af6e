"""Results as they are shipped: written whole, read back with the cell's settings, drawn in every figure."""

import json

import matplotlib.pyplot as plt
import pandas as pd
import pytest

import clipsx
from clipsx.cli import main
from clipsx.datasets import Sketchbook
from clipsx.evaluation import explain, summary
from clipsx.evaluation.stream import stream
from clipsx.load import built_in
from clipsx.maps import upsample
from clipsx.sketchbook.laboratory import measures, plots, results, sheets
from clipsx.sketchbook.laboratory import runs as read
from clipsx.sketchbook.laboratory.measures import CHOICES
from clipsx.sketchbook.laboratory.runs import folder, scenes, write
from clipsx.sketchbook.training.grid import cells


@pytest.fixture(scope="module")
def found():
    return results()


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


@pytest.mark.slow
def test_what_is_shipped_belongs_to_the_grid(found):
    names = {run.partition("@")[0] for run in found.runs["run"]}
    assert names <= {*cells(), *read.REFERENCES}
    assert {"lab-centre-s7", "sketchbook", "sketchbook-random"} <= names
    for run in found.runs["run"]:
        if run in cells():
            trained = json.loads((folder() / run / "train.json").read_text())
            assert trained["recipe"] == json.loads(json.dumps(_recipe(run))), run
    for table in (found.maps, found.measures):
        assert set(table["run"]) == set(found.runs["run"])
    assert found.runs["cell"].iloc[0] == "centre"  # in the grid's order, built-in models last
    assert found.runs["background_bias"].isna().is_monotonic_increasing
    assert pd.read_csv(folder() / "lab-centre-s7" / "log.csv")["images"].max() == 160192


def _recipe(run):
    from dataclasses import asdict

    from clipsx.sketchbook.training.grid import recipe

    return asdict(recipe(run))


@pytest.mark.slow
def test_the_built_in_models_rows_are_of_the_weights_that_are_shipped(found):
    """The first scenes of the test world, measured now, are those that the shipped maps were made of."""
    clip = clipsx.load("sketchbook")
    assert set(found.measures[found.measures["run"] == "sketchbook"]["weights"]) == {clip.describe()["weights"]}
    now = measures.shown(clip, count=2)
    for name, maps in scenes("sketchbook").items():
        assert (maps[:2] - now[name].float()).abs().max() < 5e-3, name


@pytest.mark.slow
def test_a_measured_model_is_written_and_found(tmp_path, monkeypatch):
    random = clipsx.paths.data() / "sketchbook-random"
    monkeypatch.setattr(read, "folder", lambda: tmp_path)
    place = write("sketchbook-random", random, length=4)
    names = {"maps.csv", "blocks.csv", "measures.csv", "train.json", "scores.json", "scenes.safetensors"}
    assert {file.name for file in place.iterdir()} == names
    (tmp_path / "lab-half-s7.part").mkdir()  # cut short: not read
    again = results()
    assert again.runs["run"].tolist() == ["sketchbook-random"] and again.maps["depth"].max() == 8
    checkpoint = write("lab-centre-s7@60032", random, length=4)
    assert set(pd.read_csv(checkpoint / "maps.csv")["depth"].dropna()) == {6}
    row = results().runs.set_index("run").loc["lab-centre-s7@60032"]
    assert row["images"] == 60032 and row["background_bias"] == 0.6 and row["cell"] == "centre"
    assert row["weights"].startswith("sketchbook-random") and "seed=302" in row["data"] and row["protocol"]
    with pytest.raises(ValueError, match="lab-centre-s7"):
        write("lab-center-s7", random)


@pytest.mark.parametrize(
    "name",
    [
        "../../x",
        "/x",
        "",
        ".",
        "..",
        "sketchbook@../../x",
        "sketchbook@/x",
        "sketchbook@",
        "sketchbook@1\n",
        "sketchbook@1@2",
    ],
)
def test_results_are_written_in_their_own_folder_alone(name, tmp_path, monkeypatch, capsys):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "mine").touch()
    name = name.replace("/x", f"{tmp_path}/x") if name.startswith("/") else name
    monkeypatch.setattr(read, "folder", lambda: tmp_path / "laboratory" / "runs")
    with pytest.raises(ValueError, match="no run"):
        write(name, clipsx.paths.data() / "sketchbook-random", length=2)
    assert main(["lab-measure", str(clipsx.paths.data() / "sketchbook-random"), "--name", name]) == 2
    assert "no run" in capsys.readouterr().err
    assert (tmp_path / "x" / "mine").exists() and [f.name for f in tmp_path.iterdir()] == ["x"]


def test_what_cannot_be_written_leaves_the_old_results(tmp_path, monkeypatch):
    """Also where the results' place is a link to somewhere else, which stays as it is."""
    mine = tmp_path / "mine"
    (tmp_path / "runs").mkdir()
    mine.mkdir()
    (mine / "maps.csv").touch()
    (tmp_path / "runs" / "sketchbook-random").symlink_to(mine)
    monkeypatch.setattr(read, "folder", lambda: tmp_path / "runs")
    monkeypatch.setattr(read, "measure", lambda *_: {"maps": pd.DataFrame({"x": [1.0]})})
    monkeypatch.setattr(read, "shown", lambda *_: {})
    place = write("sketchbook-random", clipsx.paths.data() / "sketchbook-random")
    assert (mine / "maps.csv").read_text() == "" and not place.is_symlink()

    def full(*_):
        raise OSError(28, "No space left on device")

    before = {file.name: file.read_bytes() for file in place.iterdir()}
    monkeypatch.setattr(read, "shown", full)
    with pytest.raises(OSError, match="is full: sketchbook-random was not written"):
        write("sketchbook-random", clipsx.paths.data() / "sketchbook-random")
    assert {file.name: file.read_bytes() for file in place.iterdir()} == before
    assert [file.name for file in (tmp_path / "runs").iterdir()] == ["sketchbook-random"]


def test_images_seen_count_those_before_the_beginning(found):
    runs = found.runs.set_index("run")["images"]
    assert runs["sketchbook"] == runs["sketchbook-home"] + 80_000


def test_without_results_it_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(read, "folder", lambda: tmp_path)
    with pytest.raises(FileNotFoundError, match="lab-measure"):
        results()


@pytest.mark.slow
def test_a_factor_holds_the_centre_and_its_own_cells(found):
    rows = plots.of_factor(read.tidy(found), "background_bias")
    assert set(rows["factor"]) <= {"centre", "background_bias"} and not rows["run"].str.contains("@").any()
    assert rows.drop_duplicates("run")["background_bias"].is_monotonic_increasing
    crossed = plots.of_factor(read.tidy(found), "background_bias and named")
    four = {"0 / 0": "bias-0-unnamed", "0 / 0.5": "bias-0", "0.6 / 0": "unnamed", "0.6 / 0.5": "centre"}
    assert dict(zip(crossed["at"], crossed["cell"], strict=True)) == four
    length = plots.of_factor(read.tidy(found), "length")
    assert set(length["cell"]) <= {"centre", "long"} and length["images"].is_monotonic_increasing
    tower = plots.of_factor(read.tidy(found), "tower")
    assert set(tower["at"]) <= {"ResNet", "ViT"}
    assert "tower" not in plots._varied(read.tidy(found))


@pytest.mark.slow
def test_every_figure_draws_what_is_there(found):
    grid, repaired = plots.factors(found), plots.factors(found, plots.REPAIRS)
    drawn = [ax for ax in grid.axes if ax.axison]
    assert {ax.get_xlabel() for ax in drawn} == {words for name, (_, words) in plots.FACTORS.items() if name != "tower"}
    # The centre's raw mSC stands in every panel, and no repaired one beside it; nor does a ResNet's.
    values = read.tidy(found).set_index(["run", "measure"])["value"]
    for ax in drawn:
        ys = {round(float(y), 6) for line in ax.lines for y in line.get_ydata()}
        assert round(values["lab-centre-s7", "mSC clip none"], 6) in ys
        assert not ys & {
            round(values["lab-centre-s7", "mSC maskclip none"], 6),
            round(values["lab-resnet-s7", "mSC clip none"], 6),
        }
        assert ax.patches, "where random starts lie"
    assert not any(ax.patches for ax in repaired.axes)
    raw, mended = plots.others(found).axes
    assert [label.get_text() for label in raw.get_yticklabels()][:3] == [
        "lab-resnet-s7",
        "lab-resnet-s8",
        "sketchbook-rn",
    ]
    assert len(mended.containers) == len(plots.REPAIRS) and len(plots.causes(found).axes) == 6
    for surgery in ("none", "code"):
        assert plots.depths(found, surgery).axes[0].containers, "every point has its interval"
    sheet = sheets.side_by_side(["lab-centre-s7", "sketchbook"], 1)
    assert len(sheet.axes) == 2 * 5 + 1 and sheet.axes[5].get_title().endswith("\nsketchbook")
    sheet = sheets.side_by_side(["lab-centre-s7", "sketchbook", "sketchbook-rn"], abreast=2)
    assert len(sheet.axes) == 2 * 10 + 1 and sheet.axes[5].get_title().endswith("\nsketchbook")


def test_each_cell_is_shown_once_by_its_first_seed(found):
    runs = sheets.first_seeds(found)
    assert "lab-centre-s7" in runs and not any("@" in run or run.endswith(("-s8", "-s9")) for run in runs)
    assert len(runs) == found.runs["cell"].nunique()


@pytest.mark.slow
def test_the_typical_object_stands_out_as_the_average_one_does():
    runs = ["lab-centre-s7", "sketchbook"]
    found = sheets.contrasts(runs)
    key = (0, "umbrella")
    mask = sheets.scene(0).masks["umbrella"]
    place = Sketchbook.NOUNS.index("umbrella")
    raw = upsample(scenes("sketchbook")["clip none"][0][None, ..., [place]], mask.shape)[0, ..., 0].numpy()
    assert found[key].shape == (2, len(CHOICES))
    assert found[key][1, 0] == pytest.approx(100 * (raw[mask].mean() - raw[~mask].mean()), abs=1e-4)
    mean = sum(found.values()) / len(found)
    far = {key: ((value - mean) ** 2).sum() for key, value in found.items()}
    assert far[sheets.typical(runs)] == min(far.values())
    assert sheets.typical(runs[::-1]) == sheets.typical(runs)


def test_shipped_weights_are_the_measured_ones(found):
    models = [name for name in built_in() if name in set(found.runs["run"])]
    assert {"sketchbook", "lab-resnet-s7"} <= set(models)
    for run, clip in ((name, clipsx.load(name)) for name in models):
        assert set(found.measures[found.measures["run"] == run]["weights"]) == {clip.describe()["weights"]}


@pytest.mark.slow
def test_the_table_of_the_built_in_model_can_be_measured_again(found):
    clip = clipsx.load("sketchbook")
    world = measures.world(measures.TEST, int(found.maps["images"].max()), 96)
    (rows,) = stream(clip, world, [explain.measure(clip, world.labels, "maskclip")])
    again = summary.summarise(rows, resamples=2).iloc[0]
    maps = found.maps.set_index(["run", "method", "surgery", "label_set"])
    assert maps.loc[("sketchbook", "maskclip", "none", "nouns"), "msc"].item() == pytest.approx(again["msc"], abs=0.01)
