/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The codec of jobs: what is written is read, every bound holds, every wrong request has its own reason. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "virgo/job.h"

struct draft {
	struct vg_job_request fixed;
	const char *name, *directory;
	const char *argument[4], *environment[4];
	const char *input;
};

static __u8 body[VG_JOB_SPEC_MAX + VG_JOB_INPUT_MAX + 4096];

static struct draft good(void)
{
	return (struct draft){
		.fixed = { .kind = VG_JOB_EXECUTABLE, .priority = 7, .flags = VG_HTOBE16(VG_JOB_MERGE),
			   .timeout_ms = VG_HTOBE32(1234), .issued_ms = VG_HTOBE64(99), .memory_bytes = VG_HTOBE64(1ull << 33),
			   .window = VG_HTOBE32(4096), .rows = VG_HTOBE16(24), .columns = VG_HTOBE16(80) },
		.name = "sort",
		.directory = "/tmp",
		.argument = { "sort", "-n", "" },
		.environment = { "A=1", "B=" },
		.input = "3\n1\n",
	};
}

static __u64 write_draft(const struct draft *draft, __u64 room)
{
	struct vg_job_writer writer = { .data = body, .room = room };
	struct vg_job_request fixed = draft->fixed;
	__u32 arguments = 0, environment = 0;

	while (arguments < 4 && draft->argument[arguments])
		arguments++;
	while (environment < 4 && draft->environment[environment])
		environment++;
	fixed.arguments = VG_HTOBE32(arguments);
	fixed.environment = VG_HTOBE32(environment);
	fixed.input_length = VG_HTOBE32((__u32)strlen(draft->input));
	vg_job_put_bytes(&writer, &fixed, sizeof(fixed));
	vg_job_put(&writer, draft->name, (__u32)strlen(draft->name));
	vg_job_put(&writer, draft->directory, (__u32)strlen(draft->directory));
	for (__u32 i = 0; i < arguments; i++)
		vg_job_put(&writer, draft->argument[i], (__u32)strlen(draft->argument[i]));
	for (__u32 i = 0; i < environment; i++)
		vg_job_put(&writer, draft->environment[i], (__u32)strlen(draft->environment[i]));
	vg_job_put_bytes(&writer, draft->input, strlen(draft->input));
	return writer.bytes;
}

static enum vg_job_reason reason_of(const struct draft *draft)
{
	__u64 length = write_draft(draft, sizeof(body));
	struct vg_job_view view;

	return vg_job_read(body, length, &view);
}

static void assert_text(struct vg_job_text text, const char *wanted)
{
	assert_int_equal(text.length, strlen(wanted));
	assert_memory_equal(text.data, wanted, text.length);
}

static void test_what_is_written_is_read(void **state)
{
	const struct draft draft = good();
	__u64 length = write_draft(&draft, sizeof(body));
	struct vg_job_view view;
	const __u8 *at;

	assert_int_equal(vg_job_read(body, length, &view), VG_JOB_REASON_NONE);
	assert_int_equal(view.kind, VG_JOB_EXECUTABLE);
	assert_int_equal(view.priority, 7);
	assert_int_equal(view.flags, VG_JOB_MERGE);
	assert_int_equal(view.timeout_ms, 1234);
	assert_true(view.issued_ms == 99 && view.memory_bytes == 1ull << 33);
	assert_int_equal(view.window, 4096);
	assert_int_equal(view.rows * 1000 + view.columns, 24080);
	assert_text(view.name, "sort");
	assert_text(view.directory, "/tmp");
	assert_text(view.input, "3\n1\n");
	assert_int_equal(view.arguments, 3);
	assert_int_equal(view.environment, 2);
	at = view.strings;
	assert_text(vg_job_next(&at), "sort");
	assert_text(vg_job_next(&at), "-n");
	assert_text(vg_job_next(&at), "");
	assert_text(vg_job_next(&at), "A=1");
	assert_text(vg_job_next(&at), "B=");
	assert_ptr_equal(at, view.input.data);
}

/* The layout on the wire, byte by byte. */
static void test_golden_bytes(void **state)
{
	static const __u8 wanted[] = {
		0, 128, 0, 4, 0, 0, 0, 0,   0, 0, 0, 0, 0, 0, 0, 5,	0, 0, 0, 0, 0, 0, 0, 0,	 0, 0, 0, 0, 0, 0, 0, 0,
		0, 0, 0, 0, 0, 0, 0, 0,	    0, 0, 0, 0, 0, 0, 0, 0,	0, 0, 0, 0, 0, 0, 0, 2,	 0, 0, 0, 0, 0, 0, 0, 0,
		0, 0, 0, 4, 'e', 'c', 'h', 'o', 0, 0, 0, 0,	'h', 'i',
	};
	const struct draft draft = {
		.fixed = { .priority = VG_JOB_PRIORITY_DEFAULT, .flags = VG_HTOBE16(VG_JOB_INPUT_ENDS),
			   .issued_ms = VG_HTOBE64(5) },
		.name = "echo", .directory = "", .input = "hi",
	};
	__u64 length = write_draft(&draft, sizeof(body));

	assert_int_equal(length, sizeof(wanted));
	assert_memory_equal(body, wanted, sizeof(wanted));
	assert_true(vg_job_digest(NULL, body, length) == vg_job_digest((const __u64[2]){ 0, 0 }, body, length));
	assert_true(vg_job_digest(NULL, body, length) != vg_job_digest((const __u64[2]){ 0, 1 }, body, length));
}

