"""From the names and layouts of the released checkpoints to ours, and back."""

from ..layers.swin import SWIN_PREFIXES

_RECONSTRUCTION = {
    'conv_in.': 'squeeze.0.',
    'bn_in.': 'squeeze.1.',
    **{
        f'dec_att.{theirs}.{layer}.': f'aspp.branches.{branch}.{ours}.'
        for branch, theirs in enumerate(('aspp1', *(f'aspp_deforms.{i}' for i in range(3))))
        for layer, ours in {
            'atrous_conv.offset_conv': '0.offset',
            'atrous_conv.modulator_conv': '0.modulation',
            'atrous_conv.regular_conv': '0.conv',
            'bn': '1',
        }.items()
    },
    'dec_att.global_avg_pool.': 'aspp.pooled.',
    'dec_att.conv1.': 'aspp.fuse.0.',
    'dec_att.bn1.': 'aspp.fuse.1.',
    'conv_out.': 'expand.0.',
    'bn_out.': 'expand.1.',
}
_INWARD = {'conv1.': 'convs.0.', 'conv_out.': 'convs.1.'}
# The release counts the decoder's levels from fine (1) to coarse (4), and the images' patches (ipt)
# from 1, whole pixels, to 5.
_COARSE_TO_FINE = tuple(enumerate((4, 3, 2)))


def _below(theirs: str, ours: str, table: dict[str, str]) -> dict[str, str]:
    """The table's rows with what stands before their names."""
    return {theirs + row: ours + name for row, name in table.items()}


PREFIXES = {
    **_below('squeeze_module.0.', 'network.localise.', _RECONSTRUCTION),
    **{
        theirs: ours
        for i, n in _COARSE_TO_FINE
        for theirs, ours in {
            **_below(f'decoder.ipt_blk{n + 1}.', f'network.levels.{i}.inward.', _INWARD),
            **_below(
                f'decoder.decoder_block{n}.', f'network.levels.{i}.reconstruct.', _RECONSTRUCTION
            ),
            f'decoder.conv_ms_spvn_{n}.': f'network.levels.{i}.mask.',
            f'decoder.gdt_convs_{n}.': f'network.levels.{i}.outward.features.',
            f'decoder.gdt_convs_pred_{n}.0.': f'network.levels.{i}.outward.gradient.',
            f'decoder.gdt_convs_attn_{n}.0.': f'network.levels.{i}.outward.attention.',
            f'decoder.lateral_block{n}.conv.': f'network.laterals.{i}.',
        }.items()
    },
    **_below('decoder.ipt_blk2.', 'network.finest_inward.', _INWARD),
    **_below('decoder.decoder_block1.', 'network.finest.', _RECONSTRUCTION),
    **_below('decoder.ipt_blk1.', 'network.pixel_inward.', _INWARD),
    'decoder.conv_out1.0.': 'network.mask.',
    **_below('bb.', 'network.backbone.', SWIN_PREFIXES),
    '': 'network.',
}
