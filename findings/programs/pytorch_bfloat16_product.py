import torch

one = torch.ones(1, 1, dtype=torch.bfloat16)
for name, rows in (("kept_of_4096", 4096), ("kept_of_4097", 4097)):
    subnormal = torch.full((rows, 1), 1e-39, dtype=torch.bfloat16)
    print(f"{name} =", torch.count_nonzero(subnormal @ one).item())
print("avx512_bf16 =", int(torch.cpu._is_avx512_bf16_supported()))
