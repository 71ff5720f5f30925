// Takes the number of MiB that it is told at once, fills them, reads them back and gives them up, three times.
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
  size_t size = (argc > 1 ? (size_t)atoi(argv[1]) : 0) << 20;
  unsigned long long sum = 0;
  for (int round = 0; round < 3; round++) {
    volatile unsigned char *memory = malloc(size);
    if (memory == NULL) {
      fprintf(stderr, "no memory\n");
      return 1;
    }
    for (size_t i = 0; i < size; i += 64) {
      memory[i] = (unsigned char)(i / 64 + (size_t)round);
    }
    for (size_t i = 0; i < size; i += 64) {
      sum += memory[i];
    }
    free((void *)memory);
  }
  printf("%llu\n", sum);
  return 0;
}
