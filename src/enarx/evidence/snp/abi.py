"""Bits and numbers of the SEV-SNP firmware ABI (56860 revision 1.58), named as the specification names them."""

from __future__ import annotations

ALGORITHM_ECDSA_P384_SHA384 = 1
"""SIGNATURE_ALGO (56860 table 139)."""

# Guest policy (56860 table 10). Bits 0..7 are the minor, 8..15 the major ABI version that the guest asks for.
POLICY_SMT = 1 << 16
POLICY_RESERVED_ONE = 1 << 17
POLICY_MIGRATE_MA = 1 << 18
POLICY_DEBUG = 1 << 19
POLICY_SINGLE_SOCKET = 1 << 20
POLICY_CXL_ALLOW = 1 << 21
POLICY_MEM_AES_256_XTS = 1 << 22
POLICY_RAPL_DIS = 1 << 23
POLICY_CIPHERTEXT_HIDING_DRAM = 1 << 24
POLICY_PAGE_SWAP_DISABLE = 1 << 25
POLICY_KNOWN = (1 << 26) - 1
POLICY_BITS = {
    "smt": POLICY_SMT,
    "migration": POLICY_MIGRATE_MA,
    "debug": POLICY_DEBUG,
    "single_socket": POLICY_SINGLE_SOCKET,
    "cxl": POLICY_CXL_ALLOW,
    "aes_256_xts": POLICY_MEM_AES_256_XTS,
    "rapl_disabled": POLICY_RAPL_DIS,
    "ciphertext_hiding": POLICY_CIPHERTEXT_HIDING_DRAM,
    "page_swap_disabled": POLICY_PAGE_SWAP_DISABLE,
}
"""Guest policy bits by the names that policies and output use."""

# PLATFORM_INFO (56860 table 24; bit 6: AMD-SB-3016).
PLATFORM_SMT_EN = 1 << 0
PLATFORM_TSME_EN = 1 << 1
PLATFORM_ECC_EN = 1 << 2
PLATFORM_RAPL_DIS = 1 << 3
PLATFORM_CIPHERTEXT_HIDING_DRAM_EN = 1 << 4
PLATFORM_ALIAS_CHECK_COMPLETE = 1 << 5
PLATFORM_IOMMU_WRITE_SAFE = 1 << 6
PLATFORM_TIO_EN = 1 << 7
PLATFORM_KNOWN = (1 << 8) - 1
PLATFORM_BITS = {
    "smt": PLATFORM_SMT_EN,
    "tsme": PLATFORM_TSME_EN,
    "ecc": PLATFORM_ECC_EN,
    "rapl_disabled": PLATFORM_RAPL_DIS,
    "ciphertext_hiding": PLATFORM_CIPHERTEXT_HIDING_DRAM_EN,
    "alias_check_complete": PLATFORM_ALIAS_CHECK_COMPLETE,
    "iommu_write_safe": PLATFORM_IOMMU_WRITE_SAFE,
    "tio": PLATFORM_TIO_EN,
}
"""PLATFORM_INFO bits by the names that policies and output use."""

# The flags at 0x48 (56860 table 23).
FLAG_AUTHOR_KEY_EN = 1 << 0
FLAG_MASK_CHIP_KEY = 1 << 1
FLAG_SIGNING_KEY_SHIFT = 2
FLAG_SIGNING_KEY_MASK = 0b111
FLAGS_KNOWN = 0b11111
SIGNED_BY_VCEK = 0
SIGNED_BY_VLEK = 1
SIGNED_BY_NONE = 7
SIGNERS = {SIGNED_BY_VCEK: "VCEK", SIGNED_BY_VLEK: "VLEK", SIGNED_BY_NONE: "none"}
