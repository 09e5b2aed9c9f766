/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Where a packet begins and ends; and bounds that the verifier sees. */
#ifndef VG_BPF_CONTEXT_H
#define VG_BPF_CONTEXT_H

/*
 * The ends of a packet as 64-bit pointers. In C they are 32-bit fields, which the compiler may spill as 32 bits, and
 * the verifier refuses half a pointer; so they are loaded in assembly. The fields' offsets are uapi.
 */
#define vg_context_pointer(ctx, field)                                                                  \
	({                                                                                              \
		void *pointer_;                                                                         \
		asm volatile("%0 = *(u32 *)(%1 + %2)"                                                   \
			     : "=r"(pointer_)                                                           \
			     : "r"(ctx), "i"(__builtin_offsetof(__typeof__(*(ctx)), field)));           \
		pointer_;                                                                               \
	})

/*
 * The compiler is to know nothing of this value: else it merges comparisons, or leaves out those that follow from
 * others, and the verifier, which does not conclude so far, no longer finds the proof.
 */
#define vg_forget(value) asm volatile("" : "+r"(value))

#endif
