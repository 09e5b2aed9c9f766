// SPDX-License-Identifier: GPL-3.0-or-later
/* The memory pool as a service: one instance a worker, one face a protocol. */
#include "svc/mem/mem.h"

#include <errno.h>
#include <string.h>

#include "svc/mem/events.h"
#include "svc/mem/mc.h"
#include "svc/mem/hotkeys.h"
#include "svc/mem/pause.h"
#include "svc/mem/resp.h"
#include "svc/mem/shared.h"
#include "proto/window.h"

static void worker_free(struct vg_env *env)
{
	struct vg_mem_worker *worker = env->services[VG_SERVICE_MEM];

	vg_mem_mc_deinit(env);
	vg_hot_free(worker->hot, env->mem);
	vg_window_free(worker->window);
	env->mem->free(env->mem->context, worker);
	env->services[VG_SERVICE_MEM] = NULL;
}

static void mem_deinit(struct vg_env *env)
{
	if (!env->services[VG_SERVICE_MEM])
		return;
	vg_mem_resp_deinit(env);
	vg_pause_deinit(env);
	vg_mem_shared_leave(env);
	worker_free(env);
}

static int mem_init(struct vg_env *env)
{
	struct vg_mem_worker *worker = env->mem->alloc(env->mem->context, sizeof(*worker));
	int error;

	if (!worker)
		return -ENOMEM;
	memset(worker, 0, sizeof(*worker));
	env->services[VG_SERVICE_MEM] = worker;
	error = vg_window_new(&worker->window, VG_WINDOW_CLIENTS, vg_env_random(env));
	error = error ?: vg_hot_new(&worker->hot, env);
	error = error ?: vg_mem_shared_join(env);
	error = error ?: vg_mem_mc_init(env);
	error = error ?: vg_mem_resp_init(env);
	if (error) {
		vg_mem_shared_leave(env);
		worker_free(env);
	}
	return error;
}

/* A browser, or a scraper that was given the wrong port. */
static ssize_t http_refuse(struct vg_session *session, size_t length)
{
	static const char body[] = "this port speaks VIRGO binary, RESP, memcached and text; HTTP is on port 9464\n";
	static const char head[] = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n"
				   "Content-Length: 78\r\n\r\n";

	_Static_assert(sizeof(body) - 1 == 78, "Content-Length");
	vg_refuse(session->env, VG_REFUSAL_HTTP);
	vg_out_append(session->out, head, sizeof(head) - 1);
	vg_out_append(session->out, body, sizeof(body) - 1);
	session->finish = true;
	return (ssize_t)length;
}

static ssize_t mem_input(struct vg_session *session, const __u8 *data, size_t length)
{
	switch (session->protocol) {
	case VG_PROTOCOL_BINARY:
		return vg_mem_binary_input(session, data, length);
	case VG_PROTOCOL_RESP:
		return vg_mem_resp_input(session, data, length);
	case VG_PROTOCOL_TEXT:
		return vg_mem_text_input(session, data, length);
	case VG_PROTOCOL_HTTP:
		return http_refuse(session, length);
	case VG_PROTOCOL_MEMCACHE:
		return vg_mem_mc_input(session, data, length);
	case VG_PROTOCOL_UNKNOWN:
		break;
	}
	return -EPROTONOSUPPORT;
}

static void mem_closed(struct vg_session *session)
{
	if (session->protocol == VG_PROTOCOL_RESP)
		vg_mem_resp_closed(session);
}

static void mem_turn(struct vg_env *env)
{
	vg_events_flush(env);
}

const struct vg_service vg_service_mem = {
	.name = "mem",
	.number = VG_SERVICE_MEM,
	.init = mem_init,
	.deinit = mem_deinit,
	.input = mem_input,
	.closed = mem_closed,
	.turn = mem_turn,
	.datagram = vg_mem_datagram,
};
