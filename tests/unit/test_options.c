/* SPDX-License-Identifier: GPL-3.0-or-later */
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

#include "base/number.h"
#include "node/cluster.h"
#include "node/options.h"

static struct vg_options_text text;
static char why[512];

static int key_of(const char *name)
{
	for (int i = 0; i < vg_option_count; i++)
		if (strcmp(vg_option_table[i].name, name) == 0)
			return i;
	fail_msg("no option %s", name);
	return -1;
}

static int set(const char *name, const char *value)
{
	return vg_options_set(&text, key_of(name), value, why, sizeof(why));
}

/* A temporary file with the given content; the caller unlinks it. */
static const char *file_with(const char *content)
{
	static char path[64];
	int fd;

	snprintf(path, sizeof(path), "/tmp/virgo-test-options-XXXXXX");
	fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, content, strlen(content)), strlen(content));
	close(fd);
	return path;
}

static int setup(void **state)
{
	vg_options_default(&text);
	why[0] = '\0';
	return 0;
}

static void test_number_strict(void **state)
{
	static const struct {
		const char *text;
		int error;
		__u64 value;
	} cases[] = {
		{ "0", 0, 0 }, { "17", 0, 17 }, { "18446744073709551615", 0, ~0ULL }, { "18446744073709551616", -ERANGE },
		{ "", -EINVAL }, { "-1", -EINVAL }, { " 1", -EINVAL }, { "1 ", -EINVAL }, { "0x10", -EINVAL },
	};
	__u64 value;

	for (unsigned int i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(vg_number_parse(cases[i].text, ~0ULL, &value), cases[i].error);
		if (!cases[i].error)
			assert_int_equal(value, cases[i].value);
	}
	assert_int_equal(vg_number_parse("101", 100, &value), -ERANGE);
}

static void test_size_suffixes(void **state)
{
	__u64 bytes;

	assert_int_equal(vg_size_parse("64K", ~0ULL, &bytes), 0);
	assert_int_equal(bytes, 65536);
	assert_int_equal(vg_size_parse("3gib", ~0ULL, &bytes), 0);
	assert_int_equal(bytes, 3ULL << 30);
	assert_int_equal(vg_size_parse("17179869184g", ~0ULL, &bytes), -ERANGE);
	assert_int_equal(vg_size_parse("5x", ~0ULL, &bytes), -EINVAL);
}

static void test_flag_wins_over_file(void **state)
{
	const char *path = file_with("# comment\narena-size = 8m\nworkers = 3\ninsecure = yes\n");

	assert_int_equal(set("workers", "2"), 0);
	assert_int_equal(vg_options_read(&text, path, why, sizeof(why)), 0);
	assert_int_equal(text.values.workers, 2);
	assert_int_equal(text.values.arena_bytes, 8 << 20);
	assert_true(text.values.insecure);
	unlink(path);
}

static void test_file_errors_name_the_key(void **state)
{
	const char *path = file_with("arena-size = 8m\nnonsense = 1\n");

	assert_int_equal(vg_options_read(&text, path, why, sizeof(why)), -EINVAL);
	assert_non_null(strstr(why, "nonsense"));
	unlink(path);
	path = file_with("arena-size = huge\n");
	assert_int_equal(vg_options_read(&text, path, why, sizeof(why)), -EINVAL);
	assert_non_null(strstr(why, "arena-size"));
	unlink(path);
	path = file_with("arena-size = 1k\n");
	assert_int_equal(vg_options_read(&text, path, why, sizeof(why)), -ERANGE);
	unlink(path);
	assert_int_equal(vg_options_read(&text, "/nonexistent/virgo.conf", why, sizeof(why)), -ENOENT);
}

