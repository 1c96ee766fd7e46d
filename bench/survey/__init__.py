"""What `bench.zoo` and `bench.metaparameters` share: measuring many networks on many boards, bounds, tables and charts."""
