/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Files of the client when connections and nodes are lost, on a real node. */
#include "client_file.h"

static int start_one(void **state)
{
	(void)state;
	cluster = real_start(1);
	return 0;
}

/* ---- lost connections -------------------------------------------------------------------------------------------- */

static void test_file_survives_lost_connections(void **state)
{
	struct virgo_file_stat stat;
	struct virgo_file *file;
	char text[8] = "", path[32];

	(void)state;
	make("lost", O_RDWR, &file);
	assert_int_equal(virgo_pwrite(v, file, "before", 6, 0), 6);
	assert_int_equal(virgo_flock(v, file, 1, LOCK_EX), 0);
	cut(v);
	assert_int_equal(virgo_pread(v, file, text, 6, 0), 6);
	assert_string_equal(text, "before");
	for (int i = 0; i < 10; i++) {
		(void)snprintf(path, sizeof(path), "lost%d", i);
		cut(v);
		assert_int_equal(virgo_mkdir(v, path, 0755), 0);
		cut(v);
		assert_int_equal(virgo_rename(v, path, "lost.moved", 0), 0);
		assert_int_equal(virgo_stat(v, path, &stat), -ENOENT);
		cut(v);
		assert_int_equal(virgo_rmdir(v, "lost.moved"), 0);
	}
	assert_int_equal(virgo_close(v, file), 0);
}

static void note_result(void *context, ssize_t result)
{
	*(ssize_t *)context = result;
}

/* Cut while a change is under way: it is made, once. */
static void test_file_changes_are_made_once(void **state)
{
	struct virgo_file *file;
	struct virgo_file_stat stat;
	ssize_t result;

	(void)state;
	make("once", O_WRONLY | O_APPEND, &file);
	for (int i = 0; i < 100; i++) {
		result = 1234;
		assert_int_equal(virgo_submit_pwrite(v, file, "x", 1, 0, note_result, &result), 0);
		/* It leaves here; whether it arrives before the end of the connection is chance. */
		(void)virgo_poll(v);
		if (draw(2))
			(void)usleep((useconds_t)draw(300));
		if (result == 1234)
			cut(v);
		while (result == 1234)
			assert_true(virgo_wait(v, 0, 1000) >= 0);
		assert_int_equal(result, 1);
	}
	assert_int_equal(virgo_fstat(v, file, &stat), 0);
	assert_int_equal(stat.size, 100);
	assert_int_equal(virgo_close(v, file), 0);
}

/* ---- several clients of one session -------------------------------------------------------------------------------- */

#define SHARERS 6
#define SHARE_BYTES 50000

struct sharer_of {
	pthread_t thread;
	struct virgo *v;
	struct virgo_file *file;
	unsigned int number, bad;
};

/* Its own part of the common file, again and again, through connections that are lost now and then. */
static void *write_and_read(void *context)
{
	struct sharer_of *of = context;
	uint64_t offset = (uint64_t)of->number * SHARE_BYTES;
	static _Thread_local char out[SHARE_BYTES], in[SHARE_BYTES];

	for (unsigned int i = 0; i < 30; i++) {
		memset(out, (int)(of->number * 30 + i), sizeof(out));
		if (i % 10 == of->number)
			cut(of->v);
		of->bad += virgo_pwrite(of->v, of->file, out, sizeof(out), offset) != sizeof(out);
		of->bad += virgo_pread(of->v, of->file, in, sizeof(in), offset) != sizeof(in);
		of->bad += memcmp(in, out, sizeof(in)) != 0;
	}
	return NULL;
}

