/*
 * Files with several names (hard links): a group of records.
 *
 *     STORE_USER   each name's key    the content; attributes with the mark ATTR_LINKED and the file's number
 *     STORE_LINKS  number             the attributes that count, for all names; its value is the time that the records of
 *                                     the names have
 *                  number, key        empty: that name
 *
 * So each key has the value, and linking, unlinking and changes of attributes cost the same for any number of names and any size; a
 * commit of content puts a record for each name. The group stays one when it is down to one name.
 *
 * A record with the mark belongs to the group if the key stands there and its time is that of the group: what somebody else put under
 * the key, or changed there, has another, and is a file of its own. That is judged when a name is looked up and, for all names,
 * when the file comes to be live; names that have left are removed then. Nobody else changes the database while it is mounted.
 *
 * In memory all names lead to one node, with `struct links`; it is found by its number when a further name is looked up.
 */
#ifndef WOMBAT_FS_LINKS_H
#define WOMBAT_FS_LINKS_H

#include "fs/namei.h"

enum { LINKS_MAX = 65000 };

struct links {
	struct node *node;
	struct links *next;  /* of the same bucket */
	uint64_t ino;
	unsigned count;      /* names there are */
	uint64_t time_ns;    /* of the records of all names */
	uint64_t expiry_ns;  /* of all records of the group */
};

/* ---- Live files ---- */

/* The live file of that number; NULL: none that has several names. */
struct node *links_find(const struct mount *m, uint64_t ino);
/* Any of them; NULL: there is none. */
struct node *links_any(const struct mount *m);
/* The node becomes one with several names, `count` of them. 0, ENOMEM. */
int links_join(struct mount *m, struct node *n, unsigned count, uint64_t time_ns, uint64_t expiry_ns);
/* It is none any more, or never was. */
void links_forget(struct mount *m, struct node *n);

/* ---- What the store says ---- */

/* Whether the record of a key belongs to a group. */
struct links_found {
	bool member;
	uint64_t ino;
	uint64_t time_ns;    /* of the group */
};
int links_judge(struct mount *m, struct store_bytes key, const struct store_entry *e, struct links_found *out);
/* Gives a new node, which has the attributes of a name's record, those of the group, and counts the names. 0, EIO, ENOMEM. */
int links_load(struct mount *m, struct node *n, const struct links_found *found);
/* Whether the number is that of a group. */
int links_is_ino(struct mount *m, uint64_t ino, bool *out);
/* The key that the content of a live file is read and changed by: that of its own name, or without one the group's first. */
int links_content_key(struct mount *m, const struct node *n, struct key_buf *out);

/* ---- Changes, for a batch ---- */

/* The attributes of all. */
int links_put_attr(struct mount *m, struct namei_batch *b, struct node *n);
/* A name of the group; and its end. `key` is copied. */
int links_put_name(struct namei_batch *b, const struct node *n, struct store_bytes key);
int links_delete_name(struct namei_batch *b, uint64_t ino, struct store_bytes key);
/* The end of the group itself. */
int links_delete(struct namei_batch *b, uint64_t ino);
/* The content under every name, and the attributes. When it is committed, links_committed(). */
int links_put_content(struct mount *m, struct namei_batch *b, struct node *n, const struct store_change *content);
void links_committed(struct node *n);
/* The record of one name, with the time of the group; content as of file_content(), or what `held` has. The batch takes the key. */
int links_put_record(struct mount *m, struct namei_batch *b, struct node *n, const struct store_change *content,
	struct key_buf *key);
/* Names below one prefix get another: what stands for them. With `exchange` also the other way. */
int links_move_below(struct mount *m, struct namei_batch *b, struct store_bytes from, struct store_bytes to, bool exchange);

#endif
