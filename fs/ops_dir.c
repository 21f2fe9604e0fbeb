/* Operations on directories: listings of the mount's own, and of the control directory. */
#include "fs/ops_impl.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "fs/dir.h"

struct reply {
	char *data;
	size_t used, size;
	bool full;           /* there is more */
	struct node **nodes; /* NULL, or room for those that the kernel will know once more: NODES_AHEAD */
	size_t node_count;
};

/*
 * The next reply of a listing, made while its reader goes through the one before: on a machine with a processor to spare the two
 * overlap, and who lists waits for the slower only. It serves if it is asked for before anything may have changed (`sessions`); that
 * something expired is such a change.
 */
struct ahead {
	struct reply reply;  /* no data: there is none */
	uint64_t offset, sessions;
	unsigned rest;       /* after one that was made for nothing: so many are not made ahead */
};
enum { NODES_AHEAD = 2048, VAIN_REST = 8 };

/* An open control directory needs no listing of its own. All are in a list: a lazy unmount may close them for good
 * without telling. */
struct open_dir {
	struct open_dir *prev, *next;
	struct dir_handle *listing;
	struct ahead ahead;        /* of the listing */
	const struct control_entry *control;
	struct control_list *list; /* of one whose entries come and go */
	uint64_t told;             /* of its names */
	bool has_head;             /* the next one is known already: */
	const char *head_name;
	mode_t head_type;
	uint64_t head_ino;
};

static struct open_dir *open_dirs; /* guarded by the mount's lock */

static void open_dir_add(struct open_dir *o)
{
	o->prev = NULL;
	o->next = open_dirs;
	if (open_dirs)
		open_dirs->prev = o;
	open_dirs = o;
}

static void drop_ahead(struct mount *m, struct ahead *a)
{
	struct reply *r = &a->reply;
	for (size_t i = 0; i < r->node_count; i++) {
		r->nodes[i]->lookups--;
		node_release(m, r->nodes[i]);
	}
	free(r->nodes);
	free(r->data);
	*r = (struct reply){ 0 };
}

static void open_dir_free(struct open_dir *o)
{
	if (o->prev)
		o->prev->next = o->next;
	else
		open_dirs = o->next;
	if (o->next)
		o->next->prev = o->prev;
	if (o->listing) {
		struct mount *m = dir_node(o->listing)->mount;
		drop_ahead(m, &o->ahead);
		dir_close(m, o->listing);
	}
	if (o->list)
		o->list->close(o->list);
	free(o);
}

static void end_open(struct mount *m, struct open_dir *o)
{
	open_dir_free(o);
	atomic_fetch_sub_explicit(&counts_of(m)->open_dirs, 1, memory_order_relaxed);
}

void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct mount *m = enter(req, OP_OPENDIR);
	struct node *n = node_at(&m, ino);
	struct open_dir *o = calloc(1, sizeof *o);
	int error = o ? 0 : ENOMEM;
	if (!error && n->control)
		o->control = n->control;
	else if (!error)
		error = dir_open(m, n, &o->listing);
	if (error) {
		free(o);
		reply_error(m, req, error);
	} else {
		open_dir_add(o);
		fi->fh = (uint64_t)(uintptr_t)o;
		atomic_fetch_add_explicit(&counts_of(m)->open_dirs, 1, memory_order_relaxed);
		if (fuse_reply_open(req, fi) != 0) /* The caller was interrupted: no RELEASEDIR will come. */
			end_open(m, o);
	}
	leave(m);
}

void op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct mount *m = enter(req, OP_RELEASEDIR);
	struct open_dir *o = (struct open_dir *)(uintptr_t)fi->fh;
	(void)ino;
	end_open(m, o);
	leave(m);
	fuse_reply_err(req, 0);
}

/* Adds the entry; false: no room. */
static bool add_name(fuse_req_t req, struct reply *r, const char *name, uint64_t ino, mode_t type, uint64_t cookie)
{
	struct stat st = { .st_ino = ino, .st_mode = type };
	size_t n = fuse_add_direntry(req, r->data + r->used, r->size - r->used, name, &st, (off_t)cookie);
	if (n > r->size - r->used)
		return false;
	r->used += n;
	return true;
}

static uint64_t ino_of(struct mount *m, const struct dir_handle *d, const struct dir_entry *e)
{
	struct node *dir = dir_node(d);
	if (e->is_dot)
		return tree_shown_ino(m, e->cookie == 1 || !dir->parent ? dir->ino : dir->parent->ino);
	if (e->ino)
		return tree_shown_ino(m, e->ino);
	struct node *n = node_find(m, dir, e->name, strlen(e->name));
	return tree_shown_ino(m, n ? n->ino : dir_default_ino(d, e));
}

