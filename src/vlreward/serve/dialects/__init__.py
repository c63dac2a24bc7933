"""One file per wire protocol.

Each has ``router(desk)``: bodies in, groups to the desk, rewards out, errors in the protocol's own form.
"""
