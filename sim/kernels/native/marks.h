// Marks of steps that let no gradient pass, and what becomes of them: masks. The statement is golden/gradients.py.
#pragma once
#include <cstdint>
#include <cstring>

#include "job.h"

extern "C" {

// Gradients of a job's operands. Mirrored field by field by sim/kernels/library.py.
struct fmaq_gradient {
    int32_t difference;  // a step passes, 0: unless its addition overflows; 1: if it changes the sum
    int32_t recursive;   // and if all later ones of its chain pass
    double threshold;    // of a difference, times the addend
    const float* of_out;  // gradient of the result, with the job's strides
    float *of_x, *of_w;   // out: gradients, zero before, with the offsets of the operands, of images before padding
    uint8_t* masks;       // or, instead: [batch, m, n, k], 1 where the gradient passes
    const int64_t *x_k, *w_k;  // offsets of place k of bits and gradients, [k]
    const int64_t* place;      // [k, n]: where step k of column n is counted; null: at k
    const int64_t* index;      // [k]: which k of the masks place k is
};
}

namespace fmaq {

constexpr int64_t BLOCK = 16;  // places k that gradients are computed of at a time

enum Mark { M_NONE, M_OVERFLOW, M_SAME, M_SMALL };  // what marks a step: overflow; no change; a small one

struct Rule {
    Mark mark;
    bool recursive;
    double threshold;
    explicit Rule(const fmaq_gradient& g)
        : mark(!g.difference ? M_OVERFLOW : g.threshold == 0 ? M_SAME : M_SMALL), recursive(g.recursive),
          threshold(g.threshold) {}
};

// A step is marked where a later one is. Lines of BYTES each.
template <int64_t BYTES>
static inline void mark_earlier(uint8_t* bits, int64_t lines) {
    for (int64_t line = lines - 2; line >= 0; line--)
        for (int64_t j = 0; j < BYTES; j++) bits[line * BYTES + j] |= bits[(line + 1) * BYTES + j];
}

static inline bool has_marks(const uint8_t* bits, int64_t bytes) {
    uint8_t any = 0;
    for (int64_t j = 0; j < bytes; j++) any |= bits[j];
    return any;
}

// From marks of steps, and of chunks as steps of the outer chain, to the steps that pass. `clear[c]`: whether a chunk is
// known to have no marks, which are not there then; in the end, whether all of its steps pass.
template <int64_t BYTES>
static inline void finish_marks(uint8_t* bits, uint8_t* outer, uint8_t* clear, int64_t length, int64_t chunk,
                                bool recursive) {
    const int64_t chunks = (length + chunk - 1) / chunk;
    if (recursive) mark_earlier<BYTES>(outer, chunks);
    for (int64_t c = 0; c < chunks; c++) {
        const int64_t from = c * chunk, to = from + chunk < length ? from + chunk : length;
        uint8_t *first = bits + from * BYTES, *whole = outer + c * BYTES;
        const bool marked = !clear[c];
        if (marked && recursive) mark_earlier<BYTES>(first, to - from);
        const bool inside = marked && has_marks(first, recursive ? BYTES : (to - from) * BYTES);
        clear[c] = !inside && !has_marks(whole, BYTES);
        if (clear[c]) {
            if (chunk % BLOCK) std::memset(first, 0xff, static_cast<size_t>((to - from) * BYTES));
            continue;
        }
        for (int64_t k = 0; k < to - from; k++)
            for (int64_t j = 0; j < BYTES; j++) {
                const uint8_t step = inside ? first[k * BYTES + j] : uint8_t(0);
                first[k * BYTES + j] = static_cast<uint8_t>(~(step | whole[j]));
            }
    }
}

}  // namespace fmaq
