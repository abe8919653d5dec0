"""DiffDIS: one denoising step from noise to mask, in a VAE's latent space (paper, Fig. 2)."""

from collections.abc import Sequence

import torch
from mmengine.logging import MMLogger
from mmengine.structures import BaseDataElement, PixelData
from mmseg.models.segmentors.base import BaseSegmentor
from mmseg.registry import MODELS
from mmseg.structures import SegDataSample
from torch import Tensor
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from ...structures import (
    SOFT_FIELDS,
    image_key,
    image_stem,
    set_prediction,
    stack_truth,
    to_original_size,
)
from ..data_preprocessor import stretch
from .adaptation import add_lora, freeze
from .noise import per_image_noise


@MODELS.register_module()
class DiffusionSegmentor(BaseSegmentor):
    """A latent diffusion model as a segmentor; it only composes, in the order of the figure.

    ``encode_image(): image -> latents at 1, 1/2, 1/4, 1/8``
    ``unet():         image latent, noisy latents -> backbone.encode -> backbone.inject (SWCI)
                      -> neck (DBIA) -> backbone.decode -> output``
    ``denoise():      noise -> unet -> scheduler -> clean latents``
    ``loss():         encode_image -> noise -> denoise -> decode_head.loss``
    ``predict():      encode_image -> noise -> denoise -> decode_head.predict -> original size``

    Batches hold the mask half first, the edge half second: 2B. Without edges (`edge=False`) there
    is one half and nobody to interact with: the neck's interaction and the batch-discriminative
    embedding are then not built.

    Args:
        backbone: config of the U-Net.
        neck: config of its mid block; None: the bottleneck goes through unchanged.
        decode_head: config of the head.
        vae: config of the autoencoder.
        scheduler: config of the noise schedule.
        noise: config of the training noise.
        edge: learn the edge beside the mask.
        prompt_tokens: L, tokens of the empty prompt's embedding, a buffer of the checkpoint.
        train_cfg: `timesteps`: None: denoise from the last step; a list: from one of these drawn
            per image; 'uniform': from any step, drawn per image. `num_steps`: how many denoising
            steps to unroll (fixed ones; 1 but for Table 4's two-step row).
        test_cfg: `seed`: of the noise, which depends on it and the image's file stem alone; a list:
            the maps are the means over these seeds; `num_steps`: denoising steps; `edge`: predict
            the edge map as well; `min_max`: stretch each map to [0, 1], as the released test does;
            `val_loss`: validations give losses, too (see :meth:`val_step`).
        frozen: beginnings of the names of parameters that are not trained, e.g.
            'backbone.down_blocks'.
        lora: arguments of :func:`add_lora`: adapters of the U-Net are trained alone.
        data_preprocessor: config of the preprocessor.
        init_cfg: mmengine's initialisation config.

    Raises:
        ValueError: a key of `train_cfg` or `test_cfg` that is not there, or contradicts another; a
            beginning in `frozen` that no parameter has.
    """

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
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.edge = edge
        self.train_cfg = self._complete('train_cfg', train_cfg, self.TRAIN_DEFAULTS)
        self.test_cfg = self._complete('test_cfg', test_cfg, self.TEST_DEFAULTS)
        if self.test_cfg['seed'] in ([], ()):
            raise ValueError('test_cfg.seed is empty: expected a number, or a list of some')
        if self.test_cfg['edge'] and not edge:
            raise ValueError('test_cfg.edge=True asks a model of edge=False for edges')
        if not edge:
            backbone = {**backbone, 'bde': None}
            neck = {**neck, 'interaction': None} if neck else None
            MMLogger.get_current_instance().info(
                'edge=False: built without DBIA interaction and batch-discriminative embedding'
            )

        self.vae = MODELS.build(vae)
        self.backbone = MODELS.build(
            backbone, default_args=dict(latent_channels=self.vae.latent_channels)
        )
        self.neck = MODELS.build(neck, default_args=self.backbone.neck_sizes) if neck else None
        self.decode_head = MODELS.build(decode_head)
        self.scheduler = MODELS.build(scheduler)
        self.noise = MODELS.build(noise)
        # a constant of the checkpoint
        self.register_buffer('prompt', self.backbone.stand_in_prompt(prompt_tokens))
        if lora:
            add_lora(self, **lora)
        freeze(self, frozen)

    @staticmethod
    def _complete(name: str, given: dict | None, defaults: dict) -> dict:
        unknown = set(given or {}) - set(defaults)
        if unknown:
            raise ValueError(f'{name} has {sorted(unknown)}: expected only {sorted(defaults)}')
        return {**defaults, **(given or {})}

    @property
    def size_divisor(self) -> int:
        """The sides of an image must be multiples of this."""
        return self.vae.size_divisor * self.backbone.size_divisor

    @property
    def truths(self) -> list[str]:
        """What is learned, in the order of the halves."""
        return ['mask', 'edge'] if self.edge else ['mask']

    @property
    def num_scales(self) -> int:
        """At how many scales an image is encoded: its own and, with SWCI, half of it and so on."""
        return 1 + (0 if self.backbone.swci is None else self.backbone.swci.num_levels)

    def set_precision(self, dtype: torch.dtype, encoder_dtype: torch.dtype = torch.float32) -> None:
        """Casts the weights for inference, where masks hardly change by it (docs/benchmarks.md).

        Steps from noise to clean latents stay in float32.

        Args:
            dtype: of the U-Net, i.e. backbone (:meth:`SDTurboUNet.set_precision`) and neck, and of
                the autoencoder's decoder, which takes float32 instead of bfloat16.
            encoder_dtype: of the autoencoder's encoder.
        """
        self.backbone.set_precision(dtype)
        if self.neck is not None:
            self.neck.to(dtype)
        decoder_dtype = torch.float32 if dtype is torch.bfloat16 else dtype
        self.vae.set_precision(encoder_dtype, decoder_dtype)

    def encode_image(self, images: Tensor) -> list[Tensor]:
        """Latents of images in [-1, 1], [B, 3, H, W], at their own size, then at 1/2, 1/4, ...

        Raises:
            ValueError: a side of the images is not a multiple of `size_divisor`.
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

    def unet(
        self,
        noisy: Tensor,
        latents: Sequence[Tensor],
        timesteps: int | Tensor,
        mask_only: bool = False,
    ) -> Tensor:
        """The U-Net's output.

        Args:
            noisy: noisy latents, [2B, C, h, w]; or [B, C, h, w]: the same for both halves.
            latents: latents of the images at 1, 1/2, ..., [B, C, h, w], ...
            timesteps: one for all, or [2B].
            mask_only: only the mask half is asked for.

        Returns:
            [2B, C, h, w], or [B, C, h, w] if `mask_only`.
        """
        size = len(latents[0])
        images = latents[0].repeat(len(noisy) // size, 1, 1, 1)
        x = torch.cat([images, noisy], dim=1)  # [2B or B, 2C, h, w]
        x, *latents = (t.to(self.backbone.dtype) for t in (x, *latents))
        # 1. timestep, which half, prompt
        condition = self.backbone.condition(timesteps, self.prompt, size, len(self.truths))
        # 2. encoder
        bottleneck, skips = self.backbone.encode(x, condition)
        # 3. SWCI
        skips = self.backbone.inject(skips, latents[1:])
        # 4. DBIA
        if self.neck is not None:
            bottleneck = self.neck(bottleneck, condition.to(bottleneck.dtype), mask_only)
        elif mask_only:
            bottleneck = bottleneck[:size]
        # 5. decoder
        if self.training and not mask_only:
            return self.backbone.decode(bottleneck, skips, condition)
        # Half by half: kernels round differently in batches of another size, and the mask must not
        # depend on whether its edge is asked for.
        outputs = []
        for i, (part, told) in enumerate(
            zip(bottleneck.split(size), condition.halves, strict=False)
        ):
            own = [[skip[i * size : (i + 1) * size] for skip in level] for level in skips]
            outputs.append(self.backbone.decode(part, own, told))
        return torch.cat(outputs)

    def denoise(
        self,
        noisy: Tensor,
        latents: Sequence[Tensor],
        timesteps: Sequence[int | Tensor],
        mask_only: bool = False,
    ) -> Tensor:
        """Clean latents by one U-Net call per element of `timesteps` (one step: Eqn. 4).

        Args:
            noisy: latents at the first of `timesteps`, as in :meth:`unet`.
            latents: as in :meth:`unet`.
            timesteps: descending; each a number, or one number per latent, [2B].
            mask_only: only the mask half is asked for.

        Returns:
            [2B, C, h, w] float32, or [B, C, h, w] if `mask_only`.
        """
        for i, timestep in enumerate(timesteps):
            last = i == len(timesteps) - 1
            output = self.unet(noisy, latents, timestep, mask_only and last)
            if len(noisy) < len(output):
                noisy = noisy.repeat(len(self.truths), 1, 1, 1)
            clean = self.scheduler.to_clean(noisy[: len(output)], output, timestep)
            if not last:
                noisy = self.scheduler.step(noisy, clean, timestep, timesteps[i + 1])
        return clean

    def encode_pairs(self, inputs: Tensor, data_samples: list[SegDataSample]) -> dict[str, Tensor]:
        """Latents of images and of their truths.

        Args:
            inputs: images in [-1, 1], [B, 3, H, W].
            data_samples: with `gt_alpha` and, for a model with edges, `gt_edge_map`.

        Returns:
            'image_0', 'image_1', ...: as :meth:`encode_image`; 'mask' and, for a model with edges,
            'edge': [B, C, h, w].
        """
        images = {image_key(i): z for i, z in enumerate(self.encode_image(inputs))}
        truths = torch.cat([stack_truth(name, data_samples) for name in self.truths])
        images_of_truths = truths.repeat(1, 3, 1, 1) * 2 - 1  # as the autoencoder takes them
        targets = self.vae.encode(images_of_truths).chunk(len(self.truths))
        return images | dict(zip(self.truths, targets, strict=True))

    def loss(
        self, inputs: Tensor | dict[str, Tensor], data_samples: list[SegDataSample]
    ) -> dict[str, Tensor]:
        """Losses of the clean latents.

        Args:
            inputs: as for :meth:`encode_pairs`, or what it returned once (`LatentDataset`).
            data_samples: as for :meth:`encode_pairs`.

        Returns:
            'loss_mask' and, for a model with edges, 'loss_edge'.
        """
        # 1. latents of the images and of the truths
        pairs = inputs if isinstance(inputs, dict) else self.encode_pairs(inputs, data_samples)
        latents = [pairs[image_key(level)] for level in range(self.num_scales)]
        targets = torch.cat([pairs[name] for name in self.truths])  # [2B, C, h, w]
        # 2. noise, drawn apart for masks and edges
        noise = torch.cat([self.noise(latents[0]) for _ in self.truths])
        timesteps = self._training_timesteps(len(latents[0]), len(self.truths), noise.device)
        noisy = self.scheduler.add_noise(targets, noise, timesteps[0])
        # 3. denoise
        clean = self.denoise(noisy, latents, timesteps)
        # 4. compare
        return self.decode_head.loss(
            dict(zip(self.truths, clean.chunk(len(self.truths)), strict=True)),
            {name: pairs[name] for name in self.truths},
        )

    def val_step(self, data: dict) -> list:
        """Masks of a validation batch as of :meth:`predict` and, if `test_cfg.val_loss`, losses.

        Losses are those of training without its augmentations, so that the two can be compared. The
        noise is the same each time, and training's own random numbers are left untouched.

        Args:
            data: of a loader whose samples have the truths of a training, at any size.

        Returns:
            Samples; last, for MMEngine's loop to take off, one that holds the losses.
        """
        data = self.data_preprocessor(data, False)
        outputs = self._run_forward(data, mode='predict')
        if not self.test_cfg['val_loss']:
            return outputs
        inputs, samples = data['inputs'], data['data_samples']
        resized = [self._resize_truths(sample, inputs.shape[-2:]) for sample in samples]
        with torch.random.fork_rng([inputs.device] if inputs.is_cuda else []):
            torch.manual_seed(0)
            return [*outputs, BaseDataElement(loss=self.loss(inputs, resized))]

    def train(self, mode: bool = True) -> 'DiffusionSegmentor':
        """Training or evaluation mode; what is frozen keeps its normalisation's statistics."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, _BatchNorm) and not module.weight.requires_grad:
                module.eval()
        return self

    def predict(
        self, inputs: Tensor, data_samples: list[SegDataSample] | None = None
    ) -> list[SegDataSample]:
        """Masks at the images' original sizes.

        Args:
            inputs: images in [-1, 1], [B, 3, H, W].
            data_samples: whose metainfo says `ori_shape`, `flip` and the file's name; None: masks
                at the inputs' size, all from the noise of an image without a name.

        Returns:
            Samples with `seg_logits` (foreground probability in [0, 1], [1, H, W]), `pred_sem_seg`
            (0 or 1, uint8) and, if `test_cfg.edge`, `pred_edge_map`.
        """
        if data_samples is None:
            shape = dict(ori_shape=tuple(inputs.shape[-2:]))
            data_samples = [SegDataSample(metainfo=shape) for _ in inputs]
        return self.postprocess_result(self._forward(inputs, data_samples), data_samples)

    def postprocess_result(
        self, maps: Sequence[Tensor], data_samples: list[SegDataSample]
    ) -> list[SegDataSample]:
        """The samples with maps as :meth:`_forward` gives them, at their original sizes."""
        for i, sample in enumerate(data_samples):
            mask, *edge = [to_original_size(of_batch[i], sample.metainfo) for of_batch in maps]
            set_prediction(sample, mask, self.decode_head.threshold)
            if edge:
                sample.set_data(dict(pred_edge_map=PixelData(data=edge[0])))
        return data_samples

    def _forward(
        self, inputs: Tensor, data_samples: list[SegDataSample] | None = None
    ) -> tuple[Tensor, ...]:
        """Foreground probabilities and, if `test_cfg.edge`, edge maps at the inputs' size, each
        [B, 1, H, W] in [0, 1]."""
        # 1. latents of the images
        latents = self.encode_image(inputs)
        names = [image_stem(sample) for sample in data_samples or [SegDataSample()] * len(inputs)]
        # 2. to 4. once a seed
        seeds = self.test_cfg['seed']
        seeds = [seeds] if isinstance(seeds, int) else seeds
        maps = torch.stack([self._maps_from_noise(latents, names, seed) for seed in seeds])
        return maps.mean(0).split(len(inputs))

    def _maps_from_noise(self, latents: list[Tensor], names: list[str], seed: int) -> Tensor:
        """Maps of one seed's noise: B masks and, if `test_cfg.edge`, B edges, [2B, 1, H, W]."""
        # 2. noise, the same for mask and edge
        noise = per_image_noise(names, latents[0].shape[1:], seed, latents[0].device)
        # 3. denoise
        clean = self.denoise(
            noise,
            latents,
            self.scheduler.timesteps(self.test_cfg['num_steps']),
            mask_only=self.edge and not self.test_cfg['edge'],
        )
        # 4. decode, half by half for the same reason as in `unet`
        parts = [self.decode_head.predict(part, self.vae) for part in clean.split(len(names))]
        maps = torch.cat(parts)
        if self.test_cfg['min_max']:
            maps = torch.stack([stretch(one) for one in maps])
        return maps

    def extract_feat(self, inputs: Tensor) -> list[Tensor]:
        """The latents of the images at 1, 1/2, ...: what the denoising is conditioned on."""
        return self.encode_image(inputs)

    def encode_decode(self, inputs: Tensor, batch_data_samples: list[SegDataSample]) -> Tensor:
        """Foreground probabilities at the inputs' size, [B, 1, H, W]."""
        return self._forward(inputs, batch_data_samples)[0]

    @staticmethod
    def _resize_truths(sample: SegDataSample, size: Sequence[int]) -> SegDataSample:
        """A sample with the truths of another, [1, H, W], at H x W = `size`, antialiased."""
        resized = SegDataSample()
        for name in SOFT_FIELDS:
            if name in sample:
                truth = sample.get(name).data[None].float()
                truth = F.interpolate(truth, tuple(size), mode='bilinear', antialias=True)[0]
                resized.set_field(PixelData(data=truth), name)
        return resized

    def _training_timesteps(
        self, batch_size: int, halves: int, device: torch.device
    ) -> list[int | Tensor]:
        """The steps to denoise at, each a number or [2B] with mask and edge of an image alike."""
        choice, num_steps = self.train_cfg['timesteps'], self.train_cfg['num_steps']
        if choice is None:
            return self.scheduler.timesteps(num_steps)
        candidates = torch.arange(self.scheduler.num_train_timesteps, device=device)
        if choice != 'uniform':
            candidates = candidates[list(choice)]
        drawn = torch.randint(len(candidates), (batch_size,), device=device)
        return [candidates[drawn].repeat(halves)]
