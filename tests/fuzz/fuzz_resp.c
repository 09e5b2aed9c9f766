// SPDX-License-Identifier: GPL-3.0-or-later
/*
 * RESP sessions under arbitrary bytes: the parser and every command behind it, in a cluster of two. The first byte says
 * in how large pieces the rest arrives, the second whether the session has given the password and how much memory there
 * is. A wrong read is the sanitizer's to find; here it is checked that the server neither loses memory nor forgets an
 * answer.
 */
#include <stdint.h>

#include "../unit/mem_fixture.h"
#include "svc/mem/resp_watch.h"

#define ALLOCATIONS_FEW 12

static void start(void)
{
	static bool started;

	if (started)
		return;
	started = true;
	mem_world_start(2);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct mem_session session;
	long outstanding;
	size_t piece;

	start();
	if (size < 2)
		return 0;
	outstanding = mem_world.outstanding;
	piece = data[0] ? data[0] : 4096;
	mem_world.settings.password[0] = data[1] & 1 ? 'p' : '\0';
	mem_open(&session, 0);
	mem_listed[0] = &session;
	mem_world.allocations_left = data[1] & 2 ? ALLOCATIONS_FEW : -1;
	data += 2;
	size -= 2;
	for (size_t at = 0; at < size && !session.closed; at += piece) {
		mem_receive(&session, data + at, size - at < piece ? size - at : piece);
		if (at / piece % 3 == 0)
			mem_settle(&session);
	}
	mem_settle(&session);
	mem_world.allocations_left = -1;
	assert(session.closed || !session.session.paused);
	assert(mem_world.node[0].stats.in_flight == 0 && mem_world.node[1].stats.in_flight == 0);
	mem_listed[0] = NULL;
	mem_close(&session);
	vg_slowlog_reset();
	assert(mem_world.outstanding == outstanding);
	for (int i = 0; i < 2; i++)
		vg_store_clear(mem_world.node[i].env.store);
	return 0;
}
