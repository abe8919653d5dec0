# The whole method at a size that a CPU trains in an hour; the shipped mmdiffdis://diffdis_tiny.
_base_ = [
    '../_base_/models/diffdis_tiny.py',
    '../_base_/datasets/synthetic-dis_256x256.py',
    '../_base_/schedules/schedule_3k.py',
]
