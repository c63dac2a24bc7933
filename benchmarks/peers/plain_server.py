"""A reward server as it is written first, one forward pass for a request: ``python plain_server.py MODEL PORT``.

The model is transformers' own without an LM head, which is kinder to it than the published procedure. A request is one
conversation; the picture comes as a data URI.
"""

from __future__ import annotations

import base64
import io
import sys
import threading
from typing import Any

import torch
import uvicorn
from fastapi import FastAPI
from padded import head_of, last_tokens, processor_of
from PIL import Image
from transformers import Qwen2_5_VLModel


def make_app(folder: str) -> FastAPI:
    """The server; its model is loaded here."""
    processor = processor_of(folder)
    model = Qwen2_5_VLModel.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa").eval()
    head = head_of(folder, torch.float32)
    turn = threading.Lock()
    app = FastAPI()

    @app.get("/health/ready")
    def ready() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/score")
    def score(body: dict[str, Any]) -> dict[str, float]:
        messages = body["messages"]
        text = processor.apply_chat_template(messages, tokenize=False, add_generation_prompt=False)
        uris = [part["image"] for part in messages[0]["content"] if part["type"] == "image"]
        images = [Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB") for uri in uris]
        inputs = processor(text=[text], images=images, return_tensors="pt")
        with turn, torch.no_grad():
            states = model(**inputs, use_cache=False).last_hidden_state
            return {"reward": last_tokens(head(states).squeeze(-1), inputs["attention_mask"])[0]}

    return app


if __name__ == "__main__":
    uvicorn.run(make_app(sys.argv[1]), port=int(sys.argv[2]), log_level="warning")
