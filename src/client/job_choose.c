/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * On which node a job is started. Candidates are drawn as the policy says; those whose load is not known, or was told
 * too long ago, are asked over the connection a job would take anyway, all at once, and the choice waits until they
 * have answered or a moment has passed. A policy that goes by chance, or a pool of one node, asks nobody.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/job.h"

int vg_policy_by_name(const char *name, __u32 *ret_policy)
{
	for (__u32 i = 0; i < VG_POLICY_MAX; i++)
		if (strcmp(name, vg_policy_name(i)) == 0) {
			*ret_policy = i;
			return 0;
		}
	return -EINVAL;
}

/* ---- which nodes there are ------------------------------------------------------------------------------------- */

static bool is_loopback(const union vg_address *address)
{
	static const __u8 one[16] = { [15] = 1 };

	if (address->any.sa_family == AF_INET)
		return (VG_BE32TOH(address->v4.sin_addr.s_addr) >> 24) == 127;
	return memcmp(&address->v6.sin6_addr, one, sizeof(one)) == 0;
}

/* Told of one node only, we ask it for the others, once; not on loopback, where there are none. */
static bool pool_is_known(struct virgo *v, __u64 now_ns)
{
	if (v->pool_asked) {
		if (!v->internal || now_ns >= v->pool_until_ns)
			return true;
		vg_links_due(v, v->pool_until_ns);
		return false;
	}
	v->pool_asked = true;
	if (v->configured_count > 1 || is_loopback(&v->peers[0]->address))
		return true;
	vg_topology_fetch(v, now_ns);
	v->pool_until_ns = now_ns + VG_CONNECT_NS;
	return !v->internal;
}

static bool was_tried(const struct virgo_job *job, const struct vg_link *link)
{
	return job->tried[link->number / 64] >> (link->number % 64) & 1;
}

/* The links that may take it; how many. */
static unsigned int eligible(struct virgo_job *job, struct vg_link **ret_links)
{
	struct virgo *v = job->v;
	unsigned int count = 0;

	if (job->only) {
		ret_links[0] = job->only;
		return !was_tried(job, job->only);
	}
	for (unsigned int i = 0; i < v->peers_count; i++) {
		struct vg_link *link = vg_job_link_of(v, v->peers[i]);
		bool known = !link || was_tried(job, link);

		for (unsigned int j = 0; j < count && !known; j++)
			known = ret_links[j] == link;
		if (!known)
			ret_links[count++] = link;
	}
	return count;
}

int vg_job_node_find(struct virgo *v, const char *node, struct vg_link **ret_link)
{
	const size_t digits = strspn(node, "0123456789");
	struct vg_link *link = NULL;
	union vg_address address;
	socklen_t length;
	int error;

	if (digits && !node[digits]) {
		unsigned long number = digits < 6 ? strtoul(node, NULL, 10) : VG_NODES_MAX;

		if (number >= VG_NODES_MAX)
			return -EADDRNOTAVAIL;
		/* By its number in the cluster where we know that, else by its place in our list. */
		if (v->peer_of_node[number])
			link = vg_job_link_of(v, v->peer_of_node[number]);
		else if (number < v->peers_count)
			link = vg_job_link_of(v, v->peers[number]);
		else
			return -EADDRNOTAVAIL;
	} else {
		error = vg_node_resolve(node, v->cpu_port, &address, &length);
		if (error)
			return error;
		link = vg_job_link_at(v, &address, length);
	}
	if (!link)
		return -ENOMEM;
	*ret_link = link;
	return 0;
}

/* ---- choosing -------------------------------------------------------------------------------------------------- */

/* What it said of its load was good enough when the choice began, or has come since. */
static bool is_known(const struct virgo_job *job, const struct vg_link *link)
{
	return link->load_ns && link->load_ns + VG_STAMP_FRESH_NS >= job->probe_ns;
}

static bool has_failed(const struct virgo_job *job, const struct vg_link *link, __u64 now_ns)
{
	return link->fd < 0 && link->failed_ns && (link->failed_ns >= job->probe_ns || now_ns < link->retry_ns);
}

/*
 * Ask those of the drawn that have to be asked. Whether the choice can be made now: everybody has answered or failed,
 * or somebody has answered and time is up.
 */
