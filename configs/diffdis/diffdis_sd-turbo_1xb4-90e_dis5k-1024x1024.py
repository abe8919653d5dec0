# The paper's DiffDIS (Table 2).
_base_ = [
    '../_base_/models/diffdis_sd-turbo.py',
    '../_base_/datasets/dis5k_1024x1024.py',
    '../_base_/schedules/schedule_90e.py',
]

# Training starts from SD-Turbo: a folder with unet/, vae/, scheduler/, text_encoder/ and
# tokenizer/, or a repository of the Hugging Face hub
# (model.init_cfg.pretrained=stabilityai/sd-turbo). A training that starts from a whole checkpoint
# (load_from=...) needs neither: model.init_cfg=None.
model = dict(init_cfg=dict(type='StableDiffusionInit', pretrained='./pretrained/sd-turbo'))
# The released test stretches each of its six passes to [0, 1].
tta_model = dict(min_max=True)
