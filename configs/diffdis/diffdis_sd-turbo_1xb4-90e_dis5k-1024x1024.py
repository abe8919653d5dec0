# The paper's DiffDIS (its Table 2).
_base_ = [
    '../_base_/models/diffdis_sd-turbo.py',
    '../_base_/datasets/dis5k_1024x1024.py',
    '../_base_/schedules/schedule_90e.py',
    '../_base_/default_runtime.py',
]

# Training starts from SD-Turbo: a folder with unet/, vae/, scheduler/, text_encoder/ and tokenizer/,
# or a repository of the Hugging Face hub:
#   --cfg-options model.init_cfg.pretrained=stabilityai/sd-turbo
# To continue from a whole checkpoint (load_from=...) neither is needed: model.init_cfg=None.
model = dict(init_cfg=dict(type='StableDiffusionInit', pretrained='./pretrained/sd-turbo'))
