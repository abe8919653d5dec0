# The whole method at a size that two cores of a CPU train from pictures.
_base_ = [
    '../_base_/models/diffdis_tiny.py',
    '../_base_/datasets/synthetic-dis_128x128.py',
    '../_base_/schedules/schedule_1k2.py',
]
