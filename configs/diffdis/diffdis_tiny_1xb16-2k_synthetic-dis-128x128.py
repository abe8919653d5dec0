# The whole method at a size that a CPU trains in half an hour; the shipped mmdiffdis://diffdis_tiny.
_base_ = [
    '../_base_/models/diffdis_tiny.py',
    '../_base_/datasets/synthetic-dis_128x128.py',
    '../_base_/schedules/schedule_2k.py',
]
