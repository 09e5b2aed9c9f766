/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A run of the simulator: a heap of events, a first-come-first-served queue on each node with as many servers as it has
 * cores, and for each client the picture it has of every node: the stamp of the last answer or ping, how old it is, and
 * what it has sent there since. The choice itself is virgo/policy.h.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/prng.h"
#include "cli/lb.h"

#define NONE (~0U)
#define SERVICE_SMOOTHING 64 /* as the daemon smooths its service time */
#define HOT_INTERVAL_S 0.05  /* as often the daemon computes the hot threshold */
#define WARM_UP 10	     /* the first tenth of the requests is not counted */

enum event_kind { EVENT_ARRIVE, EVENT_CHOOSE, EVENT_REACH, EVENT_DONE, EVENT_ANSWER, EVENT_PROBE, EVENT_BEAT };

struct event {
	double at_s;
	__u32 kind, request, node, client;
	__u32 random;	 /* EVENT_CHOOSE: what the candidates were drawn with */
	__u64 order;	 /* of two events at one moment the older one happens first */
	__u64 sent;	 /* EVENT_PROBE: requests the client had sent there when it left */
	struct vg_load { /* what an answer carries */
		__u32 in_flight;
		double service_s;
	} stamp;
};

struct node {
	__u32 busy, in_flight;
	__u32 first, last; /* of the queue */
	double service_s;  /* smoothed; 0: none yet */
	double work_s;
};

struct view { /* what a client knows of a node */
	__u32 in_flight;
	__u64 sent, sent_then; /* requests, ever; and those that in_flight knows of */
	double service_s, seen_s;
};

struct run {
	const struct lb_world *world;
	const struct lb_trace *trace;
	int chooser;
	double stretch, now_s;
	struct event *heap;
	__u32 heap_count, heap_room;
	__u64 order;
	struct node nodes[LB_NODES_MAX];
	struct view *views;  /* [client][node] */
	__u32 *hot;	     /* [client] */
	double *hot_until_s; /* [client] */
	__u32 *next;	     /* [request]: in its node's queue */
	double *slowdowns;
	__u32 counted, answered;
	__u64 random;
	struct lb_result *result;
};

const char *lb_chooser_name(int chooser)
{
	return chooser == LB_IDEAL_JSQ ? "jsq" : chooser == LB_IDEAL_SED ? "sed" : vg_policy_name((__u32)chooser);
}

/* ---- the heap of events ---------------------------------------------------------------------------------------- */

static bool earlier(const struct event *a, const struct event *b)
{
	return a->at_s < b->at_s || (a->at_s <= b->at_s && a->order < b->order);
}

static int push(struct run *run, struct event event)
{
	__u32 at = run->heap_count;

	if (at == run->heap_room) {
		__u32 room = run->heap_room ? 2 * run->heap_room : 1024;
		struct event *larger = realloc(run->heap, room * sizeof(*larger));

		if (!larger)
			return -ENOMEM;
		run->heap = larger;
		run->heap_room = room;
	}
	run->heap_count++;
	event.order = run->order++;
	for (; at && earlier(&event, &run->heap[(at - 1) / 2]); at = (at - 1) / 2)
		run->heap[at] = run->heap[(at - 1) / 2];
	run->heap[at] = event;
	return 0;
}

static struct event pop(struct run *run)
{
	struct event first = run->heap[0], last = run->heap[--run->heap_count];
	__u32 at = 0, child;

	while ((child = 2 * at + 1) < run->heap_count) {
		child += child + 1 < run->heap_count && earlier(&run->heap[child + 1], &run->heap[child]);
		if (!earlier(&run->heap[child], &last))
			break;
		run->heap[at] = run->heap[child];
		at = child;
	}
	run->heap[at] = last;
	return first;
}

/* ---- choosing -------------------------------------------------------------------------------------------------- */

static __u32 random32(struct run *run)
{
	return (__u32)(vg_prng_next(&run->random) >> 32);
}

static __u32 whole_ns(double seconds)
{
	return seconds <= 0 ? 0 : seconds >= 4.2 ? 4200000000U : (__u32)(seconds * 1e9);
}

