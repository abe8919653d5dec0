# Table 3, row 1, and Table 4, row 2: row 2 without edges, SD's U-Net as it is. With masks alone there
# are no halves to tell apart, so the batch-discriminative embedding is not built either.
_base_ = './diffdis_sd-turbo_wo-cutmix-swci-dbia_1xb4-90e_dis5k-1024x1024.py'

model = dict(edge=False)
