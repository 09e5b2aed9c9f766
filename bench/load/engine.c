// SPDX-License-Identifier: GPL-3.0-or-later
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <liburing.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cpu.h"
#include "engine.h"

#define RECEIVE_BUFFERS 1024u
#define RECEIVE_BUFFER_BYTES 8192u
#define BUFFER_GROUP 0
/* user_data: connection number, and whether the completion is of a send. */
#define SEND_MARK (1ull << 32)

struct connection {
	int socket;
	__u32 sent, answered;	/* of the batch in flight */
	struct vg_bench_parser parser;
	char *buffer;		/* of the batch in flight */
	__u64 *intended_ns;	/* one for each request of the batch */
	__u64 *hash;
	struct engine *engine;
};

struct engine {
	const struct vg_bench_load *load;
	struct vg_bench_result *result;
	struct vg_bench_template get, set;
	struct io_uring ring;
	struct io_uring_buf_ring *buffers;
	char *buffer_memory;
	struct connection *connections;
	__u32 *idle;		/* numbers of connections without a batch (open loop) */
	__u32 idle_count;
	__u64 random;
	__u32 filled;		/* keys already asked for by a fill */
	__u64 in_flight;
	__u64 start_ns, now_ns, next_open;
	bool measuring;
	int error;
};

/* ---- sending --------------------------------------------------------------------------------------------------- */

static const struct vg_bench_template *choose_request(struct engine *engine, __u32 *ret_key)
{
	const struct vg_bench_load *load = engine->load;

	if (load->fill) {
		*ret_key = engine->filled++;
		return &engine->set;
	}
	*ret_key = vg_bench_choose(&load->choice, &engine->random);
	if (load->set_permille == 0 || load->set_permille == 1000)
		return load->set_permille ? &engine->set : &engine->get;
	return vg_bench_random(&engine->random) % 1000 < load->set_permille ? &engine->set : &engine->get;
}

static struct io_uring_sqe *next_sqe(struct engine *engine)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&engine->ring);

	if (!sqe) {
		io_uring_submit(&engine->ring);
		sqe = io_uring_get_sqe(&engine->ring);
	}
	assert(sqe);
	return sqe;
}

/* Send a batch; its requests' intended times are `interval_ns` apart (0 in the closed loop). */
static void send_batch(struct engine *engine, __u32 number, __u32 count, __u64 intended_ns, double interval_ns)
{
	struct connection *connection = &engine->connections[number];
	struct io_uring_sqe *sqe;
	size_t length = 0;
	__u32 key;

	assert(connection->answered == connection->sent && count <= engine->load->pipeline);
	for (__u32 i = 0; i < count; i++) {
		const struct vg_bench_template *request = choose_request(engine, &key);

		connection->hash[i] = vg_bench_template_write(request, key, connection->buffer + length);
		connection->intended_ns[i] = intended_ns + (__u64)((double)i * interval_ns);
		length += request->length;
	}
	connection->sent = count;
	connection->answered = 0;
	engine->in_flight += count;
	sqe = next_sqe(engine);
	io_uring_prep_send(sqe, (int)number, connection->buffer, length, MSG_WAITALL | MSG_NOSIGNAL);
	/* The answers prove that it was sent whole, so only a failed send needs to complete. */
	sqe->flags |= IOSQE_FIXED_FILE | IOSQE_CQE_SKIP_SUCCESS;
	sqe->user_data = SEND_MARK | number;
}

static void arm_receive(struct engine *engine, __u32 number)
{
	struct io_uring_sqe *sqe = next_sqe(engine);

	io_uring_prep_recv_multishot(sqe, (int)number, NULL, 0, 0);
	sqe->flags |= IOSQE_FIXED_FILE | IOSQE_BUFFER_SELECT;
	sqe->buf_group = BUFFER_GROUP;
	sqe->user_data = number;
}

/* ---- receiving ------------------------------------------------------------------------------------------------- */

static void count_answer(struct engine *engine, struct connection *connection, enum vg_bench_answer answer, __u64 head,
			 __u64 length)
{
	struct vg_bench_result *result = engine->result;
	__u64 wanted = connection->hash[connection->answered];

	result->requests++;
	vg_histogram_add(&result->latency, engine->now_ns - connection->intended_ns[connection->answered]);
	switch (answer) {
	case VG_ANSWER_HIT:
		result->hits++;
		if (length != engine->load->value_length || (length >= 8 && head != wanted))
			result->wrong++;
		break;
	case VG_ANSWER_MISS:
		result->misses++;
		break;
	case VG_ANSWER_ERROR:
		result->errors++;
		break;
	case VG_ANSWER_DONE:
		break;
	}
}

