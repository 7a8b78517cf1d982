#include "http_library.h"

#include "base/bytes.h"

#include <dlfcn.h>
#include <string.h>

http_library microhttpd;

/* The name under which its interface is kept: 0.9.60 up to 1.x have it. */
static const char library_name[] = "libmicrohttpd.so.12";

typedef struct wanted_function {
    const char *name;
    size_t offset;
} wanted_function;

#define WANTED(function) {"MHD_" #function, offsetof(http_library, function)},
static const wanted_function wanted[] = {HTTP_LIBRARY_FUNCTIONS(WANTED)};
#undef WANTED

static leat_status refuse(const char *why, leat_error *error)
{
    leat_status status = FAIL(error, INTERNAL, "leat serve needs libmicrohttpd: %s", why ? why : "it is not there");
    status_hint(error, "apt-get install libmicrohttpd12 (or libmicrohttpd12t64)");
    return status;
}

leat_status http_library_open(leat_error *error)
{
    http_library found;
    if (microhttpd.start_daemon) return LEAT_OK;
    void *library = dlopen(library_name, RTLD_NOW | RTLD_LOCAL);
    if (!library) return refuse(dlerror(), error);
    for (size_t i = 0; i < ARRAY_COUNT(wanted); i++) {
        void *function = dlsym(library, wanted[i].name);
        if (!function) return refuse(dlerror(), error);
        memcpy((char *)&found + wanted[i].offset, &function, sizeof function); /* POSIX: pointers of one size */
    }
    microhttpd = found;
    return LEAT_OK;
}
