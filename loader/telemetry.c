// SPDX-License-Identifier: GPL-3.0-or-later
#include "telemetry.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>

#include "base/clock.h"
#include "base/log.h"
#include "admin.h"
#include "caps.h"
#include "control.h"
#include "explain.h"
#include "host.h"
#include "report.h"

#define HOST_INTERVAL_S 1

/* What the agent alone can tell of the machine goes where the rest is. */
static void tell_host(const struct vg_admin *admin, struct vg_host *host)
{
	const __u32 key = 0;
	struct vg_clock clock;

	vg_clock_update(&clock);
	vg_host_read(host, clock.monotonic_ns);
	/* Maps that were unloaded meanwhile take it as well, and nobody sees it. */
	(void)bpf_map_update_elem(admin->source.map_fds[VG_MAPS_HOST], &key, host, BPF_ANY);
}

/* Until SIGTERM or SIGINT; blocked in all threads before any was made. */
static void wait_for_end(const struct vg_admin *admin, const sigset_t *signals)
{
	const struct timespec interval = { .tv_sec = HOST_INTERVAL_S };
	struct vg_host host = {};
	int signal_number;

	do {
		tell_host(admin, &host);
		signal_number = sigtimedwait(signals, NULL, &interval);
	} while (signal_number < 0);
	sd_notify(0, "STOPPING=1");
	vg_log(VG_LOG_INFO, "ending", "signal=%d", signal_number);
}

static int serve(struct vg_admin *admin)
{
	sigset_t signals;
	int error;

	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	/* Reading goes through the open maps. Only taking the programs off again would need rights. */
	error = admin->options->detach_on_exit ? 0 : vg_caps_drop();
	if (!error)
		error = vg_admin_start(admin);
	if (error)
		return error;
	sd_notifyf(0, "READY=1\nSTATUS=metrics on %s", admin->options->admin);
	vg_log(VG_LOG_INFO, "serving", "admin=%s pins=%s", admin->options->admin, admin->source.root->path);
	wait_for_end(admin, &signals);
	vg_admin_stop(admin);
	vg_explain_forget(); /* what the HTTP thread met was answered there */
	return 0;
}

int vg_command_run(const struct vg_options *options)
{
	struct vg_admin admin = { .options = options, .status = calloc(1, sizeof(*admin.status)) };
	struct vg_pin_root root;
	int error;

	if (!admin.status)
		return -ENOMEM;
	error = vg_control_start(&root, options);
	if (!error)
		error = vg_status_source_open(&admin.source, &root);
	if (!error) {
		error = serve(&admin);
		vg_status_source_close(&admin.source);
	}
	if (!error && options->detach_on_exit)
		error = vg_control_stop(&root, options);
	free(admin.status);
	return error;
}

int vg_command_status(const struct vg_options *options)
{
	struct vg_node_status *status = calloc(1, sizeof(*status));
	struct vg_status_source source;
	struct vg_pin_root root;
	json_t *json = NULL;
	int error;

	error = status ? vg_pin_root_init(&root, options->pin_root) : -ENOMEM;
	if (!error)
		error = vg_status_source_open(&source, &root);
	if (error)
		goto out;
	error = vg_status_read(&source, status);
	vg_status_source_close(&source);
	if (!error && options->json) {
		json = vg_report_json(status);
		error = json && !json_dumpf(json, stdout, JSON_INDENT(2)) ? 0 : -EIO;
		printf("\n");
		json_decref(json);
	} else if (!error) {
		vg_report_table(stdout, status);
	}
out:
	free(status);
	return error;
}
