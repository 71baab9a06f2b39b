"""The GPU card: one command that tests and times the model side on one device, and writes `card.md` and `card.json`.

Needs torch, transformers, numpy, scipy, scikit-learn, safetensors, accelerate and pytest; no service, no database, no network. README.md in
tests/gpu says how to run and read it. Every part is a module with functions `run(setup, record)`; `parts` lists them.
"""
