# Fine-tunes a whole DiffDIS checkpoint at full size on DATA/{im,gt}/ (docs/finetuning.md).
_base_ = [
    '../_base_/models/diffdis_sd-turbo.py',
    '../_base_/datasets/own_1024x1024.py',
    '../_base_/schedules/schedule_finetune.py',
]

# The release, converted by tools/model_converters/diffdis_to_mmseg.py, or your own checkpoint.
load_from = 'pretrained/diffdis.safetensors'
model = dict(test_cfg=dict(val_loss=True))
tta_model = dict(min_max=True)
