/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * bench-files: work on files, by one of several ways (files.h). One JSON object a phase, in one object.
 *
 *   files WAY TARGET small FOLDER   create files in FOLDER/THREAD for a while, then read them, one by one
 *   files WAY TARGET data FILE      read or write blocks of FILE; with --own each thread has FILE.THREAD
 *   files WAY TARGET crowd FILE     many clients a thread, each with reads in flight, served in turn
 *   files here TARGET send FILE     read blocks and send them to a thread over loopback: what a server must do at least
 *
 *   --threads N --flight N --clients N --seconds S --block BYTES --file-bytes N --files-max N
 *   --write --random --direct --durable --own --lazy
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "bench/load/histogram.h"
#include "files.h"

#define THREADS_MAX 64
#define FLIGHT_MAX 256
#define BLOCK_MAX (1u << 20)
#define CLIENTS_MAX 4096

struct settings {
	const struct files_way *way;
	const char *target, *mode, *path;
	double seconds;
	size_t block;
	uint64_t file_bytes, files_max;
	unsigned int threads, flight, clients;
	bool write, random, direct, durable, own, lazy;
};

struct phase {
	struct vg_histogram times;
	uint64_t count, bytes, failed;
	double elapsed;
	int error;
};

struct thread;

/* One request on its way. */
struct request {
	struct thread *thread;
	double began;
	bool busy, done;
	ssize_t result;
	char *data;
};

struct thread {
	const struct settings *settings;
	unsigned int number;
	struct files_client *client;
	struct phase *phase, put, get; /* the one that counts */
	struct request requests[FLIGHT_MAX];
	uint64_t random, made;
	pthread_t thread;
};