static void on_answer(void *context, enum vg_bench_answer answer, __u64 head, __u64 length)
{
	struct connection *connection = context;
	struct engine *engine = connection->engine;

	if (connection->answered == connection->sent) {
		engine->error = -EPROTO; /* an answer nobody asked for */
		return;
	}
	if (engine->measuring)
		count_answer(engine, connection, answer, head, length);
	else if (answer == VG_ANSWER_ERROR || (engine->load->fill && answer != VG_ANSWER_DONE))
		engine->result->errors++;
	connection->answered++;
	engine->in_flight--;
}

/* A connection whose batch is answered: closed loop and fill send the next, the open loop waits for its time. */
static void batch_done(struct engine *engine, __u32 number)
{
	const struct vg_bench_load *load = engine->load;
	__u32 count = load->pipeline;

	if (load->fill && load->choice.keys - engine->filled < count)
		count = load->choice.keys - engine->filled;
	if (load->rate_per_second || count == 0)
		engine->idle[engine->idle_count++] = number;
	else
		send_batch(engine, number, count, engine->now_ns, 0);
}

static void on_receive(struct engine *engine, const struct io_uring_cqe *cqe)
{
	__u32 number = (__u32)cqe->user_data, buffer = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
	struct connection *connection = &engine->connections[number];
	char *data;

	if (cqe->res > 0) {
		assert(cqe->flags & IORING_CQE_F_BUFFER);
		data = engine->buffer_memory + (size_t)buffer * RECEIVE_BUFFER_BYTES;
		vg_bench_parse(&connection->parser, data, (size_t)cqe->res, on_answer, connection);
		io_uring_buf_ring_add(engine->buffers, data, RECEIVE_BUFFER_BYTES, (unsigned short)buffer,
				      io_uring_buf_ring_mask(RECEIVE_BUFFERS), 0);
		io_uring_buf_ring_advance(engine->buffers, 1);
		if (connection->sent && connection->answered == connection->sent && !engine->error) {
			connection->sent = connection->answered = 0;
			batch_done(engine, number);
		}
	} else if (cqe->res != -ENOBUFS) {
		engine->error = cqe->res ? cqe->res : -EPIPE;
	}
	if (!(cqe->flags & IORING_CQE_F_MORE) && !engine->error)
		arm_receive(engine, number);
}

/* Returns how many completions there were. */
static unsigned int reap(struct engine *engine)
{
	struct io_uring_cqe *cqe;
	unsigned int head, count = 0;

	engine->now_ns = vg_bench_now_ns();
	io_uring_for_each_cqe(&engine->ring, head, cqe) {
		if (cqe->user_data & SEND_MARK)
			engine->error = cqe->res < 0 ? cqe->res : -EPIPE;
		else
			on_receive(engine, cqe);
		count++;
	}
	io_uring_cq_advance(&engine->ring, count);
	return count;
}

/* ---- the loop -------------------------------------------------------------------------------------------------- */

/* Send what is due. Returns the nanoseconds until the next request is; 0: some are due and no connection is free. */
static __u64 send_due(struct engine *engine)
{
	double interval_ns = 1e9 / (double)engine->load->rate_per_second;
	__u64 due = (__u64)((double)(engine->now_ns - engine->start_ns) / interval_ns) + 1, next_ns;

	if (engine->measuring && due - engine->next_open > engine->result->behind_max)
		engine->result->behind_max = due - engine->next_open;
	while (engine->next_open < due && engine->idle_count) {
		__u64 count = due - engine->next_open;

		/* Spread what is due over the free connections before making batches. */
		count = (count + engine->idle_count - 1) / engine->idle_count;
		if (count > engine->load->pipeline)
			count = engine->load->pipeline;
		send_batch(engine, engine->idle[--engine->idle_count], (__u32)count,
			   engine->start_ns + (__u64)((double)engine->next_open * interval_ns), interval_ns);
		engine->next_open += count;
	}
	next_ns = engine->start_ns + (__u64)((double)engine->next_open * interval_ns);
	return next_ns > engine->now_ns ? next_ns - engine->now_ns : 0;
}

