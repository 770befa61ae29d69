/* One of its threads lives on after destroy. */
#include <pthread.h>
#include <stddef.h>
#include <unistd.h>
static void* Sleep(void* unused) {
  sleep(60);
  return unused;
}
#define AFTER_CREATE \
  pthread_t thread;  \
  pthread_create(&thread, NULL, &Sleep, NULL);
#include "sound_plugin.h"
