"""One file per wire protocol.

Each has ``router(desk)``: bodies in, groups to the desk, rewards out, errors in the protocol's own form. Where
protocols want the same path, vLLM's ``/classify`` answers SGLang's bodies too (they have ``text`` instead of
``input``), and ``/v1/score`` is the server's own. All routes of vLLM and SGLang are also under ``/vllm`` and
``/sglang``, without such compromises: a client is given ``http://host:port/vllm`` as its server.
"""

from __future__ import annotations

from fastapi import APIRouter

from vlreward.serve.service import Desk

from . import llamafactory, openrlhf, sglang, vllm

__all__ = ["router"]


def router(desk: Desk) -> APIRouter:
    """The routes of all dialects."""
    api = APIRouter()
    for module in (openrlhf, vllm, sglang, llamafactory):
        api.include_router(module.router(desk))
    api.include_router(vllm.router(desk, prefixed=True), prefix="/vllm")
    api.include_router(sglang.router(desk, prefixed=True), prefix="/sglang")
    return api
