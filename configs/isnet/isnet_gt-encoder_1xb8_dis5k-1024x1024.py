# First stage of IS-Net's training. The second stage takes its best checkpoint:
#   python tools/train.py configs/isnet/isnet_1xb8_dis5k-1024x1024.py \
#       --cfg-options model.gt_encoder.init_cfg.checkpoint=FILE
_base_ = './isnet_1xb8_dis5k-1024x1024.py'

model = dict(
    _delete_=True,
    type='ISNetGTEncoder',
    data_preprocessor=_base_.data_preprocessor,
    width=64,
)
