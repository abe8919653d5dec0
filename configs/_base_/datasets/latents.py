# Pieces of a train_dataloader that reads latents of tools/dataset_converters/encode_latents.py.
# They are held in memory, so no workers are needed.
latent_loader = dict(num_workers=0, persistent_workers=False)
latents = dict(_delete_=True, type='LatentDataset')
