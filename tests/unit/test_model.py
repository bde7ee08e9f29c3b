"""The building blocks take any image shape, and the demo can be turned into a VAE that learns."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model import ARCHITECTURES, DemoVAE
from submission import VAE, vae_loss

shapes = st.tuples(st.integers(1, 4), st.integers(4, 33), st.integers(4, 33))


@pytest.mark.parametrize("arch", ARCHITECTURES)
@settings(max_examples=15, deadline=None)
@given(shape=shapes, batch=st.integers(1, 3), cond_dim=st.sampled_from([0, 5]))
def test_shapes_and_range_for_any_image(arch: str, shape, batch: int, cond_dim: int) -> None:
    encoder, decoder = ARCHITECTURES[arch]
    image_shape = shape[1:] if shape[0] == 1 else shape
    x = torch.rand(batch, *image_shape)
    cond = torch.randn(batch, cond_dim) if cond_dim else None
    h = encoder(6, shape, hidden_dim=8, cond_dim=cond_dim)(x, cond)
    assert h.shape == (batch, 6)
    recon = decoder(6, shape, hidden_dim=8, cond_dim=cond_dim)(h, cond)
    assert recon.shape == x.shape
    assert 0 <= recon.min() <= recon.max() <= 1


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_condition_matters(arch: str) -> None:
    encoder, decoder = ARCHITECTURES[arch]
    x, z, cond = torch.rand(2, 28, 28), torch.randn(2, 3), torch.randn(2, 4)
    for block, value in ((encoder(3, cond_dim=4), x), (decoder(3, cond_dim=4), z)):
        assert not torch.allclose(block(value, cond), block(value, cond + 1))


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32)])
def test_vae_takes_colour_as_well_as_grey(shape) -> None:
    model = VAE(5, image_shape=shape)
    x = torch.rand(2, *(shape[1:] if shape[0] == 1 else shape))
    recon, mu, logvar = model(x)
    assert recon.shape == x.shape
    assert mu.shape == logvar.shape == (2, 5)


class StudentVAE(DemoVAE):
    """What the handout asks of a student, on the demo's layers."""

    def forward(self, x):
        mu, logvar = self.encoder(x).chunk(2, dim=1)
        z = mu + torch.randn_like(mu) * (logvar / 2).exp()
        return self.decoder(z), mu, logvar


def test_demo_layers_make_a_vae_that_learns() -> None:
    torch.manual_seed(0)
    model = StudentVAE(latent_dim=4)
    assert [tuple(p.shape) for p in model.parameters() if p.ndim == 2] == [
        (400, 784),
        (8, 400),
        (400, 4),
        (784, 400),
    ]
    x = torch.rand(8, 1, 1).round() * torch.ones(8, 28, 28)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(60):
        loss, _, _ = vae_loss(*[(recon, x, mu, logvar) for recon, mu, logvar in [model(x)]][0], var=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]
