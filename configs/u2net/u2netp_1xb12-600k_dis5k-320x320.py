# U2-Net-p, the small version; mmdiffdis://u2netp has its published weights.
_base_ = './u2net_1xb12-600k_dis5k-320x320.py'

model = dict(light=True)
