"""DiffDIS: one denoising step from noise to mask in the latent space of a VAE (paper, Fig. 2)."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch
from mmengine.logging import MMLogger
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor, nn
from torch.nn import functional as F

from ...checkpoints import merge_lora
from ...checkpoints.lora import SCALING, is_of_adapters
from ...checkpoints.stable_diffusion import untrained_parts
from ...structures import (
    GT_FIELDS,
    PIXELS,
    image_key,
    image_stem,
    pixels_key,
    resize_gt,
    stack_gt,
)
from ...utils.seeding import seed_words
from ..data_preprocessor import stretch
from ..segmentor import DISSegmentor, complete, unnamed_samples
from .adaptation import add_lora, freeze, freeze_statistics
from .latent_unet import LatentUNet
from .noise import per_image_noise


@MODELS.register_module()
class DiffusionSegmentor(LatentUNet, DISSegmentor):
    """A latent diffusion model as a segmentor; it only composes, in the order of the figure.

    `encode_image(): image -> latents at 1, 1/2, 1/4, 1/8`
    `unet():         image latent, noisy latents -> backbone.encode -> backbone.inject (SWCI)
                     -> neck (DBIA) -> backbone.decode -> output of each half`
    `denoise():      noise -> unet -> scheduler -> clean latents`
    `loss():         encode_pairs -> noise -> denoise -> decode_head.loss`
    `predict():      encode_image -> noise -> denoise -> decode_head.predict -> original size`

    Batches of 2B hold the mask half first, then the edge half. With `edge=False` there is only the
    mask half, so the neck has no interaction and the backbone no batch-discriminative embedding.

    Args:
        backbone: Config of the U-Net.
        neck: Config of its mid block; None: the bottleneck goes through unchanged.
        decode_head: Config of the head.
        vae: Config of the autoencoder.
        scheduler: Config of the noise schedule.
        noise: Config of the training noise.
        edge: Learn the edge beside the mask.
        prompt_tokens: L, tokens of the empty prompt's embedding, a buffer of the checkpoint.
        train_cfg: `timesteps`: None: denoise from the last step; a list: from one of these, drawn
            per image; 'uniform': from any step, drawn per image. `num_steps`: number of denoising
            steps to unroll (fixed steps; more than 1 for Table 4's two-step row only).
        test_cfg: `seed`: seed of the noise, which depends on it and on the image's file stem
            alone; a list: maps are averaged over these seeds. `num_steps`: denoising steps.
            `edge`: predict the edge map as well. `min_max`: stretch each map to [0, 1] before it
            is resized, as the released test does. `val_loss`: validation gives losses, too (see
            `validation_losses`).
        frozen: Prefixes of the names of parameters that are not trained, e.g.
            'backbone.down_blocks'. Parts that `StableDiffusionInit` leaves untrained are trained.
        lora: Arguments of `add_lora`: of the U-Net, only adapters and parts that
            `StableDiffusionInit` leaves untrained are trained.
        data_preprocessor: Config of the preprocessor.
        init_cfg: MMEngine's initialisation config.

    A checkpoint with adapters loads into a model without `lora` as well, which merges them.

    Raises:
        ValueError: If `train_cfg` or `test_cfg` has an unknown or a contradictory key, or an
            invalid value, or no parameter has a prefix in `frozen`.
    """

    graph_methods = ('encode_image', 'denoise_to_maps')  # see `apis.cuda_graphs`
    TRAIN_DEFAULTS = dict(timesteps=None, num_steps=1)
    TEST_DEFAULTS = dict(seed=0, num_steps=1, edge=False, min_max=False, val_loss=False)

    def __init__(
        self,
        backbone: dict,
        neck: dict | None,
        decode_head: dict,
        vae: dict,
        scheduler: dict,
        noise: dict,
        edge: bool = True,
        prompt_tokens: int = 2,
        train_cfg: dict | None = None,
        test_cfg: dict | None = None,
        frozen: Sequence[str] = (),
        lora: dict | None = None,
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ):
        super().__init__(test_cfg, data_preprocessor, init_cfg)
        self.train_cfg = complete('train_cfg', train_cfg, self.TRAIN_DEFAULTS)
        if self.test_cfg['seed'] in ([], ()):
            raise ValueError('test_cfg.seed is empty: expected a number or a list of numbers')
        if self.test_cfg['edge'] and not edge:
            raise ValueError('test_cfg.edge=True of a model with edge=False: it predicts no edges')
        if not edge:
            backbone = {**backbone, 'bde': None}
            neck = {**neck, 'interaction': None} if neck else None
            MMLogger.get_current_instance().info(
                'edge=False: built without DBIA interaction and batch-discriminative embedding'
            )
        self.targets = ['mask', 'edge'] if edge else ['mask']  # in the order of the halves
        self.build_parts(vae, backbone, neck, prompt_tokens)
        self.decode_head = MODELS.build(decode_head)
        self.scheduler = MODELS.build(scheduler)
        self.noise = MODELS.build(noise)
        self.scheduler.check_training(**self.train_cfg)
        self.scheduler.timesteps(self.test_cfg['num_steps'])
        untrained = untrained_parts(init_cfg)
        if lora:
            add_lora(self, **lora, untrained=untrained)
        freeze(self, frozen, untrained)

    @property
    def size_divisor(self) -> int:
        """Divisor of the sides of an image."""
        return self.vae.size_divisor * self.backbone.size_divisor

    @property
    def num_scales(self) -> int:
        """Number of scales at which an image is encoded: 1 and, with SWCI, 1/2, 1/4, ..."""
        return 1 + (0 if self.backbone.swci is None else self.backbone.swci.num_levels)

    @property
    def num_maps(self) -> int:
        """Number of predicted maps: 2 with the edge, 1 without."""
        return 2 if self.test_cfg['edge'] else 1

    @property
    def test_timesteps(self) -> list[int]:
        """Timesteps of the denoising at inference."""
        return self.scheduler.timesteps(self.test_cfg['num_steps'])

    @property
    def threshold(self) -> float:
        """Foreground probability above which a pixel is foreground."""
        return self.decode_head.threshold

    def decoder_modules(self) -> list[nn.Module]:
        """Returns the modules that decode a clean latent, in running order."""
        return self.decode_head.decoder_modules(self.vae)

    def set_vae_slicing(self, enabled: bool) -> None:
        """Lets the VAE, and that of the head, process the images of a batch one by one."""
        super().set_vae_slicing(enabled)
        if self.decode_head.vae is not None:
            self.decode_head.vae.autoencoder.use_slicing = enabled

    def encode_image(self, images: Tensor) -> list[Tensor]:
        """Returns latents of images [B, 3, H, W] in [-1, 1] at 1, 1/2, 1/4, ... of their size.

        Raises:
            ValueError: If a side of the images is not a multiple of `size_divisor`.
        """
        height, width = images.shape[-2:]
        if height % self.size_divisor or width % self.size_divisor:
            raise ValueError(
                f'images of {height}x{width} pixels: expected both sides to be multiples of '
                f"{self.size_divisor}; resize them (dict(type='DISResize', scale=(W, H)))"
            )
        pyramid = [images] + [
            F.interpolate(images, scale_factor=0.5**level, mode='bilinear')
            for level in range(1, self.num_scales)
        ]
        return [self.vae.encode(image) for image in pyramid]

    def denoise(
        self,
        noisy: Tensor,
        latents: Sequence[Tensor],
        timesteps: Sequence[int | Tensor],
        num_outputs: int | None = None,
    ) -> list[Tensor]:
        """Returns clean latents, [mask] or [mask, edge], [B, C, h, w] float32 each (Eqn. 4).

        Args:
            noisy: Latents at the first of `timesteps`, [2B, C, h, w], as in `unet`.
            latents: Image latents, as in `unet`.
            timesteps: Descending steps, one U-Net call each: numbers or, if all outputs are
                returned, one per row, [2B].
            num_outputs: Number of halves to return, as in `unet`.
        """
        for timestep, next_timestep in pairwise(timesteps):
            output = torch.cat(self.unet(noisy, latents, timestep))
            clean = self.scheduler.to_clean(noisy, output, timestep)
            noisy = self.scheduler.step(noisy, clean, timestep, next_timestep)
        halves = self.unet(noisy, latents, timesteps[-1], num_outputs)
        output = torch.cat(halves)
        clean = self.scheduler.to_clean(noisy[: output.shape[0]], output, timesteps[-1])
        return list(clean.chunk(len(halves)))

    def encode_pairs(self, inputs: Tensor, data_samples: list[SegDataSample]) -> dict[str, Tensor]:
        """Returns latents of images and of their ground truth.

        Args:
            inputs: Images in [-1, 1], [B, 3, H, W].
            data_samples: Samples with `gt_alpha` and, for a model with edges, `gt_edge_map`.

        Returns:
            'image_0', 'image_1', ...: as of `encode_image`; 'mask' and, for a model with edges,
            'edge': [B, C, h, w].
        """
        images = {image_key(level): z for level, z in enumerate(self.encode_image(inputs))}
        gt = torch.cat([stack_gt(name, data_samples) for name in self.targets])
        gt_latents = self.vae.encode(gt.repeat(1, 3, 1, 1) * 2 - 1)  # as images in [-1, 1]
        return images | dict(zip(self.targets, gt_latents.chunk(len(self.targets)), strict=True))

    def pixels(
        self, inputs: Tensor | dict[str, Tensor], data_samples: list[SegDataSample]
    ) -> tuple[Tensor | None, dict[str, Tensor] | None]:
        """Returns images and ground truth for losses of pixels.

        Args:
            inputs, data_samples: As of `loss`.

        Returns:
            Images in [-1, 1], [B, 3, H, W], and 'mask' and, for a model with edges, 'edge' ->
            [B, 1, H, W] in [0, 1]; None twice if there are latents without pixels.
        """
        if not isinstance(inputs, dict):
            return inputs, {name: stack_gt(name, data_samples) for name in self.targets}
        if PIXELS not in inputs:
            return None, None
        gt = {name: inputs[pixels_key(name)] / 255 for name in self.targets}
        return inputs[PIXELS] / 127.5 - 1, gt

    def loss(
        self, inputs: Tensor | dict[str, Tensor], data_samples: list[SegDataSample]
    ) -> dict[str, Tensor]:
        """Returns losses of the clean latents: 'loss_mask' and, with edges, 'loss_edge'.

        Args:
            inputs: Images as for `encode_pairs`, or its result (of a `LatentDataset`).
            data_samples: Samples as for `encode_pairs`.
        """
        # 1. latents of images and ground truth
        pairs = inputs if isinstance(inputs, dict) else self.encode_pairs(inputs, data_samples)
        latents = [pairs[image_key(level)] for level in range(self.num_scales)]
        targets = {name: pairs[name] for name in self.targets}
        # 2. noise, drawn separately for masks and edges
        noise = torch.cat([self.noise(latents[0]) for _ in targets])
        timesteps = self.scheduler.training_timesteps(
            **self.train_cfg, batch_size=len(latents[0]), num_halves=len(targets)
        )
        noisy = self.scheduler.add_noise(torch.cat([*targets.values()]), noise, timesteps[0])
        # 3. denoise
        clean = self.denoise(noisy, latents, timesteps)
        # 4. compare
        clean = dict(zip(targets, clean, strict=True))
        return self.decode_head.loss(clean, targets, *self.pixels(inputs, data_samples))

    def predict(
        self, inputs: Tensor, data_samples: list[SegDataSample] | None = None
    ) -> list[SegDataSample]:
        """Returns samples as of `predict_maps` and, if `test_cfg.val_loss`, with their losses.

        `validation_losses` are the metainfo `losses` of samples with ground truth. `DISMetric`
        reports their means over all images, of all processes.
        """
        samples = self.predict_maps(inputs, data_samples)
        if self.test_cfg['val_loss']:
            for image, sample in zip(inputs, samples, strict=True):
                if GT_FIELDS['mask'][0] in sample:
                    sample.set_metainfo(dict(losses=self.validation_losses(image[None], sample)))
        return samples

    def test_step(self, data: dict) -> list[SegDataSample]:
        """Returns predictions of a batch, without losses: those are for validation."""
        return self.predict_maps(**self.data_preprocessor(data, False))

    def predict_maps(
        self, inputs: Tensor, data_samples: list[SegDataSample] | None = None
    ) -> list[SegDataSample]:
        """Returns samples with masks and, if `test_cfg.edge`, edges at the images' original sizes.

        Args:
            inputs: Images in [-1, 1], [B, 3, H, W].
            data_samples: Samples with `ori_shape`, `flip` and the file's name; None: predictions
                have the inputs' size, and all start from the noise of an image without a name.

        Returns:
            Samples as of `postprocess_result`.
        """
        samples = data_samples or unnamed_samples(inputs)
        # 1. latents of the images at 1, 1/2, 1/4, 1/8
        latents = self.encode_image(inputs)
        maps = []
        # 2. noise, shared by mask and edge, once per seed
        for noise in self.inference_noise(latents[0], samples):
            # 3. denoise, 4. decode: [mask] or [mask, edge]
            maps.append(self.denoise_to_maps(noise, latents, inputs))
        # 5. means over the seeds, at the original sizes
        means = [torch.stack(seeds).mean(0) for seeds in zip(*maps, strict=True)]
        return self.postprocess_result(means, samples)

    def denoise_to_maps(
        self, noise: Tensor, latents: Sequence[Tensor], images: Tensor
    ) -> list[Tensor]:
        """Returns maps of images, [mask] or [mask, edge], [B, 1, H, W] in [0, 1] each.

        Args:
            noise: Noise at the last timestep, [2B, C, h, w], as in `unet`.
            latents: Latents of the images, as of `encode_image`.
            images: Images in [-1, 1], [B, 3, H, W].
        """
        clean = self.denoise(noise, latents, self.test_timesteps, self.num_maps)
        return [self.decode_maps(z, images) for z in clean]

    def inference_noise(
        self, latent: Tensor, data_samples: list[SegDataSample]
    ) -> Iterator[Tensor]:
        """Yields noise [2B, C, h, w] for each seed of `test_cfg`, the same for mask and edge."""
        names = [image_stem(sample) for sample in data_samples]
        seeds = self.test_cfg['seed']
        for seed in [seeds] if isinstance(seeds, int) else seeds:
            noise = per_image_noise(names, latent.shape[1:], seed, latent.device)
            yield noise.repeat(len(self.targets), 1, 1, 1)

    def decode_maps(self, clean: Tensor, images: Tensor) -> Tensor:
        """Returns maps [B, 1, H, W] in [0, 1] of clean latents [B, C, h, w] of images."""
        maps = self.decode_head.predict(clean, self.vae, images)
        if self.test_cfg['min_max']:
            maps = torch.stack([stretch(image_map) for image_map in maps])
        return maps

    def validation_losses(self, image: Tensor, sample: SegDataSample) -> dict[str, float]:
        """Returns the losses of an image as in training, without augmentation.

        The noise depends on the file's name alone, so that validations can be compared, and the
        random streams of the training are left untouched.

        Args:
            image: Image in [-1, 1], [1, 3, H, W].
            sample: Sample with the ground truth of a training, at any size.
        """
        resized = resize_gt(sample, image.shape[-2:])
        with torch.random.fork_rng([image.device] if image.is_cuda else []):
            torch.manual_seed(int(seed_words(0, 'validation', image_stem(sample))[0]))
            losses = self.loss(image, [resized])
        return {name: float(loss) for name, loss in losses.items()}

    def train(self, mode: bool = True) -> 'DiffusionSegmentor':
        """Sets training or evaluation mode; frozen normalisations keep their statistics."""
        super().train(mode)
        freeze_statistics(self)
        return self

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args) -> None:
        """Merges the adapters of a checkpoint if this model has none, and keeps its own without."""
        has_adapters = f'{prefix}{SCALING}' in state_dict
        if hasattr(self, SCALING) and not has_adapters:
            own = self.state_dict()
            state_dict.update({prefix + name: own[name] for name in filter(is_of_adapters, own)})
        if not hasattr(self, SCALING) and has_adapters:
            names = [name for name in state_dict if name.startswith(prefix)]
            weights = {name.removeprefix(prefix): state_dict.pop(name) for name in names}
            merged = merge_lora(weights)
            state_dict.update({prefix + name: tensor for name, tensor in merged.items()})
        super()._load_from_state_dict(state_dict, prefix, *args)

    def extract_feat(self, inputs: Tensor) -> list[Tensor]:
        """Returns the image latents at 1, 1/2, ..., on which the denoising is conditioned."""
        return self.encode_image(inputs)
