"""MSR2B-CGAN (Qi and Wang 2023): a conditional adversarial network of multi-scale Res2Net blocks."""
