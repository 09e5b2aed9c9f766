// SPDX-License-Identifier: GPL-3.0-or-later
#include "telemetry.h"

#include <errno.h>
#include <microhttpd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-daemon.h>

#include "base/log.h"
#include "address.h"
#include "caps.h"
#include "control.h"
#include "explain.h"
#include "report.h"
#include "status.h"

#define CONNECTIONS_MAX 16 /* a scraper or two, and a person */
#define CONNECTION_TIMEOUT_S 10
#define CONNECTION_MEMORY_BYTES 16384

/* What the HTTP thread works with; it alone touches `status` after the start. */
struct telemetry {
	struct vg_status_source source;
	struct vg_node_status *status;
	const struct vg_options *options;
};

/* ---- what is answered ------------------------------------------------------------------------------------------ */

static enum MHD_Result answer(struct MHD_Connection *connection, unsigned int status, const char *type, char *body,
			      size_t bytes)
{
	struct MHD_Response *response = MHD_create_response_from_buffer(bytes, body, MHD_RESPMEM_MUST_FREE);
	enum MHD_Result result;

	if (!response) {
		free(body);
		return MHD_NO;
	}
	MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type);
	MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
	if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
		MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
	result = MHD_queue_response(connection, status, response);
	MHD_destroy_response(response);
	return result;
}

static enum MHD_Result answer_text(struct MHD_Connection *connection, unsigned int status, const char *text)
{
	char *body = strdup(text);

	return body ? answer(connection, status, "text/plain; charset=utf-8", body, strlen(body)) : MHD_NO;
}

static enum MHD_Result answer_metrics(struct telemetry *telemetry, struct MHD_Connection *connection)
{
	char *body = NULL;
	size_t bytes = 0;
	FILE *out = open_memstream(&body, &bytes);

	if (!out)
		return MHD_NO;
	vg_report_metrics(out, telemetry->status);
	if (fclose(out)) {
		free(body);
		return MHD_NO;
	}
	return answer(connection, MHD_HTTP_OK, "text/plain; version=0.0.4; charset=utf-8", body, bytes);
}

static enum MHD_Result answer_status(struct telemetry *telemetry, struct MHD_Connection *connection)
{
	json_t *json = vg_report_json(telemetry->status);
	char *body = json ? json_dumps(json, JSON_COMPACT) : NULL;

	json_decref(json);
	return body ? answer(connection, MHD_HTTP_OK, "application/json", body, strlen(body)) : MHD_NO;
}

/* Healthy means: on every interface this agent was told to serve, our program is attached. */
static enum MHD_Result answer_health(struct telemetry *telemetry, struct MHD_Connection *connection)
{
	const struct vg_node_status *status = telemetry->status;

	for (int i = 0; i < telemetry->options->interfaces_count; i++) {
		bool attached = false;

		for (int j = 0; j < status->attachments_count; j++)
			attached |= status->attachments[j].here && status->attachments[j].alive &&
				    vg_hook_is_xdp(status->attachments[j].hook) &&
				    !strcmp(status->attachments[j].interface, telemetry->options->interfaces[i]);
		if (!attached)
			return answer_text(connection, MHD_HTTP_SERVICE_UNAVAILABLE,
					   "an interface has lost its program\n");
	}
	return answer_text(connection, MHD_HTTP_OK,
			   status->lease == VG_LEASE_ALIVE ? "ok\n" : "ok, but no daemon holds the arena\n");
}

static const struct page {
	const char *path;
	enum MHD_Result (*answer)(struct telemetry *telemetry, struct MHD_Connection *connection);
} pages[] = {
	{"/metrics", answer_metrics},
	{"/status", answer_status},
	{"/healthz", answer_health},
};

