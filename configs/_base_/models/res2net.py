# Res2Nets v1b 26w 4s (https://arxiv.org/abs/1904.01169) for baselines, starting from the published
# ImageNet weights; `res2net_small` is trained from scratch.
res2net_weights = 'https://shanghuagao.oss-cn-beijing.aliyuncs.com/res2net/'

res2net50 = dict(
    type='Res2Net',
    dilations=((1,) * 3, (1,) * 4, (1,) * 6, (1,) * 3),
    width=64,
    init_cfg=dict(
        type='Pretrained', checkpoint=res2net_weights + 'res2net50_v1b_26w_4s-3cf99910.pth'
    ),
)
# The same weights, with a larger field of view in the last two stages.
res2net50_dilated = {**res2net50, 'dilations': ((1,) * 3, (1,) * 4, (2,) * 6, (4, 8, 16))}
res2net_small = dict(type='Res2Net', dilations=((1,), (1,), (2,), (4,)), width=16, init_cfg=None)
