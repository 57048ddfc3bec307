// Running sums for each pair of operands, through four copies of a MAC that differ in the last two bits
// of the accumulator, against a table of what the sum is for each addend. Field by field as in step.py.

#include <cstdint>
#include <cstring>

#include "Vtop.h"

struct Job {
  const uint32_t* pairs;     // x and, above it, w
  int64_t pair_count;
  int32_t x_bits;
  int32_t acc_first;         // the sums: so many from this one on, both multiples of 4
  int32_t acc_count;
  int32_t product_words;     // how many random words there are: 1 without stochastic rounding
  int32_t acc_words;
  int64_t product_offset;    // as bits of the port
  int64_t acc_offset;
  const int32_t* addends;    // [product word][pair]: which row of the table
  const uint16_t* table;     // [addend][acc word][acc - acc_first]
  int32_t latency;           // cycles from the inputs' registers to the result
  // out
  int64_t compared;
  int64_t differences;
  int64_t first[6];          // x, w, acc, product word, acc word, what the MAC gave
};

namespace {

// What has gone in and has not come out yet; a cycle is one step around the ring.
struct Expected {
  const uint16_t* codes;     // null: nothing is expected
  uint32_t x, w, acc, product_word, acc_word;
};
constexpr int kRing = 8;

class Loop {
 public:
  explicit Loop(Job& job) : job_(job) {
    static Vtop* const top = new Vtop;
    top_ = top;
    DRIVE_OFFSETS
  }

  void cycle(const Expected& going_in) {
    top_->x = going_in.x;
    top_->w = going_in.w;
    top_->acc = going_in.acc >> 2;
    DRIVE_WORDS
    top_->clk = 0;
    top_->eval();
    top_->clk = 1;
    top_->eval();
    ring_[at_] = going_in;
    const Expected& out = ring_[(at_ - job_.latency) & (kRing - 1)];
    at_ = (at_ + 1) & (kRing - 1);
    if (!out.codes) return;
    uint64_t wanted;
    std::memcpy(&wanted, out.codes, sizeof wanted);
    const uint64_t got = top_->result;
    job_.compared += 4;
    if (got != wanted) note(out, got, wanted);
  }

  void drain() {
    for (int i = 0; i < kRing; i++) cycle({nullptr, 0, 0, 0, 0, 0});
  }

 private:
  void note(const Expected& out, uint64_t got, uint64_t wanted) {
    for (int lane = 0; lane < 4; lane++) {
      const uint64_t code = got >> (16 * lane) & 0xffff;
      if (code == (wanted >> (16 * lane) & 0xffff)) continue;
      if (job_.differences++ == 0) {
        const int64_t first[6] = {out.x, out.w, out.acc + lane, out.product_word, out.acc_word,
                                  static_cast<int64_t>(code)};
        std::memcpy(job_.first, first, sizeof first);
      }
    }
  }

  Job& job_;
  Vtop* top_;
  Expected ring_[kRing] = {};
  unsigned at_ = 0;
};

}  // namespace

extern "C" __attribute__((visibility("default"))) void run(Job* job) {
  Loop loop(*job);
  const uint32_t x_mask = (1u << job->x_bits) - 1, first = job->acc_first, count = job->acc_count;
  for (int64_t pair = 0; pair < job->pair_count; pair++) {
    const uint32_t x = job->pairs[pair] & x_mask, w = job->pairs[pair] >> job->x_bits;
    for (int32_t p = 0; p < job->product_words; p++) {
      const int64_t addend = job->addends[p * job->pair_count + pair];
      for (int32_t a = 0; a < job->acc_words; a++) {
        const uint16_t* codes = job->table + (addend * job->acc_words + a) * count;
        for (uint32_t i = 0; i < count; i += 4)
          loop.cycle({codes + i, x, w, first + i, static_cast<uint32_t>(p), static_cast<uint32_t>(a)});
      }
    }
  }
  loop.drain();
}
