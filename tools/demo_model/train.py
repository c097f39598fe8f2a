# SPDX-License-Identifier: MIT
"""Trains the model. Seeded; checkpoints every 50 steps, and goes on from the last one.

    python train.py FOLDER [--steps 3000]

Three quarters of the steps train plain numbers, the rest numbers on the grid (model.py), so that the file's numbers are
those that were trained. Matrices are trained with Muon, which needs about half of the steps that AdamW does.
"""
import argparse
import json
import random
import time
from itertools import islice
from pathlib import Path

import torch
import torch.distributed as dist
import torch.nn.functional as F
from tokenizers import Tokenizer

import tokenizer as tok
from model import Model
from talk import training_text

PROCESSES = 2  # one a core, each with half of a step's conversations: better than two threads where others compute too
TOKENS_PER_STEP = 2048  # of each process
POOL = 1500  # conversations that are sorted by length together


def batches(tokenizer, seed):
    """Endless batches of whole documents of about one length: ids, and targets (-100: nothing to learn)."""
    source, rng = training_text(seed), random.Random(seed)
    while True:
        pool = sorted((tok.encode(tokenizer, document) for document in islice(source, POOL)), key=lambda d: len(d[0]))
        groups, group = [], []
        for document in pool:
            if group and (len(group) + 1) * len(document[0]) > TOKENS_PER_STEP:
                groups.append(group)
                group = []
            group.append(document)
        rng.shuffle(groups)
        for group in groups:
            length = max(len(ids) for ids, _ in group)
            ids = torch.full((len(group), length), tok.END)
            targets = torch.full((len(group), length), -100)
            for row, (tokens, said) in enumerate(group):
                ids[row, : len(tokens)] = torch.tensor(tokens)
                # What users say cannot be guessed and is not learned.
                targets[row, : len(tokens)] = torch.tensor([t if s else -100 for t, s in zip(tokens, said)])
            yield ids[:, :-1], targets[:, 1:]


class Muon(torch.optim.Optimizer):
    """Momentum whose steps are made orthogonal (Jordan et al. 2024), for matrices and stacks of them."""

    def __init__(self, parameters, lr, momentum=0.95, weight_decay=0.01):
        super().__init__(parameters, dict(lr=lr, momentum=momentum, weight_decay=weight_decay))

    @staticmethod
    def orthogonal(g):
        a, b, c = 3.4445, -4.7750, 2.0315
        x = (g / (g.norm(dim=(-2, -1), keepdim=True) + 1e-7)).bfloat16()
        if wide := x.shape[-2] > x.shape[-1]:
            x = x.mT
        for _ in range(5):
            s = x @ x.mT
            x = a * x + (b * s + c * s @ s) @ x
        return (x.mT if wide else x).float()

    @torch.no_grad()
    def step(self):
        """Each process computes every second update, and all get them."""
        parameters = [p for group in self.param_groups for p in group["params"]]
        rank, count = dist.get_rank(), dist.get_world_size()
        flat = torch.zeros(sum(p.numel() for p in parameters))
        parts = [part.view_as(p) for p, part in zip(parameters, flat.split([p.numel() for p in parameters]))]
        for index, p in enumerate(parameters):
            momentum = self.state[p].setdefault("momentum", torch.zeros_like(p))
            momentum.lerp_(p.grad, 1 - self.defaults["momentum"])
            if index % count == rank:
                parts[index].copy_(self.orthogonal(p.grad.lerp(momentum, self.defaults["momentum"])))
        dist.all_reduce(flat)
        lr = self.param_groups[0]["lr"]
        for p, update in zip(parameters, parts):
            p.mul_(1 - lr * self.defaults["weight_decay"])
            p.add_(update, alpha=-lr * max(1, p.shape[-2] / p.shape[-1]) ** 0.5)


def optimizers(model):
    matrices = [p for name, p in model.named_parameters() if p.ndim >= 2 and "embedding" not in name and "router" not in name]
    rest = [p for name, p in model.named_parameters() if p.ndim < 2 or "router" in name]
    return [Muon(matrices, lr=0.02),
            torch.optim.AdamW([{"params": [model.embedding.weight], "lr": 4e-3}, {"params": rest, "lr": 2e-3}],
                              betas=(0.9, 0.95), weight_decay=0.01)]


def loss_of(model, ids, targets):
    wanted = targets >= 0
    with torch.autocast("cpu", torch.bfloat16):
        logits, balance = model(ids, wanted)
    return F.cross_entropy(logits.float(), targets[wanted]), balance


def schedule(step, steps):
    """Up in 40 steps, level, and down to nearly nothing over the last 60 %."""
    return min(1, (step + 1) / 40, max(0.01, (steps - step) / (0.6 * steps)))


def average_gradients(parameters):
    flat = torch.cat([p.grad.flatten() for p in parameters])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for p, part in zip(parameters, flat.split([p.numel() for p in parameters])):
        p.grad.copy_(part.view_as(p))


def train(rank, folder, steps, seed=20):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder.resolve()}/rendezvous", rank=rank, world_size=PROCESSES)
    torch.manual_seed(seed)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    model = Model()
    parameters = list(model.parameters())
    both = optimizers(model)
    for optimizer in both:
        for group in optimizer.param_groups:
            group["initial_lr"] = group["lr"]
    start, checkpoint = 0, folder / "checkpoint.pt"
    source = batches(tokenizer, seed * 1000 + rank)
    if checkpoint.exists():
        saved = torch.load(checkpoint)
        model.load_state_dict(saved["model"])
        for optimizer, state in zip(both, saved["optimizers"]):
            optimizer.load_state_dict(state)
        start = saved["step"]
        for _ in range(start):
            next(source)
    tokens, began = 0, time.time()
    for step in range(start, steps):
        if step >= 0.75 * steps:
            model.snap_to_grid()
        for optimizer in both:
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * schedule(step, steps)
        ids, targets = next(source)
        loss, balance = loss_of(model, ids, targets)
        (loss + 0.02 * balance).backward()
        average_gradients(parameters)
        for optimizer in both:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        tokens += ids.numel() * PROCESSES
        if rank != 0:
            continue
        if step % 20 == 0:
            print(json.dumps({"step": step, "loss": round(loss.item(), 4), "balance": round(balance.item(), 3),
                              "tokens_per_s": round(tokens / (time.time() - began)), "s": round(time.time() - began)}), flush=True)
        if (step + 1) % 50 == 0 or step + 1 == steps:
            torch.save({"model": model.state_dict(), "optimizers": [o.state_dict() for o in both], "step": step + 1},
                       folder / "checkpoint.new")
            (folder / "checkpoint.new").rename(checkpoint)
    if rank == 0:
        torch.save(model.state_dict(), folder / "model.pt")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=3000)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    if not (arguments.folder / "tokenizer.json").exists():
        tok.train().save(str(arguments.folder / "tokenizer.json"))
    (arguments.folder / "rendezvous").unlink(missing_ok=True)
    torch.multiprocessing.spawn(train, (arguments.folder, arguments.steps), PROCESSES)
