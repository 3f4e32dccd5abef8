"""Stored feature maps below the drop line: how encoded, where they lie, whether it pays.

A new codec is a class with the methods of `Codec`; its name goes into codecs.py (`make`,
`by_bytes`), the setting `feature_codec` (settings/features.py) and the worker's series
(worker/feature_series.py).
"""
