# Trains the neck and the U-Net's decoder; freezes the rest of the U-Net.
model = dict(
    frozen=[
        'backbone.conv_in',
        'backbone.time_embedding',
        'backbone.bde',
        'backbone.down_blocks',
        'backbone.swci',
    ]
)
