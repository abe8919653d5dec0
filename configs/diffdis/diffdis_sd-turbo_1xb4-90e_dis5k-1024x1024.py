# The paper's DiffDIS (its Table 2).
_base_ = [
    '../_base_/models/diffdis_sd-turbo.py',
    '../_base_/datasets/dis5k_1024x1024.py',
    '../_base_/schedules/schedule_90e.py',
    '../_base_/default_runtime.py',
]
