"""Attacks and wrong inputs, run against real environments: ``python -m attacks FILE`` (``make attacks FILE=…``).

A file has one JSON object a line: ``{"id", "kind", "tool_kind", "payload", "must"}``. Nothing depends on an id: what is
done follows from kind and payload (``cases play setup tools``), what is right from ``must`` (``judge``).
"""
