"""Times and bytes in the units that a person would take."""


def duration(seconds: float) -> str:
    """Seconds in the unit that a person would take.

    >>> duration(42), duration(600), duration(36_000), duration(864_000)
    ('42 s', '10 min', '10 h', '10 days')
    """
    for unit, length, most in (("s", 1, 90), ("min", 60, 90), ("h", 3600, 48)):
        if seconds < most * length:
            return f"{seconds / length:.2g} {unit}"
    return f"{seconds / 86400:.3g} days"


def amount(n_bytes: float) -> str:
    """Bytes in the unit that a person would take.

    >>> amount(20_000), amount(3_500_000), amount(1.25e12)
    ('20 kB', '3.5 MB', '1.2 TB')
    """
    for unit, size in (("kB", 1e3), ("MB", 1e6), ("GB", 1e9)):
        if n_bytes < 1000 * size:
            return f"{n_bytes / size:.3g} {unit}" if n_bytes / size >= 100 else f"{n_bytes / size:.2g} {unit}"
    return f"{n_bytes / 1e12:.2g} TB"
