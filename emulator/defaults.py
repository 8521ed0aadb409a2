"""What attributes are before anybody sets them, of classes that may be compiled.

On a class of Python a default costs nothing where an object is made; a compiled class has its attributes in place,
and begins with the same: None, 0 and False.
"""

from __future__ import annotations

from typing import Any


def set_defaults(kind: Any, /, **values: Any) -> None:
    """Give a class (`kind`) its attributes' defaults: None, 0 or False; a compiled class has them already."""
    for name, value in values.items():
        if name not in kind.__dict__:
            setattr(kind, name, value)
        found = getattr(kind.__new__(kind), name)
        assert found is value or (found == value and not value), f"{kind.__name__}.{name} begins as {found!r}"
