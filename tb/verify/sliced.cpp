// Running sums for each pair of operands, through the gates of a MAC: a word of a vector is one net in as many
// lanes as it has bits, and each lane has another sum. Field by field as in sliced.py, which writes gates.inc:
// LANE_BYTES, IN_*, the first plane of each input, INPUTS, OUTPUTS, and the gates themselves.

#include <cstdint>
#include <cstring>

typedef uint64_t V __attribute__((vector_size(LANE_BYTES)));
constexpr int kLanes = 8 * LANE_BYTES;

GATES

struct Job {
  const uint32_t* pairs;     // x and, above it, w
  int64_t pair_count;
  int32_t x_bits;
  int32_t w_bits;
  int32_t acc_bits;
  int32_t acc_first;         // the sums: so many from this one on, both multiples of the lanes
  int32_t acc_count;
  int32_t product_bits;      // of random words
  int32_t acc_word_bits;
  int32_t product_offset_bits;
  int32_t acc_offset_bits;
  int64_t product_offset;    // as bits of the port
  int64_t acc_offset;
  const int32_t* addends;    // [product word][pair]: which row of the planes
  const V* planes;           // [addend][acc word][block of sums][output]
  // out
  int64_t compared;
  int64_t differences;
  int64_t first[6];          // x, w, acc, product word, acc word, what the gates gave
};

namespace {

void broadcast(V* planes, int first, int bits, uint64_t value) {
  if (first < 0) return;
  for (int i = 0; i < bits; i++) planes[first + i] = V{} - (value >> i & 1);
}

bool any(const V& word) {
  uint64_t parts[LANE_BYTES / 8];
  std::memcpy(parts, &word, sizeof parts);
  uint64_t all = 0;
  for (uint64_t part : parts) all |= part;
  return all != 0;
}

bool bit(const V& word, int lane) {
  uint64_t parts[LANE_BYTES / 8];
  std::memcpy(parts, &word, sizeof parts);
  return parts[lane / 64] >> (lane % 64) & 1;
}

void note(Job& job, const V* got, const V& wrong, uint32_t x, uint32_t w, uint32_t acc, int p, int a) {
  for (int lane = 0; lane < kLanes; lane++) {
    if (!bit(wrong, lane)) continue;
    if (job.differences++) continue;
    int64_t code = 0;
    for (int i = 0; i < OUTPUTS; i++) code |= static_cast<int64_t>(bit(got[i], lane)) << PLACES[i];
    const int64_t first[6] = {x, w, acc + lane, p, a, code};
    std::memcpy(job.first, first, sizeof first);
  }
}

}  // namespace

extern "C" __attribute__((visibility("default"))) void run(Job* job) {
  alignas(64) V in[INPUTS];
  alignas(64) V got[OUTPUTS];
  for (int i = 0; i < job->acc_bits; i++) {  // the lanes' own part of the sum
    uint64_t parts[LANE_BYTES / 8] = {};
    for (int lane = 0; lane < kLanes; lane++) parts[lane / 64] |= static_cast<uint64_t>(lane >> i & 1) << (lane % 64);
    std::memcpy(&in[IN_ACC + i], parts, sizeof parts);
  }
  int lane_bits = 0;
  while (1 << lane_bits < kLanes) lane_bits++;
  broadcast(in, IN_PRODUCT_OFFSET, job->product_offset_bits, job->product_offset);
  broadcast(in, IN_ACC_OFFSET, job->acc_offset_bits, job->acc_offset);
  const uint32_t x_mask = (1u << job->x_bits) - 1;
  const int blocks = job->acc_count / kLanes;
  for (int64_t pair = 0; pair < job->pair_count; pair++) {
    const uint32_t x = job->pairs[pair] & x_mask, w = job->pairs[pair] >> job->x_bits;
    broadcast(in, IN_X, job->x_bits, x);
    broadcast(in, IN_W, job->w_bits, w);
    for (int p = 0; p < 1 << job->product_bits; p++) {
      broadcast(in, IN_PRODUCT_WORD, job->product_bits, p);
      const int64_t addend = job->addends[p * job->pair_count + pair];
      for (int a = 0; a < 1 << job->acc_word_bits; a++) {
        broadcast(in, IN_ACC_WORD, job->acc_word_bits, a);
        const V* wanted = job->planes + ((addend << job->acc_word_bits) + a) * blocks * OUTPUTS;
        for (int block = 0; block < blocks; block++, wanted += OUTPUTS) {
          const uint32_t acc = job->acc_first + block * kLanes;
          broadcast(in, IN_ACC + lane_bits, job->acc_bits - lane_bits, acc >> lane_bits);
          gates(in, got);
          V wrong = {};
          for (int i = 0; i < OUTPUTS; i++) wrong |= got[i] ^ wanted[i];
          job->compared += kLanes;
          if (any(wrong)) note(*job, got, wrong, x, w, acc, p, a);
        }
      }
    }
  }
}