static enum MHD_Result on_request(void *context, struct MHD_Connection *connection, const char *url, const char *method,
				  const char *version, const char *upload, size_t *upload_bytes, void **request)
{
	struct telemetry *telemetry = context;
	static int seen;

	/* The library calls once when the headers are there and again when the body, which is not wanted, is through.
	 */
	if (!*request) {
		*request = &seen;
		return MHD_YES;
	}
	if (*upload_bytes) {
		*upload_bytes = 0;
		return MHD_YES;
	}
	if (strcmp(method, MHD_HTTP_METHOD_GET) && strcmp(method, MHD_HTTP_METHOD_HEAD))
		return answer_text(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET and HEAD\n");
	for (size_t i = 0; i < sizeof(pages) / sizeof(pages[0]); i++) {
		if (strcmp(url, pages[i].path))
			continue;
		if (vg_status_read(&telemetry->source, telemetry->status))
			return answer_text(connection, MHD_HTTP_SERVICE_UNAVAILABLE,
					   "the maps were unloaded; start the agent again\n");
		return pages[i].answer(telemetry, connection);
	}
	return answer_text(connection, MHD_HTTP_NOT_FOUND, "/metrics, /status or /healthz\n");
}

/* ---- the service ----------------------------------------------------------------------------------------------- */

static int admin_start(struct telemetry *telemetry, struct MHD_Daemon **ret_daemon)
{
	const char *text = telemetry->options->admin;
	struct sockaddr_storage address;
	unsigned int flags = MHD_USE_EPOLL_INTERNAL_THREAD;

	if (vg_admin_address_parse(text, &address))
		return vg_explain(-EINVAL, "--admin %s: want ADDRESS:PORT, as in 127.0.0.1:%d or [::1]:%d", text,
				  VG_PORT_ADMIN, VG_PORT_ADMIN);
	if (!vg_admin_address_is_loopback(&address) && !telemetry->options->insecure)
		return vg_explain(
			-EINVAL,
			"--admin %s is open to others and has no password: use a loopback address, or --insecure",
			text);
	if (address.ss_family == AF_INET6)
		flags |= MHD_USE_IPv6;
	*ret_daemon = MHD_start_daemon(flags, 0, NULL, NULL, on_request, telemetry, MHD_OPTION_SOCK_ADDR, &address,
				       MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT,
				       CONNECTION_TIMEOUT_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
				       (size_t)CONNECTION_MEMORY_BYTES, MHD_OPTION_END);
	if (!*ret_daemon)
		return vg_explain(-EADDRINUSE, "cannot listen on %s: %s", text, strerror(errno));
	return 0;
}

/* Until SIGTERM or SIGINT; blocked in all threads before any was made. */
static void wait_for_end(const sigset_t *signals)
{
	int signal_number;

	while (sigwait(signals, &signal_number))
		;
	sd_notify(0, "STOPPING=1");
	vg_log(VG_LOG_INFO, "ending", "signal=%d", signal_number);
}

static int serve(struct telemetry *telemetry)
{
	struct MHD_Daemon *daemon;
	sigset_t signals;
	int error;

	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	/* Reading goes through the open maps. Only taking the programs off again would need rights. */
	error = telemetry->options->detach_on_exit ? 0 : vg_caps_drop();
	if (!error)
		error = admin_start(telemetry, &daemon);
	if (error)
		return error;
	sd_notifyf(0, "READY=1\nSTATUS=metrics on %s", telemetry->options->admin);
	vg_log(VG_LOG_INFO, "serving", "admin=%s pins=%s", telemetry->options->admin, telemetry->source.root->path);
	wait_for_end(&signals);
	MHD_stop_daemon(daemon);
	vg_explain_forget(); /* what the HTTP thread met was answered there */
	return 0;
}

int vg_command_run(const struct vg_options *options)
{
	struct telemetry telemetry = {.options = options, .status = calloc(1, sizeof(*telemetry.status))};
	struct vg_pin_root root;
	int error;

	if (!telemetry.status)
		return -ENOMEM;
	error = vg_control_start(&root, options);
	if (!error)
		error = vg_status_source_open(&telemetry.source, &root);
	if (!error) {
		error = serve(&telemetry);
		vg_status_source_close(&telemetry.source);
	}
	if (!error && options->detach_on_exit)
		error = vg_control_stop(&root, options);
	free(telemetry.status);
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
