/* SPDX-License-Identifier: GPL-3.0-or-later */
/* libnfs, in user space: kernels without an NFS client can be asked what the server does all the same. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "files.h"

#ifdef VG_BENCH_NFS
#include <nfsc/libnfs.h>

#ifdef LIBNFS_API_V2 /* of libnfs 6: another order of arguments */
#define NFS_IO(function, nfs, file, data, length) function(nfs, file, data, length)
#else
#define NFS_IO(function, nfs, file, data, length) function(nfs, file, length, data)
#endif

/* `target`: nfs://127.0.0.1/export?version=4&nfsport=2049 */
static int nfs_way_open(const char *target, struct files_client **ret_client)
{
	struct nfs_context *nfs = nfs_init_context();
	struct nfs_url *url = nfs ? nfs_parse_url_dir(nfs, target) : NULL;
	char name[80], verifier[17];
	int error = url ? 0 : -EINVAL;

	if (url) {
		/* Each is a client of its own; by default all of a process and a second are the same one. */
		(void)snprintf(name, sizeof(name), "bench-%d-%p", getpid(), (void *)nfs);
		(void)snprintf(verifier, sizeof(verifier), "%016lx", (unsigned long)(uintptr_t)nfs << 20);
		nfs4_set_client_name(nfs, name);
		nfs4_set_verifier(nfs, verifier);
		error = nfs_mount(nfs, url->server, url->path);
		nfs_destroy_url(url);
	}
	if (error) {
		if (nfs)
			nfs_destroy_context(nfs);
		return error;
	}
	*ret_client = (struct files_client *)nfs;
	return 0;
}

static void nfs_way_close(struct files_client *client)
{
	nfs_destroy_context((struct nfs_context *)client);
}

static int nfs_way_mkdir(struct files_client *client, const char *path)
{
	return nfs_mkdir((struct nfs_context *)client, path);
}

static int nfs_way_put(struct files_client *client, const char *path, const void *data, size_t length)
{
	struct nfs_context *nfs = (struct nfs_context *)client;
	struct nfsfh *file;
	int error = nfs_open(nfs, path, O_WRONLY | O_CREAT, &file), closed; /* nfs_creat() cannot be written to */

	if (error)
		return error;
	error = NFS_IO(nfs_write, nfs, file, data, length) == (int)length ? 0 : -EIO;
	closed = nfs_close(nfs, file);
	return error ? error : closed;
}

static ssize_t nfs_way_get(struct files_client *client, const char *path, void *buffer, size_t length)
{
	struct nfs_context *nfs = (struct nfs_context *)client;
	struct nfsfh *file;
	int error = nfs_open(nfs, path, O_RDONLY, &file), got;

	if (error)
		return error;
	got = NFS_IO(nfs_read, nfs, file, buffer, length);
	error = nfs_close(nfs, file);
	return error ? error : got;
}

const struct files_way files_nfs = {
	.name = "nfs",
	.open = nfs_way_open,
	.close = nfs_way_close,
	.mkdir = nfs_way_mkdir,
	.put = nfs_way_put,
	.get = nfs_way_get,
};
#else
static int nfs_way_open(const char *target, struct files_client **ret_client)
{
	return -ENOSYS;
}

/* Built without libnfs: says so when it is asked. */
const struct files_way files_nfs = { .name = "nfs", .open = nfs_way_open };
#endif
