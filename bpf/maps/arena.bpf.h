/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The arena: declaration and access. Declarations only; who writes what is in docs/maps.md. */
#ifndef VG_BPF_MAPS_ARENA_H
#define VG_BPF_MAPS_ARENA_H

#include "virgo/maps.h"

#define __arena __attribute__((address_space(1)))

struct {
	__uint(type, BPF_MAP_TYPE_ARENA);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, VG_ARENA_PAGES);
	__ulong(map_extra, VG_ARENA_ADDRESS);
} VG_MAP_ARENA SEC(".maps");

/* An arena offset is an arena pointer: the arena's address ends in 32 zero bits. */
#define vg_arena_at(type, offset) ((type __arena *)(__u64)(__u32)(offset))

/* Keep the compiler from moving arena loads across; the processor (x86, TSO) keeps loads in order itself. */
#define vg_load_barrier() asm volatile("" ::: "memory")

/* The verifier ties arena pointers to the arena that the program names: name it once, before the first of them. */
static __always_inline void vg_arena_use(void)
{
	asm volatile("" : : "r"(&VG_MAP_ARENA));
}

#endif
