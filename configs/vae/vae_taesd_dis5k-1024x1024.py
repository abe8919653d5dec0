# Table 1 for TAESD: python tools/test.py configs/vae/vae_taesd_dis5k-1024x1024.py mmdiffdis://taesd
_base_ = './vae_sd-turbo_dis5k-1024x1024.py'

model = dict(vae=dict(_delete_=True, type='TinyAutoencoder'))