/* With attributes, if it shall have them: the kernel then knows the node once more. ENOENT: gone meanwhile, nothing to add. */
static int add_plus(struct mount *m, fuse_req_t req, struct reply *r, struct dir_handle *d, const struct dir_entry *e,
		    bool with_node)
{
	struct fuse_entry_param p;
	struct node *n = NULL;
	if (r->nodes && r->node_count == NODES_AHEAD) {
		r->full = true;
		return 0;
	}
	if (e->is_dot || !with_node) {
		p = (struct fuse_entry_param){ .attr = { .st_ino = ino_of(m, d, e), .st_mode = e->type } };
	} else {
		int error = dir_entry_node(m, d, e, &n);
		if (error)
			return error;
		ops_fill_entry(n, &p);
	}
	size_t size = fuse_add_direntry_plus(req, r->data + r->used, r->size - r->used, e->name, &p, (off_t)e->cookie);
	r->full = size > r->size - r->used;
	if (r->full) {
		if (n)
			node_release(m, n);
		return 0;
	}
	r->used += size;
	if (n) {
		n->lookups++;
		if (r->nodes)
			r->nodes[r->node_count++] = n;
	}
	return 0;
}

static int fill_listing(struct mount *m, fuse_req_t req, struct dir_handle *d, uint64_t offset, bool plus, struct reply *r)
{
	struct dir_entry e;
	bool probe = false;
	int error = dir_seek(m, d, offset);
	size_t nodes = 0, granted = plus ? dir_grant(d, &probe) : 0;
	while (!error) {
		error = dir_peek(m, d, &e);
		if (error)
			break;
		bool with_node = !e.ino || (!probe && nodes < granted);
		if (plus)
			error = add_plus(m, req, r, d, &e, with_node);
		else
			r->full = !add_name(req, r, e.name, ino_of(m, d, &e), e.type, e.cookie);
		if (r->full)
			break;
		if (error == ENOENT)
			error = 0;
		if (!error)
			dir_advance(d);
		probe &= with_node;
		nodes += plus && with_node;
	}
	dir_spend(d, nodes);
	return error == ENOENT || r->used ? 0 : error;
}

/* Whether a request waits for somebody to take it. */
static bool is_asked(struct mount *m)
{
	const struct fuse_session *se = mount_outer(m)->session;
	struct pollfd device = { .fd = se ? fuse_session_fd((struct fuse_session *)se) : -1, .events = POLLIN };
	return poll(&device, 1, 0) > 0;
}

/* Makes the reply behind the one that was just sent. */
static void list_ahead(struct mount *m, struct open_dir *o, size_t size)
{
	struct ahead *a = &o->ahead;
	struct reply *r = &a->reply;
	if (a->rest) {
		a->rest--;
		return;
	}
	if (is_asked(m))
		return;
	a->offset = dir_offset(o->listing);
	*r = (struct reply){ .data = malloc(size), .size = size, .nodes = malloc(NODES_AHEAD * sizeof(struct node *)) };
	int error = r->data && r->nodes ? fill_listing(m, NULL, o->listing, a->offset, true, r) : ENOMEM;
	a->sessions = mount_outer(m)->nodes->sessions;
	if (error) {
		a->rest = VAIN_REST;
		drop_ahead(m, a);
	}
}

/* Gives out what was made ahead, if it is what would be made now. */
static bool take_ahead(struct mount *m, struct open_dir *o, uint64_t offset, size_t size, bool plus, struct reply *out)
{
	struct ahead *a = &o->ahead;
	if (!a->reply.data)
		return false;
	if (!plus || a->offset != offset || a->reply.size != size || a->sessions != mount_outer(m)->nodes->sessions) {
		a->rest = VAIN_REST;
		drop_ahead(m, a);
		return false;
	}
	*out = a->reply;
	a->reply = (struct reply){ 0 };
	atomic_fetch_add_explicit(&counts_of(m)->listed_ahead, 1, memory_order_relaxed);
	return true;
}

static void fill_control(fuse_req_t req, const struct control_entry *c, uint64_t offset, struct reply *r)
{
	static const char *const dots[] = { ".", ".." };
	for (; offset < 2; offset++)
		if (!add_name(req, r, dots[offset], CONTROL_INO, S_IFDIR, offset + 1))
			return;
	for (uint64_t i = 0; c->children[i]; i++)
		if (i + 2 >= offset && !add_name(req, r, c->children[i]->name, CONTROL_INO + c->children[i]->id,
						 c->children[i]->mode, i + 3))
			return;
}

/* The next name of the list, again until it is told. ENOENT: the end. */
static int peek_list(struct open_dir *o)
{
	if (o->has_head)
		return 0;
	int error = o->list->next(o->list, &o->head_name, &o->head_type, &o->head_ino);
	o->has_head = !error;
	return error;
}

static void advance_list(struct open_dir *o)
{
	o->has_head = false;
	o->told++;
}

/* Brings the list to where the offset was given out. ENOENT: it ends before. */
static int seek_list(struct mount *m, struct node *dir, struct open_dir *o, uint64_t offset)
{
	int error = 0;
	if (o->list && (o->told > offset || offset == 0)) {
		o->list->close(o->list);
		o->list = NULL;
	}
	if (!o->list) {
		o->told = 0;
		o->has_head = false;
		error = o->control->dir->list(m, dir, &o->list);
	}
	while (!error && o->told < offset) {
		error = peek_list(o);
		if (!error)
			advance_list(o);
	}
	return error;
}

