// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * The agent's pure parts, included as sources because the agent is a program of its own and not a library: names of
 * attachments, addresses, leases, layouts, and what reports make of a status.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "../../loader/address.c"
#include "../../loader/attachment.c"
#include "../../loader/explain.c"
#include "../../loader/host.c"
#include "../../loader/layout.c"
#include "../../loader/metrics.c"
#include "../../loader/report.c"

/* Reading the kernel's BTF is the only thing that raises capabilities in layout.c, and no test does that. */
void vg_caps_raise(cap_value_t capability)
{
	fail();
}

void vg_caps_lower(cap_value_t capability)
{
	fail();
}

/* ---- names ----------------------------------------------------------------------------------------------------- */

static void test_attachment_names(void **state)
{
	for (int hook = 0; hook < VG_HOOK_MAX; hook++) {
		struct vg_attachment attachment = {.hook = hook, .netns = UINT64_MAX, .ifindex = UINT32_MAX}, parsed;
		char name[VG_PIN_NAME_BYTES];

		vg_attachment_name(&attachment, &name);
		assert_int_equal(vg_attachment_parse(name, &parsed), 0);
		assert_int_equal(parsed.hook, hook);
		assert_true(parsed.netns == UINT64_MAX);
		assert_int_equal(parsed.ifindex, UINT32_MAX);
	}
}

static void test_attachment_names_of_others(void **state)
{
	const char *const bad[] = {
		"",	"native",     "native_1",  "native_1_0", "native_1_2x", "native_1_2_next", "tracing_1_2",
		"_1_2", "NATIVE_1_2", "native_x_2"};
	struct vg_attachment parsed;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(vg_attachment_parse(bad[i], &parsed), -EINVAL);
}

static void test_attachment_modes(void **state)
{
	struct vg_attachment attachment = {.hook = VG_HOOK_GENERIC};

	assert_string_equal(vg_attachment_mode(&attachment), "generic");
	attachment.hook = VG_HOOK_DISPATCHER;
	assert_string_equal(vg_attachment_mode(&attachment), "dispatcher");
	attachment.generic = true;
	assert_string_equal(vg_attachment_mode(&attachment), "dispatcher-generic");
}

static void test_explain_first_wins(void **state)
{
	vg_explain_forget();
	assert_string_equal(vg_explanation(), "");
	assert_int_equal(vg_explain(-EBUSY, "deep %d", 1), -EBUSY);
	assert_int_equal(vg_explain(-EPERM, "shallow"), -EPERM);
	assert_string_equal(vg_explanation(), "deep 1");
	vg_explain_forget();
}

/* ---- addresses and leases -------------------------------------------------------------------------------------- */

static void test_admin_addresses(void **state)
{
	struct sockaddr_storage address;
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)&address;
	const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&address;

	assert_int_equal(vg_admin_address_parse("127.0.0.1:9464", &address), 0);
	assert_int_equal(ntohs(v4->sin_port), 9464);
	assert_true(vg_admin_address_is_loopback(&address));
	assert_int_equal(vg_admin_address_parse("[::1]:1", &address), 0);
	assert_int_equal(ntohs(v6->sin6_port), 1);
	assert_true(vg_admin_address_is_loopback(&address));
	assert_int_equal(vg_admin_address_parse("0.0.0.0:80", &address), 0);
	assert_false(vg_admin_address_is_loopback(&address));
	assert_int_equal(vg_admin_address_parse("[2001:db8::1]:80", &address), 0);
	assert_false(vg_admin_address_is_loopback(&address));
}

static void test_admin_addresses_bad(void **state)
{
	const char *const bad[] = {"",
				   ":",
				   ":80",
				   "127.0.0.1",
				   "127.0.0.1:",
				   "127.0.0.1:65536",
				   "127.0.0.1:-1",
				   "::1:80",
				   "[::1]",
				   "[]:80",
				   "[::1:80",
				   "[127.0.0.1]:80",
				   "host:80",
				   "127.0.0.1:80x",
				   "1111111111111111111111111111111111111111111111111111:80"};
	struct sockaddr_storage address;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(vg_admin_address_parse(bad[i], &address), -EINVAL);
}

