"""The profile of a stored decision, whose file may be gone."""

from __future__ import annotations

from autotune.decision import Decision
from autotune.errors import ProfileError
from autotune.profiles import Profile, find_profile


def profile_of(key: str, decision: Decision) -> Profile | None:
    """By the weights that are stored with it, or else by its name; None where neither is known."""
    if decision.assessment is not None and decision.assessment.profile_weights:
        name, is_own, _ = key.rpartition("#")
        weights = decision.assessment.profile_weights
        return Profile(name or key, weights, is_own=bool(is_own))
    try:
        return find_profile(key)
    except ProfileError:
        return None
