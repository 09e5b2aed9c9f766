/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Numbers as people write them, strictly: the whole text must be one, and it must fit. */
#ifndef VG_BASE_NUMBER_H
#define VG_BASE_NUMBER_H

#include "virgo/types.h"

/* Decimal, without sign. 0, -EINVAL (not a number) or -ERANGE (over `max`). */
int vg_number_parse(const char *text, __u64 max, __u64 *ret_number);
/* The same with a binary suffix: k, m, g (also kb, kib …), any case. Bytes. */
int vg_size_parse(const char *text, __u64 max, __u64 *ret_bytes);
/* "30", "1.5s", "200ms", "2m", "1h", "7d" in milliseconds; a bare number is seconds. */
int vg_span_parse(const char *text, __u64 max_ms, __u64 *ret_ms);

#endif
