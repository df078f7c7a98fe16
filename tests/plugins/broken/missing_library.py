"""A backend whose own kernels are not installed."""

from __future__ import annotations

import kernels_that_nobody_installed

BACKEND = kernels_that_nobody_installed.BACKEND
