"""TAESD beside Stable Diffusion's VAE, and the mask decoder that starts from it."""

import pytest
import torch
from conftest import draw_samples, tiny_config
from diffusers import AutoencoderTiny
from mmseg.registry import MODELS
from safetensors.torch import save_file
from torch.nn import functional as F

from mmdiffdis.checkpoints import CheckpointError
from mmdiffdis.checkpoints.taesd import read_taesd
from mmdiffdis.models import MaskDecoder, TinyAutoencoder, VAEReconstructor

TINY_TAESD = dict(type='TinyAutoencoder', channels=8, num_blocks=(1, 1, 1, 1))


def image(size: int = 1, side: int = 64) -> torch.Tensor:
    return torch.rand(size, 3, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1


@pytest.fixture(scope='module')
def taesd() -> TinyAutoencoder:
    vae = TinyAutoencoder(init_cfg=dict(type='TAESDInit'))
    vae.init_weights()
    return vae.eval()


@torch.no_grad()
def test_shipped_weights_reconstruct_masks(taesd):
    """The published round trip keeps shapes of a few pixels; random weights do not."""
    mask = F.interpolate(draw_samples(1, 64)[0].gt_alpha.data[None], scale_factor=2) * 2 - 1
    mask = mask.repeat(1, 3, 1, 1)
    latents = taesd.encode(mask)
    assert latents.shape == (1, 4, 16, 16) and 0.3 < latents.std() < 3
    assert (taesd.decode(latents) - mask).abs().mean() < 0.05


@torch.no_grad()
def test_both_layouts_of_files_are_read(taesd, tmp_path):
    theirs = AutoencoderTiny()
    theirs.save_pretrained(tmp_path / 'folder')
    author = tmp_path / 'author'
    author.mkdir()
    for part, first in (('encoder', 0), ('decoder', 1)):
        weights = {}
        for name, tensor in theirs.get_submodule(part).layers.state_dict().items():
            number, _, rest = name.partition('.')
            weights[f'{int(number) + first}.{rest}'] = tensor.clone()
        save_file(weights, author / f'taesd_{part}.safetensors')
    latent = image(side=8)[:, :1].repeat(1, 4, 1, 1)
    for folder in (tmp_path / 'folder', author):
        vae = TinyAutoencoder()
        vae.load_state_dict(read_taesd(folder))
        torch.testing.assert_close(vae.encode(image()), theirs.encode(image()).latents)
        torch.testing.assert_close(vae.decode(latent), theirs.decode(latent).sample)


def test_other_weights_are_refused_by_name(tmp_path):
    save_file({'conv_in.weight': torch.zeros(1)}, tmp_path / 'other.safetensors')
    with pytest.raises(CheckpointError, match=r"conv_in.weight.*expected 'encoder.layers.0"):
        read_taesd(tmp_path / 'other.safetensors')


@torch.no_grad()
@pytest.mark.parametrize(
    'changes',
    [
        dict(decode_head=dict(vae=dict(type='TinyAutoencoder'))),
        dict(vae=dict(type='TinyAutoencoder')),
    ],
    ids=['decoder', 'both'],
)
def test_a_checkpoint_with_stable_diffusions_vae_loads(tiny, changes, taesd):
    """TAESD's shipped weights take that VAE's place; everything else is the checkpoint's."""
    config = tiny_config(**{k: v for k, v in changes.items() if k != 'vae'})
    config |= {k: v for k, v in changes.items() if k == 'vae'}
    plain, model = tiny().eval(), MODELS.build(config).eval()
    model.load_state_dict(plain.state_dict())
    for name, weight in model.backbone.state_dict().items():
        assert torch.equal(weight, plain.backbone.state_dict()[name])
    latent = image()[:, :1, :8, :8].repeat(1, 4, 1, 1)
    decoded = model.decode_head(latent, model.vae)
    torch.testing.assert_close(decoded, taesd.decode(latent).mean(1, keepdim=True))
    (sample,) = model.predict(image())
    assert sample.seg_logits.data.shape == (1, 64, 64)
    decoders = {p for module in model.decoder_modules() for p in module.parameters()}
    assert sum(p.numel() for p in decoders) == 1_222_531


@pytest.mark.slow
@torch.no_grad()
def test_a_checkpoint_with_its_own_taesd_keeps_it(tiny):
    changes = dict(decode_head=dict(vae=TINY_TAESD))
    trained, model = tiny(**changes), tiny(**changes)
    for parameter in trained.decode_head.parameters():
        parameter.normal_()
    model.load_state_dict(trained.state_dict())
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, trained.state_dict()[name]), name


