# Of the U-Net, the neck and the decoder alone are trained.
model = dict(
    frozen=[
        'backbone.conv_in',
        'backbone.time_embedding',
        'backbone.bde',
        'backbone.down_blocks',
        'backbone.swci',
    ]
)
