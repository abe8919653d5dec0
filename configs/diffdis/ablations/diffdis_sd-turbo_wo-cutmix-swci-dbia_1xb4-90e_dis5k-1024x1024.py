# Table 3, row 2: row 3 with SD's own mid block, in which mask and edge do not meet.
_base_ = './diffdis_sd-turbo_wo-cutmix-swci_1xb4-90e_dis5k-1024x1024.py'

model = dict(neck=dict(interaction=None))
