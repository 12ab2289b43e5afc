"""Benchmarks: the compiled model and other runtimes, each in a process of its own, timed in rounds that go around all of them.

    from edgec.bench.run import bench
    print(bench("model.onnx", ["onnxruntime"]).table())

run        compile, race, compare               race     the rounds            worker, worker_process, contestant    the processes
result     what was found, and its table        peers    the other runtimes    intervals                             medians and means
"""