static __u32 in_flight_of(const struct view *view)
{
	return view->in_flight + (__u32)(view->sent - view->sent_then);
}

static __u32 hot_of(struct run *run, __u32 client)
{
	const struct view *views = &run->views[client * run->world->node_count];
	__u32 in_flight[LB_NODES_MAX];

	if (run->now_s >= run->hot_until_s[client]) {
		for (__u32 n = 0; n < run->world->node_count; n++)
			in_flight[n] = in_flight_of(&views[n]);
		run->hot[client] = vg_policy_hot_in_flight(in_flight, run->world->node_count);
		run->hot_until_s[client] = run->now_s + HOT_INTERVAL_S;
	}
	return run->hot[client];
}

static __u32 draws_of(const struct run *run)
{
	__u32 nodes = run->world->node_count;

	return run->chooser == VG_POLICY_LEASTLOADED ? nodes
						     : vg_policy_draws((__u32)run->chooser, nodes, VG_POLICY_DRAWS_MAX);
}

static __u32 choose(struct run *run, __u32 client, const struct lb_request *request, __u32 random)
{
	__u32 policy = (__u32)run->chooser, nodes = run->world->node_count, draws = draws_of(run);
	__u32 hot = hot_of(run, client);
	struct vg_choice choice = VG_CHOICE_NONE;

	for (__u32 i = 0; i < draws; i++) {
		__u32 n = vg_policy_drawn(nodes, random, draws, i);
		const struct view *view = &run->views[client * nodes + n];
		struct vg_candidate candidate = {
			.node = n,
			.in_flight = in_flight_of(view),
			.service_ns = whole_ns(view->service_s),
			.age_ms = (__u32)((run->now_s - view->seen_s) * 1e3),
			.is_local = n == request->data_node,
		};

		vg_policy_consider(&choice, policy, &candidate, hot, vg_policy_chance(random, i));
	}
	return choice.node;
}

/* Who knows every queue: the shortest one, or the one that will have answered first on the average. */
static __u32 choose_ideal(const struct run *run)
{
	double best = INFINITY;
	__u32 choice = 0;

	for (__u32 n = 0; n < run->world->node_count; n++) {
		const struct lb_node *node = &run->world->nodes[n];
		double queue = run->nodes[n].in_flight, cost;

		if (run->chooser == LB_IDEAL_SED)
			cost = fmax(queue + 1, node->cores) / (node->cores * node->speed);
		else
			cost = queue - 1e-6 * node->speed * node->cores;
		if (cost < best) {
			best = cost;
			choice = n;
		}
	}
	return choice;
}

/* ---- what happens ---------------------------------------------------------------------------------------------- */

static struct vg_load stamp_of(const struct run *run, __u32 n)
{
	return (struct vg_load){ run->nodes[n].in_flight, run->nodes[n].service_s };
}

static void hear(struct run *run, const struct event *event)
{
	struct view *view = &run->views[event->client * run->world->node_count + event->node];

	view->in_flight = event->stamp.in_flight;
	view->service_s = event->stamp.service_s;
	view->seen_s = run->now_s;
	view->sent_then = event->kind == EVENT_PROBE ? event->sent : view->sent;
}

static int probe(struct run *run, __u32 client, __u32 n)
{
	return push(run, (struct event){ .at_s = run->now_s + run->world->delay_s,
					 .kind = EVENT_PROBE,
					 .request = NONE,
					 .node = n,
					 .client = client,
					 .sent = run->views[client * run->world->node_count + n].sent });
}

/* Chosen: the request leaves for the node. */
static int leave(struct run *run, const struct event *event, __u32 n)
{
	int error;

	run->result->requests[n]++;
	run->views[event->client * run->world->node_count + n].sent++;
	/* Who knows everything knows what is on its way as well. */
	if (run->chooser >= VG_POLICY_MAX)
		run->nodes[n].in_flight++;
	error = push(run, (struct event){ .at_s = run->now_s + run->world->delay_s,
					  .kind = EVENT_REACH,
					  .request = event->request,
					  .node = n,
					  .client = event->client });
	for (__u32 i = 0; i < run->world->probes && !error && run->chooser < VG_POLICY_MAX; i++)
		error = probe(run, event->client, random32(run) % run->world->node_count);
	return error;
}