static void test_leases(void **state)
{
	const __u64 lease_ns = VG_LEASE_MS * 1000000ULL;
	__u64 age_ns = 1;

	assert_int_equal(vg_lease_state(0, 1000, &age_ns), VG_LEASE_NONE);
	assert_int_equal(age_ns, 0);
	assert_int_equal(vg_lease_state(10 * lease_ns, 9 * lease_ns + 5, &age_ns), VG_LEASE_ALIVE);
	assert_int_equal(age_ns, 5);
	assert_int_equal(vg_lease_state(10 * lease_ns, 10 * lease_ns - 1, &age_ns), VG_LEASE_ALIVE);
	assert_int_equal(vg_lease_state(10 * lease_ns, 10 * lease_ns, &age_ns), VG_LEASE_EXPIRED);
	assert_int_equal(age_ns, lease_ns);
	assert_int_equal(vg_lease_state(1, 2 * lease_ns, &age_ns), VG_LEASE_EXPIRED);
}

/* ---- layouts --------------------------------------------------------------------------------------------------- */

/* struct s { u32 first; u64 second; }, with the names and offsets given. */
static int struct_add(struct btf *btf, const char *first, const char *second, __u32 second_bits)
{
	int u32 = btf__add_int(btf, "unsigned int", 4, 0), u64 = btf__add_int(btf, "unsigned long", 8, 0), id;

	id = btf__add_struct(btf, "s", 16);
	assert_int_equal(btf__add_field(btf, first, u32, 0, 0), 0);
	assert_int_equal(btf__add_field(btf, second, u64, second_bits, 0), 0);
	return id;
}

static void test_layout_same(void **state)
{
	struct btf *a = btf__new_empty(), *b = btf__new_empty();
	int in_a = struct_add(a, "first", "second", 64), in_b;

	btf__add_int(b, "char", 1, 0); /* type ids differ, types do not */
	in_b = struct_add(b, "first", "second", 64);
	assert_null(vg_layout_difference(a, in_a, b, in_b));
	assert_null(vg_layout_difference(a, in_a, b, btf__add_typedef(b, "alias", in_b)));
	btf__free(a);
	btf__free(b);
}

/* The case that libbpf lets through: the same size, the fields in other places. */
static void test_layout_moved(void **state)
{
	struct btf *a = btf__new_empty(), *b = btf__new_empty();
	int in_a = struct_add(a, "first", "second", 64);

	assert_string_equal(vg_layout_difference(a, in_a, b, struct_add(b, "first", "other", 64)), "second");
	assert_string_equal(vg_layout_difference(a, in_a, b, struct_add(b, "second", "first", 64)), "first");
	assert_string_equal(vg_layout_difference(a, in_a, b, struct_add(b, "first", "second", 32)), "second");
	assert_string_equal(vg_layout_difference(a, in_a, b, btf__add_struct(b, "s", 16)), "s");
	assert_string_equal(vg_layout_difference(a, in_a, b, btf__add_struct(b, "s", 24)), "s");
	assert_string_equal(vg_layout_difference(a, in_a, b, btf__add_int(b, "wide", 16, 0)), "s");
	btf__free(a);
	btf__free(b);
}

/* ---- reports --------------------------------------------------------------------------------------------------- */

static void status_fill(struct vg_node_status *status)
{
	memset(status, 0, sizeof(*status));
	status->pin_root = "/pins";
	status->programs[0] = (struct vg_program_status){"vg_xdp_ingress", 7, "0011223344556677", 4242, 99};
	status->programs[1].name = "vg_tc_egress";
	status->programs[2].name = "vg_xdp_pass";
	for (int i = 0; i < VG_MAPS_MAX; i++)
		status->maps[i].name = "vg_map";
	status->attachments[0] = (struct vg_attachment){
		.hook = VG_HOOK_GENERIC, .netns = 5, .ifindex = 3, .here = true, .alive = true, .program_id = 7};
	snprintf(status->attachments[0].interface, IF_NAMESIZE, "e\"0\\1");
	status->attachments[1] = (struct vg_attachment){.hook = VG_HOOK_TCX, .netns = 6, .ifindex = 9, .alive = true};
	status->attachments_count = 2;
	status->counters[VG_REASON_HIT] = (struct vg_counter){.packets = 1ULL << 60, .bytes = 12};
	status->lease = VG_LEASE_ALIVE;
	status->lease_age_ns = 50000000;
	status->config = (struct vg_config){.node = 1,
					    .nodes = 2,
					    .epoch = 77,
					    .flags = VG_CONFIG_KEYED,
					    .port_mem = VG_HTOBE16(30000),
					    .ports_other = {VG_HTOBE16(10000)},
					    .cluster_key = {0x1122334455667788, 0x99}};
	status->local.in_flight = 5;
	status->now_ns = 7000000000;
	status->loads[1] = (struct vg_node_load){.strangers = 3, .service[VG_LOAD_CPU].seen_ns = 5000000000};
	status->scheduler_watched = true;
	status->cpus_count = 1;
	status->cpus[0].wait_ns = 1500000000;
	status->cpus[0].wait_buckets[0] = 4;
	status->cpus[0].wait_buckets[1] = 5;
	status->cpus[0].wait_buckets[VG_TIME_BUCKETS - 1] = 1;
	status->cpu_figures = (struct vg_cpu_figures){
		.updated_ns = 6000000000, .counts = {.running = 2, .done = 5, .service_ns = 250000000}};
	status->nodes[1] = (struct vg_node){
		.flags = VG_NODE_HAS_V4, .address4 = VG_HTOBE32(0x0a000002), .port_mem = VG_HTOBE16(30000)};
}