static void test_file_threads_share_a_file(void **state)
{
	struct sharer_of sharers[SHARERS];
	struct virgo_file *file;
	struct virgo *first = real_client(cluster, TIMEOUT_MS, NULL);

	(void)state;
	/* All begin at once: nobody has a session yet, and they shall end up in one. */
	for (unsigned int i = 0; i < SHARERS; i++)
		sharers[i] = (struct sharer_of){ .v = real_client(cluster, TIMEOUT_MS, first), .number = i };
	assert_int_equal(virgo_open(sharers[0].v, "common", O_RDWR | O_CREAT, 0644, &file), 0);
	for (unsigned int i = 0; i < SHARERS; i++) {
		sharers[i].file = file;
		assert_int_equal(pthread_create(&sharers[i].thread, NULL, write_and_read, &sharers[i]), 0);
	}
	for (unsigned int i = 0; i < SHARERS; i++) {
		assert_int_equal(pthread_join(sharers[i].thread, NULL), 0);
		assert_int_equal(sharers[i].bad, 0);
	}
	assert_int_equal(virgo_close(first, file), 0);
	virgo_disconnect(first);
	for (unsigned int i = 0; i < SHARERS; i++)
		virgo_disconnect(sharers[i].v);
}

static void *make_own_session(void *context)
{
	struct sharer_of *of = context;
	char path[32];

	(void)snprintf(path, sizeof(path), "own%u", of->number);
	of->bad += virgo_open(of->v, path, O_RDWR | O_CREAT, 0644, &of->file) != 0;
	return NULL;
}

/* Each makes a session when there is none: they agree on one, as all descriptors work for all of them afterwards. */
static void test_file_threads_agree_on_a_session(void **state)
{
	(void)state;
	for (unsigned int round = 0; round < 10; round++) {
		struct virgo *first = real_client(cluster, TIMEOUT_MS, NULL);
		struct sharer_of sharers[SHARERS];

		for (unsigned int i = 0; i < SHARERS; i++)
			sharers[i] = (struct sharer_of){ .v = real_client(cluster, TIMEOUT_MS, first), .number = i };
		for (unsigned int i = 0; i < SHARERS; i++)
			assert_int_equal(pthread_create(&sharers[i].thread, NULL, make_own_session, &sharers[i]), 0);
		for (unsigned int i = 0; i < SHARERS; i++)
			assert_int_equal(pthread_join(sharers[i].thread, NULL), 0);
		for (unsigned int i = 0; i < SHARERS; i++) {
			struct virgo *other = sharers[(i + 1) % SHARERS].v;

			assert_int_equal(sharers[i].bad, 0);
			assert_int_equal(virgo_pwrite(other, sharers[i].file, "x", 1, 0), 1);
			assert_int_equal(virgo_close(first, sharers[i].file), 0);
		}
		for (unsigned int i = 0; i < SHARERS; i++)
			virgo_disconnect(sharers[i].v);
		virgo_disconnect(first);
	}
}

/* ---- against memory ---------------------------------------------------------------------------------------------- */

static void test_file_against_memory(void **state)
{
	struct virgo_file *file;

	(void)state;
	make("model", O_RDWR, &file);
	random_operations("model", file, 300);
	assert_int_equal(virgo_close(v, file), 0);
}

static void test_file_direct(void **state)
{
	uint8_t *data = malloc(1 << 20), *back = malloc(1 << 20);
	struct virgo_file *file;

	(void)state;
	fill(data, 1 << 20);
	assert_int_equal(virgo_open(v, "direct", O_RDWR | O_CREAT | O_DIRECT, 0644, &file), 0);
	assert_int_equal(virgo_pwrite(v, file, data, 1 << 20, 0), 1 << 20);
	/* Our memory need not be aligned. */
	assert_int_equal(virgo_pread(v, file, back + 1, 8192, 4096), 8192);
	assert_memory_equal(back + 1, data + 4096, 8192);
	assert_int_equal(virgo_close(v, file), 0);
	free(data);
	free(back);
}

/* ---- lost nodes -------------------------------------------------------------------------------------------------- */

