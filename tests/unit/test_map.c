/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The parts of `virgo map` that need no node: places in a command, spooled output, the resume file, the bookkeeping. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/map_engine.h"
#include "cli/map_resume.h"
#include "cli/map_template.h"
#include "cli/spool.h"

/* ---- places ---------------------------------------------------------------------------------------------------- */

static void expands(const char *word, const char *argument, const char *wanted)
{
	char *words[] = { "cmd", (char *)word }, **command;

	assert_int_equal(map_expand(words, 2, argument, 7, &command), 0);
	assert_string_equal(command[0], "cmd");
	assert_string_equal(command[1], wanted);
	assert_null(command[2]);
	free(command);
}

static void test_template_places(void **state)
{
	(void)state;
	expands("{}", "a b", "a b");
	expands("<{}|{}>", "x", "<x|x>");
	expands("{.}", "dir/file.tar.gz", "dir/file.tar");
	expands("{.}", "dir.d/file", "dir.d/file");
	expands("{.}", ".profile", ".profile");
	expands("{.}", "dir/.profile", "dir/.profile");
	expands("{/}", "/a/b/c.txt", "c.txt");
	expands("{//}", "/a/b/c.txt", "/a/b");
	expands("{//}", "c.txt", ".");
	expands("{//}", "/c.txt", "/");
	expands("{/.}", "/a/b/c.txt", "c");
	expands("{#}", "x", "7");
	/* What looks like a place in the argument is the argument's own. */
	expands("{}", "{#}", "{#}");
	expands("{}{x}{", "", "{x}{");
}

static void test_template_without_place(void **state)
{
	char *words[] = { "echo", "-n" }, **command;

	(void)state;
	assert_int_equal(map_expand(words, 2, "last", 1, &command), 0);
	assert_string_equal(command[2], "last");
	assert_null(command[3]);
	free(command);
}

static void test_template_too_long(void **state)
{
	char *words[] = { "{}{}" }, **command, *argument = malloc(MAP_COMMAND_BYTES_MAX / 2 + 1);

	(void)state;
	memset(argument, 'x', MAP_COMMAND_BYTES_MAX / 2);
	argument[MAP_COMMAND_BYTES_MAX / 2] = '\0';
	assert_int_equal(map_expand(words, 1, argument, 1, &command), -E2BIG);
	free(argument);
}

/* ---- spool ----------------------------------------------------------------------------------------------------- */

static void test_spool_beyond_memory(void **state)
{
	const size_t whole = 3 * CLI_SPOOL_MEMORY_BYTES + 12345;
	unsigned char *data = malloc(whole), *back = malloc(whole + 1);
	char path[] = "/tmp/vg-test-spool-XXXXXX";
	struct cli_spool spool;
	size_t at = 0;
	int fd = mkstemp(path);

	(void)state;
	for (size_t i = 0; i < whole; i++)
		data[i] = (unsigned char)(i * 7 + i / 256);
	cli_spool_init(&spool);
	for (size_t step = 1; at < whole; at += step, step = step * 2 < whole - at ? step * 2 : 1)
		assert_int_equal(cli_spool_add(&spool, data + at, step), 0);
	assert_int_equal(cli_spool_length(&spool), whole);
	assert_true(spool.filed > 0 && spool.room <= CLI_SPOOL_MEMORY_BYTES);
	assert_int_equal(cli_spool_copy(&spool, fd), 0);
	assert_int_equal(pread(fd, back, whole + 1, 0), whole);
	assert_memory_equal(back, data, whole);
	assert_int_equal(cli_spool_head(&spool, back, whole + 1), whole);
	assert_memory_equal(back, data, whole);
	assert_int_equal(cli_spool_head(&spool, back, 10), 10);
	cli_spool_clear(&spool);
	assert_int_equal(cli_spool_length(&spool), 0);
	assert_int_equal(cli_spool_add(&spool, "again", 5), 0);
	assert_int_equal(cli_spool_head(&spool, back, 100), 5);
	cli_spool_deinit(&spool);
	(void)close(fd);
	(void)unlink(path);
	free(data);
	free(back);
}

/* ---- the bookkeeping ------------------------------------------------------------------------------------------- */

#define JOBS_MAX 20000

