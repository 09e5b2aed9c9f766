/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Load stamps and who is believed, and jobs that go to the best node. A part of test_xdp.c, included by it alone. */

#define CPU_PORT 10000

static struct vg_node_load load_of(__u32 node)
{
	struct vg_node_load load;

	assert_int_equal(bpf_map_lookup_elem(bpf_map__fd(fixture.skeleton->maps.vg_node_load), &node, &load), 0);
	return load;
}

/* A message of node 9 that says it has so many requests in flight; from the client's address and port. */
static void stamped(struct packet *packet, const struct request *request, __u32 in_flight, const __u64 *key)
{
	struct vg_wire_header *header;

	packet_build(packet, request);
	header = packet_header(packet);
	header->load = (struct vg_load_stamp){ .in_flight = VG_HTOBE32(in_flight), .service_ns = VG_HTOBE32(50),
					       .run_queue_delay_ns = VG_HTOBE32(60),
					       .memory_free_permille = VG_HTOBE16(700) };
	if (key) {
		header->flags |= VG_HTOBE16(VG_FLAG_TAGGED);
		header->tag = vg_wire_tag(key, header);
	}
	packet_repair(packet);
}

static void expect_believed(const struct request *request, const __u64 *key, unsigned int service)
{
	struct vg_node_load before = load_of(9), after;
	__u32 in_flight = before.service[service].in_flight + 1;
	struct packet packet;

	stamped(&packet, request, in_flight, key);
	if (request->flags & VG_FLAG_REPLY)
		expect(&packet, XDP_PASS, VG_REASON_IS_REPLY);
	else
		expect(&packet, XDP_TX, VG_REASON_PING);
	after = load_of(9);
	assert_int_equal(after.stamps, before.stamps + 1);
	assert_int_equal(after.strangers, before.strangers);
	assert_int_equal(after.service[service].in_flight, in_flight);
	assert_int_equal(after.service[service].service_ns, 50);
	assert_int_equal(after.service[service].sent, 0);
	assert_true(after.service[service].seen_ns == CLOCK_NS && after.seen_ns == CLOCK_NS);
	assert_int_equal(after.run_queue_delay_ns, 60);
	assert_int_equal(after.memory_free_permille, 700);
}

/* Nothing is learnt; it is counted for `claimed`. */
static void expect_stranger(struct packet *packet, __u32 claimed)
{
	struct vg_node_load before = load_of(claimed), after;
	enum vg_reason met;

	fixture_run(&fixture, packet, &met);
	reasons_met[met] = true;
	after = load_of(claimed);
	assert_int_equal(after.strangers, before.strangers + 1);
	before.strangers = after.strangers;
	assert_memory_equal(&after, &before, sizeof(after));
}

static void node9_write(void)
{
	fixture.nodes[9] = (struct vg_node){
		.flags = VG_NODE_HAS_V4 | VG_NODE_HAS_V6, .address4 = VG_HTOBE32(0x0a000002),
		.address6 = { 0xfd, [15] = 2 }, .port_mem = VG_HTOBE16(CLIENT_PORT), .port_cpu = VG_HTOBE16(CPU_PORT),
	};
}

/* Without a key: from the node's own address and port. */
static void test_xdp_stamps_by_address(void **state)
{
	struct request ping = { .opcode = VG_OP_PING, .source_node = 9 };
	struct packet packet;

	node9_write();
	for (int shape = 0; shape < 4; shape++) {
		ping.version = shape & 1 ? 6 : 4;
		ping.flags = shape & 2 ? VG_FLAG_REPLY : 0;
		expect_believed(&ping, NULL, VG_LOAD_MEM);
	}
	fixture.nodes[9].port_mem = VG_HTOBE16(1);
	fixture.nodes[9].port_cpu = VG_HTOBE16(CLIENT_PORT);
	expect_believed(&ping, NULL, VG_LOAD_CPU); /* the port says of which service */
	for (int shape = 0; shape < 4; shape++) {
		ping.version = shape & 1 ? 6 : 4;
		ping.flags = shape & 2 ? VG_FLAG_REPLY : 0;
		node9_write();
		fixture.nodes[9].port_mem = VG_HTOBE16(1); /* another port of that machine */
		stamped(&packet, &ping, 1, NULL);
		expect_stranger(&packet, 9);
		node9_write();
		fixture.nodes[9].address4 = VG_HTOBE32(0x0a000003); /* another machine */
		fixture.nodes[9].address6[15] = 3;
		stamped(&packet, &ping, 1, NULL);
		expect_stranger(&packet, 9);
		node9_write();
		fixture.nodes[9].flags = 0; /* no node at all */
		stamped(&packet, &ping, 1, NULL);
		expect_stranger(&packet, 9);
	}
	node9_write();
	ping.source_node = SELF; /* somebody says that he is us */
	stamped(&packet, &ping, 1, NULL);
	expect_stranger(&packet, SELF);
	ping.source_node = 16; /* there are 16 nodes */
	stamped(&packet, &ping, 1, NULL);
	expect_stranger(&packet, SELF);
	ping.source_node = VG_NODES_MAX - 1;
	stamped(&packet, &ping, 1, NULL);
	expect_stranger(&packet, SELF);
	node_write(0, 1);
}