static void test_no_open_door_beyond_loopback(void **state)
{
	assert_int_equal(set("listen", "192.0.2.1"), 0);
	assert_int_equal(vg_options_finish(&text.values, why, sizeof(why)), -EPERM);
	assert_non_null(strstr(why, "192.0.2.1"));
	assert_int_equal(set("listen", "[::]:30000"), 0);
	assert_int_equal(vg_options_finish(&text.values, why, sizeof(why)), -EPERM);
	assert_int_equal(set("password", "secret"), 0);
	assert_int_equal(vg_options_finish(&text.values, why, sizeof(why)), 0);
	assert_int_equal(set("password", ""), 0);
	assert_int_equal(set("insecure", NULL), 0);
	assert_int_equal(vg_options_finish(&text.values, why, sizeof(why)), 0);
}

static void test_key_file(void **state)
{
	const char *path = file_with("000102030405060708090a0b0c0d0e0f\n");

	assert_int_equal(set("key-file", path), 0);
	assert_int_equal(vg_options_finish(&text.values, why, sizeof(why)), 0);
	assert_true(text.values.keyed);
	assert_true(text.values.cluster_key[0] == 0x0001020304050607ULL);
	assert_true(text.values.cluster_key[1] == 0x08090a0b0c0d0e0fULL);
	assert_string_equal(text.values.password, "000102030405060708090a0b0c0d0e0f");
	unlink(path);
	path = file_with("0001020304050607\n");
	assert_int_equal(set("key-file", path), 0);
	assert_int_equal(vg_options_finish(&text.values, why, sizeof(why)), -EINVAL);
	unlink(path);
}

static void test_cloud_file_of_the_original(void **state)
{
	struct vg_cluster *cluster;
	const char *path = file_with("127.0.0.1,127.0.0.2:30001,127.0.0.3\n");

	assert_int_equal(set("cloud-conf", path), 0);
	assert_int_equal(set("listen", "127.0.0.3"), 0);
	assert_int_equal(vg_options_finish(&text.values, why, sizeof(why)), 0);
	assert_int_equal(vg_cluster_new(&cluster, &text.values, why, sizeof(why)), 0);
	assert_int_equal(cluster->nodes, 3);
	assert_int_equal(cluster->self, 2);
	assert_string_equal(vg_cluster_address(cluster, 1), "127.0.0.2:30001");
	assert_null(vg_cluster_address(cluster, 3));
	vg_cluster_free(cluster);
	unlink(path);
}

static void test_partitions_are_shared_out_evenly(void **state)
{
	struct vg_cluster *cluster;
	int count[3] = { 0 };

	assert_int_equal(set("nodes", "127.0.0.1:1,127.0.0.1:2,127.0.0.1:3"), 0);
	assert_int_equal(set("listen", "127.0.0.1:2"), 0);
	assert_int_equal(vg_cluster_new(&cluster, &text.values, why, sizeof(why)), 0);
	assert_int_equal(cluster->self, 1);
	for (int p = 0; p < VG_PARTITIONS; p++)
		count[vg_cluster_owner(cluster, (__u16)p)]++;
	for (int i = 0; i < 3; i++)
		assert_in_range(count[i], VG_PARTITIONS / 3, VG_PARTITIONS / 3 + 1);
	assert_int_equal(vg_cluster_owner(cluster, VG_PARTITIONS), VG_NODE_NONE);
	vg_cluster_free(cluster);
}

static void test_bad_node_lists(void **state)
{
	struct vg_cluster *cluster = NULL;

	assert_int_equal(set("nodes", "127.0.0.1,nonsense"), 0);
	assert_int_equal(vg_cluster_new(&cluster, &text.values, why, sizeof(why)), -EINVAL);
	assert_int_equal(set("nodes", "192.0.2.7,192.0.2.8"), 0);
	assert_int_equal(vg_cluster_new(&cluster, &text.values, why, sizeof(why)), -ENOENT);
	assert_null(cluster);
	assert_int_equal(set("node", "1"), 0);
	assert_int_equal(vg_cluster_new(&cluster, &text.values, why, sizeof(why)), 0);
	assert_int_equal(cluster->self, 1);
	vg_cluster_free(cluster);
}

