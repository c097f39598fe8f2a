# SPDX-License-Identifier: MIT
"""Measures the trained model on conversations whose last question and answer the training set does not contain.

    python report.py FOLDER BROOK.gguf SPILLWAY >REPORT.md     and writes tokens.txt: how our tokenizer cuts some texts

Perplexity is PyTorch's, over the tokens of the last answers. Answers are those of the file, served by the program SPILLWAY, under
greedy decoding; "right" means word for word.
"""
import collections
import json
import math
import random
import re
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer

import stories
import talk
import tokenizer as tok
from model import Model

SEED, CONVERSATIONS, STORIES, SAMPLES = 77, 300, 30, 20


@torch.no_grad()
def answer_loss(model, tokenizer, messages):
    """Sum of losses over the last answer's tokens, its end included, and their number."""
    prompt, _ = tok.encode(tokenizer, messages[:-1])
    whole, _ = tok.encode(tokenizer, messages)
    logits, _ = model(torch.tensor([whole[:-1]]))
    targets = torch.tensor(whole[1:])
    each = F.cross_entropy(logits[0], targets, reduction="none")[len(prompt):]
    return each.sum().item(), len(each)


class Server:
    """`spillway serve` with the file, for as long as the block lasts."""

    def __init__(self, spillway, model):
        self.command = [spillway, "serve", model, "--port", "0"]
        self.name = Path(model).stem

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stderr=subprocess.PIPE, text=True)
        for line in self.process.stderr:
            if found := re.search(r"listening on (http://\S+)", line):
                self.address = found.group(1)
                threading.Thread(target=self.process.stderr.read, daemon=True).start()
                return self
        sys.exit("report.py: the server did not start")

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()

    def says(self, messages):
        body = {"model": self.name, "temperature": 0, "max_tokens": 250,
                "messages": [{"role": role, "content": text} for role, text in messages]}
        request = urllib.request.Request(f"{self.address}/v1/chat/completions", json.dumps(body).encode(),
                                         {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)["choices"][0]["message"]["content"]


def tokens_file(tokenizer, path):
    texts = ["Hello!", "What does Oda do?", "  two  spaces and\n\na blank line\n", "7 plus 15 is 22.", "don't, it's, we're, I'll",
             "naïve café", "Über den Fluß", "日本語のテキスト", "emoji 🦊 and 🌧️", "CamelCase snake_case 3.14159", "tab\there", "!?.,;:()[]{}",
             "x" * 40, "", " ", "\n", "a\r\nb", "Zoë's 100% (yes)", "1234567890"]
    with open(path, "w") as out:
        for text in texts:
            out.write(json.dumps([text, tokenizer.encode(text).ids]) + "\n")


def main(folder, file, spillway):
    torch.set_num_threads(1)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    model = Model()
    model.load_state_dict(torch.load(folder / "model.pt"))
    model.snap_to_grid()
    tokens_file(tokenizer, Path(__file__).parent / "tokens.txt")
    conversations = talk.test_conversations(SEED, CONVERSATIONS)
    losses = [answer_loss(model, tokenizer, messages) for messages, _ in conversations]
    loss, count = (sum(part) for part in zip(*losses))
    combinations = [full for full in stories.combinations() if talk.held_out("story", *full)]

    right, asked, held_stories = collections.Counter(), collections.Counter(), 0
    with Server(spillway, file) as server:
        for messages, turns in conversations:
            asked[turns[-1].key[0]] += 1
            right[turns[-1].key[0]] += server.says(messages[:-1]) == messages[-1][1]
        for full in random.Random(SEED).sample(combinations, STORIES):
            name = full[0] if full[0] in talk.PERSON else f"the {full[0]}"
            question = f"Tell me a story about {name} {stories.at(full[1])} in the {full[2]}."
            held_stories += server.says([("user", question)]) == stories.story(*full)
        samples = [(messages, server.says(messages[:-1])) for messages, _ in talk.test_conversations(SEED + 1, SAMPLES)]

    print("# What the model knows\n")
    print(f"Written by `report.py`, for {sum(p.numel() for p in model.parameters()):,} parameters.\n")
    print(f"- Perplexity of the {count} tokens of {CONVERSATIONS} answers that are held out: **{math.exp(loss / count):.3f}**")
    print(f"- Right, word for word: **{sum(right.values())} of {CONVERSATIONS}**; of {STORIES} held-out stories "
          f"**{held_stories}**\n")
    print("| kind of question | right | asked |\n|---|---|---|")
    for kind, number in asked.most_common():
        print(f"| {kind} | {right[kind]} | {number} |")
    print(f"\n## {SAMPLES} answers\n\nThe last answer of each conversation is the model's; where it is not the right one, that "
          "follows in brackets.\n")
    for messages, answer in samples:
        for role, text in messages[:-1]:
            print({"system": f"    ({text})", "user": f"    > {text}", "assistant": f"    {text}"}[role])
        print(f"    {answer}" + ("" if answer == messages[-1][1] else f"      [{messages[-1][1]}]") + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