/* With a key: from whoever has it, and only from him. */
static void test_xdp_stamps_by_tag(void **state)
{
	static const __u64 other_key[2] = { 1, 2 };
	struct request ping = { .opcode = VG_OP_PING, .source_node = 9 };
	struct packet packet;

	node9_write();
	fixture.nodes[9].address4 = 0; /* the address does not matter now */
	fixture.config->flags = VG_CONFIG_KEYED;
	memcpy(fixture.config->cluster_key, cluster_key, sizeof(cluster_key));
	for (int reply = 0; reply < 2; reply++) {
		ping.flags = reply ? VG_FLAG_REPLY : 0;
		expect_believed(&ping, cluster_key, VG_LOAD_MEM);
	}
	stamped(&packet, &ping, 1, NULL);
	expect_stranger(&packet, 9);
	stamped(&packet, &ping, 1, other_key);
	expect_stranger(&packet, 9);
	stamped(&packet, &ping, 1, cluster_key);
	packet_header(&packet)->load.in_flight ^= 1; /* on the way */
	expect_stranger(&packet, 9);
	ping.flags = 0; /* a request without a right tag is not even admitted: nothing is looked at */
	stamped(&packet, &ping, 1, other_key);
	expect(&packet, XDP_PASS, VG_REASON_BAD_TAG);
	fixture.config->flags = 0;
	node_write(0, 1);
}

static void job_build(struct packet *packet, const struct request *request)
{
	packet_build(packet, request);
	packet->bytes[packet->udp + 2] = CPU_PORT >> 8;
	packet->bytes[packet->udp + 3] = CPU_PORT & 0xff;
	packet_repair(packet);
}

static void expect_job(const struct request *request, int verdict, enum vg_reason reason)
{
	struct packet packet;

	job_build(&packet, request);
	expect(&packet, verdict, reason);
	if (verdict == XDP_PASS)
		return;
	assert_memory_equal(packet.bytes + packet.udp + 2, &fixture.nodes[0].port_cpu, 2);
	assert_int_equal(packet_header(&packet)->hops, 1);
}

/* A cluster of this node, which is busy, and of node 0, which is not. */
static void test_xdp_jobs_go_to_the_best_node(void **state)
{
	struct request job = { .opcode = VG_OP_CLONE, .sequence = 1, .body_length = 100 };
	struct vg_node_load load = { .service[VG_LOAD_CPU] = { .seen_ns = CLOCK_NS - 1, .service_ns = 1000 } };
	int loads = bpf_map__fd(fixture.skeleton->maps.vg_node_load);
	const struct request ping = { .opcode = VG_OP_PING };
	struct packet packet;
	__u32 zero = 0;

	expect_job(&job, XDP_PASS, VG_REASON_NOT_VIRGO); /* no CPU pool here */
	fixture.config->ports_other[VG_CONFIG_PORT_CPU] = VG_HTOBE16(CPU_PORT);
	fixture.config->nodes = 2;
	fixture.local->other[VG_LOAD_CPU - 1] = (struct vg_service_now){ 50, 1000 };
	fixture.local->hot_in_flight = 100;
	fixture.nodes[0] = (struct vg_node){ .flags = VG_NODE_HAS_V4 | VG_NODE_HAS_MAC, .ifindex = 1,
					     .address4 = VG_HTOBE32(0x0a000009), .mac = { 2, 0, 0, 0, 0, 9 },
					     .port_mem = VG_HTOBE16(PORT), .port_cpu = VG_HTOBE16(CPU_PORT + 1) };
	assert_int_equal(bpf_map_update_elem(loads, &zero, &load, 0), 0);
	expect_job(&job, XDP_TX, VG_REASON_STEERED);
	assert_int_equal(load_of(0).service[VG_LOAD_CPU].sent, 1);
	expect_job(&job, XDP_TX, VG_REASON_STEERED); /* asked again: the same node */
	for (job.sequence = 2; load_of(0).service[VG_LOAD_CPU].sent < 51; job.sequence++)
		expect_job(&job, XDP_TX, VG_REASON_STEERED);
	expect_job(&job, XDP_PASS, VG_REASON_JOB_HERE); /* one more there than here */
	job.sequence = 1000;
	job.hops = 1;
	expect_job(&job, XDP_PASS, VG_REASON_JOB_HERE);
	job.hops = 0;
	job.flags = VG_FLAG_FORWARDED;
	expect_job(&job, XDP_PASS, VG_REASON_JOB_HERE);
	job.flags = 0;
	job.opcode = VG_OP_JOB_CANCEL; /* of a job that is here, if anywhere */
	expect_job(&job, XDP_PASS, VG_REASON_NOT_A_READ);
	job_build(&packet, &ping);
	expect(&packet, XDP_TX, VG_REASON_PING);
	assert_int_equal(VG_BE32TOH(packet_header(&packet)->load.in_flight), 50); /* the CPU pool's stamp */
}

/* All places that a job could be remembered at are taken. */
static void test_xdp_jobs_without_a_place_stay(void **state)
{
	int map = bpf_map__fd(fixture.skeleton->maps.vg_steered);
	struct request job = { .opcode = VG_OP_CLONE, .sequence = 5000 };
	struct vg_steered full;

	for (int i = 0; i < VG_STEERED_WAYS; i++)
		full.entries[i] = (struct vg_steered_entry){ .name = 2, .seen_ms = (__u32)(CLOCK_NS >> 20) };
	for (__u32 set = 0; set < VG_STEERED_SETS; set++)
		assert_int_equal(bpf_map_update_elem(map, &set, &full, 0), 0);
	expect_job(&job, XDP_PASS, VG_REASON_JOB_NO_PLACE);
	fixture.config->ports_other[VG_CONFIG_PORT_CPU] = 0;
	fixture.config->nodes = 16;
}