/* The CPU pool's port as it ends up after the whole of the options is known; -1: refused. */
static int cpu_port_with(const char *listen, const char *cpu_port, const char *key_file)
{
	vg_options_default(&text);
	assert_int_equal(set("listen", listen), 0);
	if (cpu_port)
		assert_int_equal(set("cpu-port", cpu_port), 0);
	if (key_file)
		assert_int_equal(set("key-file", key_file), 0);
	else
		assert_int_equal(set("insecure", NULL), 0);
	return vg_options_finish(&text.values, why, sizeof(why)) ? -1 : (int)text.values.port[VG_DOOR_CPU];
}

static void test_who_opens_the_cpu_pool(void **state)
{
	const char *key = file_with("000102030405060708090a0b0c0d0e0f\n");

	assert_int_equal(cpu_port_with("127.0.0.1", NULL, NULL), VG_PORT_CPU);
	assert_int_equal(cpu_port_with("127.0.0.1:30001", NULL, NULL), 0);
	assert_int_equal(cpu_port_with("127.0.0.1:30001", "10001", NULL), 10001);
	assert_int_equal(cpu_port_with("[::1]:30001", NULL, NULL), 0);
	assert_int_equal(cpu_port_with("127.0.0.1", "0", NULL), 0);
	assert_int_equal(cpu_port_with("192.0.2.1", NULL, NULL), 0);
	assert_int_equal(cpu_port_with("192.0.2.1", "10000", NULL), -1);
	assert_non_null(strstr(why, "cluster key"));
	assert_int_equal(cpu_port_with("192.0.2.1", NULL, key), VG_PORT_CPU);
	assert_int_equal(cpu_port_with("192.0.2.1", "10007", key), 10007);
	unlink(key);
}

/* The same for the file pool's. */
static int file_port_with(const char *listen, const char *root, const char *file_port, const char *key_file)
{
	vg_options_default(&text);
	assert_int_equal(set("listen", listen), 0);
	if (root)
		assert_int_equal(set("file-root", root), 0);
	if (file_port)
		assert_int_equal(set("file-port", file_port), 0);
	if (key_file)
		assert_int_equal(set("key-file", key_file), 0);
	else
		assert_int_equal(set("password", "secret"), 0);
	return vg_options_finish(&text.values, why, sizeof(why)) ? -1 : (int)text.values.port[VG_DOOR_FILE];
}

static void test_who_opens_the_file_pool(void **state)
{
	const char *key = file_with("000102030405060708090a0b0c0d0e0f\n");

	assert_int_equal(file_port_with("127.0.0.1", NULL, NULL, NULL), 0);
	assert_int_equal(file_port_with("127.0.0.1", NULL, "50000", NULL), -1);
	assert_non_null(strstr(why, "file-root"));
	assert_int_equal(file_port_with("127.0.0.1", "/tmp", NULL, NULL), VG_PORT_FILE);
	assert_int_equal(file_port_with("127.0.0.1", "/tmp", "0", NULL), 0);
	assert_int_equal(file_port_with("127.0.0.1:30001", "/tmp", NULL, NULL), 0);
	assert_int_equal(file_port_with("127.0.0.1:30001", "/tmp", "50001", NULL), 50001);
	assert_int_equal(file_port_with("192.0.2.1", "/tmp", NULL, NULL), -1);
	assert_non_null(strstr(why, "cluster key"));
	assert_int_equal(file_port_with("192.0.2.1", "/tmp", NULL, key), VG_PORT_FILE);
	unlink(key);
}

