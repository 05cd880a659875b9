"""Fuzzing of everything that comes from outside: a clear error or a result; no traceback, no hang, no blow-up."""
