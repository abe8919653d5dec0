# Table 3, row 3, and Table 5, row 1: without CutMix and scale-wise conditional injection.
_base_ = './diffdis_sd-turbo_wo-cutmix_1xb4-90e_dis5k-1024x1024.py'

model = dict(backbone=dict(swci=None))