static double seconds_now(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void test_file_another_life(void **state)
{
	struct virgo_file *file;
	struct virgo *quick = real_client(cluster, 1000, NULL);
	struct virgo_watch *watch;
	struct seen seen = { 0 };
	double begun;

	(void)state;
	make("life", O_RDWR, &file);
	put_text("stays", "here");
	assert_int_equal(virgo_watch(v, "", IN_CREATE, note_event, &seen, &watch), 0);
	assert_int_equal(virgo_stat(quick, "stays", &(struct virgo_file_stat){ 0 }), 0);
	real_kill_node(cluster, 0, SIGKILL);
	begun = seconds_now();
	assert_int_equal(virgo_stat(quick, "stays", &(struct virgo_file_stat){ 0 }), -EHOSTDOWN);
	for (int i = 0; i < 20; i++)
		assert_int_equal(virgo_stat(quick, "stays", &(struct virgo_file_stat){ 0 }), -EHOSTDOWN);
	assert_true(seconds_now() - begun < 60);
	real_restart_node(cluster, 0);
	assert_int_equal(virgo_pwrite(v, file, "x", 1, 0), -ESTALE);
	assert_int_equal(virgo_close(v, file), -ESTALE);
	expect_text("stays", "here");
	/* Watched again, and told that something may have been missed. */
	assert_true(soon(&seen.lost, 1));
	assert_int_equal(virgo_mkdir(v, "seen", 0755), 0);
	assert_true(soon(&seen.created, 1));
	assert_int_equal(virgo_unwatch(v, watch), 0);
	for (int i = 0; i < 300 && virgo_stat(quick, "stays", &(struct virgo_file_stat){ 0 }); i++)
		(void)usleep(20000);
	assert_int_equal(virgo_stat(quick, "stays", &(struct virgo_file_stat){ 0 }), 0);
	virgo_disconnect(quick);
}

/* A file pool that is not where file pools are: the node's memory pool knows. */
static void test_file_port_is_found(void **state)
{
	struct virgo_options options = { .size = sizeof(options), .nodes = cluster->nodes, .key_file = "" };
	struct virgo *searcher;

	(void)state;
	assert_int_equal(virgo_connect(&searcher, &options, NULL, 0), 0);
	assert_int_equal(virgo_mkdir(searcher, "found", 0755), 0);
	assert_int_equal(virgo_stat(v, "found", &(struct virgo_file_stat){ 0 }), 0);
	virgo_disconnect(searcher);
}

/* Connections are taken, by its kernel, but nobody answers. */
static void test_file_silent_node(void **state)
{
	struct virgo *quick = real_client(cluster, 300, NULL);
	struct virgo_file_stat stat;
	double begun;

	(void)state;
	put_text("silent", "");
	assert_int_equal(virgo_stat(quick, "silent", &stat), 0);
	assert_int_equal(kill(cluster->pid[0], SIGSTOP), 0);
	assert_int_equal(waitpid(cluster->pid[0], NULL, WUNTRACED), cluster->pid[0]);
	begun = seconds_now();
	for (int i = 0; i < 3; i++)
		assert_int_equal(virgo_stat(quick, "silent", &stat), -EHOSTDOWN);
	assert_true(seconds_now() - begun < 60);
	assert_int_equal(kill(cluster->pid[0], SIGCONT), 0);
	for (int i = 0; i < 100 && virgo_stat(quick, "silent", &stat); i++)
		(void)usleep(20000);
	assert_int_equal(virgo_stat(quick, "silent", &stat), 0);
	virgo_disconnect(quick);
}

static void test_file_no_pool(void **state)
{
	struct virgo_options options = { .size = sizeof(options), .nodes = "127.0.0.1:1", .file_port = 1 };
	struct virgo *nobody;

	(void)state;
	assert_int_equal(virgo_connect(&nobody, &options, NULL, 0), 0);
	assert_int_equal(virgo_mkdir(nobody, "x", 0755), -EHOSTDOWN);
	assert_non_null(strstr(virgo_error_text(nobody), "127.0.0.1:1"));
	virgo_disconnect(nobody);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_file_survives_lost_connections),
		TEST(test_file_changes_are_made_once),
		TEST(test_file_threads_share_a_file),
		TEST(test_file_threads_agree_on_a_session),
		TEST(test_file_against_memory),
		TEST(test_file_direct),
		TEST(test_file_another_life),
		TEST(test_file_silent_node),
		TEST(test_file_port_is_found),
		TEST(test_file_no_pool),
	};

	return cmocka_run_group_tests_name("client_file_lost", tests, start_one, stop);
}
