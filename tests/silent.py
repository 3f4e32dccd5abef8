"""`python -m tests.silent`: a process that runs and answers nobody."""

import threading

if __name__ == "__main__":
    threading.Event().wait()
