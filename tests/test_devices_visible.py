from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels_bench.devices.visible import CudaGpu, listed, visible_cuda, visible_rocm

A, B, C = "GPU-aaaa1111-0", "GPU-aaaa2222-0", "GPU-bbbb3333-0"
UUIDS = [A, B, C]
GPUS = [CudaGpu(uuid) for uuid in UUIDS]
CUT = CudaGpu("GPU-cccc4444-0", ("MIG-1111", "MIG-2222"))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0,1,2", (0, 1, 2)),
        ("2,0", (2, 0)),
        (" 1 , 0 ", (1, 0)),
        ("1gpu,2", (1, 2)),
        ("", ()),
        ("-1", ()),
        ("NoDevFiles", ()),
        ("0,2,-1,1", (0, 2)),
        ("0,3,1", (0,)),
        ("9" * 5000, ()),
        ("0,,1", (0,)),
        ("1,0,1", ()),
        ("GPU-aaaa1,GPU-b", (0, 2)),
        ("GPU-aaaa,GPU-b", ()),
        ("GPU-b,GPU-x,GPU-aaaa1", (2,)),
        ("GPU-b,0", (2,)),
        ("0,GPU-b", (0,)),
    ],
)
def test_a_list_names_devices_up_to_the_first_that_it_does_not_know(value, expected):
    assert listed(UUIDS, value) == expected


@given(st.integers(0, 8).flatmap(lambda n: st.tuples(st.just(n), st.permutations(range(n)))))
def test_any_order_of_the_present_devices_is_kept(count_and_order):
    count, order = count_and_order
    uuids = [f"GPU-{index}-" for index in range(count)]
    assert listed(uuids, ",".join(map(str, order))) == tuple(order)
    assert listed(uuids, ",".join(uuids[index] for index in order)) == tuple(order)


@given(st.lists(st.sampled_from(["0", "1", "2", "3", "-1", "x", "", A, B, "GPU-", "MIG-1"])))
def test_a_list_never_names_a_device_twice_or_one_that_is_not_there(entries):
    chosen = listed(UUIDS, ",".join(entries))
    assert len(set(chosen)) == len(chosen)
    assert set(chosen) <= {0, 1, 2}


@given(st.text())
def test_any_text_is_read_without_an_error(value):
    assert set(visible_cuda(GPUS, {"CUDA_VISIBLE_DEVICES": value})) <= set(UUIDS)


def test_without_the_variable_cuda_lists_everything():
    assert visible_cuda(GPUS, {}) == (A, B, C)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("MIG-2222", ("MIG-2222",)),
        ("MIG-2222,MIG-1111", ("MIG-2222",)),
        ("MIG-9999", ()),
        ("GPU-cccc", ("MIG-1111",)),
        ("1", ("MIG-1111",)),
        ("0", (A,)),
        ("0,1", ("MIG-1111",)),
    ],
)
def test_cuda_lists_one_mig_instance_and_no_whole_gpu_beside_it(value, expected):
    assert visible_cuda([GPUS[0], CUT], {"CUDA_VISIBLE_DEVICES": value}) == expected


def test_a_cut_gpu_hides_whole_ones_where_nothing_is_chosen():
    assert visible_cuda([GPUS[0], CUT], {}) == ("MIG-1111",)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, (0, 1, 2)),
        ({"ROCR_VISIBLE_DEVICES": "2,1"}, (2, 1)),
        ({"HIP_VISIBLE_DEVICES": "2"}, (2,)),
        ({"CUDA_VISIBLE_DEVICES": "1"}, (1,)),
        ({"HIP_VISIBLE_DEVICES": "2", "CUDA_VISIBLE_DEVICES": "1"}, (2,)),
        ({"ROCR_VISIBLE_DEVICES": "2,1", "HIP_VISIBLE_DEVICES": "1"}, (1,)),
        ({"ROCR_VISIBLE_DEVICES": "2,1", "HIP_VISIBLE_DEVICES": "2"}, ()),
        ({"ROCR_VISIBLE_DEVICES": "GPU-b", "CUDA_VISIBLE_DEVICES": "0"}, (2,)),
        ({"ROCR_VISIBLE_DEVICES": ""}, ()),
        ({"HIP_VISIBLE_DEVICES": ""}, ()),
    ],
)
def test_the_rocm_runtime_filters_before_hip_counts(environ, expected):
    assert visible_rocm(UUIDS, environ) == expected