/* A runner that ends jobs when and how the test says, and writes down what it sees. */
struct bench {
	struct map_engine map;
	struct map_job *running[64];
	unsigned int running_count, started, starts[JOBS_MAX + 1], stopped;
	__u64 emitted[JOBS_MAX];
	unsigned int emitted_count;
	int start_error;
	char output[64];
};

static int start(void *context, struct map_job *job)
{
	struct bench *bench = context;

	if (bench->start_error)
		return bench->start_error;
	assert_true(bench->running_count < bench->map.jobs_max);
	bench->running[bench->running_count++] = job;
	bench->started++;
	bench->starts[job->number]++;
	return 0;
}

static void emit(void *context, struct map_job *job)
{
	struct bench *bench = context;
	size_t length = cli_spool_head(&job->out, bench->output, sizeof(bench->output) - 1);

	bench->output[length] = '\0';
	bench->emitted[bench->emitted_count++] = job->number;
}

static void stop(void *context, struct map_job *job)
{
	struct bench *bench = context;

	(void)job;
	bench->stopped++;
}

static const struct map_ops ops = { start, emit, stop };
static char *words[] = { "true", "{}" };

static struct bench *bench_new(unsigned int jobs_max)
{
	struct bench *bench = calloc(1, sizeof(*bench));

	map_init(&bench->map, &ops, bench, words, 2);
	bench->map.jobs_max = jobs_max;
	return bench;
}

static void bench_free(struct bench *bench)
{
	map_deinit(&bench->map);
	free(bench);
}

static void add(struct bench *bench, const char *argument)
{
	struct map_job *job;

	assert_int_equal(map_make(&bench->map, argument, strlen(argument), &job), 0);
	map_add(&bench->map, job);
}

static void end(struct bench *bench, unsigned int which, int status)
{
	struct map_job *job = bench->running[which];

	bench->running[which] = bench->running[--bench->running_count];
	map_done(&bench->map, job, &(struct map_result){ .status = status });
	map_pump(&bench->map);
}

static void test_engine_bounds_what_runs(void **state)
{
	struct bench *bench = bench_new(3);

	(void)state;
	for (int i = 0; i < 10; i++)
		add(bench, "x");
	map_pump(&bench->map);
	assert_int_equal(bench->running_count, 3);
	end(bench, 1, 0);
	assert_int_equal(bench->running_count, 3);
	assert_int_equal(bench->emitted[0], 2);
	while (bench->running_count)
		end(bench, 0, 0);
	assert_true(map_idle(&bench->map));
	assert_int_equal(bench->emitted_count, 10);
	assert_int_equal(map_exit(&bench->map), 0);
	bench_free(bench);
}

/* Thousands of jobs that end in any order, some failing: each started as often as it must be and emitted once. */
static void many(bool keep_order, unsigned int jobs)
{
	struct bench *bench = bench_new(16);
	unsigned char *seen = calloc(jobs + 1, 1);
	__u64 random = 1;
	unsigned int added = 0, failing = 0;

	bench->map.keep_order = keep_order;
	bench->map.retries = 1;
	do {
		while (added < jobs && map_wants(&bench->map)) {
			add(bench, "x");
			added++;
		}
		map_pump(&bench->map);
		if (!bench->running_count)
			break;
		random = random * 6364136223846793005ULL + 1442695040888963407ULL;
		/* Jobs whose number ends in 7 always fail, those that end in 3 only the first time. */
		{
			unsigned int which = (unsigned int)(random >> 33) % bench->running_count;
			const struct map_job *job = bench->running[which];

			end(bench, which,
			    job->number % 10 == 7 || (job->number % 10 == 3 && job->attempts == 1) ? 5 : 0);
		}
	} while (added < jobs || !map_idle(&bench->map));
	assert_true(map_idle(&bench->map));
	assert_int_equal(bench->emitted_count, jobs);
	for (unsigned int i = 0; i < jobs; i++) {
		__u64 number = bench->emitted[i];

		assert_int_equal(seen[number], 0);
		seen[number] = 1;
		failing += number % 10 == 7;
		assert_int_equal(bench->starts[number], number % 10 == 7 || number % 10 == 3 ? 2 : 1);
		if (keep_order)
			assert_int_equal(number, i + 1);
	}
	assert_int_equal(bench->map.failed, failing);
	assert_int_equal(map_exit(&bench->map), failing < MAP_FAILED_MAX ? failing : MAP_FAILED_MAX);
	free(seen);
	bench_free(bench);
}

