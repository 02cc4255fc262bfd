"""Pickles that take exponential time or memory to read."""


def nested_keys(depth: int, container: bytes) -> bytes:
    """A dict or set with a tuple of two references to a tuple of two references ... as key."""
    tuples = b"K\0q\0" + b"".join(
        b"0h" + bytes([n]) + b"h" + bytes([n]) + b"\x86q" + bytes([n + 1]) for n in range(depth)
    )
    key = b"h" + bytes([depth])
    return (
        b"\x80\x04"
        + tuples
        + b"0"
        + {
            b"dict": b"}" + key + b"K\1s.",
            b"dict of several": b"}(" + key + b"K\1u.",
            b"set": b"\x8f(" + key + b"\x90.",
            b"frozenset": b"(" + key + b"\x91.",
        }[container]
    )