/* Entries without attributes: what is behind one is looked up when it is asked for. */
static bool add_entry(fuse_req_t req, struct reply *r, const char *name, uint64_t ino, mode_t type, uint64_t cookie, bool plus)
{
	if (!plus)
		return add_name(req, r, name, ino, type, cookie);
	struct fuse_entry_param p = { .attr = { .st_ino = ino, .st_mode = type } };
	size_t n = fuse_add_direntry_plus(req, r->data + r->used, r->size - r->used, name, &p, (off_t)cookie);
	if (n > r->size - r->used)
		return false;
	r->used += n;
	return true;
}

static int fill_list(struct mount *m, fuse_req_t req, struct node *dir, struct open_dir *o, uint64_t offset, bool plus,
		     struct reply *r)
{
	static const char *const dots[] = { ".", ".." };
	for (; offset < 2; offset++)
		if (!add_entry(req, r, dots[offset], dir->ino, S_IFDIR, offset + 1, plus))
			return 0;
	int error = seek_list(m, dir, o, offset - 2);
	if (!error)
		error = peek_list(o);
	for (; !error; error = peek_list(o)) {
		if (!add_entry(req, r, o->head_name, o->head_ino, o->head_type, o->told + 3, plus))
			return 0;
		advance_list(o);
	}
	return error == ENOENT || r->used ? 0 : error;
}

static void readdir_any(fuse_req_t req, enum mount_opcode op, fuse_ino_t ino, size_t size, off_t offset,
			const struct fuse_file_info *fi, bool plus)
{
	struct mount *m = enter(req, op);
	struct open_dir *o = (struct open_dir *)(uintptr_t)fi->fh;
	struct node *dir = node_at(&m, ino);
	struct reply r = { 0 };
	int error = 0;
	if (!take_ahead(m, o, (uint64_t)offset, size, plus, &r)) {
		r = (struct reply){ .data = malloc(size), .size = size };
		error = r.data ? 0 : ENOMEM;
		if (!error && o->control && o->control->dir)
			error = fill_list(m, req, dir, o, (uint64_t)offset, plus, &r);
		else if (!error && o->control)
			fill_control(req, o->control, (uint64_t)offset, &r);
		else if (!error)
			error = fill_listing(m, req, o->listing, (uint64_t)offset, plus, &r);
	}
	if (error)
		reply_error(m, req, error);
	else
		fuse_reply_buf(req, r.data, r.used);
	free(r.nodes);
	free(r.data);
	if (!error && plus && r.full && o->listing)
		list_ahead(m, o, size);
	leave(m);
}

void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
	readdir_any(req, OP_READDIR, ino, size, offset, fi, false);
}

static void control_readdirplus(fuse_req_t req, const struct control_entry *c, struct mount *m, struct node *dir,
				uint64_t offset, struct reply *r)
{
	for (uint64_t at = offset;; at++) {
		struct fuse_entry_param p = { .attr = { .st_ino = CONTROL_INO, .st_mode = S_IFDIR } };
		const char *name = at == 0 ? "." : "..";
		struct node *n = NULL;
		const struct control_entry *child = at < 2 ? NULL : c->children[at - 2];
		if (at >= 2 && !child)
			return;
		if (child && m->options.commit_write && S_ISREG(child->mode)) {
			/* A look at the name makes its document. */
			name = child->name;
			p.attr = (struct stat){ .st_ino = CONTROL_INO + child->id, .st_mode = child->mode };
		} else if (child) {
			if (ops_control_lookup(m, dir, child->name, &n))
				return;
			name = child->name;
			ops_fill_entry(n, &p);
		}
		size_t size = fuse_add_direntry_plus(req, r->data + r->used, r->size - r->used, name, &p, (off_t)(at + 1));
		if (size > r->size - r->used) {
			if (n)
				node_release(m, n);
			return;
		}
		r->used += size;
		if (n)
			n->lookups++;
	}
}

void op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
	struct mount *m = mount_of(req);
	const struct open_dir *o = (const struct open_dir *)(uintptr_t)fi->fh;
	if (!o->control || o->control->dir) {
		readdir_any(req, OP_READDIRPLUS, ino, size, offset, fi, true);
		return;
	}
	struct reply r = { .data = malloc(size), .size = size };
	enter(req, OP_READDIRPLUS);
	if (r.data) {
		control_readdirplus(req, o->control, m, node_of(m, ino), (uint64_t)offset, &r);
		fuse_reply_buf(req, r.data, r.used);
	} else {
		reply_error(m, req, ENOMEM);
	}
	leave(m);
	free(r.data);
}

void ops_close_dirs(void)
{
	while (open_dirs)
		open_dir_free(open_dirs);
}
