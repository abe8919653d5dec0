"""Stable Diffusion's weights in our models: to start training, or beside the released DiffDIS."""

import json
from pathlib import Path
from typing import Any

from mmengine.logging import print_log
from mmengine.model import update_init_info
from mmengine.registry import WEIGHT_INITIALIZERS
from torch import Tensor, nn

from .conversion import (
    FRESH,
    MID_BLOCK,
    Weights,
    check_settings,
    find_prompt,
    grow_unet,
    modernise_vae,
    rename_strictly,
    strip_prefix,
    to_prompt,
)
from .diffusers_folder import (
    empty_prompt,
    local_folder,
    read_scheduler,
    read_settings,
    read_weights,
    subfolder,
)
from .diffusers_names import UNET_NAMES, VAE_NAMES
from .loading import CheckpointError
from .lora import without_adapters

# Parts of our U-Net that Stable Diffusion's weights leave untrained: `FRESH`, and the convolution
# that is widened for the noisy latent.
UNTRAINED = ('backbone.bde.', 'backbone.swci.', 'backbone.conv_in.')


@WEIGHT_INITIALIZERS.register_module()
class StableDiffusionInit:
    """Initialises a model with Stable Diffusion: `init_cfg=dict(type='StableDiffusionInit', ...)`.

    It takes from a folder of SD-Turbo or SD 2.1

    - the U-Net: conv_in widened for image and noisy latent, mutual attention a copy of
      self-attention; BDE and SWCI stay as constructed, with SWCI's scale and shift at zero;
    - the VAE;
    - the embedding of the empty prompt, made by the text encoder;
    - the prediction type of the scheduler, which overrides the config's and is logged.

    A `VAEReconstructor` takes the VAE alone. A model without a scheduler needs none in the folder.

    Args:
        pretrained: The folder, or the id of a repository of the Hugging Face hub.
        prompt_embedding: File with the embedding of the empty prompt. `None` makes it with the
            folder's text encoder, which needs transformers.
        unet: Takes the U-Net and the prediction type. `False` takes the VAE and the prompt alone,
            for a U-Net from scratch.
    """

    def __init__(self, pretrained: str, prompt_embedding: str | None = None, unet: bool = True):
        self.pretrained = pretrained
        self.prompt_embedding = prompt_embedding
        self.unet = unet

    def __call__(self, model: nn.Module) -> None:
        """Loads the weights into `model`.

        Raises:
            FileNotFoundError: If the folder, or a part of it, does not exist or cannot be fetched.
            CheckpointError: If a weight of the U-Net or the VAE has no place in the model, or a
                weight of the model that DiffDIS does not add has no value; the message names them.
            ImportError: If the embedding has to be made and transformers is not installed.
        """
        base = local_folder(self.pretrained, '--cfg-options model.init_cfg.pretrained')
        initialised = own_initialisation(model)
        weights = {} if 'vae.' in initialised else load_vae(model, base)
        if hasattr(model, 'scheduler'):
            settings = read_scheduler(base)
            check_betas(model.scheduler, settings, f'the scheduler of {base}')
            if self.unet:
                model.scheduler.prediction_type = settings['prediction_type']
                print_log(f'{base} predicts {settings["prediction_type"]}', logger='current')
        if hasattr(model, 'backbone'):
            if self.unet:
                weights |= load_initial_unet(model, base)
            weights['prompt'] = load_prompt(model, base, self.prompt_embedding)
        missing = model.load_state_dict(weights, strict=False).missing_keys
        # `load_initial_unet` has checked the U-Net, if it was loaded.
        other = sorted(
            name
            for name in without_adapters(dict.fromkeys(missing))
            if UNET_NAMES.published_name(name) is None and not name.startswith(initialised)
        )
        if other:
            raise CheckpointError(f'{base} has no weights for {other} of the model')
        if hasattr(model, '_params_init_info'):
            update_init_info(model, init_info=f'{type(self).__name__}: {self.pretrained}')


