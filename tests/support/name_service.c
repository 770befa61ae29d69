// tests/support/name_service.c - for LD_PRELOAD: the name primary.example is this machine, and does not exist while
// there is a file of the name in $NAME_SERVICE_DOWN. Other names are asked for as ever.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int getaddrinfo(const char* name, const char* service, const struct addrinfo* hints, struct addrinfo** result) {
  typedef int Next(const char*, const char*, const struct addrinfo*, struct addrinfo**);
  Next* next = NULL;
  *(void**)&next = dlsym(RTLD_NEXT, "getaddrinfo");
  if (name != NULL && strcmp(name, "primary.example") == 0) {
    const char* const down = getenv("NAME_SERVICE_DOWN");
    if (down != NULL && access(down, F_OK) == 0) return EAI_NONAME;
    name = "127.0.0.1";
  }
  return next(name, service, hints, result);
}
