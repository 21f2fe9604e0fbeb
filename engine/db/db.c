/* The parts of the public interface that need no database: names of results, the version. */
#include "engine/base/status.h"

/* The build says it; a compilation by hand need not. */
#ifndef PACKAGE_VERSION
#define PACKAGE_VERSION "1.0.0"
#endif

const char *wombat_version(void)
{
	return PACKAGE_VERSION;
}
