# Table 3, row 4: without CutMix.
_base_ = '../diffdis_sd-turbo_1xb4-90e_dis5k-1024x1024.py'

model = dict(data_preprocessor=dict(cutmix=None))
