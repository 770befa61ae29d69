/* Calls the host after its destroy has returned. */
#include <pthread.h>
#include <threads.h>

#include "postbus/abi.h"
static void* LogOn(void* host) {
  for (int i = 0; i < 1000; ++i) {
    thrd_sleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    ((const postbus_host*)host)->log(((const postbus_host*)host)->ctx, POSTBUS_LOG_INFO, (postbus_str){NULL, 0});
  }
  return NULL;
}
#define DESTROY_BODY \
  pthread_t thread;  \
  pthread_create(&thread, NULL, &LogOn, (void*)self->host);
#include "sound_plugin.h"
