# Scalars and panels for TensorBoard as well (pip install 'mmdiffdis[train]'). A config with this
# file among its bases writes them with: visualizer = dict(vis_backends=_base_.vis_backends)
vis_backends = [dict(type='LocalVisBackend'), dict(type='TensorboardVisBackend')]
