"""Weights of TAESD, the tiny autoencoder of Stable Diffusion's latents, in our models."""

from pathlib import Path

from mmengine.logging import print_log
from mmengine.model import update_init_info
from mmengine.registry import WEIGHT_INITIALIZERS
from mmengine.runner import CheckpointLoader
from torch import Tensor, nn

from .diffusers_folder import read_weights
from .loading import SCHEME, CheckpointError

SHIPPED = f'{SCHEME}taesd'
# The author's files number the modules of one sequence; the decoder's begins with the limiting of
# latents, which diffusers has no module for.
_FIRST_MODULE = dict(encoder=0, decoder=1)
_OUTPUT_SCALE = 10.0  # logits per unit of TAESD's grey level: 0 and 1 become sigmoid(-5) and (5)


def read_taesd(path: str | Path) -> dict[str, Tensor]:
    """Returns TAESD's weights under the names of `TinyAutoencoder`.

    Args:
        path: 'mmdiffdis://taesd' or another checkpoint of ours; a folder in diffusers' layout, or
            one with the author's `taesd_encoder` and `taesd_decoder` (.safetensors or .pth).

    Raises:
        FileNotFoundError: If there are no such files.
        CheckpointError: If the names are not TAESD's.
    """
    if str(path).startswith(SCHEME) or Path(path).is_file():
        weights = CheckpointLoader.load_checkpoint(str(path), 'cpu')['state_dict']
        weights = {name.removeprefix('vae.'): tensor for name, tensor in weights.items()}
    elif files := _authors_files(Path(path)):
        weights = {
            f'autoencoder.{part}.layers.{_shift(name, _FIRST_MODULE[part])}': tensor
            for part, file in files.items()
            for name, tensor in read_weights(file).items()
        }
    else:
        weights = {f'autoencoder.{name}': w for name, w in read_weights(Path(path)).items()}
    unknown = [
        name
        for name in weights
        if not name.startswith(('autoencoder.encoder.layers.', 'autoencoder.decoder.layers.'))
    ]
    if unknown or not weights:
        raise CheckpointError(
            f"{path} is not TAESD: got {sorted(unknown)[:3]}, expected 'encoder.layers.0.weight', "
            '..., as diffusers names its AutoencoderTiny'
        )
    return weights


def _authors_files(folder: Path) -> dict[str, Path]:
    """Returns the author's encoder and decoder files in a folder, {} if one is missing."""
    files = {
        part: file
        for part in _FIRST_MODULE
        for suffix in ('.pth', '.safetensors')
        if (file := folder / f'taesd_{part}{suffix}').is_file()
    }
    return files if len(files) == len(_FIRST_MODULE) else {}


def _shift(name: str, first: int) -> str:
    number, _, rest = name.partition('.')
    return f'{int(number) - first}.{rest}'


def to_mask_decoder(weights: dict[str, Tensor], decoder: nn.Module) -> dict[str, Tensor]:
    """Returns the weights of TAESD's decoder under the names of a `MaskDecoder`.

    The three output channels become their mean, scaled to a logit: the probability of a map is then
    near TAESD's grey level. What TAESD lacks, the image skips, keeps its values.

    Raises:
        CheckpointError: If the decoders have different numbers of blocks.
    """
    names = _names_in_order(decoder)
    prefix = 'autoencoder.decoder.layers.'
    numbers = sorted({int(n.removeprefix(prefix).split('.')[0]) for n in weights if prefix in n})
    if len(numbers) != len(names):
        raise CheckpointError(
            f'TAESD has {len(numbers)} decoder modules with weights, the MaskDecoder {len(names)}: '
            'expected the same num_blocks'
        )
    places = dict(zip(numbers, names, strict=True))
    renamed = {}
    for name, tensor in weights.items():
        if name.startswith(prefix):
            number, _, rest = name.removeprefix(prefix).partition('.')
            renamed[f'{places[int(number)]}.{rest}'] = tensor.float()
    weight, bias = renamed['conv_out.weight'], renamed['conv_out.bias']
    renamed['conv_out.weight'] = _OUTPUT_SCALE * weight.mean(0, keepdim=True)
    renamed['conv_out.bias'] = _OUTPUT_SCALE * (bias.mean(0, keepdim=True) - 0.5)
    return renamed


def _names_in_order(decoder: nn.Module) -> list[str]:
    """Returns the names of a `MaskDecoder`'s modules in TAESD's order."""
    names = ['conv_in', *(f'levels.0.{i}' for i in range(len(decoder.levels[0])))]
    for level in range(1, len(decoder.levels)):
        names.append(f'upsamples.{level - 1}.1')
        names += [f'levels.{level}.{i}' for i in range(len(decoder.levels[level]))]
    return [*names, 'conv_out']


@WEIGHT_INITIALIZERS.register_module()
class TAESDInit:
    """Starts a `TinyAutoencoder` or a `MaskDecoder` from TAESD's weights.

    Args:
        pretrained: As of `read_taesd`.
    """

    def __init__(self, pretrained: str = SHIPPED):
        self.pretrained = pretrained

    def __call__(self, module: nn.Module) -> None:
        """Loads the weights into `module`.

        Raises:
            CheckpointError: If names or shapes do not fit.
        """
        weights = read_taesd(self.pretrained)
        own = module.state_dict()
        if not hasattr(module, 'autoencoder'):
            weights = {
                **{name: tensor for name, tensor in own.items() if name.startswith('skips.')},
                **to_mask_decoder(weights, module),
            }
        try:
            module.load_state_dict(weights)
        except RuntimeError as error:
            raise CheckpointError(f'{self.pretrained} does not fit: {error}') from error
        print_log(f'weights of TAESD from {self.pretrained}', logger='current')
        if hasattr(module, '_params_init_info'):
            update_init_info(module, init_info=f'{type(self).__name__}: {self.pretrained}')
