"""BDE, SWCI, DBIA and the U-Net, each alone, against formulas written out here."""

import pytest
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.unets.unet_2d_blocks import UNetMidBlock2DCrossAttn
from torch import nn
from torch.nn import functional as F

from mmdiffdis.checkpoints.diffusers_names import UNET_NAMES
from mmdiffdis.models import (
    BatchDiscriminativeEmbedding,
    DBIANeck,
    ScaleWiseConditionalInjection,
    SDTurboUNet,
)
from mmdiffdis.models.diffdis.latent_unet import LatentUNet
from mmdiffdis.models.diffdis.unet import Condition

UNET = dict(
    latent_channels=4,
    block_out_channels=(32, 64, 96),
    num_heads=(2, 4, 6),
    layers_per_block=2,
    cross_attention_dim=24,
    norm_num_groups=16,
)


# --- BDE ------------------------------------------------------------------------------------------


def test_bde_projects_sine_and_cosine_of_the_labels():
    bde = BatchDiscriminativeEmbedding(embed_channels=8)
    embedding = bde(batch_size=3)
    assert embedding.shape == (6, 8)
    one = torch.tensor(1.0)
    labels = dict(
        mask=torch.stack([0 * one, one.sin(), one, one.cos()]),  # [0, 1]
        edge=torch.stack([one.sin(), 0 * one, one.cos(), one]),  # [1, 0]
    )
    first, second = bde.projection.linear_1, bde.projection.linear_2
    for half, encoded in zip(embedding.chunk(2), labels.values(), strict=True):
        expected = second(F.silu(first(encoded)))
        for row in half:
            torch.testing.assert_close(row, expected)


# --- SWCI -----------------------------------------------------------------------------------------


@pytest.fixture
def skips_and_latents():
    torch.manual_seed(0)
    skips = [[torch.randn(4, c, s, s) for s in (2 * side, side)] for c, side in ((8, 8), (16, 4))]
    return skips, [torch.randn(2, 4, 8, 8), torch.randn(2, 4, 4, 4)]


def test_untrained_swci_changes_nothing(skips_and_latents):
    skips, latents = skips_and_latents
    injected = ScaleWiseConditionalInjection(4, (8, 16))(skips, latents)
    for level, original in zip(injected, skips, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(level, original, strict=True))


def test_swci_scales_and_shifts_the_last_skip_of_each_level(skips_and_latents):
    skips, latents = skips_and_latents
    swci = ScaleWiseConditionalInjection(4, (8, 16)).eval()
    for parameter in swci.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    injected = swci(skips, latents)
    for injector, before, after, latent in zip(
        swci.injectors, skips, injected, latents, strict=True
    ):
        assert torch.equal(after[0], before[0])
        both = latent.repeat(2, 1, 1, 1)  # one latent for mask and edge
        convolution, norm, _ = injector.condition
        condition = F.gelu(norm(F.conv2d(both, convolution.weight, convolution.bias, padding=1)))
        scale, shift = injector.scale(condition), injector.shift(condition)
        torch.testing.assert_close(after[1], before[1] * (1 + scale) + shift)


def test_swci_leaves_its_input_lists_alone(skips_and_latents):
    skips, latents = skips_and_latents
    before = [list(level) for level in skips]
    ScaleWiseConditionalInjection(4, (8, 16))(skips, latents)
    for level, original in zip(skips, before, strict=True):
        assert all(a is b for a, b in zip(level, original, strict=True))


# --- DBIA -----------------------------------------------------------------------------------------

NECK = dict(channels=32, embed_channels=16, num_heads=4, cross_attention_dim=24, norm_num_groups=8)


def neck_inputs():
    generator = torch.Generator().manual_seed(0)
    shapes = ((4, 32, 4, 6), (4, 16), (4, 2, 24))
    return [torch.randn(shape, generator=generator) for shape in shapes]


def attend(attention, queries, keys):
    """Multi-head attention written out, [B, N, C]."""
    q, k, v = attention.to_q(queries), attention.to_k(keys), attention.to_v(keys)
    q, k, v = (x.unflatten(2, (attention.heads, -1)).transpose(1, 2) for x in (q, k, v))
    weights = (q @ k.transpose(2, 3) / q.shape[-1] ** 0.5).softmax(-1)
    return attention.to_out[0]((weights @ v).transpose(1, 2).flatten(2))


@pytest.mark.parametrize('interaction', ['mutual', 'concat'])
def test_halves_attend_to_each_other(interaction):
    mutual = DBIANeck(**NECK, interaction=interaction).transformer.mutual_attention
    tokens = torch.randn(4, 5, 32)
    mask, edge = mutual.norm(tokens[:2]), mutual.norm(tokens[2:])
    if interaction == 'mutual':
        mask_sees, edge_sees = edge, mask
    else:
        mask_sees = edge_sees = torch.cat([mask, edge], dim=1)
    expected = torch.cat(
        [attend(mutual.attention, mask, mask_sees), attend(mutual.attention, edge, edge_sees)]
    )
    halves = tokens.chunk(2)
    outputs = torch.cat([mutual(halves[0], halves[1]), mutual(halves[1], halves[0])])
    torch.testing.assert_close(outputs, expected)