def untrained_parts(init_cfg: dict | list[dict] | None) -> tuple[str, ...]:
    """Returns prefixes of the U-Net's parts that `StableDiffusionInit` leaves untrained.

    Args:
        init_cfg: A model's; empty for one that is not initialised by `StableDiffusionInit`.
    """
    for settings in init_cfg if isinstance(init_cfg, list) else [init_cfg or {}]:
        if settings.get('type') == StableDiffusionInit.__name__:
            return UNTRAINED if settings.get('unet', True) else ('backbone.', 'neck.')
    return ()


def own_initialisation(model: nn.Module) -> tuple[str, ...]:
    """Returns prefixes of the names of parts with an `init_cfg` of their own, e.g. TAESD's."""
    parts = model.named_modules()
    return tuple(f'{name}.' for name, part in parts if name and getattr(part, 'init_cfg', None))


def convert_released(
    model: nn.Module,
    config: str,
    unet: Path,
    base: Path,
    prompt_embedding: str | None = None,
) -> tuple[Weights, dict[str, str]]:
    """Returns the weights and the metadata of a checkpoint made of the released DiffDIS.

    Args:
        model: The model to fill, on any device; only its scheduler must have values.
        config: Path of its config, for metadata and messages.
        unet: As `path` of `load_released_unet`.
        base: Stable Diffusion folder with vae/ and scheduler/.
        prompt_embedding: File with the embedding of the empty prompt. `None` takes it from the
            U-Net's file, or else makes it with the folder's text encoder.

    Raises:
        FileNotFoundError: If a folder or file is missing.
        CheckpointError: If the weights, or the scheduler, are not those of the model.
        ImportError: If the embedding has to be made and transformers is not installed.
    """
    scheduler = read_scheduler(base)
    check_betas(model.scheduler, scheduler, f'the scheduler of {base}', others=('prediction_type',))
    # 1. U-Net and its mid block, the neck
    weights, prompt = load_released_unet(model, unet)
    # 2. VAE
    weights |= load_vae(model, base)
    # 3. prompt
    prompt_source = prompt_embedding or (unet if prompt is not None else base)
    if prompt is None or prompt_embedding:
        prompt = load_prompt(model, base, prompt_embedding)
    weights['prompt'] = prompt
    # 4. scheduler, and what the weights mean
    state = model.scheduler.state_dict()
    weights |= {f'scheduler.{name}': tensor for name, tensor in state.items()}
    weights |= {n: t for n, t in model.state_dict().items() if n.endswith('settings')}

    missing = sorted(set(model.state_dict()) - set(weights))
    if missing:
        raise CheckpointError(f'the model of {config} has more weights than DiffDIS: {missing}')
    sources = dict(unet=unet, base=base, prompt=prompt_source, config=config)
    metadata = dict(
        format='pt',
        scheduler=json.dumps(scheduler),
        scaling_factor=str(model.vae.scaling_factor),
        sources=json.dumps({name: Path(path).name for name, path in sources.items()}),
    )
    return weights, metadata


def load_vae(model: nn.Module, base: Path) -> Weights:
    """Returns the VAE of a Stable Diffusion folder under our names.

    Raises:
        FileNotFoundError: If the folder has no VAE.
        CheckpointError: If its weights or settings are not those of the model's VAE.
    """
    folder = subfolder(base, 'vae')
    settings = read_settings(folder)
    autoencoder = model.vae.autoencoder
    if settings:  # Stable Diffusion's own config.json lacks the factor and means diffusers' default
        settings.setdefault('scaling_factor', autoencoder.config.scaling_factor)
    expected = dict(
        scaling_factor=(model.vae.scaling_factor, 'model.vae.scaling_factor'),
        norm_num_groups=(autoencoder.config.norm_num_groups, 'model.vae.norm_num_groups'),
        act_fn=('silu', ''),
    )
    check_settings(settings, expected, str(folder / 'config.json'))
    weights = modernise_vae(read_weights(folder))
    return rename_strictly(weights, model.state_dict(), VAE_NAMES, str(folder))


