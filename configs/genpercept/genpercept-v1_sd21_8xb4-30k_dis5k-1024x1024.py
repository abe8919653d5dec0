# The first release's inference: the prompt is padded to 77 tokens, each channel is clipped. Its
# training is not published; the schedule is the second release's.
_base_ = './genpercept_sd21_8xb4-30k_dis5k-1024x1024.py'

model = dict(
    prompt_tokens=77,
    clip_channels=True,
    init_cfg=dict(prompt_embedding='./pretrained/empty_text_embed.safetensors'),
)
