/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Capabilities. The agent works with CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON; three more are kept aside and raised
 * only around the calls that need them. Everything else is given up before the first argument is acted on.
 */
#ifndef VG_LOADER_CAPS_H
#define VG_LOADER_CAPS_H

#include <sys/capability.h>

/* Keep what the agent may need, lose the rest, and forbid gaining any by exec. 0 or a negative errno. */
int vg_caps_limit(void);

/* -EPERM and an explanation naming what is missing, unless all of CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON are held. */
int vg_caps_require(void);

/*
 * Raise one kept capability for the calls up to vg_caps_lower: CAP_CHOWN to give pins to the daemon's user,
 * CAP_DAC_OVERRIDE to open pins that belong to it, CAP_SYS_ADMIN for libxdp and for looking objects up by their id.
 * Where it is not held nothing happens: the call that needs it says so itself.
 */
void vg_caps_raise(cap_value_t capability);
void vg_caps_lower(cap_value_t capability);

/* Lose every capability of the calling thread and of those it starts later. 0 or a negative errno. */
int vg_caps_drop(void);

#endif
