"""Stored feature maps below the drop line: how encoded, where they lie, whether it pays.

A new codec is a class with the methods of `Codec` in a file of its own, and a row in codecs.py. A
test asks for its name in the setting `feature_codec` (settings/features.py), which is read without
torch, as by the worker's series.
"""
