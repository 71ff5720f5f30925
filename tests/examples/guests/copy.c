// Standard input becomes standard output.
#include <unistd.h>

int main(void) {
  static char buffer[65536];
  ssize_t count;
  while ((count = read(0, buffer, sizeof buffer)) > 0) {
    for (ssize_t done = 0; done < count;) {
      ssize_t written = write(1, buffer + done, (size_t)(count - done));
      if (written < 0) {
        return 1;
      }
      done += written;
    }
  }
  return count < 0;
}
