"""What is done to samples on request: dead letters, deletions, repeated changes, their audit.

A deletion has two halves: deleting.py is the service's, forget_requests.py the worker's, and both
write into one receipt (receipts.py).
"""
