"""What `bench.mlperf_tiny` is made of."""
