/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The types that BPF programs and user space share. Every other header here includes this one and nothing from
 * outside. A BPF program includes vmlinux.h first, which defines __u8 … __be64; user space takes the same names from
 * the kernel's uapi. (vmlinux.h and linux/types.h in one file do not compile.)
 */
#ifndef VIRGO_TYPES_H
#define VIRGO_TYPES_H

#ifndef __bpf__
#include <linux/types.h>
#endif

#define VG_INLINE static inline __attribute__((always_inline, unused))

/* Layouts are contracts: size and offsets are asserted beside each struct, in both worlds. */
#define VG_ASSERT_SIZE(type, bytes) _Static_assert(sizeof(type) == (bytes), #type " has changed size")
#define VG_ASSERT_OFFSET(type, member, at) \
	_Static_assert(__builtin_offsetof(type, member) == (at), #type "." #member " has moved")

#define VG_ALIGN_UP(value, power_of_two) (((value) + (power_of_two) - 1) & ~((__typeof__(value))(power_of_two) - 1))

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define VG_HTOBE16(x) ((__u16)__builtin_bswap16(x))
#define VG_HTOBE32(x) ((__u32)__builtin_bswap32(x))
#define VG_HTOBE64(x) ((__u64)__builtin_bswap64(x))
#else
#error "the arena layout is little-endian: a big-endian port needs its own layout version"
#endif
#define VG_BE16TOH(x) VG_HTOBE16(x)
#define VG_BE32TOH(x) VG_HTOBE32(x)
#define VG_BE64TOH(x) VG_HTOBE64(x)

#endif