@torch.no_grad()
def test_mask_decoder_starts_from_taesd_and_ignores_the_image(taesd):
    decoder = MaskDecoder(init_cfg=dict(type='TAESDInit'))
    decoder.init_weights()
    mask = draw_samples(1, 64)[0].gt_alpha.data[None]
    latent = taesd.encode(mask.repeat(1, 3, 1, 1) * 2 - 1)
    grey = taesd.decode(latent).mean(1, keepdim=True) / 2 + 0.5
    logits = decoder(latent, image())
    torch.testing.assert_close(logits, 10 * (grey - 0.5), atol=1e-3, rtol=0)
    assert torch.equal(logits, decoder(latent, -image()))
    assert (decoder.predict(latent, taesd, image()) - mask).abs().mean() < 0.1


def test_mask_decoder_refuses_another_shape_and_latents_alone(tiny):
    with pytest.raises(CheckpointError, match='the MaskDecoder 9: expected the same num_blocks'):
        MaskDecoder(num_blocks=(1, 1, 1, 1), init_cfg=dict(type='TAESDInit')).init_weights()
    model = tiny(decode_head=dict(type='MaskDecoder', channels=8, num_blocks=(1, 1, 1, 1))).eval()
    pairs = model.encode_pairs(image(), draw_samples(1))
    with pytest.raises(ValueError, match='latents without images.*encode_latents.py'):
        model.loss(pairs, None)


@pytest.mark.parametrize('latent_weight, skip_width', [(0.0, 16), (1.0, 16), (1.0, 0)])
def test_mask_decoder_trains_with_the_unet(tiny, latent_weight, skip_width):
    head = dict(
        type='MaskDecoder',
        channels=8,
        num_blocks=(1, 1, 1, 1),
        latent_weight=latent_weight,
        skip_width=skip_width,
    )
    model = tiny(decode_head=head).train()
    losses = model.loss(image(2), draw_samples())
    names = {'loss_mask_pixels', 'loss_edge_pixels'}
    assert set(losses) == (names | {'loss_mask', 'loss_edge'} if latent_weight else names)
    sum(losses.values()).backward()
    for part in (model.decode_head, model.backbone.up_blocks):
        for name, parameter in part.named_parameters():
            # convolutions before those that start at zero get none until these have moved
            if not name.startswith(('skips.conv_half', 'skips.conv_quarter')):
                assert parameter.grad.abs().sum() > 0, name


@pytest.mark.slow
def test_mask_decoder_alone_learns_to_reconstruct():
    torch.manual_seed(0)
    model = VAEReconstructor(
        vae=dict(type='TinyAutoencoder', init_cfg=dict(type='TAESDInit')),
        size=(64, 64),
        decode_head=dict(
            type='MaskDecoder', channels=16, num_blocks=(1, 1, 1, 1), latent_weight=0.0
        ),
    )
    model.init_weights()
    optimizer = torch.optim.Adam(model.decode_head.parameters(), 3e-3)
    samples = draw_samples()
    history = []
    for _ in range(15):
        optimizer.zero_grad()
        loss = sum(model.loss(image(2), samples).values())
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    assert history[-1] < 0.8 * history[0]
    assert not [n for n, p in model.decode_head.named_parameters() if not p.grad.abs().sum() > 0]
    assert not any(p.requires_grad for p in model.vae.parameters())
    with torch.no_grad():
        (first, _) = model.predict(image(2), samples)
    assert first.seg_logits.data.shape == (1, 64, 64)


def test_slicing_and_costs_are_those_of_the_decoder_in_use(tiny):
    model = tiny(decode_head=dict(vae=TINY_TAESD))
    model.set_vae_slicing(True)
    assert model.vae.autoencoder.use_slicing and model.decode_head.vae.autoencoder.use_slicing
    head = dict(type='MaskDecoder', channels=8, num_blocks=(1, 1, 1, 1))
    reconstructor = VAEReconstructor(vae=TINY_TAESD, size=(64, 64), decode_head=head)
    decoder = {
        p for m in reconstructor.cost_parts()['decode (VAE decoder)'] for p in m.parameters()
    }
    assert decoder == set(reconstructor.decode_head.parameters())