/* Ping the candidates, and choose when their answers are back. */
static int ask(struct run *run, const struct event *event, __u32 random)
{
	__u32 nodes = run->world->node_count, draws = draws_of(run);
	int error = 0;

	for (__u32 i = 0; i < draws && !error; i++)
		error = probe(run, event->client, vg_policy_drawn(nodes, random, draws, i));
	return error
		       ?: push(run, (struct event){ .at_s = run->now_s + 2 * run->world->delay_s,
						    .kind = EVENT_CHOOSE,
						    .request = event->request,
						    .client = event->client,
						    .random = random });
}

static int chosen(struct run *run, const struct event *event, __u32 random)
{
	return leave(run, event, choose(run, event->client, &run->trace->requests[event->request], random));
}

static int arrive(struct run *run, const struct event *event)
{
	__u32 next = event->request + 1;
	int error;

	if (run->chooser >= VG_POLICY_MAX)
		error = leave(run, event, choose_ideal(run));
	else if (run->world->ask && run->chooser != VG_POLICY_PRG)
		error = ask(run, event, random32(run));
	else
		error = chosen(run, event, random32(run));
	if (!error && next < run->trace->count)
		error = push(run, (struct event){ .at_s = run->trace->requests[next].arrival_s * run->stretch,
						  .kind = EVENT_ARRIVE,
						  .request = next,
						  .client = random32(run) % run->world->clients });
	return error;
}

/* The client of a request is found again in its event: requests carry it from here on. */
static int begin(struct run *run, __u32 n, __u32 request, __u32 client)
{
	double service_s = run->trace->requests[request].size_s / run->world->nodes[n].speed;

	run->nodes[n].busy++;
	run->nodes[n].work_s += service_s;
	return push(run, (struct event){ .at_s = run->now_s + service_s,
					 .kind = EVENT_DONE,
					 .request = request,
					 .node = n,
					 .client = client });
}

static int reach(struct run *run, const struct event *event)
{
	struct node *node = &run->nodes[event->node];

	if (run->chooser < VG_POLICY_MAX)
		node->in_flight++;
	if (node->busy < run->world->nodes[event->node].cores)
		return begin(run, event->node, event->request, event->client);
	run->next[event->request] = NONE;
	if (node->first == NONE)
		node->first = event->request;
	else
		run->next[node->last] = event->request;
	node->last = event->request;
	return 0;
}

static int done(struct run *run, const struct event *event)
{
	const struct lb_node *strength = &run->world->nodes[event->node];
	struct node *node = &run->nodes[event->node];
	/* A node tells the time it takes for a request when all its cores are at work: that is what a queue waits. */
	double service_s = run->trace->requests[event->request].size_s / strength->speed / strength->cores;
	__u32 waiting = node->first;
	int error;

	node->service_s += node->service_s > 0 ? (service_s - node->service_s) / SERVICE_SMOOTHING : service_s;
	node->busy--;
	node->in_flight--;
	error = push(run, (struct event){ .at_s = run->now_s + run->world->delay_s,
					  .kind = EVENT_ANSWER,
					  .request = event->request,
					  .node = event->node,
					  .client = event->client,
					  .stamp = stamp_of(run, event->node) });
	if (error || waiting == NONE)
		return error;
	node->first = run->next[waiting];
	return begin(run, event->node, waiting, event->client);
}

static void answer(struct run *run, const struct event *event)
{
	const struct lb_request *request = &run->trace->requests[event->request];

	hear(run, event);
	run->answered++;
	if (event->request >= run->trace->count / WARM_UP)
		run->slowdowns[run->counted++] = (run->now_s - request->arrival_s * run->stretch) / request->size_s;
}

/* Each client pings the nodes it has not heard for a while. */
static int beat(struct run *run, const struct event *event)
{
	struct event again = *event;
	int error = 0;

	for (__u32 n = 0; n < run->world->node_count && !error; n++)
		if (run->now_s - run->views[event->client * run->world->node_count + n].seen_s >=
		    run->world->heartbeat_s)
			error = probe(run, event->client, n);
	again.at_s += run->world->heartbeat_s;
	return error ?: push(run, again);
}

