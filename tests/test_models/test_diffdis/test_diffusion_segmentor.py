"""The segmentor as a whole: gradients, switches, noise, sizes, messages."""

import pytest
import torch
from conftest import draw_samples
from mmengine.optim import OptimWrapper

from mmdiffdis.evaluation import DISMetric
from mmdiffdis.structures import to_original_size
from mmdiffdis.utils.seeding import seed_words


def image(size: int = 2, side: int = 64) -> torch.Tensor:
    return torch.rand(size, 3, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1


def total(losses: dict) -> torch.Tensor:
    return sum(losses.values())


SWITCHES = dict(
    full={},
    no_interaction=dict(neck=dict(interaction=None)),
    concatenated=dict(neck=dict(interaction='concat')),
    no_neck=dict(neck=None),
    no_swci=dict(backbone=dict(swci=None)),
    no_edge=dict(edge=False),
    no_cutmix=dict(data_preprocessor=dict(cutmix=None)),
    two_steps=dict(train_cfg=dict(num_steps=2)),
    random_steps=dict(train_cfg=dict(timesteps=[999, 499])),
    any_step=dict(train_cfg=dict(timesteps='uniform')),
    recomputed=dict(backbone=dict(with_cp=True)),
    v_prediction=dict(scheduler=dict(prediction_type='v_prediction')),
)


@pytest.mark.parametrize('changes', SWITCHES.values(), ids=SWITCHES.keys())
def test_every_trainable_parameter_gets_a_gradient(tiny, changes):
    model = tiny(**changes).train()
    optimizer = OptimWrapper(torch.optim.SGD(model.parameters(), lr=1e-4))
    # The zero convolutions of SWCI pass nothing back to the layers before them until they have
    # moved once.
    for _ in range(2):
        losses = model.loss(image(), draw_samples())
        optimizer.update_params(total(losses))
    model.zero_grad()
    total(model.loss(image(), draw_samples())).backward()
    without = [
        name
        for name, p in model.named_parameters()
        if p.requires_grad and (p.grad is None or not p.grad.abs().sum() > 0)
    ]
    assert not without
    frozen = [name for name, p in model.named_parameters() if not p.requires_grad]
    assert frozen and all(name.startswith('vae.') for name in frozen)


@pytest.mark.parametrize('changes', SWITCHES.values(), ids=SWITCHES.keys())
def test_every_switch_predicts_at_the_original_size(tiny, changes):
    model = tiny(**changes).eval()
    with torch.no_grad():
        (sample,) = model.predict(image(1), draw_samples(1, ori_shape=(50, 37)))
    assert sample.seg_logits.data.shape == (1, 50, 37)
    assert sample.seg_logits.data.min() >= 0 and sample.seg_logits.data.max() <= 1
    assert set(sample.pred_sem_seg.data.unique().tolist()) <= {0, 1}
    assert 'pred_edge_map' not in sample


def test_losses_have_the_papers_names(tiny):
    assert set(tiny().loss(image(), draw_samples())) == {'loss_mask', 'loss_edge'}
    assert set(tiny(edge=False).loss(image(), draw_samples())) == {'loss_mask'}


@torch.no_grad()
@pytest.mark.parametrize('interaction', ['mutual', 'concat', None])
@pytest.mark.parametrize('num_steps', [1, 2, 10])
def test_a_mask_is_the_same_with_and_without_its_edge(tiny, interaction, num_steps):
    masks = {}
    for edge in (False, True):
        model = tiny(
            neck=dict(interaction=interaction), test_cfg=dict(edge=edge, num_steps=num_steps)
        ).eval()
        masks[edge] = model.predict(image())
    for alone, with_edge in zip(masks[False], masks[True], strict=True):
        assert torch.equal(alone.seg_logits.data, with_edge.seg_logits.data)
        assert 'pred_edge_map' in with_edge and 'pred_edge_map' not in alone


@torch.no_grad()
def test_a_mask_does_not_depend_on_its_batch(tiny):
    model = tiny().eval()
    images, names = image(3), ['x', 'y#1', 'z']
    samples = draw_samples(3)
    for sample, name in zip(samples, names, strict=True):
        sample.set_metainfo(dict(img_path=f'folder/{name}.png'))
    together = [s.seg_logits.data.clone() for s in model.predict(images, samples)]
    for i, sample in enumerate(samples):
        (alone,) = model.predict(images[i : i + 1], [sample])
        torch.testing.assert_close(alone.seg_logits.data, together[i], atol=1e-5, rtol=0)


@torch.no_grad()
def test_half_precision_reaches_every_part_but_the_encoder(tiny):
    model = tiny().eval()
    exact = model.predict(image(1))[0].seg_logits.data
    model.set_precision(torch.bfloat16, torch.float32)
    assert {p.dtype for p in model.backbone.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in model.neck.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in model.vae.autoencoder.decoder.parameters()} == {torch.bfloat16}
    assert {p.dtype for p in model.vae.autoencoder.encoder.parameters()} == {torch.float32}
    half = model.predict(image(1))[0].seg_logits.data
    assert half.dtype == torch.float32 and 0 < (half - exact).abs().max() < 0.3


def test_parts_of_a_prediction_hold_all_parameters(tiny):
    model = tiny()
    parts = [p for modules in model.cost_parts().values() for m in modules for p in m.parameters()]
    assert len(parts) == len(set(parts)) and set(parts) == set(model.parameters())
    blocks = {p for block in model.compiled_blocks() for p in block.parameters()}
    assert blocks < set(parts)


@torch.no_grad()
def test_another_seed_and_another_name_start_from_other_noise(tiny):
    first = tiny().eval().predict(image(2))
    assert not torch.equal(first[0].seg_logits.data, first[1].seg_logits.data)
    named = tiny().eval().predict(image(1), draw_samples(1))
    reseeded = tiny(test_cfg=dict(seed=1)).eval().predict(image(1))
    for other in (named, reseeded):
        assert not torch.equal(first[0].seg_logits.data, other[0].seg_logits.data)


@torch.no_grad()
@pytest.mark.parametrize('options', [{}, dict(min_max=True)], ids=['plain', 'min_max'])
def test_seeds_in_a_list_give_the_mean_of_their_predictions(tiny, options):
    fields = 'seg_logits', 'pred_edge_map'
    samples = [
        tiny(test_cfg=dict(seed=seed, edge=True, **options)).eval().predict(image(2))
        for seed in (0, 3, 5, [0, 3, 5], [3])
    ]
    *single, together, alone = [
        torch.stack([sample.get(field).data for sample in batch for field in fields])
        for batch in samples
    ]
    assert (single[0] - single[1]).abs().max() > 1e-3
    torch.testing.assert_close(together, torch.stack(single).mean(0), atol=1e-6, rtol=0)
    assert torch.equal(alone, single[1])
    hard = samples[3][0].pred_sem_seg.data
    assert torch.equal(hard, (samples[3][0].seg_logits.data > 0.5).long())


@torch.no_grad()
def test_a_flipped_image_gives_a_mask_that_is_turned_back(tiny):
    model = tiny().eval()
    samples = draw_samples(1)
    (plain,) = model.predict(image(1), draw_samples(1))
    for direction, dim in (('horizontal', 2), ('vertical', 1)):
        samples = draw_samples(1, flip=True, flip_direction=direction)
        (flipped,) = model.predict(image(1), samples)
        assert torch.equal(flipped.seg_logits.data, plain.seg_logits.data.flip(dim))


@torch.no_grad()
def test_min_max_stretches_each_map_to_the_unit_interval(tiny):
    (sample,) = tiny(test_cfg=dict(min_max=True)).eval().predict(image(1))
    assert sample.seg_logits.data.min() == 0 and sample.seg_logits.data.max() == 1


@torch.no_grad()
def test_shrinking_to_the_original_size_is_pillows_bilinear():
    import numpy as np
    from PIL import Image

    maps = torch.rand(1, 64, 64)
    ours = to_original_size(maps, dict(ori_shape=(30, 45)))
    pillow = Image.fromarray(maps[0].numpy()).resize((45, 30), Image.Resampling.BILINEAR)
    np.testing.assert_allclose(ours[0].numpy(), np.asarray(pillow), atol=1e-5)


def test_forward_modes_and_the_prompt_are_as_mmseg_expects(tiny):
    model = tiny().eval()
    with torch.no_grad():
        mask = model(image(1), mode='tensor')
    assert mask.shape == (1, 1, 64, 64)
    assert model.state_dict()['prompt'].shape == (1, 2, 48)


@pytest.mark.parametrize('side', [60, 100])
def test_error_says_which_sizes_are_possible(tiny, side):
    with pytest.raises(ValueError, match=f'{side}x{side} pixels: expected .* multiples of 64'):
        tiny().predict(image(1, side))


def test_error_names_the_missing_ground_truth_and_its_transform(tiny):
    samples = draw_samples()
    del samples[0].gt_edge_map
    with pytest.raises(ValueError, match="'gt_edge_map'.*GenerateDISEdge.*edge=False"):
        tiny().loss(image(), samples)
    del samples[1].gt_alpha
    with pytest.raises(ValueError, match="'gt_alpha'.*LoadDISAnnotations"):
        tiny().loss(image(), samples)


def test_error_names_unknown_and_contradicting_settings(tiny):
    with pytest.raises(ValueError, match=r"test_cfg has \['sed'\]: expected only .*'seed'"):
        tiny(test_cfg=dict(sed=1))
    with pytest.raises(ValueError, match='test_cfg.seed is empty: expected a number or a list'):
        tiny(test_cfg=dict(seed=[]))
    with pytest.raises(ValueError, match='test_cfg.edge=True .* edge=False'):
        tiny(edge=False, test_cfg=dict(edge=True))
    with pytest.raises(ValueError, match="interaction='self': expected one of"):
        tiny(neck=dict(interaction='self'))
    with pytest.raises(ValueError, match='one number of heads per level'):
        tiny(backbone=dict(num_heads=(2, 4)))
    with pytest.raises(ValueError, match='takes at most 3'):
        tiny(backbone=dict(swci_levels=4))


def test_the_callers_config_is_left_alone(tiny):
    from conftest import tiny_config
    from mmseg.registry import MODELS

    config = tiny_config(edge=False)
    before = repr(config)
    MODELS.build(config)
    assert repr(config) == before


def test_validation_loss_is_the_training_loss_and_leaves_training_alone(tiny):
    model = tiny(data_preprocessor=dict(cutmix=None), test_cfg=dict(val_loss=True)).eval()
    image = (torch.rand(3, 64, 64) * 255).to(torch.uint8)
    (sample,) = draw_samples(1, 64)
    before = torch.random.get_rng_state()
    with torch.no_grad():
        (output,) = model.val_step(dict(inputs=[image], data_samples=[sample]))
    assert torch.equal(before, torch.random.get_rng_state()) and 'seg_logits' in output
    torch.manual_seed(int(seed_words(0, 'validation', '0#x y')[0]))
    inputs = model.data_preprocessor(dict(inputs=[image]), True)['inputs']
    expected = {name: float(loss) for name, loss in model.loss(inputs, draw_samples(1)).items()}
    assert output.losses == pytest.approx(expected, rel=1e-5)


def test_ground_truth_of_a_validation_may_have_any_size(tiny):
    model = tiny(test_cfg=dict(val_loss=True)).eval()
    images = [torch.zeros(3, 64, 64, dtype=torch.uint8)] * 2
    samples = [*draw_samples(1, 96), *draw_samples(1, 80)]
    for output in model.val_step(dict(inputs=images, data_samples=samples)):
        assert set(output.losses) == {'loss_mask', 'loss_edge'}


def test_validation_losses_are_those_of_each_image(tiny):
    """In any batch, with the same noise each time, and under names of their own."""
    model = tiny(test_cfg=dict(val_loss=True)).eval()
    with torch.no_grad():
        torch.manual_seed(0)
        expected = torch.rand(1)
        torch.manual_seed(0)
        samples = model.predict(image(), draw_samples())
        assert torch.equal(torch.rand(1), expected)  # the training's streams go on
        (alone,) = model.predict(image()[1:], draw_samples()[1:])
        black = [torch.zeros(3, 64, 64)]
        tested = model.test_step(dict(inputs=black, data_samples=draw_samples(1)))
        without = model.predict(image(1))
    assert samples[0].losses.keys() == {'loss_mask', 'loss_edge'}
    assert samples[0].losses != samples[1].losses
    assert samples[1].losses == pytest.approx(alone.losses, rel=1e-4)
    assert not any('losses' in sample for sample in (*tested, *without))


def test_validation_losses_are_averaged_over_images(tiny):
    losses = [dict(loss_mask=1.0, loss_edge=0.5), dict(loss_mask=2.0, loss_edge=0.0)]
    metric, probability = DISMetric(), torch.rand(1, 8, 8)
    for image_losses in losses:
        field = dict(data=probability)
        metric.process(None, [dict(seg_logits=field, gt_alpha=field, losses=image_losses)])
    scores = metric.evaluate(2)
    assert scores['val_loss_mask'] == 1.5 and scores['val_loss'] == 1.75
    assert 'loss_mask' not in scores and 'maxF' in scores
