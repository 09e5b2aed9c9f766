/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * CRC-32C (Castagnoli), as iSCSI and ext4 have it: what guards bytes that leave memory. The processor's instruction
 * where it has one. Any thread.
 */
#ifndef VG_BASE_CRC32C_H
#define VG_BASE_CRC32C_H

#include <stddef.h>

#include "virgo/types.h"

/* Of `bytes` at `data`, going on from `crc` (0: the beginning): crc32c(crc32c(0, a), b) is that of a and b in a row. */
__u32 vg_crc32c(__u32 crc, const void *data, size_t bytes);
/* The same without the instruction; for tests, and where there is none. */
__u32 vg_crc32c_portable(__u32 crc, const void *data, size_t bytes);

#endif
