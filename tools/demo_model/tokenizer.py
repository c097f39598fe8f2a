# SPDX-License-Identifier: MIT
"""Our tokenizer: byte-level BPE as GPT-2 cuts text, 2048 tokens, trained on the valley's own text.

    python tokenizer.py OUT.json
"""
import sys
from itertools import islice

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from talk import training_text

SPECIAL = ["<|start|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>"]
TOKENS = 2048
START, END = 0, 1
ROLE = {"system": 2, "user": 3, "assistant": 4}

# Text and special tokens of a conversation; chat_template() says the same in Jinja.
TEMPLATE = ("{{ bos_token }}{% for message in messages %}{{ '<|' + message['role'] + '|>' }}{{ message['content'] | trim }}"
            "{{ '<|end|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}")


def train(documents=40000, seed=20):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=TOKENS, special_tokens=SPECIAL, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    texts = (document if isinstance(document, str) else "\n".join(text for _, text in document)
             for document in islice(training_text(seed), documents))
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def encode(tokenizer, document):
    """Token ids and, for each, whether the model is to say it: what users say is not its business."""
    if isinstance(document, str):
        ids = [START] + tokenizer.encode(document).ids + [END]
        return ids, [False] + [True] * (len(ids) - 1)
    ids, said = [START], [False]
    for role, text in document:
        body = tokenizer.encode(text).ids + [END]
        ids += [ROLE[role]] + body
        said += [False] + [role == "assistant"] * len(body)
    return ids, said


if __name__ == "__main__":
    train().save(sys.argv[1])
