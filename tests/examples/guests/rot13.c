// ROT13, a character at a time through stdio.
#include <stdio.h>

int main(void) {
  int c;
  while ((c = getchar()) != EOF) {
    int base = c >= 'a' && c <= 'z' ? 'a' : c >= 'A' && c <= 'Z' ? 'A' : 0;
    putchar(base ? (c - base + 13) % 26 + base : c);
  }
  return ferror(stdin) || fflush(stdout) != 0;
}