static char *written(void (*write)(FILE *out, const struct vg_node_status *status), const struct vg_node_status *status)
{
	char *text = NULL;
	size_t bytes;
	FILE *out = open_memstream(&text, &bytes);

	assert_non_null(out);
	write(out, status);
	fclose(out);
	return text;
}

static void test_metrics(void **state)
{
	struct vg_node_status *status = test_malloc(sizeof(*status));
	char *text;

	status_fill(status);
	text = written(vg_report_metrics, status);
	assert_non_null(strstr(text, "virgo_packets_total{reason=\"hit\",verdict=\"tx\"} 1152921504606846976\n"));
	assert_non_null(strstr(text, "virgo_packet_bytes_total{reason=\"hit\",verdict=\"tx\"} 12\n"));
	assert_non_null(strstr(text, "virgo_attached{interface=\"e\\\"0\\\\1\",mode=\"generic\""));
	assert_non_null(strstr(text, "virgo_attached{interface=\"#9 in netns 6\",mode=\"tcx\""));
	assert_non_null(strstr(text, "\nvirgo_lease_alive 1\n"));
	assert_non_null(strstr(text, "\nvirgo_load_in_flight{service=\"mem\"} 5\n"));
	assert_non_null(strstr(text, "\nvirgo_node_heard_seconds{node=\"1\",service=\"cpu\"} 2\n"));
	assert_null(strstr(text, "virgo_node_heard_seconds{node=\"1\",service=\"mem\"}")); /* never heard */
	assert_non_null(strstr(text, "\nvirgo_strangers_total{node=\"1\"} 3\n"));
	/* Buckets count all below their bound; the last has none. */
	assert_non_null(strstr(text, "\nvirgo_run_queue_delay_seconds_bucket{cpu=\"0\",le=\"1.024e-06\"} 4\n"));
	assert_non_null(strstr(text, "\nvirgo_run_queue_delay_seconds_bucket{cpu=\"0\",le=\"2.048e-06\"} 9\n"));
	assert_non_null(strstr(text, "\nvirgo_run_queue_delay_seconds_bucket{cpu=\"0\",le=\"+Inf\"} 10\n"));
	assert_non_null(strstr(text, "\nvirgo_run_queue_delay_seconds_sum{cpu=\"0\"} 1.5\n"));
	assert_non_null(strstr(text, "\nvirgo_run_queue_delay_seconds_count{cpu=\"0\"} 10\n"));
	assert_non_null(strstr(text, "\n# TYPE virgo_cpu_jobs_running gauge\nvirgo_cpu_jobs_running 2\n"));
	assert_non_null(strstr(text, "\n# TYPE virgo_cpu_jobs_total counter\nvirgo_cpu_jobs_total{result=\"done\"} 5\n"
				     "virgo_cpu_jobs_total{result=\"failed\"} 0\n")); /* one head for all results */
	assert_non_null(strstr(text, "\n# TYPE virgo_cpu_job_seconds gauge\nvirgo_cpu_job_seconds 0.25\n"));
	assert_null(strstr(text, "virgo_file_")); /* no file pool here */
	assert_null(strstr(text, "virgo_block_")); /* nobody watched */
	assert_null(strstr(text, "virgo_pressure_"));
	assert_int_equal(text[strlen(text) - 1], '\n');
	/* Each line is a comment, or a name, perhaps labels, and one number. */
	for (char *line = text; *line; line = strchr(line, '\n') + 1) {
		char *end = strchr(line, '\n'), *space = end, *rest;

		if (*line == '#')
			continue;
		while (space > line && *space != ' ')
			space--;
		assert_true(space > line);
		strtod(space, &rest);
		assert_ptr_equal(rest, end);
	}
	free(text);
	test_free(status);
}

