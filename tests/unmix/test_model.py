"""An unmixed CLIP gives all that a CLIP gives, is kept whole, and is refused where it does not belong."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import clipsx
from clipsx import mfi, unmix
from clipsx.datasets import Sketchbook
from clipsx.evaluation import explain, recognise
from clipsx.unmix import Config, Projectors, UnmixedClip, gather, spatial_head
from clipsx.weights import digest
from helpers import tiny_clip

pytestmark = pytest.mark.filterwarnings("ignore:No positive image")  # few images: some labels are absent

WORLD = Sketchbook(seed=5, length=10, size=64)
LABELS = list(WORLD.NOUNS)


@pytest.fixture(scope="module")
def unmixed() -> UnmixedClip:
    clip = tiny_clip()
    return UnmixedClip(clip, Projectors(clip.embed_dim, seed=3).eval(), LABELS, Config())


def test_it_is_the_projection_of_what_clip_gives(unmixed: UnmixedClip) -> None:
    clip, images = unmixed.clip, unmixed.prepare(WORLD[0].image)
    assert isinstance(unmixed, clipsx.Clip) and unmixed.methods == clip.methods and unmixed.embed_dim == 16
    for method in clip.methods:
        plain, dense = (c.encode_dense(images, method=method, depth=2) for c in (clip, unmixed))
        with torch.no_grad():
            assert torch.equal(dense.patches, unmixed.projectors.project_image(plain.patches))
    assert torch.allclose(unmixed.encode_image(images), unmixed.encode_dense(images, method="clip").cls, atol=1e-5)
    text = unmixed.encode_labels([*LABELS, "red cat"])  # a label that was not trained on
    assert torch.allclose(text[:1], unmixed.encode_labels(LABELS[:1]), atol=1e-6)  # BatchNorm in eval: one by one
    assert tuple(text.shape) == (len(LABELS) + 1, 16) and torch.allclose(text.norm(dim=1), torch.ones(len(text)))
    assert "projectors sha256" in unmixed.describe()["weights"] and unmixed.describe()["model"] == "tiny unmixed"


def test_everything_works_on_it_unchanged(unmixed: UnmixedClip) -> None:
    before = digest(unmixed.clip.model)
    table = explain.evaluate(unmixed, WORLD, methods=["clip", "clip-surgery"], templates=["{}"], depth=2)
    assert set(table["model"]) == {"tiny unmixed"} and table["msc"].notna().any()
    assert len(mfi.coactivation(unmixed, WORLD, templates=["{}"]))
    assert 0 <= recognise.segment(unmixed, WORLD, templates=["{}"], resamples=5)["mIoU"] <= 100
    assert digest(unmixed.clip.model) == before


def test_probabilities_are_the_head_over_batches(unmixed: UnmixedClip, tmp_path) -> None:
    got = gather(unmixed.clip, WORLD, folder=tmp_path)
    p = unmixed.probabilities(got.positions)
    text = torch.stack([unmixed.clip.encode_labels(LABELS, [prompt]) for prompt in unmix.PROMPTS])
    with torch.no_grad():
        positions = unmixed.projectors.project_image(torch.from_numpy(np.array(got.positions, dtype=np.float32)))
        assert torch.allclose(p, spatial_head(positions, unmixed.projectors.project_text(text)), atol=1e-5)
    assert torch.allclose(unmixed.probabilities(got.positions, LABELS[::-1]), p.flip(1), atol=1e-5)


def test_features_are_gathered_once_and_a_cut_file_is_noticed(tmp_path) -> None:
    clip, calls = tiny_clip(), []
    got = gather(clip, WORLD, folder=tmp_path, on_progress=lambda done, total: calls.append(done))
    assert got.positions.shape == (10, 16, 32) and got.positions.dtype == np.float16 and calls[-1] == 10
    dense = clip.encode_dense(clip.prepare(WORLD[4].image), method="clip")
    assert np.allclose(got.positions[4], dense.patches[0].flatten(0, 1), atol=1e-3)
    assert np.allclose(got.cls[4], dense.cls[0], atol=1e-3)
    assert got.present[4].tolist() == [int(label in WORLD[4].labels) for label in LABELS]
    del calls[:]
    again = gather(clip, WORLD, ["cat", "boat"], folder=tmp_path, on_progress=lambda done, total: calls.append(done))
    assert not calls and again.present.shape == (10, 2)
    file = next(tmp_path.glob("*.npy"))
    file.write_bytes(file.read_bytes()[:500])
    assert gather(clip, WORLD, folder=tmp_path, on_progress=lambda done, total: calls.append(done)).cls.shape == (
        10,
        32,
    )
    assert len(calls) == 10 and not list(tmp_path.glob(".*")) and not list(tmp_path.glob("*.part"))
    with pytest.raises(ValueError, match="split is empty"):
        gather(clip, [], LABELS, folder=tmp_path)


def test_it_is_saved_and_loaded_and_refused(unmixed: UnmixedClip, tmp_path) -> None:
    folder = unmixed.save(tmp_path / "kept")
    again = UnmixedClip.load(folder, unmixed.clip, LABELS)
    assert again.describe() == unmixed.describe() and again.labels == unmixed.labels and again.config == unmixed.config
    assert all(
        torch.equal(v, load_file(folder / "projectors.safetensors")[k])
        for k, v in again.projectors.state_dict().items()
    )
    with pytest.raises(ValueError, match="belongs to tiny"):
        UnmixedClip.load(folder, tiny_clip(seed=1))
    with pytest.raises(ValueError, match="label 0 is"):
        UnmixedClip.load(folder, unmixed.clip, LABELS[::-1])
    with pytest.raises(ValueError, match="3 labels, not 18"):
        UnmixedClip.load(folder, unmixed.clip, LABELS[:3])
    words = json.loads((folder / "unmix.json").read_text())
    (folder / "unmix.json").write_text(json.dumps(words | {"version": 99}))
    with pytest.raises(ValueError, match="version 99"):
        UnmixedClip.load(folder, unmixed.clip)
    (folder / "unmix.json").write_text(json.dumps(words)[:200])
    with pytest.raises(ValueError, match="cut short"):
        UnmixedClip.load(folder, unmixed.clip)
    (folder / "unmix.json").write_text(json.dumps(words))
    (folder / "projectors.safetensors").write_bytes((folder / "projectors.safetensors").read_bytes()[:900])
    with pytest.raises(ValueError, match="cut short"):
        UnmixedClip.load(folder, unmixed.clip)
    with pytest.raises(FileNotFoundError):
        UnmixedClip.load(tmp_path / "nowhere", unmixed.clip)


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
    assert one.loc["α·λ × 10", "alpha·lambda"] == pytest.approx(0.02)
    assert (table["before"] == mfi.mean_off_diagonal(mfi.similarity_matrix(text[1]))).all()
    assert table["held after"].notna().all() and table["mAP"].between(0, 100).all()
    alone, _ = unmix.ablate(got, got, text, LABELS, config, {"unmix": unmix.Setting()}, seeds=(0,))
    assert alone["mAP"][0] == one.loc["unmix", "mAP"]
    means = unmix.over_seeds(table).set_index("setting")
    assert (means["seeds"] == 2).all() and means.loc["unmix", "mAP std"] == pytest.approx(
        table[table["setting"] == "unmix"]["mAP"].std()
    )
