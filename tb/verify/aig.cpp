// Evaluates gates for LANES * 64 inputs at a time: one bit of each in a vector of words.

#include <cstdint>
#include <cstring>

enum { LANES = 8, BLOCK = 64 * LANES };
typedef uint64_t Bits __attribute__((vector_size(8 * LANES)));

// SIZES

static inline Bits all(uint64_t bit) { return Bits{} - (bit & 1); }

// Bit j of word i becomes bit i of word j, in each lane.
static void transpose(Bits* a) {
  uint64_t mask = 0x00000000FFFFFFFFull;
  for (int j = 32; j != 0; j >>= 1, mask ^= mask << j) {
    const Bits m = Bits{} + mask;
    for (int k = 0; k < 64; k = ((k | j) + 1) & ~j) {
      const Bits t = ((a[k] >> j) ^ a[k | j]) & m;
      a[k] ^= t << j;
      a[k | j] ^= t;
    }
  }
}

static void gates(const Bits* in, Bits* out) {
  // GATES
}

extern "C" void run(long count, const uint64_t* words, uint64_t* results) {
  static thread_local Bits in[64 * IN], out[64 * OUT];
  for (long start = 0; start < count; start += BLOCK) {
    const long here = count - start < BLOCK ? count - start : BLOCK;
    for (int word = 0; word < IN; ++word) {
      for (int i = 0; i < 64; ++i)
        for (int lane = 0; lane < LANES; ++lane) {
          const long at = 64 * lane + i;
          in[64 * word + i][lane] = at < here ? words[(start + at) * IN + word] : 0;
        }
      transpose(in + 64 * word);
    }
    gates(in, out);
    for (int word = 0; word < OUT; ++word) {
      transpose(out + 64 * word);
      for (int i = 0; i < 64; ++i)
        for (int lane = 0; lane < LANES; ++lane) {
          const long at = 64 * lane + i;
          if (at < here) results[(start + at) * OUT + word] = out[64 * word + i][lane];
        }
    }
  }
}
