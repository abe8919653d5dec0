# DiffDIS at full size, from whole weights (docs/finetuning.md) on DATA/{im,gt}/.
_base_ = [
    '../_base_/models/diffdis_sd-turbo.py',
    '../_base_/datasets/own_1024x1024.py',
    '../_base_/schedules/schedule_finetune.py',
]

# What tools/model_converters/diffdis_to_mmseg.py made of the release, or your own.
load_from = 'pretrained/diffdis.safetensors'
model = dict(test_cfg=dict(val_loss=True))