static void test_engine_many_as_they_end(void **state)
{
	(void)state;
	many(false, 5000);
	many(false, 300);
}

static void test_engine_many_in_order(void **state)
{
	(void)state;
	many(true, 5000);
}

static void test_engine_bounds_how_far_ahead(void **state)
{
	struct bench *bench = bench_new(2);
	unsigned int added = 0;

	(void)state;
	bench->map.keep_order = true;
	/* The first job hangs; all others end at once. */
	for (;;) {
		while (added < JOBS_MAX && map_wants(&bench->map)) {
			add(bench, "x");
			added++;
		}
		map_pump(&bench->map);
		if (bench->running_count < 2)
			break;
		end(bench, 1, 0);
	}
	assert_int_equal(bench->started, MAP_AHEAD_MAX);
	assert_int_equal(bench->emitted_count, 0);
	end(bench, 0, 0);
	assert_true(bench->emitted_count >= MAP_AHEAD_MAX);
	bench_free(bench);
}

static void test_engine_last_attempt_counts(void **state)
{
	struct bench *bench = bench_new(1);

	(void)state;
	bench->map.retries = 1;
	add(bench, "x");
	map_pump(&bench->map);
	assert_int_equal(map_output(bench->running[0], 1, "first", 5), 0);
	end(bench, 0, 1);
	assert_int_equal(map_output(bench->running[0], 1, "second", 6), 0);
	end(bench, 0, 0);
	assert_string_equal(bench->output, "second");
	assert_int_equal(map_exit(&bench->map), 0);
	bench_free(bench);
}

static void test_engine_start_refused(void **state)
{
	struct bench *bench = bench_new(4);

	(void)state;
	add(bench, "x");
	add(bench, "y");
	bench->start_error = -EAGAIN;
	map_pump(&bench->map);
	assert_false(map_idle(&bench->map));
	assert_int_equal(bench->emitted_count, 0);
	bench->start_error = -E2BIG;
	map_pump(&bench->map);
	assert_true(map_idle(&bench->map));
	assert_int_equal(bench->emitted_count, 2);
	assert_int_equal(map_exit(&bench->map), 2);
	bench_free(bench);
}

static void test_engine_stop(void **state)
{
	struct bench *bench = bench_new(2);

	(void)state;
	bench->map.retries = 5;
	bench->map.keep_order = true;
	for (int i = 0; i < 10; i++)
		add(bench, "x");
	map_pump(&bench->map);
	end(bench, 1, 0);
	map_stop(&bench->map);
	assert_int_equal(bench->stopped, 2);
	assert_false(map_wants(&bench->map));
	while (bench->running_count)
		end(bench, 0, 143);
	assert_true(map_idle(&bench->map));
	assert_int_equal(bench->started, 3);
	assert_int_equal(bench->emitted_count, 3);
	bench_free(bench);
}

/* ---- resume ---------------------------------------------------------------------------------------------------- */

static char resume_path[64];

static int resume_setup(void **state)
{
	(void)state;
	(void)snprintf(resume_path, sizeof(resume_path), "/tmp/vg-test-resume-%d", (int)getpid());
	(void)unlink(resume_path);
	return 0;
}

static int resume_teardown(void **state)
{
	(void)state;
	(void)unlink(resume_path);
	return 0;
}

static void note(const char *argument, int status)
{
	struct bench *bench = bench_new(1);
	struct map_resume resume;
	struct map_job *job;
	size_t bad;

	assert_int_equal(map_resume_open(&resume, resume_path, &bad), 0);
	assert_int_equal(map_make(&bench->map, argument, strlen(argument), &job), 0);
	job->result.status = status;
	assert_int_equal(map_resume_note(&resume, job), 0);
	map_skip(&bench->map, job);
	map_resume_close(&resume);
	bench_free(bench);
}

