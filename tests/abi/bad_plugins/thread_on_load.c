/* Starts a thread when it is loaded. */
#include <pthread.h>
#include <stddef.h>
#include <unistd.h>
static void* Sleep(void* unused) {
  sleep(60);
  return unused;
}
__attribute__((constructor)) static void OnLoad(void) {
  pthread_t thread;
  pthread_create(&thread, NULL, &Sleep, NULL);
}
#include "sound_plugin.h"
