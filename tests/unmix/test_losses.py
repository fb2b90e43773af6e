"""Losses, projectors and head of Unmix-CLIP, each against its formula written out."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clipsx.unmix import Projectors, asymmetric_loss, mfi_loss, spatial_head
from helpers import unchecked


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_mfi_loss_is_its_formula():
    rows = random(4, 6)
    cosine = [[float(torch.cosine_similarity(a, b, dim=0)) for b in rows] for a in rows]
    literal = sum((cosine[i][i] - 1) ** 2 for i in range(4))
    literal += 0.3 * sum(cosine[i][j] ** 2 for i in range(4) for j in range(4) if i != j)
    assert mfi_loss(rows, 0.3).item() == pytest.approx(literal)
    assert mfi_loss(torch.eye(5)).item() == pytest.approx(0, abs=1e-6)
    matrix = torch.corrcoef(rows.T)  # (D, D)
    off = (matrix**2).sum() - (matrix.diagonal() ** 2).sum()
    assert mfi_loss(rows, 0.3, "correlation").item() == pytest.approx(0.3 * off.item())


@given(st.integers(2, 6), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_the_mfi_loss_knows_no_order_and_no_length(count, seed):
    rows, order = random(count, 5, seed=seed), torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    for form in ("class", "correlation"):
        assert mfi_loss(rows[order], 0.2, form).item() == pytest.approx(mfi_loss(rows, 0.2, form).item())
    assert mfi_loss(3 * rows).item() == pytest.approx(mfi_loss(rows).item())


def test_the_asymmetric_loss_is_its_formula():
    p, y = random(3, 4).sigmoid(), torch.tensor([[1, 0, 0, 1], [0, 0, 1, 0], [1, 1, 0, 0]])
    literal = 0.0
    for i in range(3):
        for c in range(4):
            q, low = float(p[i, c]), max(float(p[i, c]) - 0.05, 0)
            literal -= (1 - q) * math.log(q) if y[i, c] else low**2 * math.log(1 - low)
    assert asymmetric_loss(p, y).item() == pytest.approx(literal / 3)
    whole = asymmetric_loss(p, y, gamma_negative=0, gamma_positive=0, clip=0)
    assert whole.item() == pytest.approx(torch.nn.functional.binary_cross_entropy(p, y.double()).item() * 4)
    some = asymmetric_loss(p, y, mask=torch.tensor([1, 1, 0, 0]))
    assert some.item() == pytest.approx(asymmetric_loss(p[:, :2], y[:, :2]).item())
    edge = torch.tensor([[0.0, 1.0]], requires_grad=True)
    loss = asymmetric_loss(edge, torch.tensor([[1, 0]]))
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(edge.grad).all()


def test_the_head_is_its_formula():
    positions = torch.nn.functional.normalize(random(2, 5, 8), dim=-1)
    text = torch.nn.functional.normalize(random(2, 3, 8, seed=1), dim=-1)
    found = spatial_head(positions, text)
    for b in range(2):
        for n in range(3):
            low, high = ([20 * float(x @ text[k, n]) for x in positions[b]] for k in (0, 1))
            weight = [math.exp(o) / sum(math.exp(other) for other in high) for o in high]
            ends = [5 * sum(o * w for o, w in zip(half, weight, strict=True)) for half in (low, high)]
            assert found[b, n].item() == pytest.approx(1 / (1 + math.exp(ends[0] - ends[1])), abs=1e-9)
    order = torch.randperm(5)
    assert torch.allclose(spatial_head(positions[:, order], text), found)
    assert torch.allclose(spatial_head(positions[:1], text), found[:1])
    assert spatial_head(positions, text, negative=False).shape == (2, 3)


def test_the_projectors_have_the_published_sizes_and_their_own_seed():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one, two, other = Projectors(512, seed=1), Projectors(512, seed=1), Projectors(512, seed=2)
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(one.image.weight, two.image.weight) and not torch.equal(one.image.weight, other.image.weight)
    assert sum(p.numel() for p in one.parameters()) == 512 * 256 + 256 + 512 * 384 + 384 + 2 * 384 + 384 * 256 + 256
    assert one.project_image(torch.randn(2, 7, 512)).shape == (2, 7, 256)
    text = one.eval().project_text(torch.randn(2, 3, 512))
    assert text.shape == (2, 3, 256) and torch.allclose(text.norm(dim=-1), torch.ones(2, 3), atol=1e-5)


def test_bad_input_is_told_in_words():
    with unchecked():
        with pytest.raises(ValueError, match="did you mean 'class'"):
            mfi_loss(random(3, 4), form="clas")
        with pytest.raises(ValueError, match="at least two labels"):
            mfi_loss(random(1, 4))
        with pytest.raises(ValueError, match="6 wide"):
            Projectors(6)
