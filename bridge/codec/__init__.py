"""Bytes → frames → readings → events, without any I/O.

``delimited`` cuts a stream into frames, ``json_decoder`` makes readings of them, ``template`` and ``minting``
make a reading into an event, ``settings`` is how the configuration asks for each.
"""