static bool taken(struct map_resume *resume, const char *argument)
{
	struct bench *bench = bench_new(1);
	struct map_job *job;
	bool done;

	assert_int_equal(map_make(&bench->map, argument, strlen(argument), &job), 0);
	done = map_resume_take(resume, job->hash);
	map_skip(&bench->map, job);
	bench_free(bench);
	return done;
}

static void test_resume_counts_successes(void **state)
{
	struct map_resume resume;
	size_t bad;

	(void)state;
	note("a", 0);
	note("b", 3);
	note("with\nline feed \\ and 0", 0);
	note("twice", 0);
	note("twice", 0);
	assert_int_equal(map_resume_open(&resume, resume_path, &bad), 0);
	assert_true(taken(&resume, "a"));
	assert_false(taken(&resume, "a"));
	assert_false(taken(&resume, "b"));
	assert_true(taken(&resume, "with\nline feed \\ and 0"));
	assert_true(taken(&resume, "twice"));
	assert_true(taken(&resume, "twice"));
	assert_false(taken(&resume, "twice"));
	assert_false(taken(&resume, "never"));
	map_resume_close(&resume);
}

static void test_resume_after_a_cut(void **state)
{
	struct map_resume resume;
	size_t bad;
	FILE *file;

	(void)state;
	note("a", 0);
	note("b", 0);
	/* The machine died in the middle of a line. */
	file = fopen(resume_path, "r+");
	assert_non_null(file);
	assert_int_equal(fseek(file, -30, SEEK_END), 0);
	assert_int_equal(ftruncate(fileno(file), ftell(file)), 0);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(map_resume_open(&resume, resume_path, &bad), 0);
	assert_true(taken(&resume, "a"));
	assert_false(taken(&resume, "b"));
	map_resume_close(&resume);
	note("c", 0);
	assert_int_equal(map_resume_open(&resume, resume_path, &bad), 0);
	assert_true(taken(&resume, "c"));
	map_resume_close(&resume);
}

static void test_resume_of_another_file(void **state)
{
	struct map_resume resume;
	FILE *file = fopen(resume_path, "w");
	size_t bad = 0;

	(void)state;
	assert_non_null(file);
	assert_true(fputs("# a comment\nthis is somebody's letter to his mother\n", file) >= 0);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(map_resume_open(&resume, resume_path, &bad), -EINVAL);
	assert_int_equal(bad, 2);
}

static void test_resume_of_many(void **state)
{
	struct map_resume resume;
	size_t bad;
	FILE *file = fopen(resume_path, "w");

	(void)state;
	assert_non_null(file);
	/* Hashes that all begin in the same slot of any table. */
	for (unsigned int i = 1; i <= 3000; i++)
		assert_true(fprintf(file, "%08x00000000 0 0.001 n %u x\n", i, i) > 0);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(map_resume_open(&resume, resume_path, &bad), 0);
	for (unsigned int i = 1; i <= 3000; i++)
		assert_true(map_resume_take(&resume, (__u64)i << 32));
	assert_false(map_resume_take(&resume, 1ULL << 32));
	assert_false(map_resume_take(&resume, 3001ULL << 32));
	map_resume_close(&resume);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_template_places),
		cmocka_unit_test(test_template_without_place),
		cmocka_unit_test(test_template_too_long),
		cmocka_unit_test(test_spool_beyond_memory),
		cmocka_unit_test(test_engine_bounds_what_runs),
		cmocka_unit_test(test_engine_many_as_they_end),
		cmocka_unit_test(test_engine_many_in_order),
		cmocka_unit_test(test_engine_bounds_how_far_ahead),
		cmocka_unit_test(test_engine_last_attempt_counts),
		cmocka_unit_test(test_engine_start_refused),
		cmocka_unit_test(test_engine_stop),
		cmocka_unit_test_setup_teardown(test_resume_counts_successes, resume_setup, resume_teardown),
		cmocka_unit_test_setup_teardown(test_resume_after_a_cut, resume_setup, resume_teardown),
		cmocka_unit_test_setup_teardown(test_resume_of_another_file, resume_setup, resume_teardown),
		cmocka_unit_test_setup_teardown(test_resume_of_many, resume_setup, resume_teardown),
	};

	return cmocka_run_group_tests_name("map", tests, NULL, NULL);
}
