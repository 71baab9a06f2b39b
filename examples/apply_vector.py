"""Answer a prompt with a downloaded vector added at one layer, in plain transformers: h <- h + coefficient * vector.

    python apply_vector.py MODEL_FOLDER VECTOR.safetensors LAYER COEFFICIENT PROMPT

The coefficient is what `binnacle generate --json` shows as `coefficient` beside a dose. Layer L is the output of block L.
The blocks of most chat models are `model.model.layers`; change that line for others.
"""

import sys

import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

folder, file, layer, coefficient, prompt = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
[vector] = load_file(file).values()
push = float(coefficient) * vector.to(torch.float32).flatten()
model.model.layers[int(layer)].register_forward_hook(lambda _block, _inputs, hidden: hidden + push)
messages = [{"role": "user", "content": prompt}]
chat = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
tokens = model.generate(**chat, max_new_tokens=32, do_sample=False)
sys.stdout.write(tokenizer.decode(tokens[0, chat["input_ids"].shape[1] :], skip_special_tokens=True).strip() + "\n")
