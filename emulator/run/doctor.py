"""`wfplab doctor`: what this kernel can do, what is used instead, and what cannot run without it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

from emulator import compiled

if TYPE_CHECKING:
    from netns.features import Feature

NOT_READY = 1


def report(out: TextIO, *, json: bool) -> int:
    """Probe every feature of the kernel, as root, and write the findings to `out`.

    Returns 0 when everything can run, if need be by a fallback, and 1 when something cannot.
    Raises NotPermitted when not run as root.
    """
    from netns.features import probe_all

    features = probe_all()
    out.write(as_json(features) if json else as_table(features))
    return 0 if is_ready(features) else NOT_READY


def is_ready(features: Sequence[Feature]) -> bool:
    """Whether each feature is there, or something else is used in its place."""
    return not any(feature.is_fatal for feature in features)


def as_json(features: Sequence[Feature]) -> str:
    """One line: `{"features": [...], "core": text, "ready": bool}`; the core is what every packet meets."""
    import msgspec

    document = {
        "features": [
            {
                "name": feature.name,
                "available": feature.available,
                "detail": feature.detail,
                "needed_by": list(feature.needed_by),
                "fallback": feature.fallback,
            }
            for feature in features
        ],
        "core": compiled.told(),
        "ready": is_ready(features),
    }
    return msgspec.json.encode(document).decode() + "\n"


def as_table(features: Sequence[Feature]) -> str:
    """A line for each feature, one about the core, and one that sums up."""
    width = max((len(feature.name) for feature in features), default=0)
    lines = [f"{_state(each):<7}  {each.name:<{width}}  {_remark(each)}".rstrip() for each in features]
    lines.append(f"the core that every packet meets: {compiled.told()}")
    lacking = [each.name for each in features if each.is_fatal]
    lines.append(f"not ready: lacks {', '.join(lacking)}" if lacking else "ready")
    return "\n".join(lines) + "\n"


def _state(feature: Feature) -> str:
    if feature.available:
        return "yes"
    return "MISSING" if feature.is_fatal else "instead"


def _remark(feature: Feature) -> str:
    if feature.available:
        return feature.detail
    why = f" ({feature.detail})" if feature.detail else ""
    without = f"cannot run without it: {', '.join(feature.needed_by)}" if feature.is_fatal else feature.fallback
    return f"{without}{why}"
