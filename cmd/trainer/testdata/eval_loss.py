"""Prints the losses of models on chosen records, as Transformers and PEFT compute them.

usage: eval_loss.py ROWS.json MODEL ADAPTER|- [MODEL ADAPTER|- ...], where ROWS.json is what
`trainer data show --json` prints: the tokens of every row and which are masked.
"""
import json
import sys

import torch
from transformers import AutoModelForCausalLM

torch.set_num_threads(2)


def loss(model_dir, adapter, rows):
    model = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
    if adapter != "-":
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, adapter)
    model.eval()
    total, labelled = 0.0, 0
    for row in rows:
        ids = torch.tensor([[token["id"] for token in row["tokens"]]])
        labels = torch.tensor([-100 if token["masked"] else token["id"] for token in row["tokens"]])[1:]
        with torch.no_grad():
            logits = model(input_ids=ids).logits[0, :-1].double()
        total += torch.nn.functional.cross_entropy(logits, labels, ignore_index=-100, reduction="sum").item()
        labelled += int((labels != -100).sum())
    return total / labelled


with open(sys.argv[1]) as f:
    records = json.load(f)["rows"]
print(json.dumps([loss(model, adapter, records) for model, adapter in zip(sys.argv[2::2], sys.argv[3::2])]))
