# Macros of configure.ac that Autoconf does not have.

# WOMBAT_TRY_FLAG(VARIABLE, FLAG)
# Appends FLAG to VARIABLE when the compiler and the linker take it without a warning.
AC_DEFUN([WOMBAT_TRY_FLAG], [
	AC_MSG_CHECKING([whether $CC takes $2])
	wombat_saved_cflags=$CFLAGS
	CFLAGS="$CFLAGS -Werror $2"
	AC_LINK_IFELSE([AC_LANG_PROGRAM([[#include <string.h>]], [])],
		[AC_MSG_RESULT([yes])
		 AS_VAR_APPEND([$1], [" $2"])],
		[AC_MSG_RESULT([no])])
	CFLAGS=$wombat_saved_cflags
])

# WOMBAT_TRY_FLAGS(VARIABLE, FLAGS)
# The same for each of a list that blanks separate.
AC_DEFUN([WOMBAT_TRY_FLAGS], [m4_foreach_w([wombat_flag], [$2], [WOMBAT_TRY_FLAG([$1], m4_dquote(m4_defn([wombat_flag])))])])

# WOMBAT_NEED_PACKAGE(VARIABLE, PKG-CONFIG MODULE, DEBIAN PACKAGE)
# PKG_CHECK_MODULES whose failure is one sentence that says what to install.
AC_DEFUN([WOMBAT_NEED_PACKAGE], [
	PKG_CHECK_MODULES([$1], [$2], [],
		[AC_MSG_ERROR([$2 is missing: on Debian, "apt-get install $3" provides it.])])
])
