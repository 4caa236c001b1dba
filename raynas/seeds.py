"""Seeds that derive from (run seed, purpose, key) by hashing, so no draw depends on another."""

import hashlib

import numpy as np


def derive_seed(run_seed: int, purpose: str, key: str | int = "") -> int:
    """Return a seed in ``[0, 2**63)`` that depends on nothing but the three arguments."""
    text = f"{run_seed}\x1f{purpose}\x1f{key}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 1


def derive_rng(run_seed: int, purpose: str, key: str | int = "") -> np.random.Generator:
    """Return a NumPy generator seeded with :func:`derive_seed`."""
    return np.random.default_rng(derive_seed(run_seed, purpose, key))
