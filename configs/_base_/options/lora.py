# Adapters of the U-Net's attention and convolutions alone are trained (`pip install mmdiffdis[lora]`).
model = dict(
    lora=dict(targets=['to_q', 'to_k', 'to_v', 'to_out.0', 'conv1', 'conv2'], rank=16, alpha=16)
)
# They start at zero, and take ten times the learning rate of fine-tuning all weights.
optim_wrapper = dict(optimizer=dict(lr=1e-4))
