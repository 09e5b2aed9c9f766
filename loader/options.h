/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the command line said, and how commands end. */
#ifndef VG_LOADER_OPTIONS_H
#define VG_LOADER_OPTIONS_H

#include <stdbool.h>
#include <sys/types.h>

#include "attach.h"

#define VG_INTERFACES_MAX 64 /* on one command line */

enum vg_telemetry_mode {
	VG_TELEMETRY_AUTO,
	VG_TELEMETRY_NOTES, /* measure waiting by notes of our own, even where the kernel takes them */
	VG_TELEMETRY_OFF,
};

struct vg_options {
	const char *pin_root;
	bool verbose;
	bool daemon_user_given;
	uid_t daemon_uid;
	gid_t daemon_gid;
	enum vg_attach_mode mode;
	enum vg_egress_mode egress;
	enum vg_telemetry_mode telemetry;
	bool pass_role;
	bool json;
	bool force;
	bool detach_on_exit;
	bool insecure;
	const char *admin; /* ADDRESS:PORT */
	char admin_text[32]; /* of --admin-port */
	const char *interfaces[VG_INTERFACES_MAX];
	int interfaces_count;
};

/* Exit codes; virgo-agent(8) lists them. */
enum vg_exit {
	VG_EXIT_OK = 0,
	VG_EXIT_FAILED = 1,	 /* anything without a code of its own */
	VG_EXIT_USAGE = 2,
	VG_EXIT_NOT_LOADED = 3,	 /* nothing pinned there, or no such interface */
	VG_EXIT_PRIVILEGE = 4,
	VG_EXIT_UNSUPPORTED = 5, /* the kernel or the driver lacks something */
	VG_EXIT_BUSY = 6,	 /* another XDP program, another agent, or a living daemon is in the way */
	VG_EXIT_LAYOUT = 7,	 /* pins of another layout */
	VG_EXIT_MAX,
};

/* The one translation of negative errnos. */
enum vg_exit vg_exit_code(int error);

#endif
