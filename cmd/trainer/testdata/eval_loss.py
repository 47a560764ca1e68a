"""Prints the loss of a model on chosen records, as Transformers and PEFT compute it.

usage: eval_loss.py MODEL ADAPTER|- ROWS.json, where ROWS.json is what
`trainer data show --json` prints: the tokens of every row and which are masked.
"""
import json
import sys

import torch
from transformers import AutoModelForCausalLM

model_dir, adapter, rows_file = sys.argv[1:]
torch.set_num_threads(2)
model = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
if adapter != "-":
    from peft import PeftModel

    model = PeftModel.from_pretrained(model, adapter)
model.eval()

loss, labelled = 0.0, 0
with open(rows_file) as f:
    rows = json.load(f)["rows"]
for row in rows:
    ids = torch.tensor([[token["id"] for token in row["tokens"]]])
    labels = torch.tensor([-100 if token["masked"] else token["id"] for token in row["tokens"]])[1:]
    with torch.no_grad():
        logits = model(input_ids=ids).logits[0, :-1].double()
    loss += torch.nn.functional.cross_entropy(logits, labels, ignore_index=-100, reduction="sum").item()
    labelled += int((labels != -100).sum())
print(json.dumps({"loss": loss / labelled, "labelled_tokens": labelled}))