static bool probed(struct virgo_job *job, struct vg_link **drawn, unsigned int count, __u64 now_ns)
{
	unsigned int known = 0, failed = 0;

	if (!job->probe_ns)
		job->probe_ns = now_ns;
	for (unsigned int i = 0; i < count; i++) {
		if (is_known(job, drawn[i]))
			known++;
		else if (has_failed(job, drawn[i], now_ns))
			failed++;
		else
			vg_link_probe(job->v, drawn[i], now_ns);
	}
	if (known + failed == count || (known && now_ns >= job->probe_ns + VG_PROBE_NS))
		return true;
	/* Each connection has its own end; this is only how often we look. */
	vg_links_due(job->v, now_ns + VG_PROBE_NS);
	return false;
}

/* Those that could not be reached are out; how many of the drawn are left. */
static unsigned int drop_failed(struct virgo_job *job, struct vg_link **drawn, unsigned int count, __u64 now_ns)
{
	unsigned int left = 0;

	for (unsigned int i = 0; i < count; i++) {
		if (has_failed(job, drawn[i], now_ns))
			vg_job_leave_out(job, drawn[i]);
		else
			drawn[left++] = drawn[i];
	}
	return left;
}

static struct vg_link *best(struct virgo_job *job, struct vg_link **drawn, unsigned int count, __u64 now_ns)
{
	struct vg_choice choice = VG_CHOICE_NONE;
	__u32 in_flight[VG_POLICY_DRAWS_MAX], hot;

	for (unsigned int i = 0; i < count; i++)
		in_flight[i] = drawn[i]->load.in_flight + drawn[i]->unanswered;
	hot = vg_policy_hot_in_flight(in_flight, count);
	for (unsigned int i = 0; i < count; i++) {
		const struct vg_link *link = drawn[i];
		__u64 age_ns = now_ns - link->load_ns;
		struct vg_candidate candidate = {
			.node = i,
			.in_flight = in_flight[i],
			.service_ns = link->load.service_ns,
			.wait_ns = link->load.run_queue_delay_ns,
			.age_ms = link->load_ns ? (__u32)(age_ns / 1000000) : VG_STAMP_AGE_MAX_MS + 1,
		};

		/* A chooser by chance has asked nobody: silent is only who did not let us in. */
		if (job->policy == VG_POLICY_PRG)
			candidate.age_ms = link->failed_ns ? VG_STAMP_AGE_MAX_MS + 1 : 0;
		vg_policy_consider(&choice, job->policy, &candidate, hot, vg_policy_chance(job->random, i));
	}
	return choice.node < count ? drawn[choice.node] : drawn[0];
}

/* Nobody is left: all were busy, and it is tried again later; or nobody could be reached. */
static void nobody_left(struct virgo_job *job, __u64 now_ns)
{
	char text[VG_CLIENT_TEXT_MAX];

	if (job->was_busy && now_ns >= job->busy_until_ns) {
		vg_job_fail(job, -EBUSY, "every node runs and queues as many jobs as it may");
		return;
	}
	if (now_ns >= job->busy_until_ns) {
		(void)snprintf(text, sizeof(text), "no CPU pool answers%s%s", job->where ? " at " : "",
			       job->where ? job->where : "");
		vg_job_fail(job, job->v->refused_us ? -EACCES : -EHOSTUNREACH, text);
		return;
	}
	memset(job->tried, 0, sizeof(job->tried));
	job->probe_ns = 0;
	job->backoff_ns = job->backoff_ns ? 2 * job->backoff_ns : VG_BUSY_FIRST_NS;
	if (job->backoff_ns > VG_BUSY_MAX_NS)
		job->backoff_ns = VG_BUSY_MAX_NS;
	job->wait_ns = now_ns + job->backoff_ns;
	vg_links_due(job->v, job->wait_ns);
}

void vg_job_choose(struct virgo_job *job, __u64 now_ns)
{
	struct vg_link *links[VG_LINKS_MAX], *drawn[VG_POLICY_DRAWS_MAX];
	unsigned int count, draws;

	if (now_ns < job->wait_ns) {
		vg_links_due(job->v, job->wait_ns);
		return;
	}
	if (!job->only && !pool_is_known(job->v, now_ns))
		return;
	while ((count = eligible(job, links))) {
		draws = vg_policy_draws(job->policy, count, VG_POLICY_DRAWS_MAX);
		for (unsigned int i = 0; i < draws; i++)
			drawn[i] = links[vg_policy_drawn(count, job->random, draws, i)];
		/* One node, or chance: nobody is asked, and a connection that fails says so itself. */
		if (count == 1 || job->policy == VG_POLICY_PRG)
			break;
		if (!probed(job, drawn, draws, now_ns))
			return;
		draws = drop_failed(job, drawn, draws, now_ns);
		if (draws)
			break;
	}
	if (count)
		vg_job_send(job, best(job, drawn, draws, now_ns), now_ns);
	else
		nobody_left(job, now_ns);
}
