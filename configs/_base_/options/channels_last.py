# Weights in the channels-last memory format: faster convolutions in half precision on GPUs.
default_hooks = dict(channels_last=dict(type='ChannelsLastHook'))
