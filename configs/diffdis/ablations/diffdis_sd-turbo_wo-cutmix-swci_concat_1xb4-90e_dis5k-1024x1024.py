# Table 5, row 2: both halves attend to the keys and values of both, as in GeoWizard.
_base_ = './diffdis_sd-turbo_wo-cutmix-swci_1xb4-90e_dis5k-1024x1024.py'

model = dict(neck=dict(interaction='concat'))
