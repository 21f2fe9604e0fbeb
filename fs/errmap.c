/*
 * Results to errno. See errmap.h.
 *
 * The switches have no default, so that the compiler names a result that was added and not mapped here; a
 * value outside the enumeration is an EIO.
 */
#include "fs/errmap.h"

#include <errno.h>

int errmap_from_store(enum store_result result)
{
	switch (result) {
	case STORE_OK:
		return 0;
	case STORE_NOT_FOUND:
		return ENOENT;
	case STORE_CONFLICT:
		return EBUSY;
	case STORE_TOO_BIG:
		return EFBIG;
	case STORE_NO_SPACE:
		return ENOSPC;
	case STORE_NO_MEMORY:
		return ENOMEM;
	case STORE_READ_ONLY:
		return EROFS;
	case STORE_WOULD_BLOCK:
		return EAGAIN;
	case STORE_UNAVAILABLE:
		return EAGAIN;
	/* What may or may not have been applied must never look like success, nor like a clean refusal. */
	case STORE_UNKNOWN:
		return EIO;
	case STORE_DAMAGED:
		return EIO;
	case STORE_IO:
		return EIO;
	case STORE_INVALID:
		return EINVAL;
	}
	return EIO;
}

int errmap_from_wombat(enum wombat_status status)
{
	switch (status) {
	case WOMBAT_OK:
		return 0;
	case WOMBAT_NOT_FOUND:
		return ENOENT;
	case WOMBAT_INVALID:
		return EINVAL;
	case WOMBAT_OUT_OF_RANGE:
		return ERANGE;
	case WOMBAT_NOT_CHANGEABLE:
		return EPERM;
	case WOMBAT_TOO_BIG:
		return EFBIG;
	case WOMBAT_EXISTS:
		return EEXIST;
	case WOMBAT_BUSY:
		return EBUSY;
	case WOMBAT_WOULD_BLOCK:
		return EAGAIN;
	case WOMBAT_READ_ONLY:
		return EROFS;
	case WOMBAT_NO_SPACE:
		return ENOSPC;
	case WOMBAT_NO_MEMORY:
		return ENOMEM;
	case WOMBAT_IO:
		return EIO;
	case WOMBAT_CORRUPTION:
		return EIO;
	case WOMBAT_UNSUPPORTED:
		return EOPNOTSUPP;
	case WOMBAT_CONFLICT:
		return EBUSY;
	case WOMBAT_STATUS_COUNT:
		break;
	}
	return EIO;
}

enum store_result errmap_store_from_wombat(enum wombat_status status)
{
	switch (status) {
	case WOMBAT_OK:
		return STORE_OK;
	case WOMBAT_NOT_FOUND:
		return STORE_NOT_FOUND;
	case WOMBAT_INVALID:
	case WOMBAT_OUT_OF_RANGE:
	case WOMBAT_NOT_CHANGEABLE:
		return STORE_INVALID;
	case WOMBAT_TOO_BIG:
		return STORE_TOO_BIG;
	case WOMBAT_EXISTS:
	case WOMBAT_CONFLICT:
		return STORE_CONFLICT;
	case WOMBAT_BUSY:
		return STORE_UNAVAILABLE;
	case WOMBAT_WOULD_BLOCK:
		return STORE_WOULD_BLOCK;
	case WOMBAT_READ_ONLY:
		return STORE_READ_ONLY;
	case WOMBAT_NO_SPACE:
		return STORE_NO_SPACE;
	case WOMBAT_NO_MEMORY:
		return STORE_NO_MEMORY;
	case WOMBAT_CORRUPTION:
		return STORE_DAMAGED;
	case WOMBAT_IO:
	case WOMBAT_UNSUPPORTED:
	case WOMBAT_STATUS_COUNT:
		break;
	}
	return STORE_IO;
}
