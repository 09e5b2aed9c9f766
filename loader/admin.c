// SPDX-License-Identifier: GPL-3.0-or-later
#include "admin.h"

#include <errno.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "address.h"
#include "explain.h"
#include "report.h"

#define CONNECTIONS_MAX 16 /* a scraper or two, and a person */
#define CONNECTION_TIMEOUT_S 10
#define CONNECTION_MEMORY_BYTES 16384

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

static enum MHD_Result answer_metrics(struct vg_admin *admin, struct MHD_Connection *connection)
{
	char *body = NULL;
	size_t bytes = 0;
	FILE *out = open_memstream(&body, &bytes);

	if (!out)
		return MHD_NO;
	vg_report_metrics(out, admin->status);
	if (fclose(out)) {
		free(body);
		return MHD_NO;
	}
	return answer(connection, MHD_HTTP_OK, "text/plain; version=0.0.4; charset=utf-8", body, bytes);
}

static enum MHD_Result answer_json(struct MHD_Connection *connection, json_t *json)
{
	char *body = json ? json_dumps(json, JSON_COMPACT) : NULL;

	json_decref(json);
	return body ? answer(connection, MHD_HTTP_OK, "application/json", body, strlen(body)) : MHD_NO;
}

static enum MHD_Result answer_status(struct vg_admin *admin, struct MHD_Connection *connection)
{
	return answer_json(connection, vg_report_json(admin->status));
}

static enum MHD_Result answer_nodes(struct vg_admin *admin, struct MHD_Connection *connection)
{
	return answer_json(connection, vg_report_nodes(admin->status));
}

/* Healthy means: on every interface this agent was told to serve, our program is attached. */
static enum MHD_Result answer_health(struct vg_admin *admin, struct MHD_Connection *connection)
{
	const struct vg_node_status *status = admin->status;

	for (int i = 0; i < admin->options->interfaces_count; i++) {
		bool attached = false;

		for (int j = 0; j < status->attachments_count; j++)
			attached |= status->attachments[j].here && status->attachments[j].alive &&
				    vg_hook_is_xdp(status->attachments[j].hook) &&
				    !strcmp(status->attachments[j].interface, admin->options->interfaces[i]);
		if (!attached)
			return answer_text(connection, MHD_HTTP_SERVICE_UNAVAILABLE,
					   "an interface has lost its program\n");
	}
	return answer_text(connection, MHD_HTTP_OK,
			   status->lease == VG_LEASE_ALIVE ? "ok\n" : "ok, but no daemon holds the arena\n");
}

static const struct page {
	const char *path;
	enum MHD_Result (*answer)(struct vg_admin *admin, struct MHD_Connection *connection);
} pages[] = {
	{ "/metrics", answer_metrics },
	{ "/status", answer_status },
	{ "/healthz", answer_health },
	{ "/nodes", answer_nodes },
};

static enum MHD_Result on_request(void *context, struct MHD_Connection *connection, const char *url, const char *method,
				  const char *version, const char *upload, size_t *upload_bytes, void **request)
{
	struct vg_admin *admin = context;
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
		if (vg_status_read(&admin->source, admin->status))
			return answer_text(connection, MHD_HTTP_SERVICE_UNAVAILABLE,
					   "the maps were unloaded; start the agent again\n");
		return pages[i].answer(admin, connection);
	}
	return answer_text(connection, MHD_HTTP_NOT_FOUND, "/metrics, /status, /nodes or /healthz\n");
}

/* ---- listening ------------------------------------------------------------------------------------------------- */

int vg_admin_start(struct vg_admin *admin)
{
	const char *text = admin->options->admin;
	struct sockaddr_storage address;
	unsigned int flags = MHD_USE_EPOLL_INTERNAL_THREAD;

	if (vg_admin_address_parse(text, &address))
		return vg_explain(-EINVAL, "--admin %s: want ADDRESS:PORT, as in 127.0.0.1:%d or [::1]:%d", text,
				  VG_PORT_ADMIN, VG_PORT_ADMIN);
	if (!vg_admin_address_is_loopback(&address) && !admin->options->insecure)
		return vg_explain(
			-EINVAL,
			"--admin %s is open to others and has no password: use a loopback address, or --insecure",
			text);
	if (address.ss_family == AF_INET6)
		flags |= MHD_USE_IPv6;
	admin->daemon = MHD_start_daemon(flags, 0, NULL, NULL, on_request, admin, MHD_OPTION_SOCK_ADDR, &address,
					 MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT,
					 CONNECTION_TIMEOUT_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
					 (size_t)CONNECTION_MEMORY_BYTES, MHD_OPTION_END);
	if (!admin->daemon)
		return vg_explain(-EADDRINUSE, "cannot listen on %s: %s", text, strerror(errno));
	return 0;
}

void vg_admin_stop(struct vg_admin *admin)
{
	if (admin->daemon)
		MHD_stop_daemon(admin->daemon);
	admin->daemon = NULL;
}