static int happen(struct run *run, struct event *event)
{
	switch (event->kind) {
	case EVENT_ARRIVE:
		return arrive(run, event);
	case EVENT_CHOOSE:
		return chosen(run, event, event->random);
	case EVENT_REACH:
		return reach(run, event);
	case EVENT_DONE:
		return done(run, event);
	case EVENT_ANSWER:
		answer(run, event);
		return 0;
	case EVENT_PROBE:
		event->stamp = stamp_of(run, event->node);
		hear(run, event);
		return 0;
	default:
		return beat(run, event);
	}
}

/* ---- a run ----------------------------------------------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
	double difference = *(const double *)a - *(const double *)b;

	return difference < 0 ? -1 : difference > 0;
}

static void sum_up(struct run *run)
{
	struct lb_result *result = run->result;
	__u32 count = run->counted;
	double sum = 0, work_s = 0;

	qsort(run->slowdowns, count, sizeof(double), compare);
	for (__u32 i = 0; i < count; i++)
		sum += run->slowdowns[i];
	result->mean = count ? sum / count : 0;
	result->p50 = count ? run->slowdowns[count / 2] : 0;
	result->p99 = count ? run->slowdowns[(__u32)(count * 0.99)] : 0;
	result->p999 = count ? run->slowdowns[(__u32)(count * 0.999)] : 0;
	for (__u32 n = 0; n < run->world->node_count; n++)
		work_s += run->nodes[n].work_s * run->world->nodes[n].speed;
	result->utilization = run->now_s > 0 ? work_s / (run->now_s * lb_capacity(run->world)) : 0;
}

double lb_capacity(const struct lb_world *world)
{
	double sum = 0;

	for (__u32 n = 0; n < world->node_count; n++)
		sum += world->nodes[n].cores * world->nodes[n].speed;
	return sum;
}

double lb_original_expectation(__u32 nodes, __u32 requests)
{
	double n = nodes, k = requests;

	/* Numerator and denominator divided by N^(k+1), so that nothing overflows. */
	return nodes < 2 ? NAN : (n - k * pow(n, 1 - k) + k * pow(n, -k) - pow(n, -k - 1)) / ((n - 1) * (n - 1));
}

static int run_events(struct run *run)
{
	int error = push(run, (struct event){ .kind = EVENT_ARRIVE, .client = random32(run) % run->world->clients });

	for (__u32 c = 0; c < run->world->clients && !error && run->chooser < VG_POLICY_MAX; c++)
		error = push(run, (struct event){ .at_s = run->world->heartbeat_s * c / run->world->clients,
						  .kind = EVENT_BEAT,
						  .client = c });
	while (!error && run->answered < run->trace->count) {
		struct event event = pop(run);

		run->now_s = event.at_s;
		error = happen(run, &event);
	}
	return error;
}

int lb_run(const struct lb_world *world, const struct lb_trace *trace, int chooser, double load,
	   struct lb_result *ret_result)
{
	struct run *run = calloc(1, sizeof(*run));
	int error = -ENOMEM;

	if (!run)
		return error;
	memset(ret_result, 0, sizeof(*ret_result));
	run->world = world;
	run->trace = trace;
	run->chooser = chooser;
	run->result = ret_result;
	run->random = world->seed | 1;
	run->stretch = trace->size_mean_s / (load * lb_capacity(world));
	run->views = calloc((size_t)world->clients * world->node_count, sizeof(*run->views));
	run->hot = calloc(world->clients, sizeof(*run->hot));
	run->hot_until_s = calloc(world->clients, sizeof(*run->hot_until_s));
	run->next = malloc(trace->count * sizeof(*run->next));
	run->slowdowns = malloc(trace->count * sizeof(*run->slowdowns));
	for (__u32 n = 0; n < world->node_count; n++)
		run->nodes[n].first = NONE;
	if (run->views && run->hot && run->hot_until_s && run->next && run->slowdowns)
		error = run_events(run);
	if (!error)
		sum_up(run);
	free(run->slowdowns);
	free(run->next);
	free(run->hot_until_s);
	free(run->hot);
	free(run->views);
	free(run->heap);
	free(run);
	return error;
}
