/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "base/crc32c.h"

#include <string.h>

#define POLYNOMIAL 0x82f63b78u /* reflected */

/* What four bits more do to a remainder: small enough to stay in the cache of whoever needs it now and then. */
static const __u32 nibble[16] = {
	0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
	0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9, 0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
};
_Static_assert(POLYNOMIAL == 0x82f63b78u, "nibble[8] is the polynomial itself");

__u32 vg_crc32c_portable(__u32 crc, const void *data, size_t bytes)
{
	const __u8 *at = data;

	for (crc = ~crc; bytes; bytes--) {
		crc ^= *at++;
		crc = crc >> 4 ^ nibble[crc & 15];
		crc = crc >> 4 ^ nibble[crc & 15];
	}
	return ~crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static __u32 instruction(__u32 crc, const void *data, size_t bytes)
{
	const __u8 *at = data;
	__u64 word, sum = (__u32)~crc;

	for (; bytes >= 8; bytes -= 8, at += 8) {
		memcpy(&word, at, 8);
		sum = __builtin_ia32_crc32di(sum, word);
	}
	for (; bytes; bytes--)
		sum = __builtin_ia32_crc32qi((__u32)sum, *at++);
	return ~(__u32)sum;
}

__u32 vg_crc32c(__u32 crc, const void *data, size_t bytes)
{
	return __builtin_cpu_supports("sse4.2") ? instruction(crc, data, bytes) : vg_crc32c_portable(crc, data, bytes);
}
#elif defined(__aarch64__) && defined(__ARM_FEATURE_CRC32)
__u32 vg_crc32c(__u32 crc, const void *data, size_t bytes)
{
	const __u8 *at = data;
	__u64 word;

	crc = ~crc;
	for (; bytes >= 8; bytes -= 8, at += 8) {
		memcpy(&word, at, 8);
		crc = __builtin_aarch64_crc32cx(crc, word);
	}
	for (; bytes; bytes--)
		crc = __builtin_aarch64_crc32cb(crc, *at++);
	return ~crc;
}
#else
__u32 vg_crc32c(__u32 crc, const void *data, size_t bytes)
{
	return vg_crc32c_portable(crc, data, bytes);
}
#endif
