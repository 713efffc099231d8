"""Whether 32 bytes are an Ed25519 public key at all."""

_P = 2**255 - 19
_D = -121665 * pow(121666, -1, _P) % _P


def is_public_key(raw: bytes) -> bool:
    """Whether signatures can be checked against these bytes.

    Points of small order are no keys: for them, anyone can make signatures that hold.

    Source: RFC 8032, 5.1.3; SafeCurves, "Twist security and small subgroups".
    """
    if len(raw) != 32:
        return False
    number = int.from_bytes(raw, "little")
    y, sign = number & ((1 << 255) - 1), number >> 255
    if y >= _P:
        return False
    square = (y * y - 1) * pow(_D * y * y + 1, -1, _P) % _P
    x = _root(square)
    if x is None or (x == 0 and sign):
        return False
    point = (x, y)
    for _ in range(3):
        point = _doubled(*point)
    return point != (0, 1)


def _root(square: int) -> int | None:
    root = pow(square, (_P + 3) // 8, _P)
    for candidate in (root, root * pow(2, (_P - 1) // 4, _P) % _P):
        if candidate * candidate % _P == square:
            return candidate
    return None


def _doubled(x: int, y: int) -> tuple[int, int]:
    product = _D * x * x * y * y
    return (
        2 * x * y * pow(1 + product, -1, _P) % _P,
        (y * y + x * x) * pow(1 - product, -1, _P) % _P,
    )
