"""A device that is not on this machine: what the cache remembers stands in for a look at it, or
else what is documented.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, get_args

from autotune import records
from autotune._store import Layers, StoredDecision, Which, read_layers
from autotune.decision import Decision
from autotune.keys import Question, device_key
from autotune.text import device_text
from kernels_bench.devices import FoundDevice, devices_text, find_device, find_devices
from kernels_bench.devices.selector import parse_selector
from kernels_bench.errors import DeviceError
from kernels_bench.spec import Device, DeviceKind, Stack
from kernels_bench.stack import find_stack, full_stack

if TYPE_CHECKING:
    from autotune.given_stack import GivenStack
    from kernels_bench.devices.catalogue import Part


@dataclass(frozen=True)
class Elsewhere:
    """A device with versions that are not those of this machine, where it seldom is itself."""

    device: Device
    """A stored one has the power limit of its last measurement."""
    stack: Stack
    source: str
    """Whose versions these are, for people: "the versions in what-if.json"."""
    is_here: bool = False
    """The device is on this machine, though nothing of what is installed here counts."""

    @property
    def note(self) -> str:
        """What a reader of the answer must know."""
        if self.is_here:
            return f"answered for {self.source}, and not for what is installed here"
        return f"{self.device.name} is not on this machine: answered for {self.source}"


_Place: TypeAlias = FoundDevice | Elsewhere
_Pair: TypeAlias = tuple[StoredDecision, Decision]
"""A row, and the decision that it holds."""


def find_anywhere(
    name: str, question: Question | None, layers: Layers, given: GivenStack | None = None
) -> FoundDevice | Elsewhere:
    """The device that is meant by "auto", "cpu", "cuda:N", "rocm:N", by words of a stored one, or
    by a name of the catalogue, in this order; under the given stack, where there is one.

    A stored or catalogued device that is here too is the one that is here. Raises DeviceError, with
    what is known and what is here.
    """
    place = find_device(name) if is_selector(name) else _named(name, question, layers)
    if given is None:
        return place
    is_here = isinstance(place, FoundDevice) or place.is_here
    return Elsewhere(place.device, given.versions, f"the versions in {given.file}", is_here)


def refuse_name(text: str) -> None:
    """Raise DeviceError for a stored device's name where the device itself is needed."""
    if not is_selector(text):
        raise DeviceError(
            f"device {text!r}: expected auto, cpu, cuda:N or rocm:N, as this command needs a"
            f" device of this machine; here are: {_here()}"
        )


def is_selector(text: str) -> bool:
    """Whether it says which device of this machine is meant, be it there or not."""
    if text == "all":
        return True
    try:
        parse_selector(text)
    except DeviceError:
        return False
    return True


def stack_under(place: FoundDevice | Elsewhere, names: Collection[str] | None = None) -> Stack:
    """The versions of these packages, or of all, and of the drivers under a device."""
    match place:
        case Elsewhere(stack=stack):
            return stack
        case FoundDevice() if names is None:
            return full_stack(place)
        case FoundDevice():
            return find_stack(place, names)


def stacks_here() -> dict[str, Stack]:
    """Key of each device of this machine -> what is installed under it."""
    return {device_key(found.device): full_stack(found) for found in find_devices()}


def device_keys_of(text: str, known: Iterable[Device]) -> tuple[str, ...]:
    """Of the device that a selector means, or of the known ones that a name fits."""
    fit = (find_device(text).device,) if is_selector(text) else fitting(text, known)
    return tuple(map(device_key, fit))


def devices_of(stored: Iterable[StoredDecision]) -> tuple[Device, ...]:
    """Each device once, in the order of its first decision."""
    return tuple({each.device.key: records.device_of(each.device) for each in stored}.values())


def fitting(name: str, devices: Iterable[Device]) -> tuple[Device, ...]:
    """Those whose line or else whose name it is, or else whose line has each of its words."""
    wanted, devices = _words(name), tuple(devices)
    if not wanted:
        return ()
    return (
        tuple(each for each in devices if _words(device_line(each)) == wanted)
        or tuple(each for each in devices if _words(each.name) == wanted)
        or tuple(each for each in devices if _words(device_line(each)) >= wanted)
    )


def device_line(device: Device) -> str:
    """All that tells two devices apart, for people; its words name the device."""
    cache = f"{device.last_level_cache_bytes / 2**20:.0f} MiB cache"
    return f"{device_text(device).removesuffix(')')}, {cache})"


def known_text(devices: Iterable[Device]) -> str:
    """Their lines in one."""
    return "; ".join(map(device_line, devices)) or "no device yet"


def _named(name: str, question: Question | None, layers: Layers) -> _Place:
    reading = read_layers(layers, Which())
    stored = _readable(reading.stored)
    if not stored and reading.errors:
        raise reading.errors[0]
    known, files = devices_of(each for each, _ in stored), layers.text
    match fitting(name, known):
        case (device,):
            here = (found for found in find_devices() if _is_same(found.device, device))
            return next(here, None) or _as_measured(device, question, stored)
        case ():
            # Imported late: a start never asks for a device like that.
            from autotune.catalogued import find_part

            part = find_part(name)
            if part is None:
                raise _unknown(name, known, files)
            return _documented(part, question, stored)
        case several:
            raise DeviceError(
                f"device {name!r} fits {len(several)} devices of {files}; add words that"
                f" tell them apart: {known_text(several)}"
            )


def _documented(part: Part, question: Question | None, stored: Sequence[_Pair]) -> _Place:
    """One that is here, or in the cache under the name of its driver, is that one."""
    from autotune.catalogued import is_whole

    for found in find_devices():
        if is_whole(part, found.device):
            return found
    for device in devices_of(each for each, _ in stored):
        if is_whole(part, device):
            return _as_measured(device, question, stored)
    return Elsewhere(part.device, part.stack.versions, f"the versions of {part.stack.source}")


def _is_same(one: Device, other: Device) -> bool:
    return device_key(one) == device_key(other)


def _as_measured(device: Device, question: Question | None, stored: Sequence[_Pair]) -> Elsewhere:
    """Under the versions of its newest decision for the question, or else of its newest."""
    mine = [(each, decision) for each, decision in stored if each.device.key == device_key(device)]
    text = None if question is None else question.text
    answers = [(each, decision) for each, decision in mine if each.decision.question == text]
    newest, decision = (answers or mine)[0]
    source = f"the versions under which it was measured on {decision.measured_at[:10]}"
    return Elsewhere(records.measured_device(newest), _stack(decision), source)


def _unknown(name: str, known: tuple[Device, ...], files: str) -> DeviceError:
    from kernels_bench.devices.catalogue import short_names

    return DeviceError(
        f"device {name!r}: expected auto, cpu, cuda:N, rocm:N, or words of a device that"
        f" the cache knows, or one of {short_names()}\n{files} knows: {known_text(known)};"
        f" here are: {_here()}"
    )


def _readable(stored: Iterable[StoredDecision]) -> list[_Pair]:
    """Newest first, as they come; without what is damaged."""
    return [
        (each, decision)
        for each in stored
        if each.device.kind in get_args(DeviceKind)
        and (decision := records.decision_of(each)) is not None
    ]


def _stack(decision: Decision) -> Stack:
    return {name: version for name, version in decision.versions.items() if version is not None}


def _words(text: str) -> frozenset[str]:
    """In small letters; "A100-SXM4-80GB" is three, "1g.10gb" and "x86_64+avx512" are one."""
    return frozenset(re.findall(r"[\w.+]+", text.lower()))


def _here() -> str:
    return devices_text(find_devices())