static void test_a_writer_without_room_counts(void **state)
{
	const struct draft draft = good();
	__u64 length = write_draft(&draft, sizeof(body));

	memset(body, 0xee, sizeof(body));
	assert_int_equal(write_draft(&draft, 100), length);
	assert_int_equal(body[100], 0xee);
	assert_int_equal(write_draft(&draft, 0), length);
}

/* Every cut of a good request, in memory of exactly that size so that a sanitizer sees a byte too far. */
static void test_every_cut_is_malformed(void **state)
{
	const struct draft draft = good();
	__u64 length = write_draft(&draft, sizeof(body));
	struct vg_job_view view;

	for (__u64 cut = 0; cut < length; cut++) {
		__u8 *exact = malloc(cut + !cut);

		memcpy(exact, body, cut);
		assert_int_equal(vg_job_read(exact, cut, &view), VG_JOB_REASON_MALFORMED);
		free(exact);
	}
}

static void test_each_fault_has_its_reason(void **state)
{
	static char long_word[VG_JOB_SPEC_MAX];
	struct draft draft = good();

	draft.fixed.kind = VG_JOB_KIND_MAX;
	assert_int_equal(reason_of(&draft), VG_JOB_REASON_KIND);
	draft = good();
	draft.fixed.flags = VG_HTOBE16(VG_JOB_FLAGS_KNOWN + 1);
	assert_int_equal(reason_of(&draft), VG_JOB_REASON_FLAGS);
	draft.fixed.kind = VG_JOB_KERNEL;
	draft.fixed.flags = VG_HTOBE16(VG_JOB_KEEP);
	assert_int_equal(reason_of(&draft), VG_JOB_REASON_FLAGS);
	draft = good();
	draft.name = "";
	assert_int_equal(reason_of(&draft), VG_JOB_REASON_NAME);
	draft = good();
	draft.argument[0] = NULL;
	assert_int_equal(reason_of(&draft), VG_JOB_REASON_NAME);
	draft = good();
	draft.environment[1] = "B";
	assert_int_equal(reason_of(&draft), VG_JOB_REASON_ENVIRONMENT);
	draft.environment[1] = "=B";
	assert_int_equal(reason_of(&draft), VG_JOB_REASON_ENVIRONMENT);
	draft = good();
	draft.fixed.reserved2 = 1;
	assert_int_equal(reason_of(&draft), VG_JOB_REASON_MALFORMED);
	memset(long_word, 'x', sizeof(long_word) - 1);
	draft = good();
	draft.argument[1] = long_word;
	assert_int_equal(reason_of(&draft), VG_JOB_REASON_TOO_LONG);
}

static void test_lengths_that_lie(void **state)
{
	const struct draft draft = good();
	__u64 length = write_draft(&draft, sizeof(body));
	struct vg_job_view view;
	static const __u32 lies[] = { 5, 100, 0x7fffffff, 0xfffffffb, 0xffffffff };

	for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		write_draft(&draft, sizeof(body));
		vg_job_store32(body + sizeof(struct vg_job_request), lies[i]);
		assert_int_not_equal(vg_job_read(body, length, &view), VG_JOB_REASON_NONE);
		write_draft(&draft, sizeof(body));
		vg_job_store32(body + offsetof(struct vg_job_request, input_length), lies[i]);
		assert_int_not_equal(vg_job_read(body, length, &view), VG_JOB_REASON_NONE);
		write_draft(&draft, sizeof(body));
		vg_job_store32(body + offsetof(struct vg_job_request, arguments), lies[i]);
		assert_int_not_equal(vg_job_read(body, length, &view), VG_JOB_REASON_NONE);
	}
	write_draft(&draft, sizeof(body));
	body[sizeof(struct vg_job_request) + 5] = '\0';
	assert_int_equal(vg_job_read(body, length, &view), VG_JOB_REASON_NUL);
}

static void test_every_reason_has_a_text_and_a_status(void **state)
{
	for (__u32 reason = 1; reason < VG_JOB_REASON_MAX; reason++) {
		assert_true(vg_job_reason_status(reason) != VG_STATUS_OK);
		assert_true(vg_job_reason_status(reason) < VG_STATUS_MAX);
		for (__u32 other = 0; other < reason; other++)
			assert_string_not_equal(vg_job_reason_text(reason), vg_job_reason_text(other));
	}
	assert_string_equal(vg_job_reason_text(VG_JOB_REASON_MAX), "unknown reason");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_written_is_read),
		cmocka_unit_test(test_golden_bytes),
		cmocka_unit_test(test_a_writer_without_room_counts),
		cmocka_unit_test(test_every_cut_is_malformed),
		cmocka_unit_test(test_each_fault_has_its_reason),
		cmocka_unit_test(test_lengths_that_lie),
		cmocka_unit_test(test_every_reason_has_a_text_and_a_status),
	};

	return cmocka_run_group_tests_name("job", tests, NULL, NULL);
}