static void wait_for_answers(struct engine *engine, __u64 timeout_ns)
{
	struct __kernel_timespec timeout = { .tv_sec = (long long)(timeout_ns / 1000000000u),
					     .tv_nsec = (long long)(timeout_ns % 1000000000u) };
	struct io_uring_cqe *cqe;

	if (engine->load->spin || timeout_ns < 20000)
		io_uring_submit_and_get_events(&engine->ring);
	else
		io_uring_submit_and_wait_timeout(&engine->ring, &cqe, 1, &timeout, NULL);
}

/* Until `until_ns`, or until a fill is complete. */
static void loop(struct engine *engine, __u64 until_ns)
{
	bool open = engine->load->rate_per_second != 0;
	__u64 timeout_ns, before_ns;

	engine->now_ns = vg_bench_now_ns();
	while (!engine->error && engine->now_ns < until_ns) {
		if (engine->load->fill && !engine->in_flight && engine->filled == engine->load->choice.keys)
			return;
		timeout_ns = until_ns - engine->now_ns;
		if (open) {
			__u64 next_ns = send_due(engine);

			if (next_ns && next_ns < timeout_ns)
				timeout_ns = next_ns;
		}
		before_ns = engine->now_ns;
		wait_for_answers(engine, timeout_ns);
		if (!reap(engine) && engine->load->spin && engine->measuring)
			engine->result->idle_polls_ns += engine->now_ns - before_ns;
	}
}

static void cpu_marks(const struct vg_bench_load *load, __u64 *ret_loader_ns, __u64 *ret_server_ns)
{
	*ret_loader_ns = *ret_server_ns = 0;
	vg_bench_cpu_ns(getpid(), 0, ret_loader_ns);
	if (load->server)
		vg_bench_cpu_ns(load->server, 0, ret_server_ns);
}

static void measure(struct engine *engine)
{
	const struct vg_bench_load *load = engine->load;
	struct vg_bench_result *result = engine->result;
	__u64 loader_ns, server_ns, begin_ns, end_ns;

	loop(engine, engine->now_ns + (__u64)(load->warmup_s * 1e9));
	cpu_marks(load, &loader_ns, &server_ns);
	begin_ns = vg_bench_now_ns();
	engine->measuring = true;
	loop(engine, begin_ns + (__u64)(load->duration_s * 1e9));
	engine->measuring = false;
	end_ns = vg_bench_now_ns();
	cpu_marks(load, &result->loader_cpu_ns, &result->server_cpu_ns);
	result->loader_cpu_ns -= loader_ns;
	result->server_cpu_ns -= server_ns;
	result->seconds = (double)(end_ns - begin_ns) / 1e9;
}

/* ---- setting up ------------------------------------------------------------------------------------------------ */

