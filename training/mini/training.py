"""What the stages share: wall-clock budgets, learning rates, averaged weights, checkpoints."""

import copy
import math
import time
from pathlib import Path

import torch

from .compat import DEVICE, adam, say
from .files import Curve, plot_curve, read_safetensors, write_safetensors

LICENSE = "Apache-2.0"


class Budget:
    """Seconds that a stage has; its learning rate is a function of the share that is spent."""

    def __init__(self, seconds):
        self.start, self.seconds = time.time(), seconds

    def spent(self):
        return time.time() - self.start

    def share(self):
        return min(self.spent() / self.seconds, 1.0)

    def over(self):
        return self.spent() >= self.seconds


def learning_rate(peak, step, share, warm_up=200, last=0.04):
    """Linear warm-up over steps, then half a cosine over the budget down to `last` of the peak."""
    return peak * min((step + 1) / warm_up, 1.0) * (last + (1 - last) * (1 + math.cos(math.pi * share)) / 2)


class Average:
    """Exponential moving average of a module's weights, quick to follow in the beginning."""

    def __init__(self, module, decay=0.999):
        self.source, self.decay, self.steps = module, decay, 0
        self.module = copy.deepcopy(module).eval().requires_grad_(False)
        self._own, self._theirs = list(self.module.parameters()), list(module.parameters())

    @torch.no_grad()
    def update(self):
        self.steps += 1
        keep = min(self.decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_mul_(self._own, keep)
        torch._foreach_add_(self._own, [p.detach() for p in self._theirs], alpha=1 - keep)


class Trainer:
    """One module's optimiser, average and loss curve."""

    def __init__(self, name, module, out, budget, peak, decay=0.999, columns=("loss",)):
        self.name, self.module, self.budget, self.peak = name, module, budget, peak
        self.parameters = [p for p in module.parameters() if p.requires_grad]
        self.optimizer = adam(self.parameters, peak, betas=(0.9, 0.99), weight_decay=0.01)
        self.average = Average(module, decay)
        self.step, self.rate, self.last_loss = 0, 0.0, math.nan
        self.curve = Curve(Path(out) / "curves" / f"{name}.csv", ("step", "seconds", "rate", *columns))
        self._sums, self._count, self._shown = None, 0, time.time()

    def go(self, loss, *figures):
        """One step downhill; the figures (tensors) are averaged between lines of the curve."""
        self.rate = learning_rate(self.peak, self.step, self.budget.share())
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)  # before the next way forward, which may use the gradients' memory again
        self.average.update()
        self.step += 1
        values = torch.stack([loss.detach().float(), *(f.detach().float() for f in figures)])
        self._sums = values if self._sums is None else self._sums + values
        self._count += 1
        if time.time() - self._shown > 5 or self.step == 1:
            self.show()

    def show(self):
        if not self._count:
            return
        means = (self._sums / self._count).tolist()
        self.last_loss = means[0]
        self.curve.add(self.step, self.budget.spent(), self.rate, *means)
        say(f"{self.name} step {self.step} {self.budget.spent():.0f}s rate {self.rate:.2e} " + " ".join(f"{m:.5f}" for m in means))
        self._sums, self._count, self._shown = None, 0, time.time()

    def finish(self):
        self.show()
        plot_curve(self.curve.path, self.curve.path.with_suffix(".png"), y=self.curve.columns[3])


def load_state(folder, name):
    """The checkpoint of a stage: (tensors, metadata), or None."""
    path = Path(folder) / f"{name}.safetensors"
    return read_safetensors(path) if path.exists() else None


def save_state(folder, name, modules, metadata, previous=None):
    """modules: prefix → module or tensors. Averaged weights as f16, small enough to travel. previous: metadata of the
    checkpoint that this run continued: its steps, seconds and pictures are added."""
    tensors = {}
    for prefix, module in modules.items():
        for key, value in (module if isinstance(module, dict) else module.state_dict()).items():
            tensors[prefix + key] = value.detach().to("cpu", torch.float16)
    metadata = dict(metadata)
    for key in ("steps", "seconds"):
        metadata[key] = round(float(metadata[key]) + float((previous or {}).get(key, 0)))
    metadata["license"] = LICENSE
    write_safetensors(Path(folder) / f"{name}.safetensors", tensors, metadata)
    say(f"saved {name}: {sum(t.numel() for t in tensors.values()) / 1e6:.2f} M weights", metadata)


class Regularly:
    """True once every `seconds`."""

    def __init__(self, seconds):
        self.seconds, self._last = seconds, time.time()

    def due(self):
        if time.time() - self._last < self.seconds:
            return False
        self._last = time.time()
        return True


def wait_for(folder, name, seconds):
    """Waits until another process has written the checkpoint with `done` in its metadata."""
    end = time.time() + max(seconds, 120)
    while time.time() < end:
        state = load_state(folder, name)
        if state is not None and state[1].get("done") == "1":
            return state
        time.sleep(1)
    raise SystemExit(f"{name}.safetensors did not come in time")


class Seeds:
    """Consecutive seeds of creatures never seen before."""

    def __init__(self, begin):
        self.next = int(begin)

    def take(self, count):
        self.next += count
        return torch.arange(self.next - count, self.next, device=DEVICE)
