"""An unmixed CLIP gives all that a CLIP gives, is kept whole, and is refused where it does not belong."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import clipsx
from clipsx import mfi, unmix
from clipsx.analyses import attention, coactivation, high_norm, redundancy
from clipsx.datasets import Sample, Sketchbook
from clipsx.evaluation import explain, recognise, segment
from clipsx.evaluation.stream import stream
from clipsx.images import PictureError
from clipsx.reading import Reading
from clipsx.unmix import Config, Projectors, Unmixed, gather, own_positions, spatial_head
from clipsx.weights import digest
from helpers import tiny_clip, tiny_resnet

pytestmark = pytest.mark.filterwarnings("ignore:No positive image")  # few images: some labels are absent

WORLD = Sketchbook(seed=5, length=10, size=64)
LABELS = list(WORLD.NOUNS)


@pytest.fixture(scope="module")
def unmixed() -> Unmixed:
    clip = tiny_clip()
    return Unmixed(clip, Projectors(clip.embed_dim, seed=3).eval(), LABELS, Config())


def test_it_is_the_projection_of_what_clip_gives(unmixed: Unmixed) -> None:
    base, clip = unmixed.base, unmixed.clip
    images = clip.prepare(WORLD[0].image)
    assert isinstance(clip, clipsx.Clip) and clip.methods == base.methods and clip.embed_dim == 16
    for method in base.methods:
        plain, dense = (c.encode_dense(images, method=method) for c in (base, clip))
        with torch.no_grad():
            assert torch.equal(dense.patches, unmixed.projectors.project_image(plain.patches))
    assert torch.allclose(clip.encode_image(images), clip.encode_dense(images, method="clip").cls, atol=1e-5)
    text = clip.encode_labels([*LABELS, "red cat"])  # a label that was not trained on
    assert torch.allclose(text[:1], clip.encode_labels(LABELS[:1]), atol=1e-6)  # BatchNorm in eval: one by one
    assert tuple(text.shape) == (len(LABELS) + 1, 16) and torch.allclose(text.norm(dim=1), torch.ones(len(text)))
    assert "projectors sha256" in clip.describe()["weights"] and clip.describe()["model"] == "tiny unmixed"
    assert base.describe()["model"] == "tiny" and base.embed_dim == 32


@pytest.mark.slow
def test_every_analysis_works_on_it_unchanged(unmixed: Unmixed) -> None:
    base, clip = unmixed.base, unmixed.clip
    before, words = digest(base.model), ["{}"]
    measures = [
        explain.measure(clip, LABELS, "clip, clip-surgery@2", words),
        coactivation.measure(clip, LABELS, templates=words),
        segment.measure(clip, LABELS, templates=words), redundancy.measure(clip, LABELS, templates=words),
        attention.shares(clip, templates=words), attention.cosines(clip, words), high_norm.measure(clip, words),
        recognise.measure(clip, LABELS, templates=words),
    ]  # fmt: skip
    tables = stream(clip, WORLD, measures)
    assert all(len(table) and set(table["model"]) == {"tiny unmixed"} for table in tables)
    assert tables[0]["msc"].notna().any() and tables[5]["cosine"].between(-1, 1).all()
    assert digest(base.model) == before


def test_probabilities_are_the_head_over_batches(unmixed: Unmixed, tmp_path) -> None:
    got = gather(unmixed.base, WORLD, folder=tmp_path)
    p = unmixed.probabilities(got.positions)
    text = torch.stack([unmixed.base.encode_labels(LABELS, [prompt]) for prompt in unmix.PROMPTS])
    with torch.no_grad():
        positions = unmixed.projectors.project_image(torch.from_numpy(np.array(got.positions, dtype=np.float32)))
        assert torch.allclose(p, spatial_head(positions, unmixed.projectors.project_text(text)), atol=1e-5)
    assert torch.allclose(unmixed.probabilities(got.positions, LABELS[::-1]), p.flip(1), atol=1e-5)


@pytest.mark.slow
def test_features_are_gathered_once_and_a_cut_file_is_noticed(tmp_path, monkeypatch) -> None:
    clip, walks = tiny_clip(), []
    walk = clip.look
    monkeypatch.setattr(clip, "look", lambda *given: walks.append(len(given[0])) or walk(*given))
    got = gather(clip, WORLD, folder=tmp_path)
    assert got.positions.shape == (10, 16, 32) and got.positions.dtype == np.float16 and sum(walks) == 10
    dense = tiny_clip().encode_dense(clip.prepare(WORLD[4].image), method="clip")
    assert np.allclose(got.positions[4], dense.patches[0].flatten(0, 1), atol=1e-3)
    assert np.allclose(got.cls[4], dense.cls[0], atol=1e-3)
    assert got.present[4].tolist() == [int(label in WORLD[4].labels) for label in LABELS]
    del walks[:]
    again = gather(clip, WORLD, ["cat", "boat"], folder=tmp_path)
    assert not walks and again.present.shape == (10, 2)
    expected = again.positions.copy()
    file = next(tmp_path.rglob("*.npy"))
    file.write_bytes(file.read_bytes()[:500])
    assert gather(clip, WORLD, folder=tmp_path).cls.shape == (10, 32)
    assert sum(walks) == 10 and not list(tmp_path.rglob(".*"))
    content = bytearray(file.read_bytes())
    content[-1] ^= 1  # a bit in the features
    file.write_bytes(content)
    assert np.allclose(gather(clip, WORLD, folder=tmp_path).positions, expected) and sum(walks) == 20
    with pytest.raises(ValueError, match="split is empty"):
        gather(clip, [], LABELS, folder=tmp_path)


@pytest.mark.slow
def test_which_positions_are_gathered(tmp_path: Path) -> None:
    transformer, resnet = tiny_clip(), tiny_resnet()
    assert str(own_positions(transformer)) == "clip" and str(own_positions(resnet)) == "maskclip"
    for clip, reading in ((resnet, None), (resnet, "clip"), (transformer, None), (transformer, "maskclip")):
        got = gather(clip, WORLD, folder=tmp_path, reading=reading)
        asked = reading or str(own_positions(clip))
        dense = clip.encode_dense(clip.prepare(WORLD[4].image), method=asked)
        assert np.allclose(got.positions[4], dense.patches[0].flatten(0, 1), atol=1e-3)
        assert np.allclose(got.cls[4], clip.encode_image(clip.prepare(WORLD[4].image))[0], atol=1e-3)
        assert str(got.reading) == got.about["reading"] == asked
        assert got.about["authority"] == "released code"
        assert got.about["positions"] == clip.positions  # how positions are interpolated is another column
    assert len(list(tmp_path.rglob("*.npy"))) == 4  # none is found in another's place
    with pytest.raises(ValueError, match="say 'clip', not 'clip\\+code'"):
        gather(transformer, WORLD, folder=tmp_path, reading="clip+code")
    with pytest.raises(ValueError, match="'legrad' has no features: its maps need the texts"):
        gather(transformer, WORLD, folder=tmp_path, reading="legrad")
    text = torch.stack([resnet.encode_labels(LABELS, [prompt]) for prompt in unmix.PROMPTS])
    both = (gather(resnet, WORLD, folder=tmp_path, reading=reading) for reading in ("maskclip", "clip"))
    with pytest.raises(ValueError, match="to train on are maskclip, to test on clip"):
        unmix.ablate(*both, text, LABELS, Config(epochs=1))


def test_pictures_that_cannot_be_read_are_left_out(tmp_path: Path) -> None:
    clip = tiny_clip()

    def damaged() -> Image.Image:
        raise PictureError("cut short")

    whole = [WORLD[n] for n in range(4)]
    whole[1] = Sample(damaged, ["cat"], name="bad.jpg")
    for _ in range(2):  # made, and found again
        with pytest.warns(UserWarning, match=r"1 of 4 pictures .*bad\.jpg \(cut short\)"):
            got = gather(clip, whole, LABELS, folder=tmp_path)
        rest = [whole[n] for n in (0, 2, 3)]
        assert got.samples is not None and [s.name for s in got.samples] == [s.name for s in rest]
        assert np.array_equal(got.present, gather(clip, rest, LABELS, folder=tmp_path).present)
        assert np.array_equal(got.positions, gather(clip, rest, LABELS, folder=tmp_path).positions)
        assert got.about["data"].endswith("1 of 4 left out (cannot be read)")


def test_it_is_saved_and_loaded_and_refused(unmixed: Unmixed, tmp_path) -> None:
    folder = unmixed.save(tmp_path / "kept")
    again = Unmixed.load(folder, unmixed.base, LABELS)
    other = Unmixed(unmixed.base, unmixed.projectors, LABELS, Config(), Reading("maskclip"))
    assert str(again.reading) == "clip" and Unmixed.load(other.save(tmp_path), unmixed.base).reading == other.reading
    assert (
        again.clip.describe() == unmixed.clip.describe()
        and again.labels == unmixed.labels
        and again.config == unmixed.config
    )
    assert all(
        torch.equal(v, load_file(folder / "projectors.safetensors")[k])
        for k, v in again.projectors.state_dict().items()
    )
    with pytest.raises(ValueError, match="belongs to tiny"):
        Unmixed.load(folder, tiny_clip(seed=1))
    with pytest.raises(ValueError, match="label 0 is"):
        Unmixed.load(folder, unmixed.base, LABELS[::-1])
    with pytest.raises(ValueError, match="3 labels, not 18"):
        Unmixed.load(folder, unmixed.base, LABELS[:3])
    words = json.loads((folder / "unmix.json").read_text())
    (folder / "unmix.json").write_text(json.dumps(words | {"version": 99}))
    with pytest.raises(ValueError, match="version 99"):
        Unmixed.load(folder, unmixed.base)
    (folder / "unmix.json").write_text(json.dumps(words)[:200])
    with pytest.raises(ValueError, match="cut short"):
        Unmixed.load(folder, unmixed.base)
    (folder / "unmix.json").write_text(json.dumps(words))
    (folder / "projectors.safetensors").write_bytes((folder / "projectors.safetensors").read_bytes()[:900])
    with pytest.raises(ValueError, match="cut short"):
        Unmixed.load(folder, unmixed.base)
    with pytest.raises(FileNotFoundError):
        Unmixed.load(tmp_path / "nowhere", unmixed.base)


@pytest.mark.slow
def test_the_ablation_is_one_table(tmp_path) -> None:
    clip = tiny_clip()
    got = gather(clip, WORLD, folder=tmp_path)
    text = torch.stack([clip.encode_labels(LABELS, [prompt]) for prompt in unmix.PROMPTS])
    held = clip.encode_labels(["grass", "water", "sand"], ["{}"])
    config = Config(epochs=1, batch=4, lr=1e-3, alpha=0.01)
    table, scores = unmix.ablate(got, got, text, LABELS, config, seeds=(0, 1), held=held)
    assert len(table) == 2 * len(unmix.SETTINGS) == len(scores)
    one = table[table["seed"] == 0].set_index("setting")
    assert one.loc["without MFI loss", "alpha·lambda"] == 0
    assert table["alpha·lambda"].isin([0.01 * 0.2]).any()
    published = one.loc["α·λ 1.4e-5, as published"]
    assert published["alpha·lambda"] == pytest.approx(1.4e-5) and one["alpha·lambda"].max() == pytest.approx(0.2)
    projectors = Projectors(clip.embed_dim)
    assert (table["parameters"] == sum(p.numel() for p in projectors.parameters())).all()
    assert (table["seconds"] > 0).all() and (table["threads"] == torch.get_num_threads()).all()
    assert one.loc["unmix", "read"] == "clip" and one.loc["pooling kept", "read"] == "class token"
    assert (table["before"] == mfi.mean_off_diagonal(mfi.similarity_matrix(text[1]))).all()
    assert table["held after"].notna().all() and table["mAP"].between(0, 100).all()
    alone, _ = unmix.ablate(got, got, text, LABELS, config, {"unmix": unmix.Setting()}, seeds=(0,))
    assert alone["mAP"][0] == one.loc["unmix", "mAP"]
