"""Noise schedule: from noise to the clean latent in one step (paper, Eqn. 4) or several."""

from collections.abc import Sequence

import torch
from diffusers.schedulers.scheduling_ddim import rescale_zero_terminal_snr
from mmengine.logging import print_log
from mmseg.registry import MODELS
from torch import Tensor, nn

from ..settings import store_settings

PREDICTION_TYPES = ('epsilon', 'v_prediction', 'sample')


@MODELS.register_module()
class OneStepScheduler(nn.Module):
    """Noise schedule of Stable Diffusion and steps along it.

    At the last step, sqrt(abar_T) is 0.068: an error in a predicted epsilon is multiplied by 14.6
    in the clean latent. All arithmetic here is therefore float32, for networks in any precision.

    The prediction type and the schedule decide what the same weights mean, so a checkpoint stores
    them (as buffers). Loading a checkpoint sets the prediction type, and refuses another schedule;
    weights without them keep the config's.

    Args:
        num_train_timesteps: T, number of steps.
        beta_start: First beta of the scaled-linear schedule.
        beta_end: Last beta.
        prediction_type: Meaning of the network's output: 'epsilon' (SD-Turbo, SD 2.1-base),
            'v_prediction' (SD 2.1 at 768 px) or 'sample' (the clean latent itself).
        zero_terminal_snr: Rescale the betas so that the last step is pure noise (Lin et al., Common
            Diffusion Noise Schedules and Sample Steps are Flawed, WACV 2024, Alg. 1). Otherwise the
            noisy latent of training still contains 0.068 of the clean one, which a model trained
            from scratch learns to read and misses at inference, where the noise is pure.

    Raises:
        ValueError: If `prediction_type` is unknown, or 'epsilon' with `zero_terminal_snr`: with
            pure noise, epsilon does not determine the clean latent.
    """

    def __init__(
        self,
        num_train_timesteps: int = 1000,
        beta_start: float = 0.00085,
        beta_end: float = 0.012,
        prediction_type: str = 'epsilon',
        zero_terminal_snr: bool = False,
    ):
        super().__init__()
        self.zero_terminal_snr = zero_terminal_snr
        self.num_train_timesteps = num_train_timesteps
        self.beta_start, self.beta_end = beta_start, beta_end
        self.register_buffer('prediction', torch.tensor(0))  # an index of PREDICTION_TYPES
        self.prediction_type = prediction_type
        store_settings(
            self,
            num_train_timesteps=num_train_timesteps,
            beta_start=beta_start,
            beta_end=beta_end,
            zero_terminal_snr=zero_terminal_snr,
        )
        betas = torch.linspace(beta_start**0.5, beta_end**0.5, num_train_timesteps) ** 2
        if zero_terminal_snr:
            betas = rescale_zero_terminal_snr(betas)
        alphas_cumprod = (1 - betas).cumprod(0)
        self.register_buffer('signal', alphas_cumprod.sqrt(), persistent=False)
        self.register_buffer('sigma', (1 - alphas_cumprod).sqrt(), persistent=False)

    @property
    def prediction_type(self) -> str:
        """Meaning of the network's output: one of `PREDICTION_TYPES`."""
        return self._prediction_type  # reading the buffer would wait for the GPU

    @prediction_type.setter
    def prediction_type(self, name: str) -> None:
        if name not in PREDICTION_TYPES:
            raise ValueError(
                f'prediction_type={name!r}: expected one of {PREDICTION_TYPES}; '
                "read it from the checkpoint's scheduler_config.json"
            )
        if name == 'epsilon' and self.zero_terminal_snr:
            raise ValueError(
                "prediction_type='epsilon' with zero_terminal_snr=True: pure noise at the last "
                "step leaves no clean latent to solve for; use 'v_prediction' or 'sample'"
            )
        self._prediction_type = name
        self.prediction.fill_(PREDICTION_TYPES.index(name))

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args) -> None:
        stored = state_dict.setdefault(f'{prefix}prediction', self.prediction)
        if not stored.is_meta and int(stored) != PREDICTION_TYPES.index(self.prediction_type):
            name = PREDICTION_TYPES[int(stored)]
            print_log(
                f'the checkpoint predicts {name}, not {self.prediction_type} as the config says: '
                f'prediction_type={name} from here on',
                logger='current',
            )
            self.prediction_type = name
        super()._load_from_state_dict(state_dict, prefix, *args)

    def timesteps(self, num_steps: int = 1) -> list[int]:
        """Returns `num_steps` evenly spaced steps from the last one down ("trailing").

        Raises:
            ValueError: If `num_steps` is not in 1..T.

        Example:
            >>> OneStepScheduler().timesteps(1), OneStepScheduler().timesteps(2)
            ([999], [999, 499])
        """
        if not isinstance(num_steps, int) or not 1 <= num_steps <= self.num_train_timesteps:
            raise ValueError(
                f'num_steps={num_steps!r}: expected a number from 1 to {self.num_train_timesteps}'
            )
        stride = self.num_train_timesteps / num_steps
        return [round(self.num_train_timesteps - i * stride) - 1 for i in range(num_steps)]

    def check_training(self, timesteps: Sequence[int] | str | None, num_steps: int) -> None:
        """Raises ValueError unless `training_timesteps` can draw from its arguments."""
        self.timesteps(num_steps)
        if timesteps is None or timesteps == 'uniform':
            valid = True
        else:
            last = self.num_train_timesteps - 1
            valid = (
                isinstance(timesteps, Sequence)
                and not isinstance(timesteps, str)
                and len(timesteps) > 0
                and all(isinstance(t, int) and 0 <= t <= last for t in timesteps)
            )
        if not valid:
            raise ValueError(
                f"train_cfg.timesteps={timesteps!r}: expected None, 'uniform' or a list of numbers "
                f'from 0 to {self.num_train_timesteps - 1}'
            )
        if timesteps is not None and num_steps != 1:
            raise ValueError(
                f'train_cfg.timesteps={timesteps!r} with num_steps={num_steps}: a drawn timestep '
                'is denoised in one step; expected num_steps=1, or timesteps=None for fixed steps'
            )

    def training_timesteps(
        self,
        timesteps: Sequence[int] | str | None,
        num_steps: int,
        batch_size: int,
        num_halves: int,
    ) -> list[int | Tensor]:
        """Returns the steps to denoise at in training, each a number or [num_halves * B].

        Args:
            timesteps: None: `num_steps` fixed steps; a list: one of these is drawn per image;
                'uniform': any step is drawn per image. Mask and edge of an image share it.
            num_steps: Number of fixed steps.
            batch_size: B.
            num_halves: 2 for mask and edge.
        """
        if timesteps is None:
            return self.timesteps(num_steps)
        device = self.signal.device
        candidates = torch.arange(self.num_train_timesteps, device=device)
        if timesteps != 'uniform':
            candidates = candidates[list(timesteps)]
        drawn = torch.randint(len(candidates), (batch_size,), device=device)
        return [candidates[drawn].repeat(num_halves)]

    def signal_and_noise(self, timesteps: int | Sequence[int] | Tensor) -> tuple[Tensor, Tensor]:
        """Returns sqrt(abar_t) and sqrt(1 - abar_t), broadcastable to [N, C, h, w]."""
        signal, sigma = self.signal[timesteps], self.sigma[timesteps]
        return signal.reshape(-1, 1, 1, 1), sigma.reshape(-1, 1, 1, 1)

    def add_noise(self, clean: Tensor, noise: Tensor, timesteps: int | Tensor) -> Tensor:
        """Returns `sqrt(abar_t) z_0 + sqrt(1 - abar_t) noise` (Eqn. 1), [N, C, h, w] float32."""
        signal, sigma = self.signal_and_noise(timesteps)
        return signal * clean.float() + sigma * noise.float()

    def to_clean(self, noisy: Tensor, output: Tensor, timesteps: int | Tensor) -> Tensor:
        """Returns the clean latent of the network's `output` (Eqn. 4), [N, C, h, w] float32."""
        signal, sigma = self.signal_and_noise(timesteps)
        noisy, output = noisy.float(), output.float()
        if self.prediction_type == 'epsilon':
            return (noisy - sigma * output) / signal
        if self.prediction_type == 'v_prediction':
            return signal * noisy - sigma * output
        return output

    def step(self, noisy: Tensor, clean: Tensor, timestep: int, next_timestep: int) -> Tensor:
        """Returns the latent at `next_timestep` by the DDIM step (eta = 0), float32."""
        signal, sigma = self.signal_and_noise(timestep)
        noise = (noisy.float() - signal * clean.float()) / sigma
        return self.add_noise(clean, noise, next_timestep)
