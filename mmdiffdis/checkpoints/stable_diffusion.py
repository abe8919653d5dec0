"""Stable Diffusion's weights in our models: to start training, or beside the released DiffDIS."""

from pathlib import Path

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
    rename,
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


@WEIGHT_INITIALIZERS.register_module()
class StableDiffusionInit:
    """Starts a model from Stable Diffusion: `init_cfg=dict(type='StableDiffusionInit', ...)`.

    From a folder of SD-Turbo or SD 2.1 come

    - the U-Net, its conv_in widened for image and noisy latent, mutual attention a copy of the
      self-attention; BDE and SWCI stay as constructed, SWCI's scale and shift at zero;
    - the VAE;
    - the embedding of the empty prompt, from the text encoder;
    - the prediction type, from the scheduler. It overrules the config's, and the log says so.

    A :class:`VAEReconstructor` takes the VAE alone, a model without a scheduler neither this nor
    the folder's.

    Args:
        pretrained: The folder, or the id of a repository of the Hugging Face hub.
        prompt_embedding: A file with the embedding of the empty prompt; None: the folder's text
            encoder makes it, with transformers.
        unet: Whether the U-Net and the prediction type are taken as well; False: the VAE and the
            prompt alone, for a U-Net from scratch.
    """

    def __init__(self, pretrained: str, prompt_embedding: str | None = None, unet: bool = True):
        self.pretrained = pretrained
        self.prompt_embedding = prompt_embedding
        self.unet = unet

    def __call__(self, model: nn.Module) -> None:
        """Loads the weights into `model`.

        Raises:
            FileNotFoundError: The folder, or a part of it, does not exist or cannot be fetched.
            CheckpointError: Not everything in its U-Net and VAE has a place, or something of the
                model that is not of DiffDIS's own stays without weights; they are named.
            ImportError: The embedding has to be made, and transformers is not installed.
        """
        base = local_folder(self.pretrained, '--cfg-options model.init_cfg.pretrained')
        weights = load_vae(model, base)
        if hasattr(model, 'scheduler'):
            facts = read_scheduler(base)
            check_betas(model.scheduler, facts, f'the scheduler of {base}')
            if self.unet:
                model.scheduler.prediction_type = facts['prediction_type']
                print_log(f'{base} predicts {facts["prediction_type"]}', logger='current')
        if hasattr(model, 'backbone'):
            if self.unet:
                weights |= grow_into(model, base)
            weights['prompt'] = load_prompt(model, base, self.prompt_embedding)
        missing = model.load_state_dict(weights, strict=False).missing_keys
        # The U-Net's names were checked in `grow_into`, if it was loaded.
        unknown = sorted(name for name in missing if UNET_NAMES.published_name(name) is None)
        if unknown:
            raise CheckpointError(f'{base} has no weights for {unknown} of the model.')
        if hasattr(model, '_params_init_info'):
            update_init_info(model, init_info=f'{type(self).__name__}: {self.pretrained}')


def load_vae(model: nn.Module, base: Path) -> Weights:
    """The VAE of a Stable Diffusion folder, under our names."""
    folder = subfolder(base, 'vae')
    settings = read_settings(folder)
    autoencoder = model.vae.autoencoder
    if settings:  # Stable Diffusion's own does not say the factor; then it is diffusers' default
        settings.setdefault('scaling_factor', autoencoder.config.scaling_factor)
    expected = dict(
        scaling_factor=(model.vae.scaling_factor, 'model.vae.scaling_factor'),
        norm_num_groups=(autoencoder.config.norm_num_groups, 'model.vae.norm_num_groups'),
        act_fn=('silu', ''),
    )
    check_settings(settings, expected, str(folder / 'config.json'))
    weights = modernise_vae(read_weights(folder))
    return rename(weights, model.state_dict(), VAE_NAMES, str(folder))


def grow_into(model: nn.Module, base: Path) -> Weights:
    """The U-Net of a Stable Diffusion folder, grown to DiffDIS's, under our names."""
    folder = subfolder(base, 'unet')
    check_unet_settings(model, folder)
    state = model.state_dict()
    shapes = {name: tensor.shape for name, tensor in UNET_NAMES.to_published(state).items()}
    weights = grow_unet(read_weights(folder), shapes)
    unused = () if model.neck is not None else (MID_BLOCK,)
    return rename(weights, state, UNET_NAMES, str(folder), fresh=FRESH, unused=unused)


def load_released_unet(model: nn.Module, path: Path) -> tuple[Weights, Tensor | None]:
    """The released DiffDIS's U-Net under our names, and the prompt's embedding if it is with it.

    Args:
        model: Which has exactly these weights; on any device.
        path: A folder with the U-Net or with `unet/`, or a file that it was repacked into.
    """
    path = path / 'unet' if (path / 'unet').is_dir() else path
    check_unet_settings(model, path)
    weights = read_weights(path)
    name = find_prompt(weights, str(path))
    embedding = weights.pop(name) if name else None
    renamed = rename(strip_prefix(weights), model.state_dict(), UNET_NAMES, str(path))
    if name:
        embedding = to_prompt(embedding, model.prompt, f'{path}, {name}')
    return renamed, embedding


def load_prompt(model: nn.Module, base: Path, file: str | Path | None = None) -> Tensor:
    """The embedding of the empty prompt, [1, L, D]: that of a file, or made by the text encoder."""
    if file is None:
        return to_prompt(empty_prompt(base), model.prompt, str(base / 'text_encoder'))
    weights = read_weights(file)
    name = next(iter(weights)) if len(weights) == 1 else find_prompt(weights, str(file))
    if name is None:
        raise CheckpointError(f'{file} has {len(weights)} tensors, expected the embedding alone.')
    return to_prompt(weights[name], model.prompt, str(file))


def check_betas(
    scheduler: nn.Module, facts: dict, source: str, others: tuple[str, ...] = ()
) -> None:
    """Returns if the facts of a folder's scheduler include the betas of the model's."""
    names = ('num_train_timesteps', 'beta_start', 'beta_end', *others)
    expected = {name: (getattr(scheduler, name), f'model.scheduler.{name}') for name in names}
    check_settings(facts, expected, source)


def check_unet_settings(model: nn.Module, folder: Path) -> None:
    """Returns if a U-Net's config.json, where there is one, agrees with the model's backbone."""
    settings = read_settings(folder)
    # As everywhere in Stable Diffusion 2, attention_head_dim means numbers of heads.
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
