from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest

from kernels_bench.health import CpuReading, NoReading, verdict
from kernels_bench.watches import watch_device
from kernels_bench.watches.cpu import CpuWatch


def write_thread(tasks: Path, tid: int, schedstat: str) -> None:
    (tasks / str(tid)).mkdir(parents=True)
    (tasks / str(tid) / "schedstat").write_text(schedstat)


def test_the_threads_are_summed(tmp_path):
    write_thread(tmp_path, 10, "2000000000 500000000 7\n")
    write_thread(tmp_path, 11, "1000000000 250000000 9\n")
    reading = CpuWatch(tmp_path).read()
    assert reading == CpuReading(pytest.approx(3.0), pytest.approx(0.75))


def test_a_thread_that_ends_while_it_is_read_is_passed_over(tmp_path):
    write_thread(tmp_path, 10, "2000000000 500000000 7\n")
    (tmp_path / "11").mkdir()
    assert CpuWatch(tmp_path).read() == CpuReading(pytest.approx(2.0), pytest.approx(0.5))


def test_a_kernel_without_the_account_tells_nothing_and_that_is_no_warning(tmp_path):
    (tmp_path / "10").mkdir()
    for tasks in (tmp_path, tmp_path / "absent"):
        reading = CpuWatch(tasks).read()
        assert reading == NoReading()
        assert verdict([reading], 0, ()).warnings == ()


@pytest.mark.skipif(sys.platform != "linux", reason="/proc")
def test_this_process_s_own_account_grows_with_its_threads():
    watch = watch_device("cpu", "cpu", {})
    before = watch.read()
    if isinstance(before, NoReading):
        pytest.skip("this kernel keeps no account of its threads")
    inside: list[CpuReading] = []
    thread = threading.Thread(target=lambda: [sum(range(1_000_000)), inside.append(watch.read())])
    thread.start()
    thread.join()
    assert inside[0].ran_s > before.ran_s
    assert inside[0].waited_s >= before.waited_s
    assert watch.others() == ()
    watch.close()
