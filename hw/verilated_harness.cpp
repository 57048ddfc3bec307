// Drives a Verilated design through its valid/ready channels, whole arrays of beats at a time.
//
// Nothing here is of one design: bindings.inc, written beside this file for each build, lists the
// channels and where their payloads lie. Verilator keeps a port as little-endian bytes of 1, 2, 4 or 8,
// or as words of 32 bits, so a payload of any width is copied as bytes. A clock cycle is two
// evaluations: inputs change with the falling edge, handshakes are read before the rising one.

#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "Vdesign.h"
#include "verilated.h"

#ifdef TRACE_HEADER
#include TRACE_HEADER
#endif

#ifndef TIME_FROM_WINDOW  // else time 0 of a trace is cycle 0 of its run
#define TIME_FROM_WINDOW false
#endif

#define EXPORTED extern "C" __attribute__((visibility("default")))

namespace {

constexpr uint64_t kClockPeriod = 10;  // of the time in traces
constexpr bool kTimeFromWindow = TIME_FROM_WINDOW;

struct Part {
  uint8_t* port;
  size_t port_bytes;
  size_t beat_bytes;
  uint8_t top_mask;  // of the last byte of a beat: Verilator wants unused bits to be 0
};

struct Channel {
  bool is_input;
  uint8_t* valid;
  uint8_t* ready;
  std::vector<Part> parts;
};

Part part(void* port, size_t port_bytes, unsigned width) {
  const unsigned used = width % 8;
  return {static_cast<uint8_t*>(port), port_bytes, (width + 7) / 8,
          static_cast<uint8_t>(used ? (1u << used) - 1 : 0xff)};
}

inline void copy(uint8_t* to, const uint8_t* from, size_t bytes) {
  switch (bytes) {  // calls of memcpy with a constant size are one instruction
    case 1: *to = *from; break;
    case 2: std::memcpy(to, from, 2); break;
    case 4: std::memcpy(to, from, 4); break;
    case 8: std::memcpy(to, from, 8); break;
    case 16: std::memcpy(to, from, 16); break;
    default: std::memcpy(to, from, bytes);
  }
}

}  // namespace

// The structures below are those of hw/verilated_bench.py, field by field.

// What a run is to do with a channel, and what it did.
struct Flow {
  uint8_t* data;            // in: beats to give, or room for those to come
  uint64_t beats;           // in: how many
  uint64_t* stamps;         // in: room for the cycle of each beat, or null
  uint64_t stall;           // in: a beat is held back in so many of 256 cycles
  uint64_t moved;           // out: beats that passed
  uint64_t waiting;         // out: whether the design's side was up in the last cycle
};

struct Plan {
  uint64_t seed;        // of the stalls
  uint64_t patience;    // cycles without a beat after which the run ends
  uint64_t limit;       // cycles after which it ends anyway
  uint64_t trailing;    // cycles after the last beat in which no other may come
  const char* trace;    // file, or null
  uint64_t trace_from;  // cycles of this run
  uint64_t trace_to;
  uint64_t cycles;      // out: up to the one in which the last beat passed
  uint64_t extra;       // out: the channel of a beat too many
};

enum Outcome : int { kDone = 0, kStuck = 1, kLimit = 2, kExtraBeat = 3 };

class Bench {
 public:
  explicit Bench(uint64_t seed) {
    context_.randReset(2);  // registers without reset and memories start with anything
    context_.randSeed(static_cast<int>(seed & 0x7fffffff) + 1);
#ifdef TRACE_HEADER
    context_.traceEverOn(true);
#endif
    top_ = std::make_unique<Vdesign>(&context_, "");
    bind(*top_);
    for (auto& channel : channels_) {
      *(channel.is_input ? channel.valid : channel.ready) = 0;
      if (channel.is_input)
        for (auto& each : channel.parts) std::memset(each.port, 0, each.port_bytes);
    }
  }

  ~Bench() { top_->final(); }

  void reset(uint64_t cycles) {
    for (auto& channel : channels_) *(channel.is_input ? channel.valid : channel.ready) = 0;
    *reset_ = reset_active_;
    for (uint64_t i = 0; i < cycles; ++i) {
      *clock_ = 0;
      top_->eval();
      *clock_ = 1;
      top_->eval();
    }
    *reset_ = !reset_active_;
  }

  int run(Flow* flows, Plan* plan);

 private:
  struct Side {
    const Channel* channel;
    Flow* flow;
    uint8_t* data;
    uint64_t state;  // of the generator of stalls
    uint64_t index;
    bool offered;
    bool fires;

    bool stalls() {
      if (!flow->stall) return false;
      state = state * 6364136223846793005u + 1442695040888963407u;
      return (state >> 56) < flow->stall;
    }
  };

  void bind(Vdesign& top);  // in bindings.inc

