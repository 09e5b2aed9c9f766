/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What /proc says of the machine's memory and of the pressure on it (PSI), for vg_host. */
#ifndef VG_LOADER_HOST_H
#define VG_LOADER_HOST_H

#include "virgo/maps.h"

/* Read it anew: totals, and the shares of the time since the last reading. What cannot be read stays 0. */
void vg_host_read(struct vg_host *host, __u64 now_ns);

/* "some avg10=… total=N\nfull …": the totals in microseconds. Pure. */
void vg_host_parse_pressure(const char *text, struct vg_pressure *ret_pressure);

#endif
