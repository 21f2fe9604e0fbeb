/*
 * libfuse answers INIT itself; its answer is the first thing that it writes to the device. Writing goes through here,
 * and that first message gets three flags more:
 *
 *     FUSE_PARALLEL_DIROPS      lookups and listings in one directory at the same time
 *     FUSE_HANDLE_KILLPRIV_V2   this filesystem clears set-id bits itself (see ops.c), so the kernel need not ask for
 *                               security.capability before every write, only before a file's first
 *     FUSE_ABORT_ERROR          after an abort through /sys/fs/fuse the calls of programs and the reads of this one fail with
 *                               ECONNABORTED, which an unmount's do not
 *
 * A kernel that knows none of them ignores them. The same place sees what every request was answered with, for the access log.
 */
#define FUSE_USE_VERSION 314

#include "fs/initreply.h"

#include <errno.h>
#include <fuse_lowlevel.h>
#include <linux/fuse.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/uio.h>
#include <unistd.h>

#include "fs/service.h"

/* There is one session in this process. Relaxed: the INIT reply comes before there is a second thread. */
static atomic_bool answered;

/* An absence that the kernel may remember is an entry without a node. */
static bool is_absence(const struct iovec *iov, int count)
{
	const struct fuse_in_header *in = service_request();
	if (!in || in->opcode != FUSE_LOOKUP || count < 2 || iov[1].iov_len < sizeof(struct fuse_entry_out))
		return false;
	return ((const struct fuse_entry_out *)iov[1].iov_base)->nodeid == 0;
}

static void note(const struct iovec *iov, int count)
{
	const struct fuse_out_header *header = iov[0].iov_base;
	if (header->unique) /* not a notice */
		service_note_reply(header->error ? -header->error : is_absence(iov, count) ? ENOENT : 0);
}

static ssize_t write_message(int fd, struct iovec *iov, int count, void *userdata)
{
	(void)userdata;
	if (!atomic_load_explicit(&answered, memory_order_relaxed)) {
		atomic_store_explicit(&answered, true, memory_order_relaxed);
		const struct fuse_out_header *init = iov[0].iov_base;
		if (count == 2 && init->error == 0 && iov[1].iov_len >= sizeof(struct fuse_init_out)) {
			struct fuse_init_out *reply = iov[1].iov_base;
			reply->flags |= FUSE_PARALLEL_DIROPS | FUSE_HANDLE_KILLPRIV_V2 | FUSE_ABORT_ERROR;
		}
	}
	note(iov, count);
	return writev(fd, iov, count);
}

static ssize_t read_request(int fd, void *buffer, size_t size, void *userdata)
{
	(void)userdata;
	return read(fd, buffer, size);
}

int initreply_hook(struct fuse_session *session)
{
	static const struct fuse_custom_io io = { .writev = write_message, .read = read_request };
	atomic_store_explicit(&answered, false, memory_order_relaxed);
	return -fuse_session_custom_io(session, &io, fuse_session_fd(session));
}