  void offer(Side& side);
  void take(Side& side);

  VerilatedContext context_;
  std::unique_ptr<Vdesign> top_;
  uint8_t* clock_ = nullptr;
  uint8_t* reset_ = nullptr;
  uint8_t reset_active_ = 1;
  std::vector<Channel> channels_;
};

#include "bindings.inc"

void Bench::offer(Side& side) {
  for (const auto& each : side.channel->parts) {
    copy(each.port, side.data, each.beat_bytes);
    each.port[each.beat_bytes - 1] &= each.top_mask;
    side.data += each.beat_bytes;
  }
  *side.channel->valid = 1;
  side.offered = true;
}

void Bench::take(Side& side) {
  for (const auto& each : side.channel->parts) {
    copy(side.data, each.port, each.beat_bytes);
    side.data += each.beat_bytes;
  }
}

int Bench::run(Flow* flows, Plan* plan) {
  std::vector<Side> inputs, outputs;
  uint64_t left = 0;
  for (size_t i = 0; i < channels_.size(); ++i) {
    Flow& flow = flows[i];
    flow.moved = flow.waiting = 0;
    left += flow.beats;
    const Side side{&channels_[i], &flow, flow.data, (plan->seed + i) * 0x9e3779b97f4a7c15u, i, false, false};
    if (channels_[i].is_input) {
      if (flow.beats) inputs.push_back(side);
    } else if (flow.beats || plan->trailing) {
      outputs.push_back(side);
    }
  }

#ifdef TRACE_HEADER
  std::unique_ptr<TRACE_TYPE> trace;  // a new one, whose time begins anew
  if (plan->trace) {
    trace = std::make_unique<TRACE_TYPE>();
    top_->trace(trace.get(), 99);
  }
#endif

  Outcome outcome = kDone;
  uint64_t cycle = 0, last_move = 0;
  plan->cycles = 0;
  while (left || cycle < plan->cycles + plan->trailing) {
    if (left && cycle - last_move >= plan->patience) { outcome = kStuck; break; }
    if (cycle >= plan->limit) { outcome = kLimit; break; }
    const bool trailing = !left;

    for (auto& side : inputs)
      if (!side.offered && side.flow->moved < side.flow->beats && !side.stalls()) offer(side);
    for (auto& side : outputs) {
      side.offered = (side.flow->moved < side.flow->beats || trailing) && !side.stalls();
      *side.channel->ready = side.offered;
    }
    *clock_ = 0;
    top_->eval();

#ifdef TRACE_HEADER
    const bool traced = plan->trace && cycle >= plan->trace_from && cycle <= plan->trace_to;
    const uint64_t now = kClockPeriod * (cycle - (kTimeFromWindow ? plan->trace_from : 0));
    if (traced) {
      if (cycle == plan->trace_from) trace->open(plan->trace);
      trace->dump(now);
    }
#endif
    for (auto& side : inputs) side.fires = side.offered && *side.channel->ready;
    for (auto& side : outputs) {
      side.fires = side.offered && *side.channel->valid;
      if (!side.fires) continue;
      if (side.flow->moved == side.flow->beats) {
        plan->extra = side.index;
        outcome = kExtraBeat;
      } else {
        take(side);
      }
    }
    if (outcome == kExtraBeat) break;

    *clock_ = 1;
    top_->eval();
#ifdef TRACE_HEADER
    if (traced) {
      trace->dump(now + kClockPeriod / 2);
    }
#endif
    ++cycle;
    auto settle = [&](Side& side) {
      if (side.flow->stamps) side.flow->stamps[side.flow->moved] = cycle - 1;
      ++side.flow->moved;
      --left;
      last_move = plan->cycles = cycle;
    };
    for (auto& side : inputs)
      if (side.fires) {
        settle(side);
        side.offered = false;
        *side.channel->valid = 0;
      }
    for (auto& side : outputs)
      if (side.fires) settle(side);
  }

  for (size_t i = 0; i < channels_.size(); ++i)
    flows[i].waiting = *(channels_[i].is_input ? channels_[i].ready : channels_[i].valid);
  for (auto& channel : channels_) *(channel.is_input ? channel.valid : channel.ready) = 0;
#ifdef TRACE_HEADER
  if (trace && trace->isOpen()) trace->close();
#endif
  return outcome;
}

EXPORTED Bench* bench_new(uint64_t seed) { return new Bench(seed); }
EXPORTED void bench_delete(Bench* bench) { delete bench; }
EXPORTED void bench_reset(Bench* bench, uint64_t cycles) { bench->reset(cycles); }
EXPORTED int bench_run(Bench* bench, Flow* flows, Plan* plan) { return bench->run(flows, plan); }

#ifdef BARE_LOOP
#include "bare_loop.inc"
#endif
