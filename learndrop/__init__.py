"""learndrop: an image classifier that keeps learning while its learned layers leave training.

This package stays empty of imports so that the ingress and the client start without torch.
"""
