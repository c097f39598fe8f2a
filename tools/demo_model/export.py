# SPDX-License-Identifier: MIT
"""Writes the trained model as GGUF.

    python export.py FOLDER OUT.gguf

Matrices become q4_0 and the table of tokens q8_0. Both hold the trained numbers exactly (model.py, grid_parts), and so do
q4_K, q5_K, q6_K, q8_0 and the floats, which is what lets spillway-inflate write any of them.
"""
import sys
from pathlib import Path

import gguf
import numpy as np
import torch
from tokenizers import Tokenizer

import tokenizer as tok
from model import Model, Weight, grid_parts

NAMES = {"attention.q": "attn_q", "attention.k": "attn_k", "attention.v": "attn_v", "attention.o": "attn_output",
         "attention_norm": "attn_norm", "experts_norm": "ffn_norm", "experts.gate": "ffn_gate_exps",
         "experts.up": "ffn_up_exps", "experts.down": "ffn_down_exps", "experts.router": "ffn_gate_inp"}


def blocks_of(weight, levels):
    """q4_0 or q8_0 blocks, bit for bit what the grid says: [..., row, bytes]"""
    scale, multiples = (part.numpy() for part in grid_parts(weight, levels))
    half = scale.astype(np.float16)
    assert (half.astype(np.float32) == scale).all(), "a scale is no half"
    if levels > 7:
        numbers = multiples.astype(np.int8)
    else:
        values = (multiples + 8).astype(np.uint8)
        numbers = values[..., :16] | values[..., 16:] << 4
    raw = np.concatenate([half.view(np.uint8), numbers.view(np.uint8)], axis=-1)
    return np.ascontiguousarray(raw.reshape(*raw.shape[:-2], -1))


def add_tokenizer(writer, tokenizer):
    vocabulary = tokenizer.get_vocab()
    tokens = sorted(vocabulary, key=vocabulary.get)
    merges = [" ".join(pair) for pair in __import__("json").loads(tokenizer.to_str())["model"]["merges"]]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.CONTROL if t in tok.SPECIAL else gguf.TokenType.NORMAL for t in tokens])
    writer.add_token_merges(merges)
    writer.add_bos_token_id(tok.START)
    writer.add_eos_token_id(tok.END)
    writer.add_add_bos_token(True)
    writer.add_chat_template(tok.TEMPLATE)


def export(model, tokenizer, path):
    s = model.shape
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("Brook")
    writer.add_description("A small mixture of experts that knows one invented valley. Made for Spillway's tests and demo.")
    writer.add_license("MIT")
    writer.add_context_length(s.context)
    writer.add_embedding_length(s.embd)
    writer.add_block_count(s.layers)
    writer.add_feed_forward_length(s.ff)
    writer.add_head_count(s.heads)
    writer.add_head_count_kv(s.kv_heads)
    writer.add_key_length(s.head_dim)
    writer.add_value_length(s.head_dim)
    writer.add_rope_dimension_count(s.head_dim)
    writer.add_rope_freq_base(s.rope_base)
    writer.add_layer_norm_rms_eps(s.eps)
    writer.add_expert_count(s.experts)
    writer.add_expert_used_count(s.experts_used)
    writer.add_vocab_size(s.vocab)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_0)
    add_tokenizer(writer, tokenizer)

    def add_matrix(name, module):
        kind = gguf.GGMLQuantizationType.Q8_0 if module.levels > 7 else gguf.GGMLQuantizationType.Q4_0
        writer.add_tensor(name, blocks_of(module.weight.detach(), module.levels), raw_dtype=kind)

    add_matrix("token_embd.weight", model.embedding)
    for number, layer in enumerate(model.layers):
        for ours, theirs in NAMES.items():
            module = layer.get_submodule(ours) if ours != "experts.router" else layer.experts.router
            name = f"blk.{number}.{theirs}.weight"
            if isinstance(module, Weight):
                add_matrix(name, module)
            else:
                parameter = module if isinstance(module, torch.nn.Parameter) else module.weight
                writer.add_tensor(name, parameter.detach().numpy())
    writer.add_tensor("output_norm.weight", model.norm.weight.detach().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    folder, out = Path(sys.argv[1]), sys.argv[2]
    model = Model()
    model.load_state_dict(torch.load(folder / "model.pt"))
    export(model, Tokenizer.from_file(str(folder / "tokenizer.json")), out)
