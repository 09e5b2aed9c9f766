// SPDX-License-Identifier: GPL-3.0-or-later
/* The CPU pool as a service. */
#include "svc/cpu/cpu.h"

#include <errno.h>
#include <string.h>

#define WINDOW_CLIENTS 4096 /* the same as for changes of memory over UDP */

static void cpu_free_all(struct vg_cpu *cpu)
{
	struct vg_env *env = cpu->env;

	vg_window_free(cpu->window);
	vg_cpu_free(cpu, cpu->memory[0]);
	vg_cpu_free(cpu, cpu->memory[1]);
	vg_cpu_free(cpu, cpu);
	env->services[VG_SERVICE_CPU] = NULL;
}

/*
 * Operations on jobs are in flight when the ring will turn no more: their memory is the heap tier's, which outlives the
 * ring, so it is left to it. Processes are ended and collected.
 */
static void cpu_deinit(struct vg_env *env)
{
	struct vg_cpu *cpu = vg_cpu(env);

	cpu->stopping = true;
	for (__u32 i = 0; i < cpu->places; i++)
		if (cpu->job[i].id)
			vg_run_deinit(&cpu->job[i]);
	vg_callers_deinit(cpu);
	cpu_free_all(cpu);
}

static int make_tables(struct vg_cpu *cpu)
{
	__u32 queue = cpu->settings->queue + 64; /* some are put back that could not be started after all */
	struct vg_queue_entry **entries;

	cpu->places = cpu->settings->jobs + cpu->settings->queue + cpu->settings->workers + 1 + VG_CPU_ENDED_MAX;
	cpu->job = cpu->memory[0] = vg_cpu_alloc(cpu, cpu->places * sizeof(*cpu->job));
	entries = cpu->memory[1] = vg_cpu_alloc(cpu, VG_CPU_CLASSES * queue * sizeof(*entries));
	if (!cpu->job || !entries)
		return -ENOMEM;
	for (int class = 0; class < VG_CPU_CLASSES; class++)
		vg_queue_init(&cpu->queue[class], entries + (size_t)class * queue, queue);
	for (__u32 i = cpu->places; i; i--) {
		cpu->job[i - 1] = (struct vg_job){ .cpu = cpu, .queued.place = VG_QUEUE_NOWHERE, .newer = cpu->free };
		cpu->free = &cpu->job[i - 1];
	}
	return 0;
}

static int cpu_init(struct vg_env *env)
{
	struct vg_cpu *cpu = env->mem->alloc(env->mem->context, sizeof(*cpu));
	int error;

	if (!cpu)
		return -ENOMEM;
	*cpu = (struct vg_cpu){ .env = env, .settings = env->cpu, .born_ms = vg_clock_unix_ms(env->clock) };
	env->services[VG_SERVICE_CPU] = cpu;
	error = vg_window_new(&cpu->window, WINDOW_CLIENTS, vg_env_random(env));
	error = error ?: make_tables(cpu);
	error = error ?: vg_callers_init(cpu);
	if (error)
		cpu_free_all(cpu);
	return error;
}

/* ---- input ----------------------------------------------------------------------------------------------------- */

static ssize_t http_refuse(struct vg_session *session, size_t length)
{
	static const char answer[] = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n"
				     "this port speaks VIRGO binary and text; HTTP is on the admin port 9464\n";

	vg_refuse(session->env, VG_REFUSAL_HTTP);
	vg_out_append(session->out, answer, sizeof(answer) - 1);
	session->finish = true;
	return (ssize_t)length;
}

static ssize_t cpu_input(struct vg_session *session, const __u8 *data, size_t length)
{
	switch (session->protocol) {
	case VG_PROTOCOL_BINARY:
		return vg_cpu_binary_input(session, data, length);
	case VG_PROTOCOL_HTTP:
		return http_refuse(session, length);
	case VG_PROTOCOL_TEXT:
	case VG_PROTOCOL_RESP:
	case VG_PROTOCOL_MEMCACHE: /* a word is a word, whoever else knows it */
		return vg_cpu_text_input(session, data, length);
	case VG_PROTOCOL_UNKNOWN:
		break;
	}
	return -EPROTONOSUPPORT;
}

static void cpu_closed(struct vg_session *session)
{
	struct vg_session_ref ref = vg_session_ref(session);
	struct vg_cpu *cpu = vg_cpu(session->env);

	for (__u32 i = 0; i < cpu->places && session->state.words[0]; i++) {
		struct vg_job *job = &cpu->job[i];

		if (job->id && job->attached && job->face != VG_CPU_DATAGRAM && job->session.slot == ref.slot &&
		    job->session.generation == ref.generation)
			vg_job_detach(job);
	}
}

/* Connections that had no room have some again, perhaps. */
static void cpu_turn(struct vg_env *env)
{
	struct vg_cpu *cpu = vg_cpu(env);

	if (!cpu->blocked)
		return;
	cpu->blocked = false;
	for (__u32 i = 0; i < cpu->places; i++) {
		if (!cpu->job[i].id || !cpu->job[i].attached)
			continue;
		vg_output_pump(&cpu->job[i].output[0]);
		vg_output_pump(&cpu->job[i].output[1]);
	}
}

/* ---- figures --------------------------------------------------------------------------------------------------- */

/* What a caller would wait behind, and how long for each: with all places at work one is free that much sooner. */
static void cpu_load(const struct vg_env *env, __u64 *ret_in_flight, __u64 *ret_service_ns)
{
	const struct vg_cpu *cpu = vg_cpu(env);
	__u32 places = cpu->settings->jobs;

	*ret_in_flight = __atomic_load_n(&cpu->counts.running, __ATOMIC_RELAXED) +
			 __atomic_load_n(&cpu->counts.queued, __ATOMIC_RELAXED);
	*ret_service_ns = __atomic_load_n(&cpu->counts.service_ns, __ATOMIC_RELAXED) / (places ? places : 1);
}

static const __u64 *cpu_counts(const struct vg_env *env)
{
	return (const __u64 *)&vg_cpu(env)->counts;
}

static const char *const count_names[] = {
#define X(name, type, metric, help) #name,
	VG_CPU_COUNTS(X)
#undef X
	NULL
};
_Static_assert(sizeof(struct vg_cpu_counts) / sizeof(__u64) <= VG_FIGURES_MAX, "room for all");

const struct vg_service vg_service_cpu = {
	.name = "cpu",
	.number = VG_SERVICE_CPU,
	.single = true,
	.init = cpu_init,
	.deinit = cpu_deinit,
	.input = cpu_input,
	.closed = cpu_closed,
	.turn = cpu_turn,
	.datagram = vg_cpu_datagram,
	.load = cpu_load,
	.counts = cpu_counts,
	.count_names = count_names,
};