static void test_cpu_ports_of_nodes(void **state)
{
	struct vg_cluster *cluster;

	assert_int_equal(set("nodes", "127.0.0.1,127.0.0.2:7/10009,127.0.0.3/0,127.0.0.4:7,[::1]:7/8"), 0);
	assert_int_equal(set("listen", "127.0.0.1"), 0);
	assert_int_equal(set("cpu-port", "10001"), 0);
	assert_int_equal(vg_cluster_new(&cluster, &text.values, why, sizeof(why)), 0);
	assert_int_equal(cluster->node[0].port_cpu, 10001);
	assert_int_equal(cluster->node[1].port_cpu, 10009);
	assert_int_equal(cluster->node[1].port_mem, 7);
	assert_int_equal(cluster->node[2].port_cpu, 0);
	assert_int_equal(cluster->node[3].port_cpu, 0);
	assert_int_equal(cluster->node[4].port_cpu, 8);
	vg_cluster_free(cluster);
	assert_int_equal(set("file-port", "50000"), 0);
	assert_int_equal(set("nodes", "127.0.0.1,127.0.0.2/9,127.0.0.3/9/0,[::1]:7/8/65535,127.0.0.5:7"), 0);
	assert_int_equal(vg_cluster_new(&cluster, &text.values, why, sizeof(why)), 0);
	assert_int_equal(cluster->node[0].port_file, VG_PORT_FILE);
	assert_int_equal(cluster->node[1].port_file, VG_PORT_FILE);
	assert_int_equal(cluster->node[1].port_cpu, 9);
	assert_int_equal(cluster->node[2].port_file, 0);
	assert_int_equal(cluster->node[3].port_cpu, 8);
	assert_int_equal(cluster->node[3].port_file, 65535);
	assert_int_equal(cluster->node[3].port_mem, 7);
	assert_int_equal(cluster->node[4].port_file, 0);
	vg_cluster_free(cluster);
	assert_int_equal(set("nodes", "127.0.0.1,127.0.0.2/1/x"), 0);
	assert_int_equal(vg_cluster_new(&cluster, &text.values, why, sizeof(why)), -EINVAL);
	assert_int_equal(set("nodes", "127.0.0.1,127.0.0.2/1/2/3"), 0);
	assert_int_equal(vg_cluster_new(&cluster, &text.values, why, sizeof(why)), -EINVAL);
	assert_int_equal(set("nodes", "127.0.0.1,127.0.0.2/x"), 0);
	assert_int_equal(vg_cluster_new(&cluster, &text.values, why, sizeof(why)), -EINVAL);
}

static void test_addresses(void **state)
{
	static const struct {
		const char *text;
		int error;
		const char *address;
		int port;
	} cases[] = {
		{ "127.0.0.1", 0, "127.0.0.1", 7 }, { "127.0.0.1:80", 0, "127.0.0.1", 80 }, { "[::1]:80", 0, "::1", 80 },
		{ "::1", 0, "::1", 7 }, { "[::1]", 0, "::1", 7 }, { "[::1", -EINVAL }, { "", -EINVAL }, { ":80", -EINVAL },
		{ "127.0.0.1:", -EINVAL }, { "127.0.0.1:65536", -EINVAL }, { "[::1]x", -EINVAL },
	};

	for (unsigned int i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char address[32];
		__u16 port = 7;

		assert_int_equal(vg_address_split(cases[i].text, address, sizeof(address), &port), cases[i].error);
		if (cases[i].error)
			continue;
		assert_string_equal(address, cases[i].address);
		assert_int_equal(port, cases[i].port);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_number_strict, setup),
		cmocka_unit_test_setup(test_size_suffixes, setup),
		cmocka_unit_test_setup(test_flag_wins_over_file, setup),
		cmocka_unit_test_setup(test_file_errors_name_the_key, setup),
		cmocka_unit_test_setup(test_no_open_door_beyond_loopback, setup),
		cmocka_unit_test_setup(test_key_file, setup),
		cmocka_unit_test_setup(test_cloud_file_of_the_original, setup),
		cmocka_unit_test_setup(test_partitions_are_shared_out_evenly, setup),
		cmocka_unit_test_setup(test_bad_node_lists, setup),
		cmocka_unit_test_setup(test_who_opens_the_cpu_pool, setup),
		cmocka_unit_test_setup(test_who_opens_the_file_pool, setup),
		cmocka_unit_test_setup(test_cpu_ports_of_nodes, setup),
		cmocka_unit_test_setup(test_addresses, setup),
	};

	return cmocka_run_group_tests_name("options", tests, NULL, NULL);
}
