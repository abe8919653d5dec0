# Trains adapters of the U-Net's attention and convolutions only (`pip install 'mmdiffdis[lora]'`).
model = dict(
    lora=dict(targets=['to_q', 'to_k', 'to_v', 'to_out.0', 'conv1', 'conv2'], rank=16, alpha=16)
)
# Adapters start at zero and take ten times the learning rate of full fine-tuning.
optim_wrapper = dict(optimizer=dict(lr=1e-4))
