from salver.metrics.buckets import G20, L33, P14, P15, Q52, SECONDS, exponential

# As the reference's page shows them.
L33_SHOWN = """
10, 18, 32.4, 58.32, 104.976, 188.957, 340.122, 612.22, 1102, 1983.59, 3570.47, 6426.84,
11568.3, 20823, 37481.3, 67466.4, 121440, 218591, 393464, 708235, 1.27482e+06,
2.29468e+06, 4.13043e+06, 7.43477e+06, 1.33826e+07, 2.40887e+07, 4.33596e+07,
7.80473e+07, 1.40485e+08, 2.52873e+08, 4.55172e+08, 8.19309e+08, 1.47476e+09
"""


def test_latencies_have_the_references_bounds() -> None:
    assert [format(bound, "g") for bound in L33] == L33_SHOWN.replace(",", " ").split()


def test_sizes_are_powers_of_two() -> None:
    assert list(P15) == [2.0**i for i in range(15)]
    assert list(P14) == [2.0**i for i in range(14)]


def test_queues_and_graph_runs_have_the_references_bounds() -> None:
    assert [format(bound, "g") for bound in Q52[:5]] == ["100", "120", "144", "172.8", "207.36"]
    assert (len(Q52), format(Q52[-1], "g")) == (52, "1.09205e+06")
    assert (len(G20), G20[0], format(G20[-1], "g")) == (20, 1000.0, "5.24288e+08")


def test_seconds_are_every_third_latency() -> None:
    assert len(SECONDS) == 11
    assert SECONDS[0] == 1e-5
    assert SECONDS[1] == L33[3] / 1e6


def test_each_bound_is_that_before_it_times_the_growth() -> None:
    assert exponential(3.0, 10.0, 3) == (3.0, 30.0, 300.0)