/* As the kernel writes it, and what it never wrote. */
static void test_pressure(void **state)
{
	struct vg_pressure pressure;

	vg_host_parse_pressure("some avg10=21.19 avg60=10.08 avg300=6.42 total=2498650555\n"
			       "full avg10=0.00 avg60=0.00 avg300=0.00 total=17\n",
			       &pressure);
	assert_true(pressure.some_us == 2498650555ULL && pressure.full_us == 17);
	vg_host_parse_pressure("some avg10=0.00 total=5\n", &pressure);
	assert_true(pressure.some_us == 5 && pressure.full_us == 0);
	vg_host_parse_pressure("", &pressure);
	assert_true(pressure.some_us == 0 && pressure.full_us == 0);
	vg_host_parse_pressure("full total=x some total=99999999999999999999999", &pressure);
	assert_true(pressure.full_us == 0);
	assert_int_equal(permille(0, 500000, 1000000000), 500);
	assert_int_equal(permille(0, 3000000, 1000000000), 1000); /* clocks that disagree */
	assert_int_equal(permille(9, 1, 1000000000), 0);
	assert_int_equal(permille(0, 500000, 0), 0);
}

static void test_json(void **state)
{
	struct vg_node_status *status = test_malloc(sizeof(*status));
	json_t *json, *counter;
	char *text;

	status_fill(status);
	json = vg_report_json(status);
	assert_non_null(json);
	assert_int_equal(json_array_size(json_object_get(json, "counters")), VG_REASON_MAX);
	counter = json_array_get(json_object_get(json, "counters"), VG_REASON_HIT);
	assert_string_equal(json_string_value(json_object_get(counter, "reason")), "hit");
	assert_true(json_integer_value(json_object_get(counter, "packets")) == 1LL << 60);
	assert_true(json_is_true(json_object_get(json_object_get(json, "config"), "keyed")));
	assert_int_equal(json_integer_value(json_object_get(json_object_get(json, "config"), "port")), 30000);
	assert_int_equal(json_array_size(json_object_get(json, "programs")), 1);
	assert_int_equal(json_array_size(json_object_get(json, "nodes")), 2);
	assert_string_equal(
		json_string_value(json_object_get(json_array_get(json_object_get(json, "nodes"), 1), "ipv4")),
		"10.0.0.2");
	text = json_dumps(json, 0);
	/* 0x1122334455667788, in decimal and in hexadecimal. */
	assert_null(strstr(text, "1234605616436508552"));
	assert_null(strcasestr(text, "1122334455667788"));
	free(text);
	json_decref(json);
	test_free(status);
}

static void test_table(void **state)
{
	struct vg_node_status *status = test_malloc(sizeof(*status));
	char *text;

	status_fill(status);
	text = written(vg_report_table, status);
	assert_non_null(strstr(text, "lease alive, renewed 0.050 s ago"));
	assert_non_null(strstr(text, "node        1 of 2, epoch 77, keyed\nports       30000 10000\n"));
	assert_non_null(strstr(text, "hit "));
	assert_null(strstr(text, "not_found "));
	assert_non_null(strstr(text, "10.0.0.2"));
	assert_non_null(strstr(text, "(this one)"));
	free(text);
	test_free(status);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_attachment_names),
		cmocka_unit_test(test_attachment_names_of_others),
		cmocka_unit_test(test_attachment_modes),
		cmocka_unit_test(test_explain_first_wins),
		cmocka_unit_test(test_admin_addresses),
		cmocka_unit_test(test_admin_addresses_bad),
		cmocka_unit_test(test_leases),
		cmocka_unit_test(test_layout_same),
		cmocka_unit_test(test_layout_moved),
		cmocka_unit_test(test_metrics),
		cmocka_unit_test(test_pressure), cmocka_unit_test(test_json),
		cmocka_unit_test(test_table),
	};

	return cmocka_run_group_tests_name("agent", tests, NULL, NULL);
}
