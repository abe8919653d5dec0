# Table 3, row 1, and Table 4, row 2: masks only. Without edges there is one half, so the model has
# no batch-discriminative embedding either.
_base_ = './diffdis_sd-turbo_wo-cutmix-swci-dbia_1xb4-90e_dis5k-1024x1024.py'

model = dict(edge=False)
