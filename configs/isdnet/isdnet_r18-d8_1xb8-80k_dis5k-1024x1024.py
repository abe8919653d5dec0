# The release's optimizer and schedule for DeepGlobe, with DIS5K's images and augmentation.
_base_ = [
    '../_base_/models/isdnet.py',
    '../_base_/datasets/dis5k_1024x1024.py',
    '../_base_/schedules/schedule_sgd-80k.py',
]

train_dataloader = dict(batch_size=8)