def load_initial_unet(model: nn.Module, base: Path) -> Weights:
    """Returns the U-Net of a Stable Diffusion folder, extended to DiffDIS's, under our names.

    Raises:
        FileNotFoundError: If the folder has no U-Net.
        CheckpointError: If its weights or settings are not those of the model, apart from `FRESH`.
    """
    folder = subfolder(base, 'unet')
    check_unet_settings(model, folder)
    state = without_adapters(model.state_dict())
    shapes = {name: tensor.shape for name, tensor in UNET_NAMES.to_published(state).items()}
    weights = grow_unet(read_weights(folder), shapes)
    has_mid_block = any(name.startswith(MID_BLOCK) for name in shapes)  # not with neck=None
    unused = () if has_mid_block else (MID_BLOCK,)
    return rename_strictly(weights, state, UNET_NAMES, str(folder), fresh=FRESH, unused=unused)


def load_released_unet(model: nn.Module, path: Path) -> tuple[Weights, Tensor | None]:
    """Returns the released DiffDIS U-Net under our names, and the prompt embedding or `None`.

    Args:
        model: A model with exactly these weights, on any device.
        path: A folder with the U-Net or with `unet/`, or a file that it was repacked into.

    Raises:
        FileNotFoundError: If there is no such file or folder.
        CheckpointError: If its weights or settings are not those of the model.
    """
    path = path / 'unet' if (path / 'unet').is_dir() else path
    check_unet_settings(model, path)
    weights = read_weights(path)
    prompt_name = find_prompt(weights, str(path))
    embedding = weights.pop(prompt_name) if prompt_name else None
    renamed = rename_strictly(strip_prefix(weights), model.state_dict(), UNET_NAMES, str(path))
    if prompt_name:
        embedding = to_prompt(embedding, model.prompt, f'{path}, {prompt_name}')
    return renamed, embedding


def load_prompt(model: nn.Module, base: Path, file: str | Path | None = None) -> Tensor:
    """Returns the embedding [1, L, D] of the empty prompt.

    Args:
        model: The model whose buffer it fits.
        base: Stable Diffusion folder, whose text encoder makes the embedding without a file.
        file: File with the embedding.

    Raises:
        CheckpointError: If the file has other tensors as well, or L or D is not the model's.
    """
    if file is None:
        return to_prompt(empty_prompt(base), model.prompt, str(base / 'text_encoder'))
    weights = read_weights(file)
    name = next(iter(weights)) if len(weights) == 1 else find_prompt(weights, str(file))
    if name is None:
        raise CheckpointError(f'{file} has {len(weights)} tensors, expected the embedding alone')
    return to_prompt(weights[name], model.prompt, str(file))


def check_betas(
    scheduler: nn.Module, settings: dict[str, Any], source: str, others: tuple[str, ...] = ()
) -> None:
    """Raises CheckpointError unless a folder's scheduler has the betas of the model's.

    Args:
        scheduler: The model's.
        settings: As `read_scheduler` returns them.
        source: Name of the folder's scheduler, for the message.
        others: Further settings that must agree, such as 'prediction_type'.
    """
    names = ('num_train_timesteps', 'beta_start', 'beta_end', *others)
    expected = {name: (getattr(scheduler, name), f'model.scheduler.{name}') for name in names}
    check_settings(settings, expected, source)


def check_unet_settings(model: nn.Module, folder: Path) -> None:
    """Raises CheckpointError unless a U-Net's config.json, if any, agrees with the backbone."""
    settings = read_settings(folder)
    # In Stable Diffusion 2, attention_head_dim holds numbers of heads.
    heads = settings.get('num_attention_heads') or settings.get('attention_head_dim')
    if heads is not None:
        levels = len(settings.get('block_out_channels', model.backbone.down_blocks))
        settings['num_heads'] = heads if isinstance(heads, list) else [heads] * levels
    attending = [block for block in model.backbone.down_blocks if hasattr(block, 'attentions')]
    num_heads = [block.attentions[0].transformer_blocks[0].attn1.heads for block in attending]
    num_heads.append(model.backbone.neck_sizes['num_heads'])
    expected = dict(
        num_heads=(num_heads, 'model.backbone.num_heads'),
        norm_num_groups=(model.backbone.conv_norm_out.num_groups, 'model.backbone.norm_num_groups'),
        norm_eps=(model.backbone.conv_norm_out.eps, ''),
        act_fn=('silu', ''),
        flip_sin_to_cos=(True, ''),
        freq_shift=(0, ''),
    )
    check_settings(settings, expected, str(folder / 'config.json'))