static double now(void)
{
	struct timespec time;

	(void)clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static void *must(void *pointer)
{
	if (!pointer) {
		fprintf(stderr, "files: out of memory\n");
		exit(1);
	}
	return pointer;
}

static void note(struct phase *phase, double began, ssize_t result, size_t wanted)
{
	vg_histogram_add(&phase->times, (__u64)((now() - began) * 1e9));
	phase->count++;
	if (result != (ssize_t)wanted) {
		phase->failed++;
		if (!phase->error)
			phase->error = result < 0 ? (int)result : -EBADMSG;
	} else {
		phase->bytes += wanted;
	}
}

static void came_back(void *context, ssize_t result)
{
	struct request *request = context;

	request->result = result;
	request->done = true;
}

/* A place that is free, or NULL. What came back is counted. */
static struct request *free_place(struct thread *thread, size_t wanted)
{
	struct request *found = NULL;

	for (unsigned int i = 0; i < thread->settings->flight; i++) {
		struct request *request = &thread->requests[i];

		if (request->busy && request->done) {
			note(thread->phase, request->began, request->result, wanted);
			request->busy = false;
		}
		if (!request->busy)
			found = request;
	}
	return found;
}

static bool any_busy(const struct thread *thread)
{
	for (unsigned int i = 0; i < thread->settings->flight; i++)
		if (thread->requests[i].busy)
			return true;
	return false;
}

static void drain(struct thread *thread, size_t wanted)
{
	while (any_busy(thread)) {
		(void)free_place(thread, wanted);
		if (any_busy(thread) && thread->settings->way->wait)
			thread->settings->way->wait(thread->client);
	}
}

/* ---- small files ----------------------------------------------------------------------------------------------- */

static void small_path(const struct thread *thread, uint64_t number, char *path, size_t bytes)
{
	(void)snprintf(path, bytes, "%s/%u/f%llu", thread->settings->path, thread->number, (unsigned long long)number);
}

static void small_once(struct thread *thread, bool put, uint64_t number)
{
	const struct settings *settings = thread->settings;
	char path[512], *data = thread->requests[0].data;
	double began = now();
	ssize_t result;

	small_path(thread, number, path, sizeof(path));
	if (put) {
		memcpy(data, &number, sizeof(number));
		result = settings->way->put(thread->client, path, data, settings->block);
		result = result ? result : (ssize_t)settings->block;
	} else {
		result = settings->way->get(thread->client, path, data, settings->block);
		if (result == (ssize_t)settings->block && memcmp(data, &number, sizeof(number)))
			result = -EBADMSG;
	}
	note(thread->phase, began, result, settings->block);
}

static int small_submit(struct thread *thread, bool put, uint64_t number, struct request *request)
{
	const struct settings *settings = thread->settings;
	char path[512];

	small_path(thread, number, path, sizeof(path));
	request->began = now();
	request->done = false;
	request->busy = true;
	if (!put)
		return settings->way->submit_get(thread->client, path, came_back, request);
	memcpy(request->data, &number, sizeof(number));
	return settings->way->submit_put(thread->client, path, request->data, settings->block, came_back, request);
}

static void small_phase(struct thread *thread, bool put)
{
	const struct settings *settings = thread->settings;
	double began = now(), until = began + settings->seconds;
	uint64_t number = 0;

	thread->phase = put ? &thread->put : &thread->get;
	while (now() < until && !thread->phase->failed && (put ? number < settings->files_max : thread->made)) {
		uint64_t at = put ? number : number % thread->made;
		struct request *request;

		if (settings->flight < 2 || !settings->way->submit_put) {
			small_once(thread, put, at);
			number++;
			continue;
		}
		request = free_place(thread, settings->block);
		if (!request) {
			settings->way->wait(thread->client);
			continue;
		}
		if (small_submit(thread, put, at, request)) {
			request->busy = false;
			settings->way->wait(thread->client);
			continue;
		}
		number++;
	}
	drain(thread, settings->block);
	if (put)
		thread->made = number;
	thread->phase->elapsed = now() - began;
}

static pthread_barrier_t barrier;

static void *small_thread(void *context)
{
	struct thread *thread = context;
	const struct settings *settings = thread->settings;
	char path[512];
	int error;

	(void)snprintf(path, sizeof(path), "%s/%u", settings->path, thread->number);
	error = settings->way->mkdir(thread->client, path);
	thread->put.error = error;
	(void)pthread_barrier_wait(&barrier);
	if (!error)
		small_phase(thread, true);
	(void)pthread_barrier_wait(&barrier);
	if (!error && !thread->put.failed)
		small_phase(thread, false);
	return NULL;
}

/* ---- blocks of a large file ------------------------------------------------------------------------------------ */

static uint64_t draw(struct thread *thread)
{
	thread->random ^= thread->random << 13;
	thread->random ^= thread->random >> 7;
	thread->random ^= thread->random << 17;
	return thread->random;
}

static uint64_t next_offset(struct thread *thread, uint64_t *at)
{
	const struct settings *settings = thread->settings;
	uint64_t blocks = settings->file_bytes / settings->block;
	uint64_t block = settings->random ? draw(thread) % blocks : (*at)++ % blocks;

	return block * settings->block;
}

static void *data_thread(void *context)
{
	struct thread *thread = context;
	const struct settings *settings = thread->settings;
	int flags = (settings->direct ? FILES_DIRECT : 0) | (settings->durable ? FILES_DURABLE : 0) |
		    (settings->write ? FILES_CREATE : 0);
	uint64_t at = 0;
	struct files_file *file;
	double began, until;
	char path[512];
	int error;

	(void)snprintf(path, sizeof(path), settings->own ? "%s.%u" : "%s", settings->path, thread->number);
	error = settings->way->open_file(thread->client, path, flags, &file);
	thread->phase = &thread->get;
	thread->get.error = error;
	(void)pthread_barrier_wait(&barrier);
	if (error)
		return NULL;
	began = now();
	until = began + settings->seconds;
	while (now() < until && !thread->phase->failed) {
		struct request *request = free_place(thread, settings->block);
		uint64_t offset;

		if (!request) {
			settings->way->wait(thread->client);
			continue;
		}
		offset = next_offset(thread, &at);
		request->began = now();
		request->done = false;
		request->busy = true;
		error = settings->write ? settings->way->write(thread->client, file, request->data, settings->block,
							       offset, came_back, request)
					: settings->way->read(thread->client, file, request->data, settings->block,
							      offset, came_back, request);
		if (error) {
			request->busy = false;
			settings->way->wait(thread->client);
		}
	}
	drain(thread, settings->block);
	thread->phase->elapsed = now() - began;
	settings->way->close_file(thread->client, file);
	return NULL;
}

/* ---- a crowd --------------------------------------------------------------------------------------------------- */

struct crowd {
	struct thread *thread;
	unsigned int members;
	struct files_client **clients;
	struct files_file **files;
	struct request *requests; /* of each member, `flight` of them */
	uint64_t at;
};

#ifdef __SANITIZE_ADDRESS__
/* The files of a crowd are in use when its time is over; and libnfs does not give back the names of its clients. */
const char *__lsan_default_suppressions(void), *__lsan_default_options(void);
const char *__lsan_default_suppressions(void)
{
	return "leak:gather\nleak:libnfs\n";
}
const char *__lsan_default_options(void)
{
	return "print_suppressions=0";
}
#endif

static void gather(struct crowd *crowd, unsigned int number)
{
	const struct settings *settings = crowd->thread->settings;
	struct phase *phase = &crowd->thread->get;

	crowd->clients = must(calloc(number, sizeof(*crowd->clients)));
	crowd->files = must(calloc(number, sizeof(*crowd->files)));
	crowd->requests = must(calloc((size_t)number * settings->flight, sizeof(*crowd->requests)));
	while (crowd->members < number && !phase->error) {
		unsigned int i = crowd->members;

		phase->error = settings->way->open(settings->target, &crowd->clients[i]);
		if (!phase->error)
			phase->error = settings->way->open_file(crowd->clients[i], settings->path, 0, &crowd->files[i]);
		crowd->members += !phase->error;
	}
}

/* All read into one buffer: what is in it does not matter. */
static void ask_more(struct crowd *crowd, unsigned int member)
{
	struct thread *thread = crowd->thread;
	const struct settings *settings = thread->settings;

	for (unsigned int j = 0; j < settings->flight; j++) {
		struct request *request = &crowd->requests[(size_t)member * settings->flight + j];

		if (request->busy && request->done)
			note(&thread->get, request->began, request->result, settings->block);
		if (request->busy && !request->done)
			continue;
		request->busy = true;
		request->done = false;
		request->began = now();
		if (settings->way->read(crowd->clients[member], crowd->files[member], thread->requests[0].data,
					settings->block, next_offset(thread, &crowd->at), came_back, request))
			request->busy = false;
	}
}

/* Each takes what has come; with --lazy they ask, and take nothing. */
static void *crowd_thread(void *context)
{
	static const struct timespec moment = { .tv_nsec = 500000 };
	struct thread *thread = context;
	const struct settings *settings = thread->settings;
	struct phase *phase = &thread->get;
	struct crowd crowd = { .thread = thread };
	double began, until;

	gather(&crowd, settings->clients / settings->threads);
	(void)pthread_barrier_wait(&barrier);
	began = now();
	until = began + settings->seconds;
	while (!phase->error && now() < until) {
		int came = 0;

		for (unsigned int i = 0; i < crowd.members; i++) {
			ask_more(&crowd, i);
			came += settings->way->poll(crowd.clients[i]);
		}
		while (settings->lazy && now() < until)
			(void)nanosleep(&moment, NULL);
		if (!came)
			(void)nanosleep(&moment, NULL);
	}
	phase->elapsed = now() - began;
	for (unsigned int i = 0; i < crowd.members; i++)
		settings->way->close(crowd.clients[i]); /* with what is on its way */
	free(crowd.clients);
	free(crowd.files);
	free(crowd.requests);
	return NULL;
}

/* ---- read and send --------------------------------------------------------------------------------------------- */

static void *swallow(void *context)
{
	static char buffer[1 << 20];

	while (recv(*(int *)context, buffer, sizeof(buffer), 0) > 0)
		continue;
	return NULL;
}

/* A connected pair over loopback. */
static int loopback(int fds[2])
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof(address);
	int listener = socket(AF_INET, SOCK_STREAM, 0);

	if (listener < 0 || bind(listener, (struct sockaddr *)&address, length) || listen(listener, 1) ||
	    getsockname(listener, (struct sockaddr *)&address, &length))
		return -errno;
	fds[0] = socket(AF_INET, SOCK_STREAM, 0);
	if (connect(fds[0], (struct sockaddr *)&address, length))
		return -errno;
	fds[1] = accept(listener, NULL, NULL);
	(void)close(listener);
	return fds[1] < 0 ? -errno : 0;
}

