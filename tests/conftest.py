import torch as th

# Two OpenMP threads beside another busy process can be far slower than one.
th.set_num_threads(1)