def test_neck_without_interaction_is_diffusers_mid_block():
    neck = DBIANeck(**NECK, interaction=None)
    theirs = UNetMidBlock2DCrossAttn(
        in_channels=32,
        temb_channels=16,
        resnet_eps=1e-5,
        resnet_groups=8,
        num_attention_heads=4,
        cross_attention_dim=24,
        use_linear_projection=True,
    )
    state = {f'neck.{name}': weight for name, weight in neck.state_dict().items()}
    published = UNET_NAMES.to_published(state)
    theirs.load_state_dict({n.removeprefix('mid_block.'): w for n, w in published.items()})
    x, embedding, prompt = neck_inputs()
    expected = theirs(x, embedding, encoder_hidden_states=prompt)
    for num_halves in (1, 2):
        outputs = neck(x, Condition(embedding, prompt), num_halves)
        torch.testing.assert_close(torch.cat(outputs), expected)


def test_masks_depend_on_edges_only_through_the_interaction():
    x, embedding, prompt = neck_inputs()
    condition = Condition(embedding, prompt)
    changed = torch.cat([x[:2], torch.randn_like(x[2:])])
    for interaction, depends in (('mutual', True), ('concat', True), (None, False)):
        neck = DBIANeck(**NECK, interaction=interaction)
        same = torch.equal(neck(x, condition)[0], neck(changed, condition)[0])
        assert same is not depends


# --- U-Net ----------------------------------------------------------------------------------------


class Parts(LatentUNet, nn.Module):
    def __init__(self, backbone, neck, prompt):
        super().__init__()
        self.backbone, self.neck, self.prompt = backbone, neck, prompt


@pytest.mark.parametrize('layers, heads', [(1, (2, 4, 6)), (2, (2, 4, 6)), (1, (None, 4, 6))])
@torch.no_grad()
def test_backbone_and_neck_are_diffusers_unet(layers, heads):
    """Without the paper's ideas what remains is Stable Diffusion's U-Net, output for output."""
    config = {**UNET, 'layers_per_block': layers, 'num_heads': heads}
    attends = ['' if number is None else 'CrossAttn' for number in heads[:-1]]
    backbone = SDTurboUNet(**config)
    neck = DBIANeck(**backbone.neck_sizes, interaction=None)
    theirs = UNet2DConditionModel(
        in_channels=8,
        out_channels=4,
        block_out_channels=config['block_out_channels'],
        layers_per_block=layers,
        cross_attention_dim=24,
        attention_head_dim=[number or 1 for number in heads],
        use_linear_projection=True,
        norm_num_groups=16,
        down_block_types=[f'{level}DownBlock2D' for level in (*attends, '')],
        up_block_types=[f'{level}UpBlock2D' for level in ('', *reversed(attends))],
    )
    state = {f'backbone.{n}': w for n, w in backbone.state_dict().items()}
    state |= {f'neck.{n}': w for n, w in neck.state_dict().items()}
    theirs.load_state_dict(UNET_NAMES.to_published(state))
    x, prompt, steps = torch.randn(2, 8, 16, 24), torch.randn(2, 2, 24), torch.tensor([999, 3])
    expected = theirs(x, steps, encoder_hidden_states=prompt).sample
    image, noisy = x.chunk(2, dim=1)
    (output,) = Parts(backbone, neck, prompt).unet(noisy, [image], steps)
    torch.testing.assert_close(output, expected, rtol=1e-4, atol=1e-5)


def unet_of(levels):
    return SDTurboUNet(
        latent_channels=6,
        block_out_channels=(16, 32, 48, 64)[:levels],
        num_heads=(2, 2, 2, 2)[:levels],
        layers_per_block=1,
        cross_attention_dim=8,
        norm_num_groups=8,
        bde=dict(type='BatchDiscriminativeEmbedding'),
        swci=dict(type='ScaleWiseConditionalInjection'),
        swci_levels=levels - 1,
    )


def run_unet(backbone, neck, levels):
    generator = torch.Generator().manual_seed(0)
    shapes = [(2, 6, 16, 16), (1, 2, 8), *((1, 6, 16 // 2**i, 16 // 2**i) for i in range(levels))]
    noisy, prompt, *latents = (torch.randn(shape, generator=generator) for shape in shapes)
    return torch.cat(Parts(backbone, neck, prompt).unet(noisy, latents, 999))


@pytest.mark.parametrize('levels', [2, 3, 4])
def test_more_or_fewer_levels_need_only_the_config(levels):
    backbone = unet_of(levels)
    assert backbone.size_divisor == 2 ** (levels - 1)
    neck = DBIANeck(**backbone.neck_sizes)
    assert run_unet(backbone, neck, levels).shape == (2, 6, 16, 16)
