# Table 3, row 2: without CutMix, SWCI and DBIA, so that masks and edges do not interact.
_base_ = './diffdis_sd-turbo_wo-cutmix-swci_1xb4-90e_dis5k-1024x1024.py'

model = dict(neck=dict(interaction=None))