static int connect_one(const struct vg_bench_load *load, int *ret_socket)
{
	struct sockaddr_in6 six = { .sin6_family = AF_INET6, .sin6_port = htons(load->port) };
	struct sockaddr_in four = { .sin_family = AF_INET, .sin_port = htons(load->port) };
	bool is_four = inet_pton(AF_INET, load->address, &four.sin_addr) == 1;
	int one = 1, descriptor, err;

	if (!is_four && inet_pton(AF_INET6, load->address, &six.sin6_addr) != 1)
		return -EINVAL;
	descriptor = socket(is_four ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (descriptor < 0)
		return -errno;
	setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if ((is_four ? connect(descriptor, (struct sockaddr *)&four, sizeof(four)) :
		       connect(descriptor, (struct sockaddr *)&six, sizeof(six))) < 0) {
		err = -errno;
		close(descriptor);
		return err;
	}
	*ret_socket = descriptor;
	return 0;
}

static int ring_init(struct engine *engine)
{
	struct io_uring_params params = {
		.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CQSIZE,
		.cq_entries = 4 * VG_BENCH_CONNECTIONS_MAX,
	};
	int err = io_uring_queue_init_params(VG_BENCH_CONNECTIONS_MAX, &engine->ring, &params);

	if (err)
		return err;
	io_uring_register_ring_fd(&engine->ring);
	engine->buffers = io_uring_setup_buf_ring(&engine->ring, RECEIVE_BUFFERS, BUFFER_GROUP, 0, &err);
	if (!engine->buffers)
		return err;
	engine->buffer_memory = malloc((size_t)RECEIVE_BUFFERS * RECEIVE_BUFFER_BYTES);
	if (!engine->buffer_memory)
		return -ENOMEM;
	for (unsigned int i = 0; i < RECEIVE_BUFFERS; i++)
		io_uring_buf_ring_add(engine->buffers, engine->buffer_memory + (size_t)i * RECEIVE_BUFFER_BYTES,
				      RECEIVE_BUFFER_BYTES, (unsigned short)i,
				      io_uring_buf_ring_mask(RECEIVE_BUFFERS), (int)i);
	io_uring_buf_ring_advance(engine->buffers, RECEIVE_BUFFERS);
	return 0;
}

static int connections_init(struct engine *engine)
{
	const struct vg_bench_load *load = engine->load;
	size_t request_bytes = engine->get.length > engine->set.length ? engine->get.length : engine->set.length;
	int descriptors[VG_BENCH_CONNECTIONS_MAX], err;

	for (__u32 i = 0; i < load->connections; i++) {
		struct connection *connection = &engine->connections[i];

		err = connect_one(load, &connection->socket);
		if (err)
			return err;
		descriptors[i] = connection->socket;
		connection->engine = engine;
		connection->buffer = malloc(load->pipeline * request_bytes);
		connection->intended_ns = calloc(load->pipeline, sizeof(__u64));
		connection->hash = calloc(load->pipeline, sizeof(__u64));
		if (!connection->buffer || !connection->intended_ns || !connection->hash)
			return -ENOMEM;
		vg_bench_parser_init(&connection->parser, load->proto,
				     load->set_permille ? engine->set.length : engine->get.length);
	}
	return io_uring_register_files(&engine->ring, descriptors, load->connections);
}

static int engine_init(struct engine *engine, const struct vg_bench_load *load, struct vg_bench_result *result)
{
	int err;

	*engine = (struct engine){ .load = load, .result = result, .random = load->seed | 1 };
	engine->ring.ring_fd = -1;
	engine->connections = calloc(load->connections, sizeof(*engine->connections));
	engine->idle = calloc(load->connections, sizeof(*engine->idle));
	if (!engine->connections || !engine->idle)
		return -ENOMEM;
	for (__u32 i = 0; i < load->connections; i++)
		engine->connections[i].socket = -1;
	err = vg_bench_template_init(&engine->get, load->proto, load->ping ? VG_BENCH_PING : VG_BENCH_GET,
				     load->value_length);
	if (!err)
		err = vg_bench_template_init(&engine->set, load->proto, VG_BENCH_SET, load->value_length);
	if (!err)
		err = ring_init(engine);
	return err ? err : connections_init(engine);
}

static void engine_deinit(struct engine *engine)
{
	if (engine->ring.ring_fd >= 0)
		io_uring_queue_exit(&engine->ring);
	for (__u32 i = 0; engine->connections && i < engine->load->connections; i++) {
		struct connection *connection = &engine->connections[i];

		if (connection->socket >= 0)
			close(connection->socket);
		free(connection->buffer);
		free(connection->intended_ns);
		free(connection->hash);
	}
	vg_bench_template_deinit(&engine->get);
	vg_bench_template_deinit(&engine->set);
	free(engine->connections);
	free(engine->idle);
	free(engine->buffer_memory);
}

int vg_bench_run(const struct vg_bench_load *load, struct vg_bench_result *ret_result)
{
	struct engine engine;
	int err;

	assert(load->connections && load->connections <= VG_BENCH_CONNECTIONS_MAX);
	assert(load->pipeline && load->pipeline <= VG_BENCH_PIPELINE_MAX);
	*ret_result = (struct vg_bench_result){ 0 };
	err = engine_init(&engine, load, ret_result);
	if (!err) {
		engine.start_ns = engine.now_ns = vg_bench_now_ns();
		for (__u32 i = 0; i < load->connections; i++) {
			arm_receive(&engine, i);
			batch_done(&engine, i);
		}
		if (load->fill)
			loop(&engine, UINT64_MAX);
		else
			measure(&engine);
		err = engine.error;
	}
	engine_deinit(&engine);
	return err;
}
