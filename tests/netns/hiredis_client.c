/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * hiredis against a node: single commands, a pipeline, binary keys and values. hiredis_client ADDRESS PORT [PASSWORD]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hiredis/hiredis.h>

#define PIPELINE 500

static void expect(int good, const char *what)
{
	if (good)
		return;
	fprintf(stderr, "hiredis: %s\n", what);
	exit(1);
}

static redisReply *take(redisContext *context)
{
	void *reply;

	expect(redisGetReply(context, &reply) == REDIS_OK, context->errstr);
	return reply;
}

static void binary(redisContext *context)
{
	char key[256], value[256];
	redisReply *reply;

	for (int i = 0; i < 256; i++) {
		key[i] = (char)i;
		value[i] = (char)(255 - i);
	}
	reply = redisCommand(context, "SET %b %b", key, sizeof(key), value, sizeof(value));
	expect(reply && reply->type == REDIS_REPLY_STATUS, "SET of binary data");
	freeReplyObject(reply);
	reply = redisCommand(context, "GET %b", key, sizeof(key));
	expect(reply && reply->type == REDIS_REPLY_STRING && reply->len == sizeof(value) &&
		       memcmp(reply->str, value, sizeof(value)) == 0,
	       "GET of binary data");
	freeReplyObject(reply);
}

static void pipeline(redisContext *context)
{
	for (int i = 0; i < PIPELINE; i++)
		redisAppendCommand(context, "SET hiredis:%d %d", i, i * i);
	for (int i = 0; i < PIPELINE; i++)
		redisAppendCommand(context, "GET hiredis:%d", i);
	for (int i = 0; i < PIPELINE; i++) {
		redisReply *reply = take(context);

		expect(reply->type == REDIS_REPLY_STATUS, "a pipelined SET");
		freeReplyObject(reply);
	}
	for (int i = 0; i < PIPELINE; i++) {
		redisReply *reply = take(context);

		expect(reply->type == REDIS_REPLY_STRING && strtol(reply->str, NULL, 10) == (long)i * i,
		       "a pipelined GET");
		freeReplyObject(reply);
	}
}

static void many_keys(redisContext *context)
{
	redisReply *reply = redisCommand(context, "MSET m1 a m2 b m3 c m4 d");

	expect(reply && reply->type == REDIS_REPLY_STATUS, "MSET");
	freeReplyObject(reply);
	reply = redisCommand(context, "MGET m1 m2 m3 m4 m5");
	expect(reply && reply->type == REDIS_REPLY_ARRAY && reply->elements == 5, "MGET");
	for (int i = 0; i < 4; i++)
		expect(reply->element[i]->len == 1 && reply->element[i]->str[0] == 'a' + i, "MGET keeps the order");
	expect(reply->element[4]->type == REDIS_REPLY_NIL, "MGET of a missing key");
	freeReplyObject(reply);
}

int main(int argc, char **argv)
{
	redisContext *context;
	redisReply *reply;

	expect(argc >= 3, "usage: hiredis_client ADDRESS PORT [PASSWORD]");
	context = redisConnect(argv[1], (int)strtol(argv[2], NULL, 10));
	expect(context && !context->err, context ? context->errstr : "no memory");
	if (argc > 3) {
		reply = redisCommand(context, "AUTH %s", argv[3]);
		expect(reply && reply->type == REDIS_REPLY_STATUS, "AUTH");
		freeReplyObject(reply);
	}
	binary(context);
	pipeline(context);
	many_keys(context);
	redisFree(context);
	return 0;
}
