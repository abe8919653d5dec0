"""Hook that refuses latents of another autoencoder than that of the model."""

import logging

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from mmseg.registry import HOOKS

from ..checkpoints import CheckpointError
from ..datasets.latents import VAE_KEY, LatentDataset, encoder_hash
from .run_record_hook import inner_datasets


@HOOKS.register_module()
class LatentsHook(Hook):
    """Compares the autoencoder of a training's latents with the model's, before it trains."""

    def before_train(self, runner: Runner) -> None:
        """Compares them.

        Raises:
            CheckpointError: If a `LatentDataset` was encoded by another autoencoder.
        """
        sets = [
            dataset
            for dataset in inner_datasets(runner.train_dataloader.dataset)
            if isinstance(dataset, LatentDataset)
        ]
        if not sets:
            return
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        expected = encoder_hash(model.vae)
        for dataset in sets:
            found = dataset.metainfo.get(VAE_KEY)
            if found is None:
                print_log(
                    f'{dataset.latent_file} does not say which autoencoder encoded it; to be sure, '
                    'write it again with tools/dataset_converters/encode_latents.py',
                    logger='current',
                    level=logging.WARNING,
                )
            elif found != expected:
                raise CheckpointError(
                    f'{dataset.latent_file} was encoded by another autoencoder (hash {found}) than '
                    f"the model's ({expected}): expected latents that "
                    'tools/dataset_converters/encode_latents.py makes with the load_from and the '
                    'vae of this config'
                )
