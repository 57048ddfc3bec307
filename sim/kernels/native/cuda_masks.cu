// Which steps let a gradient pass, as bits: the chains once more, in the tiles of cuda_tile.h. Plain C interface.
#include "cuda_masks.h"
#include "cuda_tile.h"

extern "C" {

// Masks of rows first to job.m - 1. Mirrored field by field by cuda_library.py.
struct fmaq_cuda_masks {
    fmaq_cuda_job job;   // of the product; `out` is not used
    int32_t rule;        // fmaq::Rule
    int32_t recursive;   // later steps of the same chain must count, too
    double fraction;
    int64_t first;
    uint32_t* bits;      // [batch, word, row, n]: bit i of a word is step 32 * word + i; set: the step counts
};
}

namespace fmaq {
namespace {

FMAQ_FN uint32_t between(int low, int high) { return (high > 31 ? ~0u : (1u << high) - 1) & ~0u << low; }

template <class S, int RULE, int R, int C>
struct MaskThread : Thread<S, R, C> {
    using Base = Thread<S, R, C>;
    using typename Base::Memory;
    using typename Base::Number;
    struct Grid : Base::Grid {
        fmaq_cuda_masks masks;
        explicit Grid(const fmaq_cuda_masks& m) : Base::Grid(m.job, S(m.job, m.fraction), m.first), masks(m) {}
    };
    const fmaq_cuda_masks& masks;
    uint32_t word[R][C];
    int32_t dead[R][C];  // steps before this one belong to chunks that do not count (recursive)

    FMAQ_IN MaskThread(const Grid& g, Memory& memory, int id) : Base(g, memory, id), masks(g.masks) {}

    template <class Each>
    FMAQ_IN static void run(const Grid& grid, int64_t tile, const Each& each) {
        run_tile<MaskThread>(grid.job, tile, each);
    }
    FMAQ_IN void start(int64_t tile) {
        Base::start(tile);
        FMAQ_UNROLL for (int i = 0; i < R; i++)
            FMAQ_UNROLL for (int j = 0; j < C; j++) word[i][j] = 0, dead[i][j] = 0;
    }