/* As many blocks a send as a server has requests at once. Counts processor time of this thread alone. */
static void *send_thread(void *context)
{
	struct thread *thread = context;
	const struct settings *settings = thread->settings;
	struct phase *phase = &thread->get;
	char *buffer = must(malloc(settings->block * settings->flight));
	struct timespec time;
	pthread_t swallower;
	uint64_t at = 0;
	double began, until;
	int fds[2], file;

	(void)pthread_barrier_wait(&barrier);
	phase->error = loopback(fds);
	if (phase->error || pthread_create(&swallower, NULL, swallow, &fds[1]))
		return NULL;
	file = open(settings->path, O_RDONLY | O_CLOEXEC);
	phase->error = file < 0 ? -errno : 0;
	began = now();
	until = began + settings->seconds;
	while (!phase->error && now() < until) {
		for (unsigned int i = 0; i < settings->flight; i++)
			if (pread(file, buffer + i * settings->block, settings->block,
				  (off_t)next_offset(thread, &at)) != (ssize_t)settings->block)
				phase->error = -EIO;
		if (send(fds[0], buffer, settings->block * settings->flight, 0) < 0)
			phase->error = -errno;
		phase->count += settings->flight;
	}
	phase->elapsed = now() - began;
	(void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
	phase->bytes = (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec; /* see print_send() */
	(void)shutdown(fds[0], SHUT_RDWR);
	(void)pthread_join(swallower, NULL);
	free(buffer);
	return NULL;
}

/* ---- all of them ----------------------------------------------------------------------------------------------- */

static void add_up(struct phase *sum, const struct phase *one)
{
	for (unsigned int i = 0; i < VG_HISTOGRAM_CELLS; i++)
		sum->times.cell[i] += one->times.cell[i];
	sum->times.count += one->times.count;
	if (sum->times.max_ns < one->times.max_ns)
		sum->times.max_ns = one->times.max_ns;
	sum->count += one->count;
	sum->bytes += one->bytes;
	sum->failed += one->failed;
	if (sum->elapsed < one->elapsed)
		sum->elapsed = one->elapsed;
	if (!sum->error)
		sum->error = one->error;
}

static void print_phase(const char *name, const struct phase *phase, bool comma)
{
	double elapsed = phase->elapsed > 0 ? phase->elapsed : 1;

	printf("\"%s\": {\"count\": %llu, \"rate\": %.3f, \"bytes_rate\": %.1f, \"p50_ns\": %llu, \"p99_ns\": %llu, "
	       "\"failed\": %llu, \"error\": \"%s\"}%s",
	       name, (unsigned long long)phase->count, (double)phase->count / elapsed, (double)phase->bytes / elapsed,
	       (unsigned long long)vg_histogram_quantile(&phase->times, 0.5),
	       (unsigned long long)vg_histogram_quantile(&phase->times, 0.99), (unsigned long long)phase->failed,
	       phase->error ? strerrorname_np(-phase->error) ? strerrorname_np(-phase->error) : "?" : "",
	       comma ? ", " : "");
}

static int run(const struct settings *settings, void *(*work)(void *), bool own_client)
{
	struct thread *threads = must(calloc(settings->threads, sizeof(*threads)));
	struct phase *put = must(calloc(1, sizeof(*put))), *get = must(calloc(1, sizeof(*get)));
	struct rusage usage;
	int error;

	(void)pthread_barrier_init(&barrier, NULL, settings->threads);
	for (unsigned int i = 0; i < settings->threads; i++) {
		struct thread *thread = &threads[i];

		thread->settings = settings;
		thread->number = i;
		thread->random = 0x9e3779b97f4a7c15ULL * (i + 1);
		for (unsigned int j = 0; j < settings->flight; j++) {
			thread->requests[j].data = must(aligned_alloc(4096, (settings->block + 4095) & ~4095ul));
			memset(thread->requests[j].data, (int)('a' + j % 26), settings->block);
		}
		error = own_client ? settings->way->open(settings->target, &thread->client) : 0;
		if (error) {
			fprintf(stderr, "files: %s %s: %s\n", settings->way->name, settings->target, strerror(-error));
			return 1;
		}
	}
	for (unsigned int i = 0; i < settings->threads; i++)
		if (pthread_create(&threads[i].thread, NULL, work, &threads[i]))
			return 1;
	for (unsigned int i = 0; i < settings->threads; i++) {
		(void)pthread_join(threads[i].thread, NULL);
		add_up(put, &threads[i].put);
		add_up(get, &threads[i].get);
		if (own_client)
			settings->way->close(threads[i].client);
		for (unsigned int j = 0; j < settings->flight; j++)
			free(threads[i].requests[j].data);
	}
	(void)getrusage(RUSAGE_SELF, &usage);
	printf("{");
	if (work == small_thread)
		print_phase("create", put, true);
	print_phase(work == small_thread ? "read" : "data", get, true);
	printf("\"cpu_ns\": %llu}\n",
	       (unsigned long long)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000000ULL +
		       (unsigned long long)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000);
	error = put->error || get->error || put->failed || get->failed;
	free(threads);
	free(put);
	free(get);
	return error;
}

static const struct files_way *way_of(const char *name)
{
	static const struct files_way *const ways[] = { &files_here, &files_virgo, &files_virgo_calls, &files_9p,
							&files_nfs };

	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++)
		if (!strcmp(ways[i]->name, name))
			return ways[i];
	return NULL;
}

static bool parse(int argc, char **argv, struct settings *ret_settings)
{
	static const struct option options[] = {
		{ "threads", 1, NULL, 't' },	{ "flight", 1, NULL, 'f' },   { "clients", 1, NULL, 'c' },
		{ "seconds", 1, NULL, 's' },	{ "block", 1, NULL, 'b' },    { "file-bytes", 1, NULL, 'B' },
		{ "files-max", 1, NULL, 'm' },	{ "write", 0, NULL, 'w' },    { "random", 0, NULL, 'r' },
		{ "direct", 0, NULL, 'd' },	{ "durable", 0, NULL, 'D' },  { "own", 0, NULL, 'o' },
		{ "lazy", 0, NULL, 'l' },	{ 0 }
	};
	struct settings settings = { .threads = 1, .flight = 1, .clients = 1, .seconds = 1, .block = 4096,
				     .file_bytes = 64 << 20, .files_max = 1000000 };
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		unsigned long long number = optarg ? strtoull(optarg, NULL, 10) : 0;

		settings.threads = option == 't' ? (unsigned int)number : settings.threads;
		settings.flight = option == 'f' ? (unsigned int)number : settings.flight;
		settings.clients = option == 'c' ? (unsigned int)number : settings.clients;
		settings.seconds = option == 's' ? strtod(optarg, NULL) : settings.seconds;
		settings.block = option == 'b' ? (size_t)number : settings.block;
		settings.file_bytes = option == 'B' ? number : settings.file_bytes;
		settings.files_max = option == 'm' ? number : settings.files_max;
		settings.write |= option == 'w';
		settings.random |= option == 'r';
		settings.direct |= option == 'd';
		settings.durable |= option == 'D';
		settings.own |= option == 'o';
		settings.lazy |= option == 'l';
		if (option == '?')
			return false;
	}
	if (argc - optind != 4)
		return false;
	settings.way = way_of(argv[optind]);
	settings.target = argv[optind + 1];
	settings.mode = argv[optind + 2];
	settings.path = argv[optind + 3];
	*ret_settings = settings;
	return settings.way && settings.threads && settings.threads <= THREADS_MAX && settings.flight &&
	       settings.flight <= FLIGHT_MAX && settings.block >= 8 && settings.block <= BLOCK_MAX &&
	       settings.clients <= CLIENTS_MAX && settings.clients && settings.file_bytes >= settings.block;
}

int main(int argc, char **argv)
{
	struct settings settings;
	struct rlimit limit;

	if (!parse(argc, argv, &settings)) {
		fprintf(stderr, "usage: files WAY TARGET small|data|crowd|send PATH [OPTION...]: see its source\n");
		return 2;
	}
	if (!getrlimit(RLIMIT_NOFILE, &limit)) { /* a crowd has many connections */
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
	if (!strcmp(settings.mode, "small")) {
		struct files_client *client;
		int error = settings.way->open(settings.target, &client);

		if (!error) {
			error = settings.way->mkdir(client, settings.path);
			settings.way->close(client);
		}
		if (error) {
			fprintf(stderr, "files: %s %s: %s\n", argv[1], settings.path, strerror(-error));
			return 1;
		}
		return run(&settings, small_thread, true);
	}
	if (!strcmp(settings.mode, "data") && settings.way->open_file)
		return run(&settings, data_thread, true);
	if (!strcmp(settings.mode, "crowd") && settings.way->poll)
		return run(&settings, crowd_thread, false);
	if (!strcmp(settings.mode, "send"))
		return run(&settings, send_thread, false);
	fprintf(stderr, "files: %s does not measure %s\n", settings.way->name, settings.mode);
	return 2;
}