    // Where a word goes, or null past the ends.
    FMAQ_IN uint32_t* at(int i, int j, int64_t index) const {
        const int64_t m = this->m0 + this->id / SIDE * R + i, n = this->n0 + this->id % SIDE * C + j;
        if (m >= this->job.m || n >= this->job.n) return nullptr;
        const int64_t words = ratio_up(this->job.k, 32), rows = this->job.m - masks.first;
        return masks.bits + ((this->batch * words + index) * rows + m - masks.first) * this->job.n + n;
    }
    // Clears steps of words that are written already; `again`: down to the first that had some cleared.
    FMAQ_IN void clear_written(int i, int j, int64_t start, int64_t end, bool again) {
        for (int64_t index = end / 32 - 1; index >= start / 32; index--) {
            uint32_t* const place = at(i, j, index);
            if (!place) return;
            const uint32_t part = between(index * 32 < start ? static_cast<int>(start % 32) : 0, 32), old = *place;
            *place = old & ~part;
            if (again && (old & part) != part) return;
        }
    }
    // A chunk from `start` on has come to `end`: what is before the last step that does not count does not, either.
    FMAQ_IN void chain_back(int i, int j, int64_t start, int64_t end) {
        const int64_t first = (end - 1) / 32 * 32;
        const int low = start > first ? static_cast<int>(start - first) : 0;
        const uint32_t part = between(low, static_cast<int>(end - first)), gone = ~word[i][j] & part;
        if (!gone) return;
        word[i][j] &= ~(between(0, floor_log2(gone) + 1) & part);
        if (start < first) clear_written(i, j, start, first, true);
    }
    FMAQ_IN void end_chunk(int64_t end) {
        const int64_t start = this->chunk * this->job.chunk, first = (end - 1) / 32 * 32;
        FMAQ_UNROLL for (int i = 0; i < R; i++)
            FMAQ_UNROLL for (int j = 0; j < C; j++) {
                if (masks.recursive) chain_back(i, j, start, end);
                const bool counts = this->steps.template end<RULE>(
                    this->total[i][j], this->sum[i][j], this->place(0, this->id / SIDE * R + i, this->chunk),
                    this->place(1, this->id % SIDE * C + j, this->chunk));
                this->sum[i][j] = {};
                if (counts) continue;
                if (masks.recursive) {
                    dead[i][j] = static_cast<int32_t>(end);
                } else {
                    word[i][j] &= ~between(start > first ? static_cast<int>(start - first) : 0, static_cast<int>(end - first));
                    if (start < first) clear_written(i, j, start, first, false);
                }
            }
        this->chunk++;
        this->left = this->job.chunk;
    }
    FMAQ_IN void compute(int half, int64_t k) {
        const int depth = this->job.k - k < DEPTH ? static_cast<int>(this->job.k - k) : DEPTH;
        for (int d = 0; d < depth;) {
            const int end = this->left < depth - d ? d + static_cast<int>(this->left) : depth;
            this->left -= end - d;
            FMAQ_UNROLL_SOME for (; d < end; d++) {
                Number a[R], b[C];
                FMAQ_UNROLL for (int i = 0; i < R; i++) a[i] = this->shared.x[half][d][this->id / SIDE * R + i];
                FMAQ_UNROLL for (int j = 0; j < C; j++) b[j] = this->shared.w[half][d][this->id % SIDE * C + j];
                const uint32_t bit = 1u << ((k + d) % 32);
                FMAQ_UNROLL for (int i = 0; i < R; i++)
                    FMAQ_UNROLL for (int j = 0; j < C; j++)
                        if (this->steps.template step<RULE>(this->sum[i][j], a[i], b[j])) word[i][j] |= bit;
            }
            if (this->left == 0 || k + d == this->job.k) end_chunk(k + d);
        }
        if (k % 32 || k + depth == this->job.k) write(k + depth);
    }
    FMAQ_IN void write(int64_t end) {
        const bool open = masks.recursive && this->left != this->job.chunk;
        FMAQ_UNROLL for (int i = 0; i < R; i++)
            FMAQ_UNROLL for (int j = 0; j < C; j++) {
                if (open) chain_back(i, j, this->chunk * this->job.chunk, end);
                if (uint32_t* const place = at(i, j, (end - 1) / 32)) *place = word[i][j];
                word[i][j] = 0;
            }
    }
    FMAQ_IN void store() {
        if (!masks.recursive) return;
        FMAQ_UNROLL for (int i = 0; i < R; i++)
            FMAQ_UNROLL for (int j = 0; j < C; j++)
                for (int64_t index = 0; index * 32 < dead[i][j]; index++)
                    if (uint32_t* const place = at(i, j, index))
                        *place &= dead[i][j] - index * 32 > 31 ? 0 : ~between(0, static_cast<int>(dead[i][j] - index * 32));
    }
};

template <class S, int RULE, int R, int C>
int launch_masks(const fmaq_cuda_masks& masks, void* stream) {
    using T = MaskThread<S, RULE, R, C>;
    return launch<T>(typename T::Grid(masks), stream);
}

template <class S, int R, int C>
int launch_rule(const fmaq_cuda_masks& masks, void* stream) {
    switch (masks.rule) {
        case NO_OVERFLOW: return launch_masks<S, NO_OVERFLOW, R, C>(masks, stream);
        case CHANGE: return launch_masks<S, CHANGE, R, C>(masks, stream);
        default: return launch_masks<S, LARGE_CHANGE, R, C>(masks, stream);
    }
}

// Toward zero: the one that has to be fast.
template <int RULE>
int launch_cut(const fmaq_cuda_masks& masks, void* stream) {
    using S = RoundedChain<false, true>;
    if (masks.job.n <= SIDE) return launch_masks<S, RULE, 8, 1>(masks, stream);
    if (masks.job.n <= 2 * SIDE) return launch_masks<S, RULE, 4, 2>(masks, stream);
    return launch_masks<S, RULE, 4, 4>(masks, stream);
}

bool cuts(const fmaq_lane_step& step) { return step.way == W_NONE || step.way == W_EXACT || step.way == W_RZ; }

int dispatch(const fmaq_cuda_masks& masks, void* stream) {
    const fmaq_cuda_job& job = masks.job;
    if (job.path == 0) return launch_rule<IntegersChain, 1, 1>(masks, stream);
    switch (job.lane_inner.way) {
        case W_WHOLE: return launch_rule<WholeChain, 4, 2>(masks, stream);
        case W_RZ: case W_RNE: case W_SR:
            if (job.lane_product.way == W_SR || job.lane_inner.way == W_SR)
                return launch_rule<RoundedChain<true, false>, 4, 2>(masks, stream);
            if (masks.rule == LARGE_CHANGE || !cuts(job.lane_product) || !cuts(job.lane_inner) || !cuts(job.lane_outer))
                return launch_rule<RoundedChain<false, false>, 4, 2>(masks, stream);
            return masks.rule == NO_OVERFLOW ? launch_cut<NO_OVERFLOW>(masks, stream) : launch_cut<CHANGE>(masks, stream);
        default: return launch_rule<FixedChain, 4, 2>(masks, stream);
    }
}

}  // namespace
}  // namespace fmaq

extern "C" const int64_t fmaq_cuda_masks_size = sizeof(fmaq_cuda_masks);

// Returns a cudaError_t.
extern "C" int fmaq_cuda_mask(const fmaq_cuda_masks* masks, void* stream) { return fmaq::dispatch(*masks, stream); }
